"""How often a Task's status is written while its items come to their ends: 1,000 of them must not be 1,000 writes."""

import time
from collections.abc import Callable

from parley.resources.task import StepPhase, TaskStatus

PAUSE = 2.0
"""Seconds between two writes that tell of nothing but items."""


class Pace:
    """Remembers when the status of each task with items was written last."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._written: dict[str, float] = {}

    def postpone(self, uid: str, status: TaskStatus, previous: TaskStatus) -> float:
        """Return the seconds until a status should be written; 0: at once, for it tells of more than items."""
        last = self._written.get(uid)
        if last is None or not _counts(status) or _outline(status) != _outline(previous):
            return 0.0
        return max(0.0, last + PAUSE - self._clock())

    def wrote(self, uid: str, status: TaskStatus) -> None:
        """Remember a write."""
        now = self._clock()
        for each in [each for each, at in self._written.items() if now >= at + PAUSE]:
            del self._written[each]
        if _counts(status):
            self._written[uid] = now


def _counts(status: TaskStatus) -> bool:
    return any(step.items is not None and step.phase is StepPhase.RUNNING for step in status.steps)


def _outline(status: TaskStatus) -> object:
    """Return what somebody may wait for, or act upon."""
    return (
        status.observed_generation,
        status.phase,
        [(condition.type, condition.status, condition.reason) for condition in status.conditions],
        [entry.id for entry in status.waiting or ()],
        [
            (step.name, step.phase, step.reason, step.job if step.items is None else None, step.task is None)
            for step in status.steps
        ],
    )
