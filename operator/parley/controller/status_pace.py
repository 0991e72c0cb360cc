"""How often a Task's status is written: 1,000 items that come to their ends must not be 1,000 writes.

And what a warm runner has done in no time is written once, when it is done.
"""

import time
from collections.abc import Callable

from parley.engine.warm_runner import LOOK_AFTER
from parley.resources.task import StepPhase, TaskStatus

PAUSE = 2.0
"""Seconds between two writes that tell of nothing but items."""

SHORT = LOOK_AFTER.total_seconds()
"""Seconds for which a warm runner's attempt is not shown: most are over by then."""
_FORGOTTEN = 60.0
_LONGEST = 1.0
"""Seconds for which a task is not shown although one such attempt follows the other."""


class Pace:
    """Remembers when the status of each task with items was written last, and since when one was not."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._written: dict[str, float] = {}
        self._held_since: dict[str, float] = {}

    def postpone(
        self, uid: str, status: TaskStatus, previous: TaskStatus, *, begun: float | None = None
    ) -> float:
        """Return the seconds until a status should be written; 0: at once, for it tells of more than items.

        ``begun``: for how many seconds an attempt has been open that may be over in no time.
        """
        if begun is not None and begun < SHORT:
            now = self._clock()
            return max(0.0, min(SHORT - begun, self._held_since.setdefault(uid, now) + _LONGEST - now))
        last = self._written.get(uid)
        if last is None or not _counts(status) or _outline(status) != _outline(previous):
            return 0.0
        return max(0.0, last + PAUSE - self._clock())

    def wrote(self, uid: str, status: TaskStatus) -> None:
        """Remember a write."""
        now = self._clock()
        self._held_since.pop(uid, None)
        for each in [each for each, at in self._held_since.items() if now >= at + _FORGOTTEN]:
            del self._held_since[each]
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
