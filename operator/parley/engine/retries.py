"""What comes after an attempt that gave nothing: another one, and when, or no more."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from parley.engine.pods import DO_NOT_RETRY_EXIT
from parley.engine.state import Attempt, Cause
from parley.resources.reasons import Reason
from parley.resources.retry import Retry, RetryCause
from parley.resources.task import Step, StepPhase

MAX_DISRUPTIONS = 5
_PUT_OFF = {Reason.SUSPENDED, Reason.SESSION_ENDED}
"""Why an attempt of a round was closed that had not begun; that does not count."""
ELSEWHERE = Reason.PENDING
"""Why an attempt was closed that no runner had taken, for its agent has others now; that does not count either."""
SHORT_BACKOFF = timedelta(seconds=30)
"""A turn is kept for a retry that comes this soon; for a later one others may have the session."""

_CAUSES = {
    Reason.ERROR: RetryCause.ERROR,
    Reason.EXIT_CODE: RetryCause.ERROR,
    Reason.MODEL_ERROR: RetryCause.ERROR,
    Reason.MODEL_RATE_LIMITED: RetryCause.ERROR,
    Reason.SCHEMA_MISMATCH: RetryCause.ERROR,
    Reason.TOOL_ERROR: RetryCause.ERROR,
    Reason.OOM_KILLED: RetryCause.OOM_KILLED,
    Reason.STEP_TIMEOUT: RetryCause.TIMEOUT,
    Reason.TASK_TIMEOUT: RetryCause.TIMEOUT,  # a child's
}


@dataclass(frozen=True, slots=True)
class Again:
    """Another attempt follows."""

    cause: Cause
    at: datetime | None = None
    """Not before; None: at once."""
    soon: bool = True
    """It comes so soon that the session's turn is kept for it."""


@dataclass(frozen=True, slots=True)
class Spent:
    """No attempt follows: it failed for good."""

    phase: StepPhase
    reason: Reason
    message: str


def what_follows(step: Step, attempts: Sequence[Attempt]) -> Again | Spent:
    """Decide what follows the last of one item's attempts, which is closed and did not succeed.

    One that paused is followed once none of its calls is open; that is the caller's to see.
    """
    last = attempts[-1]
    if last.phase == "Paused":
        return Again("Resume")
    if last.phase == "Lost":
        lost = sum(attempt.phase == "Lost" for attempt in attempts)
        if lost <= MAX_DISRUPTIONS:
            return Again("Disruption")
        return Spent(
            StepPhase.FAILED, Reason.POD_LOST, f"its pod was lost {lost} times, last: {last.message}"
        )
    if last.phase == "Cancelled" and last.reason in _PUT_OFF:
        return Again("Resume")
    if last.phase == "Cancelled" and last.reason is ELSEWHERE:
        return Again("Disruption")
    if last.phase == "Cancelled":
        return Spent(StepPhase.CANCELLED, last.reason or Reason.ERROR, last.message)
    failures = sum(attempt.phase in {"Failed", "TimedOut"} for attempt in attempts)
    retry = step.retry
    if retry is not None and failures <= retry.limit and _cause(last) in retry.causes:
        return _retry(retry, last, failures)
    message = last.message if failures <= 1 else f"{last.message} (after {failures} attempts)"
    return Spent(StepPhase.FAILED, last.reason or Reason.ERROR, message)


def _cause(attempt: Attempt) -> RetryCause | None:
    """Return the group that a failure counts to; None: it is never repeated."""
    if attempt.definite or attempt.exit_code == DO_NOT_RETRY_EXIT:
        return None
    if attempt.phase == "TimedOut":
        # Its reason may be what held it until then, such as ImagePullFailed.
        return RetryCause.TIMEOUT
    return _CAUSES.get(attempt.reason or Reason.ERROR)


def _retry(retry: Retry, last: Attempt, failures: int) -> Again:
    delay = max(retry.backoff.delay(failures), timedelta(seconds=last.retry_after or 0))
    return Again("Retry", (last.ended_at or last.created_at) + delay, soon=delay <= SHORT_BACKOFF)
