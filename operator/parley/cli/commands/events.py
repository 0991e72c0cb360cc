"""``parley events``."""

import click

from parley.cli.app import App, pass_app
from parley.cli.command import command
from parley.cli.completing import names_of
from parley.cli.options import gateway_options, output_option

_TYPES = ("message", "toolCall", "toolResult", "reply", "state", "summary")


@command(
    "events",
    "What was said and done in a session; --follow.",
    "parley events alice",
    "parley events alice --follow",
    "parley events alice --type message --tail 10 -o json",
)
@click.argument("session", shell_complete=names_of("sessions"))
@click.option(
    "-f", "--follow", is_flag=True, help="Go on as more happens, until Ctrl-C or the session is deleted."
)
@click.option(
    "--tail", type=click.IntRange(min=0), default=50, show_default=True, help="So many from the end."
)
@click.option(
    "--after", type=click.IntRange(min=0), metavar="SEQUENCE", help="All after this one, instead of --tail."
)
@click.option(
    "--type", "types", multiple=True, type=click.Choice(_TYPES), help="Only these; may be repeated."
)
@output_option("table", "json", "yaml")
@gateway_options
@pass_app
def events_command(
    app: App, session: str, follow: bool, tail: int, after: int | None, types: tuple[str, ...]
) -> None:
    """What was said and done in a session, from the store: every event once, in order.

    With --follow, -o json prints one event a line, -o yaml one a document.
    """
    from parley.cli.event_view import show_events

    show_events(app, session, follow=follow, tail=tail, after=after, types=types)
