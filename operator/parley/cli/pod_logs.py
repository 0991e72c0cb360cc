"""Logs of the pods that a Task's steps ran in; of those that are gone, what is kept."""

import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import click

from parley.cli.app import App
from parley.cli.failures import CliError, NoCluster, explained
from parley.cli.following import Patience
from parley.cli.kept_logs import (
    ATTEMPT_LABEL,
    STEP_LABEL,
    Wanted,
    are_gone,
    attempt_title,
    jobs_of,
    kept_logs,
)
from parley.cli.options import wants_colour
from parley.cli.reading import mapping, name_of, namespace_of, number, objects, text
from parley.cli.task_tree import has_ended
from parley.cli.task_view import must_exist
from parley.cli.text import clean
from parley.cli.way import is_somebody_named
from parley.kube.client import JsonObject
from parley.kube.errors import Forbidden, KubeError, NotFound
from parley.kube.kinds import POD, TASK

TASK_UID_LABEL = "parley.dev/task-uid"
_INDEX_LABEL = "batch.kubernetes.io/job-completion-index"
_AGENT_LABEL = "parley.dev/agent"
"""On the pods of an agent's warm runners; its name is cut to the length of a label."""
_LABEL_LENGTH = 63
_LOOK_SECONDS = 1.0
_COLOURS = ("cyan", "green", "yellow", "magenta", "blue")


@dataclass(frozen=True, slots=True)
class Source:
    """A container whose log is printed, and what stands before its lines."""

    namespace: str
    pod: str
    container: str
    prefix: str


def print_logs(
    app: App, name: str, step: str | None, *, follow: bool, every_attempt: bool, tail: int | None
) -> None:
    """Print the logs; with ``follow`` until the Task has ended."""
    wanted = Wanted(step, every_attempt, tail)
    task, pods = _look(app, name, step)
    known = [text(one, "name") for one in objects(task, "status", "steps")]
    if step is not None and known and step not in known:
        raise CliError(f"Task {name} has no step {step}", f"its steps: {', '.join(known)}")
    if pods is None and follow:
        raise CliError(
            "--follow reads pods, which cannot be seen by way of the gateway",
            "leave it out for what is kept of those that have ended; or ask the cluster of the Task with a kubeconfig "
            "that may read pods/log",
        )
    printed = _print_kept(app, task, pods or [], wanted)
    if pods is None:
        if not printed:
            raise _nothing(task, step) if has_ended(task) or _ran_warm(task, step) else _unseen(task, step)
        return
    if follow:
        _follow(app, task, wanted, printed=printed)
        return
    sources = _sources(pods, every_attempt=every_attempt)
    if not sources and not printed:
        raise _nothing(task, step)
    for source in sources:
        for line in app.kube.log(source.namespace, source.pod, source.container, tail=tail):
            _print(source.prefix, line)
    _tell_warm(task, step)


def _tell_warm(task: JsonObject, step: str | None, more: str = "") -> bool:
    """Say where the logs are of what ran in warm runners; whether anything did."""
    warm = _ran_warm(task, step)
    if warm:
        click.echo(
            f"(what runs in its agent's warm runners has no log of its own: {_warm_logs(task)}{more})",
            err=True,
        )
    return warm


def _look(app: App, name: str, step: str | None) -> tuple[JsonObject, list[JsonObject] | None]:
    """The Task and its pods; None for those where only the gateway can be asked, which knows no pods."""
    # Else the cluster comes first, whatever gateway there is: it alone shows the logs of pods that run.
    if is_somebody_named(app):
        return _shown(app, name), None
    try:
        task = must_exist(app, name)
        return task, _pods(app, task, step)
    except (Forbidden, NoCluster):
        if not app.settings.gateway:
            raise
        return _shown(app, name), None


def _shown(app: App, name: str) -> JsonObject:
    from parley.cli.through_gateway import task_of

    with app.gateway() as parley:
        return task_of(parley, name)


def _print_kept(app: App, task: JsonObject, pods: Sequence[JsonObject], wanted: Wanted) -> bool:
    """Print what is kept of pods that are gone; whether there was any of it.

    Raises:
        CliError: it cannot be asked for, and there is nothing else to print.
    """
    if not are_gone(task, pods, wanted):
        return False
    try:
        found = kept_logs(app, task, jobs_of(pods), wanted)
    except CliError as error:
        if not pods:
            what = f"the pods are gone, and what is kept of their logs cannot be asked for: {error.message}"
            raise CliError(what, error.hint) from error
        click.echo(f"(some pods are gone; the ends of their logs are not shown: {error.message})", err=True)
        return False
    kept = [one for one in found if one.lines is not None]
    if not kept and not pods:
        return False
    if kept:
        steps = ", ".join(dict.fromkeys(one.step for one in kept))
        click.echo(
            f"({steps}: pods that are gone; these are the ends of their logs, from Parley's store)", err=True
        )
    if len(kept) < len(found):
        steps = ", ".join(dict.fromkeys(one.step for one in found if one.lines is None))
        click.echo(f"({steps}: pods that are gone, and nothing is kept of their logs)", err=True)
    for one in kept:
        for line in one.lines or ():
            _print(one.title, line)
    return bool(kept)


def _nothing(task: JsonObject, step: str | None) -> CliError:
    what = f"step {step} of Task {name_of(task)}" if step else f"Task {name_of(task)}"
    if _ran_warm(task, step):
        return CliError(
            f"{what} has no log of its own: its steps ran in its agent's warm runners, and nothing is kept of those",
            f"{_warm_logs(task)} (with those of the agent's other Tasks)",
        )
    if has_ended(task):
        return CliError(
            f"the pods of {what} are gone, and nothing is kept of their logs",
            "what is kept, and of which steps: docs/outputs-and-logs.md",
        )
    return CliError(
        f"{what} has no pod yet",
        f"see what it waits for: parley tasks {name_of(task)} -n {namespace_of(task)}",
    )


def _unseen(task: JsonObject, step: str | None) -> CliError:
    what = f"step {step} of Task {name_of(task)}" if step else f"Task {name_of(task)}"
    return CliError(
        f"the pods of {what} cannot be seen by way of the gateway",
        "what is kept of their logs comes when they have ended: ask again then",
    )


def _ran_warm(task: JsonObject, step: str | None) -> bool:
    """Whether a step that a runner takes began, but not in a Job."""
    specs = {text(one, "name"): one for one in objects(task, "spec", "steps")}
    return bool(text(task, "status", "agent")) and any(
        number(one, "attempt") > 0
        and not text(one, "job")
        and not text(one, "task")
        # A template's steps are not in the Task.
        and {"prompt", "tool"} & specs.get(text(one, "name"), {"prompt": {}}).keys()
        for one in objects(task, "status", "steps")
        if step in {None, text(one, "name")}
    )


def _warm_logs(task: JsonObject) -> str:
    agent = text(task, "status", "agent")[:_LABEL_LENGTH].rstrip("-.")
    return f"kubectl logs -l {_AGENT_LABEL}={agent} -n {namespace_of(task)}"


def _pods(app: App, task: JsonObject, step: str | None) -> list[JsonObject]:
    labels = f"{TASK_UID_LABEL}={text(task, 'metadata', 'uid')}"
    if step:
        labels += f",{STEP_LABEL}={step}"
    found = app.kube.list(POD, namespace_of(task), labels=labels).items
    return sorted(found, key=lambda pod: (text(pod, "metadata", "creationTimestamp"), name_of(pod)))


def _sources(pods: Sequence[JsonObject], *, every_attempt: bool) -> list[Source]:
    newest: dict[str, int] = {}
    for pod in pods:
        newest[_label(pod, STEP_LABEL)] = max(newest.get(_label(pod, STEP_LABEL), 0), _attempt(pod))
    return [
        Source(namespace_of(pod), name_of(pod), text(container, "name"), _prefix(pod))
        for pod in pods
        if every_attempt or _attempt(pod) == newest[_label(pod, STEP_LABEL)]
        for container in objects(pod, "spec", "containers")
    ]


def _label(pod: JsonObject, key: str) -> str:
    return text(pod, "metadata", "labels", key)


def _attempt(pod: JsonObject) -> int:
    attempt = _label(pod, ATTEMPT_LABEL)
    return int(attempt) if attempt.isdigit() else 0


def _prefix(pod: JsonObject) -> str:
    return attempt_title(_label(pod, STEP_LABEL) or name_of(pod), _label(pod, _INDEX_LABEL), _attempt(pod))


def _print(prefix: str, line: str) -> None:
    colour = wants_colour()
    if colour:
        prefix = click.style(prefix, fg=_COLOURS[sum(prefix.encode()) % len(_COLOURS)])
    click.echo(f"{prefix} | {clean(line)}", color=colour or None)


def _follow(app: App, task: JsonObject, wanted: Wanted, *, printed: bool) -> None:
    """Read each container's log in a thread of its own; look for new pods until the Task has ended."""
    step = wanted.step
    lines: queue.SimpleQueue[tuple[Source, str | None]] = queue.SimpleQueue()
    begun: set[tuple[str, str]] = set()
    reading, look_at, told_warm = 0, time.monotonic(), False
    while True:
        if time.monotonic() >= look_at:
            task = app.kube.get(TASK, namespace_of(task), name_of(task))
            for source in _sources(_pods(app, task, step), every_attempt=wanted.every_attempt):
                if (source.pod, source.container) not in begun:
                    begun.add((source.pod, source.container))
                    reading += 1
                    _read_in_thread(app, source, wanted.tail, lines)
            told_warm = told_warm or (not has_ended(task) and _tell_warm(task, step, " -f"))
            look_at = time.monotonic() + _LOOK_SECONDS
        if has_ended(task) and not reading:
            break
        try:
            source, line = lines.get(timeout=max(0.0, look_at - time.monotonic()))
        except queue.Empty:
            continue
        if line is None:
            reading -= 1
        else:
            _print(source.prefix, line)
    if not begun and not printed:
        raise _nothing(task, step)


def _read_in_thread(
    app: App, source: Source, tail: int | None, lines: "queue.SimpleQueue[tuple[Source, str | None]]"
) -> None:
    def read() -> None:
        patience, last = Patience(), ""
        try:
            while True:
                try:
                    for line in app.kube.follow_log(
                        source.namespace, source.pod, source.container, tail=tail, since=last
                    ):
                        patience.renew()
                        # A log is asked for from a whole second on, and so has some lines twice.
                        if line.time > last:
                            last = line.time
                            lines.put((source, line.text))
                    if _is_over(app, source):
                        return
                except KubeError as error:
                    patience.bear(error)
                # Its container has not begun, or the connection broke off.
                time.sleep(_LOOK_SECONDS)
        except Exception as error:  # noqa: BLE001 - a thread's error is told where its lines are
            lines.put((source, f"(no more of this log: {explained(error).message})"))
        finally:
            lines.put((source, None))

    threading.Thread(target=read, daemon=True).start()


def _is_over(app: App, source: Source) -> bool:
    try:
        pod = app.kube.get(POD, source.namespace, source.pod)
    except NotFound:
        return True
    if text(pod, "status", "phase") in {"Succeeded", "Failed"}:
        return True
    return any(
        text(one, "name") == source.container and mapping(one, "state", "terminated")
        for one in objects(pod, "status", "containerStatuses")
    )
