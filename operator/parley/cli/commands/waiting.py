"""``parley waiting``."""

from parley.cli.app import App, pass_app
from parley.cli.command import command
from parley.cli.options import all_namespaces, gateway_options, output_option


@command(
    "waiting",
    "What waits for a person: an inbox (-A).",
    "parley waiting -A",
    "parley waiting -n shop -o json",
)
@all_namespaces
@output_option("table", "wide", "json", "yaml")
@gateway_options
@pass_app
def waiting_command(app: App, all_namespaces: bool) -> None:
    """What waits for a person, oldest first: questions of `wait` steps, and tools that need an approval."""
    from parley.cli.waiting_view import list_waiting

    list_waiting(app, everywhere=all_namespaces)
