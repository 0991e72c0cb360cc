"""``parley export`` and ``parley import``."""

from typing import BinaryIO

import click

from parley.cli.app import App, pass_app
from parley.cli.command import command
from parley.cli.completing import names_of
from parley.cli.options import gateway_options, output_option


@command(
    "export",
    "Write a session's events to a file.",
    "parley export alice -f alice.jsonl",
    "parley export alice | wc -l",
)
@click.argument("session", shell_complete=names_of("sessions"))
@click.option(
    "-f",
    "--file",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Default: stdout. Written whole or not at all.",
)
@gateway_options
@pass_app
def export_command(app: App, session: str, file: str | None) -> None:
    """Write all events of a session and its context as JSON lines."""
    from parley.cli.transfer import export

    export(app, session, file)


@command(
    "import",
    "Read exported events into a session.",
    "parley import bob alice.jsonl",
    "parley export alice --context old | parley import alice - --context new",
)
@click.argument("session", shell_complete=names_of("sessions"))
@click.argument("file", type=click.File("rb"))
@output_option("table", "json", "yaml")
@gateway_options
@pass_app
def import_command(app: App, session: str, file: BinaryIO) -> None:
    """Read exported events into a session that exists; what it has already is left as it is."""
    from parley.cli.transfer import import_into

    import_into(app, session, file)
