"""Schedules: how they look, and one run by hand."""

import time
import uuid
from datetime import UTC, datetime

import click

from parley.cli.app import App
from parley.cli.failures import CliError, ExitCode
from parley.cli.following import follow
from parley.cli.output import as_text, print_objects
from parley.cli.progress import display, follow_to_end
from parley.cli.reading import condition, dig, name_of, namespace_of, objects, text
from parley.cli.running import failure
from parley.cli.table import Cell, Column, print_table
from parley.cli.task_view import verdict
from parley.cli.text import age, clean, until
from parley.kube.client import JsonObject
from parley.kube.errors import NotFound
from parley.kube.kinds import SCHEDULE, TASK

RUN_NOW_ANNOTATION = "parley.dev/run-now"
SCHEDULE_LABEL = "parley.dev/schedule"
SCHEDULED_AT_ANNOTATION = "parley.dev/scheduled-at"
SECONDS = 60.0
"""How long the operator may take to act upon the annotation."""
_LOOK_SECONDS = 5


def list_all(app: App, *, everywhere: bool) -> None:
    """Print all Schedules."""
    found = app.kube.list(SCHEDULE, None if everywhere else app.namespace).items
    if print_objects(found, app.settings.output):
        return
    if not found:
        where = "any namespace" if everywhere else f"namespace {app.namespace}"
        click.echo(f"No schedules in {where}.", err=True)
        return
    now = datetime.now(UTC)
    columns: list[Column | str] = [
        *(["NAMESPACE"] if everywhere else []),
        *("NAME", "SCHEDULE", "TIMEZONE", "STATE", "LAST", "NEXT IN", "ACTIVE"),
        Column("WHY", flexible=True),
    ]
    rows = [
        [
            *([namespace_of(one)] if everywhere else []),
            name_of(one),
            text(one, "spec", "schedule"),
            text(one, "spec", "timeZone"),
            _state(one),
            age(text(one, "status", "lastScheduleTime"), now),
            until(text(one, "status", "nextScheduleTime"), now),
            str(len(objects(one, "status", "active"))),
            "" if _ready(one) else text(condition(one, "Ready"), "message"),
        ]
        for one in found
    ]
    print_table(columns, rows)


def _ready(schedule: JsonObject) -> bool:
    return text(condition(schedule, "Ready"), "status") == "True"


def _state(schedule: JsonObject) -> Cell:
    if dig(schedule, "spec", "suspend") is True:
        return Cell("suspended", "yellow")
    return Cell("on", "green") if _ready(schedule) else Cell("not ready", "red")


def run_now(app: App, name: str, *, wait: bool, timeout: float | None) -> int:
    """Have a Schedule make its Task now; returns the exit code."""
    kube, namespace = app.kube, app.namespace
    asked = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {uuid.uuid4().hex[:8]}"
    try:
        before = {name_of(one) for one in _tasks_of(app, name)}
        kube.patch(SCHEDULE, namespace, name, {"metadata": {"annotations": {RUN_NOW_ANNOTATION: asked}}})
    except NotFound as error:
        raise CliError(
            f"there is no Schedule {name} in namespace {namespace}",
            f"see which there are: parley schedule list -n {namespace}",
        ) from error
    _wait_until_taken(app, name, asked)
    made = [one for one in _tasks_of(app, name) if name_of(one) not in before]
    task = made[-1] if made else None
    if task is None:
        said = f"Schedule {name} has taken it; its Task is made when concurrencyPolicy lets it."
        click.echo(said, err=app.settings.output != "table")
        return ExitCode.OK
    if not wait:
        if not print_objects([task], app.settings.output, single=True):
            click.echo(f"Task {name_of(task)}")
        return ExitCode.OK
    family = follow_to_end(kube, namespace, name_of(task), display(quiet=False), timeout)
    if not print_objects([family.root], app.settings.output, single=True):
        output = dig(family.root, "status", "output")
        if output is not None:
            click.echo(clean(as_text(output)))
    code = verdict(family.root, gone=family.gone)
    if code == ExitCode.FAILED:
        raise failure(family.root)
    return code


def _tasks_of(app: App, name: str) -> list[JsonObject]:
    found = app.kube.list(TASK, app.namespace, labels=f"{SCHEDULE_LABEL}={name}").items
    return sorted(found, key=lambda one: text(one, "metadata", "creationTimestamp"))


def _wait_until_taken(app: App, name: str, asked: str) -> None:
    end = time.monotonic() + SECONDS
    for schedule in follow(app.kube, SCHEDULE, app.namespace, name, every=_LOOK_SECONDS):
        if schedule is None:
            raise CliError(f"Schedule {name} was deleted", "nothing was run")
        if text(schedule, "status", "lastRunNow") == asked:
            return
        stalled = condition(schedule, "Stalled")
        if text(stalled, "status") == "True":
            raise CliError(
                f"Schedule {name} makes no Tasks: {text(stalled, 'reason')}: {text(stalled, 'message')}",
                f"mend it: kubectl edit sched {name} -n {app.namespace}",
            )
        if time.monotonic() > end:
            break
    raise CliError(
        f"Schedule {name} is told to run now, and the operator has not acted upon it yet",
        "it may wait for a Task that still runs (concurrencyPolicy Forbid), or the operator is away: parley doctor",
    )
