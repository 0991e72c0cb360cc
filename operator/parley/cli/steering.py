"""Say what is wanted of an object: its ``desiredState``, or a Schedule's ``suspend``."""

import time
from collections.abc import Sequence

import click

from parley.cli.app import App
from parley.cli.failures import CliError, ExitCode
from parley.cli.following import follow
from parley.cli.output import print_objects
from parley.cli.reading import dig, mapping, text
from parley.cli.task_tree import has_ended
from parley.cli.task_view import no_such_task
from parley.kube.client import JsonObject
from parley.kube.errors import Invalid, NotFound
from parley.kube.kinds import SCHEDULE, SESSION, TASK, Kind

_LOOK_SECONDS = 5
_KINDS = {
    **dict.fromkeys(("task", "tasks", "tk"), TASK),
    **dict.fromkeys(("session", "sessions", "ses"), SESSION),
    **dict.fromkeys(("schedule", "schedules", "sched"), SCHEDULE),
}
_WANTED: dict[tuple[str, bool], JsonObject] = {
    ("Task", True): {"desiredState": "Running"},
    ("Task", False): {"desiredState": "Suspended"},
    ("Session", True): {"desiredState": "Active"},
    ("Session", False): {"desiredState": "Paused"},
    ("Schedule", True): {"suspend": False},
    ("Schedule", False): {"suspend": True},
}
_FINAL = {"Cancelled", "Ended", "Archived"}


def target_of(given: str) -> tuple[Kind, str]:
    """Which object ``[KIND/]NAME`` is; a Task, where no kind is given.

    Raises:
        CliError: there is no such kind to steer.
    """
    kind, slash, name = given.partition("/")
    if not slash:
        return TASK, given
    found = _KINDS.get(kind.lower().removesuffix(".parley.dev"))
    if found is None or not name:
        raise CliError(
            f"{given}: this is nothing to steer", "write NAME, task/NAME, session/NAME or schedule/NAME"
        )
    return found, name


def steer(app: App, targets: Sequence[str], *, going: bool) -> None:
    """Suspend objects or let them go on."""
    steered: list[JsonObject] = []
    for given in targets:
        kind, name = target_of(given)
        before = _get(app, kind, name)
        wanted = _WANTED[kind.kind, going]
        what = f"{kind.kind} {name}"
        state = text(before, "spec", "desiredState")
        if state in _FINAL or (kind is TASK and has_ended(before)):
            ended = text(before, "status", "phase") or state
            raise CliError(f"{what} has ended ({ended}): that is final", "make another one")
        if mapping(before, "spec") | wanted == mapping(before, "spec"):
            _tell(app, f"{what} is so already")
            steered.append(before)
            continue
        steered.append(app.kube.patch(kind, app.namespace, name, {"spec": wanted}))
        _tell(app, f"{what} {'goes on' if going else 'is suspended; what runs goes on to its end'}")
    print_objects(steered, app.settings.output, single=len(steered) == 1)


def cancel(app: App, names: Sequence[str], *, wait: bool, timeout: float | None) -> int:
    """Cancel Tasks; returns the exit code."""
    chosen: list[str] = []
    now: dict[str, JsonObject] = {}
    for given in names:
        kind, name = target_of(given)
        if kind is not TASK:
            raise CliError(
                f"{given}: only Tasks are cancelled",
                f"suspend it instead, or: kubectl delete {kind.plural} {name}",
            )
        task = now[name] = _get(app, TASK, name)
        if has_ended(task):
            _tell(app, f"Task {name} has ended already ({text(task, 'status', 'phase')})")
            continue
        try:
            now[name] = app.kube.patch(TASK, app.namespace, name, {"spec": {"desiredState": "Cancelled"}})
        except Invalid as error:
            raise CliError(error.message, f"kubectl get tk {name} -n {app.namespace} -o yaml") from error
        _tell(app, f"Task {name} is cancelled")
        chosen.append(name)
    end = None if timeout is None else time.monotonic() + timeout
    codes = [_await_end(app, name, end, now) for name in chosen] if wait else []
    print_objects(list(now.values()), app.settings.output, single=len(now) == 1)
    return max(codes, default=ExitCode.OK)


def _tell(app: App, what: str) -> None:
    """Say what was done; to a program, which is given the object, beside it."""
    click.echo(what, err=app.settings.output != "table")


def _await_end(app: App, name: str, end: float | None, now: dict[str, JsonObject]) -> int:
    """Wait for a Task's end, and leave it in ``now`` as it was last; returns the exit code."""
    for task in follow(app.kube, TASK, app.namespace, name, every=_LOOK_SECONDS):
        if task is None:
            return ExitCode.OK
        now[name] = task
        if has_ended(task):
            _tell(app, f"Task {name} has ended ({text(task, 'status', 'phase')})")
            return ExitCode.OK
        if end is not None and time.monotonic() > end:
            break
    click.echo(f"Task {name} has not ended yet; its pods have their grace period", err=True)
    return ExitCode.NOT_ENDED


def _get(app: App, kind: Kind, name: str) -> JsonObject:
    try:
        found = app.kube.get(kind, app.namespace, name)
    except NotFound as error:
        if kind is TASK:
            raise no_such_task(app, name) from error
        raise CliError(
            f"there is no {kind.kind} {name} in namespace {app.namespace}",
            f"see which there are: kubectl get {kind.plural} -n {app.namespace}",
        ) from error
    if dig(found, "metadata", "deletionTimestamp"):
        raise CliError(f"{kind.kind} {name} is being deleted", "nothing is left to do")
    return found
