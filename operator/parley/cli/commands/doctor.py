"""``parley doctor``."""

from parley.cli.app import App, pass_app
from parley.cli.command import command
from parley.cli.options import all_namespaces, gateway_options, output_option


@command(
    "doctor",
    "What is wrong with this installation, and what to do.",
    "parley doctor",
    "parley doctor -A -o json",
)
@all_namespaces
@output_option("table", "json", "yaml")
@gateway_options
@pass_app
def doctor_command(app: App, all_namespaces: bool) -> int:
    """Look at the installation, one line a check: what is wrong, and what to do. Changes nothing.

    Exit code 1 when something is wrong. What you may not see is marked `-` and is not wrong.
    """
    from parley.cli.doctor import examine

    return examine(app, everywhere=all_namespaces)
