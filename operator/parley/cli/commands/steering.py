"""``parley cancel``, ``suspend`` and ``resume``."""

import click

from parley.cli.app import App, pass_app
from parley.cli.command import command
from parley.cli.completing import names_of, targets
from parley.cli.options import cluster_options, output_option, timeout_option


@command(
    "cancel",
    "End a Task, for good.",
    "parley cancel stocktake",
    "parley cancel stocktake --wait",
)
@click.argument("tasks", nargs=-1, required=True, metavar="TASK...", shell_complete=names_of("tasks"))
@click.option("--wait", is_flag=True, help="Wait until they have ended.")
@timeout_option("With --wait: how long at most; exit code 4 when one has not ended by then.")
@output_option("table", "json", "yaml", "name")
@cluster_options
@pass_app
def cancel_command(app: App, tasks: tuple[str, ...], wait: bool, timeout: float | None) -> int:
    """End Tasks for good: their pods are stopped, what they asked is withdrawn, nothing of them begins."""
    from parley.cli.steering import cancel

    return cancel(app, tasks, wait=wait, timeout=timeout)


@command(
    "suspend",
    "Let nothing new begin in a Task, Session or Schedule.",
    "parley suspend stocktake",
    "parley suspend session/alice schedule/morning-report",
)
@click.argument("targets", nargs=-1, required=True, metavar="[KIND/]NAME...", shell_complete=targets)
@output_option("table", "json", "yaml", "name")
@cluster_options
@pass_app
def suspend_command(app: App, targets: tuple[str, ...]) -> None:
    """Let nothing new begin in Tasks, Sessions (they are Paused) or Schedules; what runs goes on to its end."""
    from parley.cli.steering import steer

    steer(app, targets, going=False)


@command(
    "resume",
    "Let what was suspended go on.",
    "parley resume stocktake",
    "parley resume session/alice",
)
@click.argument("targets", nargs=-1, required=True, metavar="[KIND/]NAME...", shell_complete=targets)
@output_option("table", "json", "yaml", "name")
@cluster_options
@pass_app
def resume_command(app: App, targets: tuple[str, ...]) -> None:
    """Let Tasks, Sessions or Schedules go on that were suspended."""
    from parley.cli.steering import steer

    steer(app, targets, going=True)
