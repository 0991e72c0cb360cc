"""``parley logs``."""

import click

from parley.cli.app import App, pass_app
from parley.cli.command import command
from parley.cli.completing import names_of
from parley.cli.options import gateway_options


@command(
    "logs",
    "Logs of a Task's pods.",
    "parley logs check-order",
    "parley logs check-order pay --follow",
    "parley logs check-order pay --all-attempts --tail 20",
)
@click.argument("task", shell_complete=names_of("tasks"))
@click.argument("step", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on as more is written, until the Task ends.")
@click.option("--all-attempts", is_flag=True, help="Also of attempts before a step's newest.")
@click.option(
    "--tail", type=click.IntRange(min=0), metavar="LINES", help="So many lines from the end of each."
)
@gateway_options
@pass_app
def logs_command(
    app: App, task: str, step: str | None, follow: bool, all_attempts: bool, tail: int | None
) -> None:
    """Logs of the pods of a Task's steps, each line with its step; of a pod that is gone, the end that is kept.

    What is kept the gateway gives. An agent's warm runners have no log for each Task.
    """
    from parley.cli.pod_logs import print_logs

    print_logs(app, task, step, follow=follow, every_attempt=all_attempts, tail=tail)
