"""``parley run``."""

from typing import BinaryIO, TypedDict, Unpack

import click

from parley.cli.app import App, pass_app
from parley.cli.command import command
from parley.cli.completing import names_of
from parley.cli.options import cluster_options, output_option, timeout_option


class Options(TypedDict):
    """What may be said of the Task and of the waiting."""

    session: str | None
    agent: str | None
    name: str | None
    detach: bool
    quiet: bool


@command(
    "run",
    "Run a TaskTemplate, wait, print the output.",
    "parley run ship -p order=12345",
    "parley run ship -p order=12345 -p parcels=2 --timeout 10m",
    "parley run report --inputs inputs.yaml --detach",
)
@click.argument("template", shell_complete=names_of("tasktemplates"))
@click.option(
    "-p",
    "--input",
    "inputs",
    multiple=True,
    metavar="KEY=VALUE",
    help="An input; read as the template's inputSchema says, else a text. KEY:=JSON is JSON in any case.",
)
@click.option(
    "--inputs", "file", type=click.File("rb"), metavar="FILE", help="YAML or JSON with inputs; - is stdin."
)
@click.option(
    "--session", metavar="NAME", shell_complete=names_of("sessions"), help="The session it belongs to."
)
@click.option(
    "--agent",
    metavar="NAME",
    shell_complete=names_of("agents"),
    help="The agent that answers, where the template names none.",
)
@click.option("--name", metavar="NAME", help="Name of the Task; default: the template's and some letters.")
@click.option("--detach", is_flag=True, help="Do not wait; print the Task's name.")
@click.option("-q", "--quiet", is_flag=True, help="No progress, only the output.")
@timeout_option("How long to wait at most; the Task goes on, exit code 4.")
@output_option("table", "json", "yaml", "name")
@cluster_options
@pass_app
def run_command(
    app: App,
    template: str,
    inputs: tuple[str, ...],
    file: BinaryIO | None,
    timeout: float | None,
    **options: Unpack[Options],
) -> int:
    """Make a Task from a TaskTemplate, show its progress on stderr, and print its output.

    Exit codes: 0 succeeded, 1 failed, 2 wrong usage, 3 cancelled or deleted, 4 not ended within --timeout,
    130 interrupted; the Task goes on then.
    """
    from parley.cli.running import Request, run

    given = file.read() if file is not None else None
    request = Request(
        template, inputs, given, session=options["session"], agent=options["agent"], name=options["name"]
    )
    return run(app, request, detach=options["detach"], quiet=options["quiet"], timeout=timeout)
