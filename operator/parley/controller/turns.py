"""Whose turn it is in a session: which steps are ready for it, and which tasks keep it while they wait for a person.

The ready steps are kept by the task reconciler, and read when tickets are given.

Tickets are given over all ready steps of a session at once, in order of creation, so that the order does not depend
on which task was reconciled first; and never before each open task of the session has been planned once.
"""

from collections.abc import Iterable

from parley.controller.resource import Resource
from parley.store.records import ReadyTurn


class ReadySteps:
    """For each planned task: the steps that are ready for their turn or have it, in the task's order."""

    def __init__(self) -> None:
        self._steps: dict[str, tuple[str, ...]] = {}

    def note(self, task_uid: str, steps: tuple[str, ...]) -> bool:
        """Remember a plan's answer; tells whether it is another than before."""
        changed = self._steps.get(task_uid) != steps
        self._steps[task_uid] = steps
        return changed

    def forget(self, task_uid: str) -> None:
        """Drop a task that ended or is gone."""
        self._steps.pop(task_uid, None)

    def in_order(self, tasks: Iterable[Resource]) -> list[ReadyTurn] | None:
        """Return the ready steps of a session's open tasks, oldest first; None while one has not been planned."""
        ordered = sorted(tasks, key=lambda task: (task.created, task.name))
        if any(task.uid not in self._steps for task in ordered):
            return None
        return [ReadyTurn(task.uid, task.name, step) for task in ordered for step in self._steps[task.uid]]


class Askers:
    """Which tasks hold their session's turn while they wait for a person: the others of the session say so."""

    def __init__(self) -> None:
        self._sessions: dict[str, str] = {}

    def note(self, task: Resource, session: str | None) -> bool:
        """Remember whose turn waits, None for nobody's; tells whether that is news."""
        if session is None:
            return self.forget(task.uid) is not None
        changed = self._sessions.get(task.uid) != session
        self._sessions[task.uid] = session
        return changed

    def may_ask(self, session: str) -> bool:
        """Whether a turn of a session of this name waits, in any namespace: if not, nobody need look whose it is."""
        return session in self._sessions.values()

    def forget(self, task_uid: str) -> str | None:
        """Drop a task that ended or is gone; returns the session whose turn it held."""
        return self._sessions.pop(task_uid, None)
