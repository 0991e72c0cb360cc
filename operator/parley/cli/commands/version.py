"""``parley version``."""

import click

from parley.cli.app import App, pass_app
from parley.cli.command import command
from parley.cli.options import cluster_options, output_option


@command(
    "version",
    "Versions of parley, the cluster and the CRDs.",
    "parley version",
    "parley version --client -o json",
)
@click.option("--client", is_flag=True, help="Only this program's; asks no cluster.")
@output_option("table", "json", "yaml")
@cluster_options
@pass_app
def version_command(app: App, client: bool) -> None:
    """Versions of this program, of what is installed, and of the cluster."""
    from parley.cli.versions import print_versions

    print_versions(app, only_client=client)
