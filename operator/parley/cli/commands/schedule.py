"""``parley schedule``."""

import click

from parley.cli.app import App, pass_app
from parley.cli.command import Command, command
from parley.cli.completing import names_of
from parley.cli.options import all_namespaces, cluster_options, output_option, timeout_option


@click.group("schedule", short_help="Schedules: list them, run one now.")
def schedule_command() -> None:
    """Schedules: list them, run one now. `parley suspend schedule/NAME` stops one, `resume` lets it go on."""


@command("list", "List Schedules.", "parley schedule list -A")
@all_namespaces
@output_option()
@cluster_options
@pass_app
def list_command(app: App, all_namespaces: bool) -> None:
    """List Schedules: when each ran last, and when it runs next."""
    from parley.cli.scheduling import list_all

    list_all(app, everywhere=all_namespaces)


@command(
    "run-now",
    "Make a Schedule's Task at once.",
    "parley schedule run-now morning-report",
    "parley schedule run-now morning-report --wait --timeout 10m",
)
@click.argument("name", shell_complete=names_of("schedules"))
@click.option(
    "--wait", is_flag=True, help="Wait for the Task's end and print its output; exit code as `run`."
)
@timeout_option("How long to wait at most.")
@output_option("table", "json", "yaml", "name")
@cluster_options
@pass_app
def run_now_command(app: App, name: str, wait: bool, timeout: float | None) -> int:
    """Make a Schedule's Task at once, whatever the time, also while it is suspended."""
    from parley.cli.scheduling import run_now

    return run_now(app, name, wait=wait, timeout=timeout)


_SUBCOMMANDS: tuple[Command, ...] = (list_command, run_now_command)
for _subcommand in _SUBCOMMANDS:
    schedule_command.add_command(_subcommand)
