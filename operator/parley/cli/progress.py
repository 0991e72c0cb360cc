"""Show a Task's progress until it ends: a tree that moves on a terminal, a line for each change elsewhere."""

import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from types import TracebackType
from typing import Protocol

import click

from parley.cli.following import Family, follow_family, siblings
from parley.cli.kube import Kube
from parley.cli.options import wants_colour
from parley.cli.reading import name_of, objects, text
from parley.cli.task_tree import Line, has_ended, task_lines
from parley.cli.text import fit

_TICK_SECONDS = 0.5


def family_lines(family: Family) -> list[Line]:
    """The tree of a Task, as it stands now."""
    return list(task_lines(family.root, siblings(family), datetime.now(UTC)))


def print_tree(lines: Iterable[Line], *, err: bool = False) -> None:
    """Print a tree."""
    colour = wants_colour(err=err)
    for line in lines:
        painted = click.style(str(line), fg=line.colour) if colour and line.colour else str(line)
        click.echo(painted, err=err, color=colour or None)


class Display(Protocol):
    """Shows a Task and those below it as they change."""

    def __enter__(self) -> "Display": ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...
    def update(self, family: Family) -> None:
        """Show how it stands now."""
        ...


class Quiet:
    """Shows nothing."""

    def __enter__(self) -> "Quiet":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, family: Family) -> None:
        """See ``Display``."""


class Log:
    """A line on stderr for each change, for what is no terminal."""

    def __init__(self) -> None:
        self._told: dict[str, str] = {}

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, family: Family) -> None:
        """See ``Display``."""
        for task in (family.root, *family.below.values()):
            self._tell(name_of(task), text(task, "status", "phase") or "Pending", "")
            for step in objects(task, "status", "steps"):
                phase, reason = text(step, "phase"), text(step, "reason")
                if phase != "Pending":
                    self._tell(f"{name_of(task)}/{text(step, 'name')}", phase, reason)

    def _tell(self, what: str, phase: str, reason: str) -> None:
        said = f"{phase} {reason}" if reason and reason != phase else phase
        if self._told.get(what) != said:
            self._told[what] = said
            click.echo(f"{datetime.now(UTC):%H:%M:%S} {what} {said}", err=True)


class Tree:
    """A tree that moves, on a terminal; when it is over the last one stays."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(stderr=True, highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._lines: list[Line] = []

    def __enter__(self) -> "Tree":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()
        print_tree(self._lines, err=True)

    def update(self, family: Family) -> None:
        """See ``Display``."""
        from rich.text import Text

        self._lines = family_lines(family)
        columns, rows = self._console.size
        # What does not fit is at the end, the root with its progress is never scrolled away.
        shown = self._lines[: max(1, rows - 1)]
        body = Text("\n").join(Text(fit(str(line), columns), style=line.colour or "") for line in shown)
        self._live.update(body, refresh=True)


def display(*, quiet: bool) -> Display:
    """What fits whoever looks."""
    if quiet:
        return Quiet()
    return Tree() if sys.stderr.isatty() and wants_colour(err=True) else Log()


def follow_to_end(kube: Kube, namespace: str, name: str, display: Display, timeout: float | None) -> Family:
    """Show a Task until it has ended, is deleted, or ``timeout`` seconds are over; returns it as last seen."""
    end = None if timeout is None else time.monotonic() + timeout
    family: Family | None = None
    try:
        with display:
            for family in follow_family(kube, namespace, name, tick=_TICK_SECONDS):
                display.update(family)
                if family.gone or has_ended(family.root) or (end is not None and time.monotonic() >= end):
                    break
    except KeyboardInterrupt:
        click.echo(f"Task {name} goes on. To end it: parley cancel {name} -n {namespace}", err=True)
        raise
    if family is None:
        raise AssertionError("following yields at least once")
    return family
