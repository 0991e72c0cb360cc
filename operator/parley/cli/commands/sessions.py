"""``parley sessions``."""

import click

from parley.cli.app import App, pass_app
from parley.cli.command import command
from parley.cli.completing import names_of
from parley.cli.options import all_namespaces, gateway_options, output_option


@command(
    "sessions",
    "List conversations, or show one.",
    "parley sessions -A",
    "parley sessions --agent support --phase Active",
    "parley sessions alice -o yaml",
)
@click.argument("name", required=False, shell_complete=names_of("sessions"))
@all_namespaces
@click.option(
    "-l", "--selector", default="", metavar="LABELS", help="Those with these labels, as kubectl has it."
)
@click.option("--agent", metavar="NAME", shell_complete=names_of("agents"), help="Those of this agent.")
@click.option(
    "--phase", metavar="PHASE", help="Those in this phase: Active, Dormant, WaitingForInput, Paused …"
)
@output_option()
@gateway_options
@pass_app
def sessions_command(
    app: App, name: str | None, all_namespaces: bool, selector: str, agent: str | None, phase: str | None
) -> None:
    """List conversations, those with the newest event first; or show one of them."""
    from parley.cli import session_view

    if name is not None:
        session_view.show(app, name)
    else:
        session_view.list_all(app, everywhere=all_namespaces, labels=selector, agent=agent, wanted=phase)
