"""A Task as a tree of its steps and of the Tasks below it: objects in, lines out."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from parley.cli.reading import condition, mapping, name_of, number, objects, text
from parley.cli.table import COLOURS
from parley.cli.text import duration, instant, one_line
from parley.kube.client import JsonObject

PARENT_LABEL = "parley.dev/parent"
_READABLE = 41
"""Characters of a child's name before its hash: its parent's name and its step's, cut."""
ENDED = frozenset({"Succeeded", "Failed", "Cancelled"})
_MARKS = {
    "Succeeded": "✓",
    "Failed": "✗",
    "Cancelled": "✗",
    "Running": "●",
    "Waiting": "?",
    "WaitingForInput": "?",
    "Suspended": "‖",
    "Skipped": "-",
}
_PLAIN = {"Succeeded", "Running", "Pending"}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a tree: what draws the tree, a mark, what it is about, and the phase that colours it."""

    branch: str
    mark: str
    text: str
    phase: str

    @property
    def colour(self) -> str | None:
        """The phase's colour."""
        return COLOURS.get(self.phase)

    def __str__(self) -> str:
        return f"{self.branch}{self.mark} {self.text}"


def has_ended(task: JsonObject) -> bool:
    """Whether a Task has ended for good."""
    return text(task, "status", "phase") in ENDED


def may_have_children(task: JsonObject) -> bool:
    """Whether a Task's steps may be Tasks; one with a template is not known before it is resolved."""
    if mapping(task, "spec", "templateRef"):
        return True
    return any(mapping(step, "task") for step in objects(task, "spec", "steps"))


def children_of(tasks: Iterable[JsonObject]) -> Mapping[str, Sequence[JsonObject]]:
    """Tasks by the name of the Task whose steps they are, oldest first."""
    found: dict[str, list[JsonObject]] = defaultdict(list)
    for task in sorted(tasks, key=_birth):
        parent = parent_of(task)
        if parent:
            found[parent].append(task)
    return found


def parent_of(task: JsonObject) -> str:
    """Name of the Task whose step this one is; empty if it is nobody's."""
    return text(task, "metadata", "labels", PARENT_LABEL) or text(task, "status", "parent")


def _birth(task: JsonObject) -> tuple[str, str]:
    return text(task, "metadata", "creationTimestamp"), name_of(task)


def task_lines(
    root: JsonObject, children: Mapping[str, Sequence[JsonObject]], now: datetime
) -> Iterator[Line]:
    """The tree below a Task, itself first."""
    yield Line("", _mark(text(root, "status", "phase")), _title(root, now), text(root, "status", "phase"))
    yield from _below(root, children, "", now)


def _below(
    task: JsonObject, children: Mapping[str, Sequence[JsonObject]], indent: str, now: datetime
) -> Iterator[Line]:
    steps = objects(task, "status", "steps")
    mine = children.get(name_of(task), ())
    placed = {name_of(child): child for child in mine}
    for index, step in enumerate(steps):
        below = [placed.pop(name) for name in _tasks_of(step, mine) if name in placed]
        last = index == len(steps) - 1 and not (set(placed) and index == len(steps) - 1)
        yield Line(indent + _fork(last=last), *_step(step, now))
        yield from _branches(below, children, indent + ("   " if last else "│  "), now)
    yield from _branches([*placed.values()], children, indent, now)


def _branches(
    tasks: Sequence[JsonObject], children: Mapping[str, Sequence[JsonObject]], indent: str, now: datetime
) -> Iterator[Line]:
    for index, task in enumerate(tasks):
        last = index == len(tasks) - 1
        phase = text(task, "status", "phase")
        yield Line(indent + _fork(last=last), _mark(phase), _title(task, now), phase)
        yield from _below(task, children, indent + ("   " if last else "│  "), now)


def _fork(*, last: bool) -> str:
    return "└─ " if last else "├─ "


def _tasks_of(step: JsonObject, children: Sequence[JsonObject]) -> list[str]:
    """The children that a step made: its newest by name, those of a list by how they are named."""
    named = text(step, "task")
    readable = {f"{parent_of(child)}-{text(step, 'name')}"[:_READABLE].rstrip("-") for child in children}
    return [
        name_of(child)
        for child in children
        if name_of(child) == named or name_of(child).rpartition("-")[0] in readable
    ]


def _title(task: JsonObject, now: datetime) -> str:
    phase = text(task, "status", "phase") or "Pending"
    parts = [name_of(task), phase, text(task, "status", "progress")]
    verdict = condition(task, "Succeeded")
    reason, message = text(verdict, "reason"), text(verdict, "message")
    if phase not in _PLAIN:
        parts += [reason if reason != phase else "", f"({one_line(message)})" if message else ""]
    elif reason and reason not in {phase, "Pending"}:
        parts.append(reason)
    parts.append(_took(task, now, "status"))
    return "  ".join(part for part in parts if part)


def _step(step: JsonObject, now: datetime) -> tuple[str, str, str]:
    phase = text(step, "phase") or "Pending"
    parts = [text(step, "name"), phase if phase not in {"Succeeded", "Pending"} else ""]
    items = mapping(step, "items")
    if items:
        failed = number(items, "failed")
        done = f"{number(items, 'succeeded')}/{number(items, 'total')} items"
        parts.append(f"{done}, {failed} failed" if failed else done)
    attempt = number(step, "attempt")
    if attempt > 1 and not items:
        parts.append(f"attempt {attempt}")
    reason, message = text(step, "reason"), text(step, "message")
    if phase != "Succeeded" and reason not in {"", phase, "Pending"}:
        parts.append(reason)
    if phase in {"Failed", "Waiting"} and message:
        parts.append(f"({one_line(message)})")
    if phase != "Pending":
        parts.append(_took(step, now))
    return _mark(phase), "  ".join(part for part in parts if part), phase


def _took(value: JsonObject, now: datetime, *path: str) -> str:
    start = instant(text(value, *path, "startTime"))
    if start is None:
        return ""
    end = instant(text(value, *path, "completionTime")) or now
    return duration((end - start).total_seconds())


def _mark(phase: str) -> str:
    return _MARKS.get(phase, "·")
