"""Which steps are ready for their session's turn: kept by the task reconciler, read when tickets are given.

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
