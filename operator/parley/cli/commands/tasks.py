"""``parley tasks``."""

import click

from parley.cli.app import App, pass_app
from parley.cli.command import command
from parley.cli.completing import names_of
from parley.cli.options import all_namespaces, cluster_options, output_option, timeout_option


@command(
    "tasks",
    "Tasks as a tree, with live progress (--watch).",
    "parley tasks -A --phase Running",
    "parley tasks --session alice",
    "parley tasks ship-all",
    "parley tasks ship-all --watch --timeout 10m",
)
@click.argument("name", required=False, shell_complete=names_of("tasks"))
@click.option(
    "-w", "--watch", is_flag=True, help="Show the progress of NAME until it ends; exit code as `run`."
)
@timeout_option("With --watch: how long to look at most; exit code 4 when it has not ended by then.")
@all_namespaces
@click.option("-l", "--selector", default="", metavar="LABELS", help="Those with these labels.")
@click.option("--session", metavar="NAME", shell_complete=names_of("sessions"), help="Those of this session.")
@click.option(
    "--agent", metavar="NAME", shell_complete=names_of("agents"), help="Those that this agent answers."
)
@click.option("--phase", metavar="PHASE", help="Those in this phase: Queued, Running, Failed …")
@output_option()
@cluster_options
@pass_app
def tasks_command(
    app: App,
    name: str | None,
    watch: bool,
    timeout: float | None,
    all_namespaces: bool,
    selector: str,
    session: str | None,
    agent: str | None,
    phase: str | None,
) -> int:
    """List Tasks, each followed by those below it; or show one as a tree of its steps."""
    from parley.cli import task_view

    if name is not None:
        return task_view.show(app, name, watch=watch, timeout=timeout)
    if watch:
        raise click.UsageError("--watch needs the name of a Task")
    task_view.list_all(
        app, everywhere=all_namespaces, labels=selector, session=session, agent=agent, wanted=phase
    )
    return 0
