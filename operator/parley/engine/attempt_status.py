"""What users see of a task's attempts: the newest ones, as many as the status has room for; pure."""

import heapq
from collections.abc import Iterable, Mapping, Sequence

from parley.engine.budget import Room
from parley.engine.state import NO_ITEM, Attempt, AttemptPhase
from parley.engine.views import StepView
from parley.resources.task import StepPhase
from parley.resources.task_status import MAX_STATUS_ATTEMPTS, MAX_STEP_MESSAGE, AttemptStatus

MAX_ATTEMPTS = 64
"""Attempts in a status, of all steps together."""
_ENDED = {StepPhase.SUCCEEDED, StepPhase.FAILED, StepPhase.CANCELLED, StepPhase.SKIPPED}
_PHASES: Mapping[AttemptPhase, StepPhase] = {
    "Open": StepPhase.RUNNING,
    "Running": StepPhase.RUNNING,
    "Succeeded": StepPhase.SUCCEEDED,
    "Failed": StepPhase.FAILED,
    "Lost": StepPhase.FAILED,
    "TimedOut": StepPhase.FAILED,
    "Cancelled": StepPhase.CANCELLED,
}


def newest(views: Sequence[StepView], room: Room) -> dict[str, list[AttemptStatus]]:
    """Return the newest attempts by step name, oldest first; what the room does not hold is left out."""
    pausing = {attempt.id for view in views for attempt in _pausing(view)}
    found = [attempt for view in views for attempt in _latest(view.attempts)]
    found.sort(key=lambda attempt: (attempt.created_at, attempt.id), reverse=True)
    shown: dict[str, list[AttemptStatus]] = {}
    for attempt in found[:MAX_ATTEMPTS]:
        entry = _entry(attempt, room, pauses=attempt.id in pausing)
        if not room.take(entry.to_json()):
            break
        shown.setdefault(attempt.step, []).insert(0, entry)
    return shown


def _pausing(view: StepView) -> Iterable[Attempt]:
    """Return the attempts whose calls the step still waits for; of the others the next one took them over."""
    if view.phase in _ENDED:
        return ()
    last = {attempt.item: attempt for attempt in sorted(view.attempts, key=lambda attempt: attempt.number)}
    return (attempt for attempt in last.values() if attempt.phase == "Paused")


def _phase(attempt: Attempt, *, pauses: bool) -> StepPhase:
    if attempt.phase == "Paused":
        return StepPhase.WAITING if pauses else StepPhase.SUCCEEDED
    return _PHASES[attempt.phase]


def _latest(attempts: Sequence[Attempt]) -> list[Attempt]:
    return heapq.nlargest(MAX_STATUS_ATTEMPTS, attempts, key=lambda attempt: attempt.id)


def _entry(attempt: Attempt, room: Room, *, pauses: bool) -> AttemptStatus:
    # Its own small room: the entry is taken from the status's as a whole.
    message = Room(room.left // 2).fit_text(attempt.message, MAX_STEP_MESSAGE)
    return AttemptStatus(
        number=attempt.number,
        item=None if attempt.item == NO_ITEM else attempt.item,
        phase=_phase(attempt, pauses=pauses),
        reason=attempt.reason,
        message=message or None,
        exit_code=attempt.exit_code,
        start_time=attempt.created_at,
        completion_time=attempt.ended_at,
    )
