"""The rules of steps, told a second time and in another way than the plan has them."""

from typing import Protocol

from parley.engine.retries import MAX_DISRUPTIONS
from parley.engine.state import Attempt, StepMark
from parley.resources.reasons import Reason
from parley.resources.retry import RetryCause
from parley.resources.task import Step

PUT_OFF = {Reason.SUSPENDED, Reason.SESSION_ENDED}


class Rows(Protocol):
    @property
    def marks(self) -> dict[str, StepMark]: ...

    def of_step(self, step: str, item: int | None = None) -> list[Attempt]: ...


def failures(attempts: list[Attempt]) -> int:
    return sum(a.phase in {"Failed", "TimedOut"} for a in attempts)


def retried(step: Step, attempts: list[Attempt]) -> bool:
    """Whether an item, tried so far as told, is not failed for good."""
    last = attempts[-1]
    if last.open or last.phase in {"Succeeded", "Paused"} or last.reason in PUT_OFF:
        return True
    if last.phase == "Lost":
        return sum(a.phase == "Lost" for a in attempts) <= MAX_DISRUPTIONS
    if last.phase == "Cancelled" and last.reason in PUT_OFF:
        return True
    if step.retry is None or last.phase == "Cancelled" or last.exit_code == 64:
        return False
    group = RetryCause.ERROR
    if last.phase == "TimedOut":
        group = RetryCause.TIMEOUT
    elif last.reason is Reason.OOM_KILLED:
        group = RetryCause.OOM_KILLED
    elif last.reason in {Reason.CANCELLED, Reason.INVALID_SPEC, Reason.REJECTED, Reason.MESSAGE_LIMIT}:
        return False
    return failures(attempts) <= step.retry.limit and group in step.retry.causes


def done(step: Step, rows: Rows) -> bool:
    """Whether what needs a step may start."""
    mark = rows.marks.get(step.name)
    if mark is not None and mark.ended:
        return mark.phase != "Failed" or step.continue_on_error
    attempts = rows.of_step(step.name)
    if step.for_each is not None or not step.has_attempts or not attempts or attempts[-1].open:
        return False
    if attempts[-1].phase == "Succeeded":
        return True
    return step.continue_on_error and not retried(step, attempts)
