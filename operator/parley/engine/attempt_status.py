"""What users see of a task's attempts: the newest ones, as many as the status has room for; pure."""

import heapq
from collections.abc import Sequence

from parley.engine.budget import Room
from parley.engine.state import NO_ITEM, Attempt, AttemptPhase
from parley.engine.views import StepView
from parley.resources.task import StepPhase
from parley.resources.task_status import MAX_STATUS_ATTEMPTS, MAX_STEP_MESSAGE, AttemptStatus

MAX_ATTEMPTS = 64
"""Attempts in a status, of all steps together."""
_PHASES: dict[AttemptPhase, StepPhase] = {
    "Open": StepPhase.RUNNING,
    "Running": StepPhase.RUNNING,
    "Succeeded": StepPhase.SUCCEEDED,
    "Paused": StepPhase.WAITING,
    "Failed": StepPhase.FAILED,
    "Lost": StepPhase.FAILED,
    "TimedOut": StepPhase.FAILED,
    "Cancelled": StepPhase.CANCELLED,
}


def newest(views: Sequence[StepView], room: Room) -> dict[str, list[AttemptStatus]]:
    """Return the newest attempts by step name, oldest first; what the room does not hold is left out."""
    found = [attempt for view in views for attempt in _latest(view.attempts)]
    found.sort(key=lambda attempt: (attempt.created_at, attempt.id), reverse=True)
    shown: dict[str, list[AttemptStatus]] = {}
    for attempt in found[:MAX_ATTEMPTS]:
        entry = _entry(attempt, room)
        if not room.take(entry.to_json()):
            break
        shown.setdefault(attempt.step, []).insert(0, entry)
    return shown


def _latest(attempts: Sequence[Attempt]) -> list[Attempt]:
    return heapq.nlargest(MAX_STATUS_ATTEMPTS, attempts, key=lambda attempt: attempt.id)


def _entry(attempt: Attempt, room: Room) -> AttemptStatus:
    # Its own small room: the entry is taken from the status's as a whole.
    message = Room(room.left // 2).fit_text(attempt.message, MAX_STEP_MESSAGE)
    return AttemptStatus(
        number=attempt.number,
        item=None if attempt.item == NO_ITEM else attempt.item,
        phase=_PHASES[attempt.phase],
        reason=attempt.reason,
        message=message or None,
        exit_code=attempt.exit_code,
        start_time=attempt.created_at,
        completion_time=attempt.ended_at,
    )
