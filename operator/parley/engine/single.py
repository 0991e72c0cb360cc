"""A step without items that runs in attempts, one after another."""

from parley.engine.actions import (
    Action,
    CloseAttempt,
    CreateChild,
    CreateJob,
    RefuseAttempt,
    StartAttempt,
)
from parley.engine.children import watch_child
from parley.engine.retries import Again, Spent, what_follows
from parley.engine.situation import Situation
from parley.engine.starting import end_turn, give_turn_back, held_back, queued, session_pause, wants
from parley.engine.state import Attempt, Hold
from parley.engine.step_plan import NODE_PAUSE, Watch, closed, successor_waits, watch
from parley.engine.views import StepOutcome, StepView, say_time
from parley.resources.reasons import Reason
from parley.resources.task import StepPhase


def plan_single(situation: Situation) -> StepOutcome:
    """Decide what a step does next: start, watch its attempt, repeat it."""
    attempts = situation.attempts
    if not attempts:
        return _start(situation, Again("First"))
    last = attempts[-1]
    if last.open:
        return _go_on(situation, watch_any(situation, last))
    if last.phase == "Succeeded":
        return StepOutcome(_view(situation, StepPhase.SUCCEEDED, Reason.SUCCEEDED, ended=last))
    return _afterwards(situation)


def watch_any(situation: Situation, attempt: Attempt) -> Watch:
    """Look at an open attempt of any kind."""
    return watch(situation, attempt) if situation.step.task is None else watch_child(situation, attempt)


def create(situation: Situation, attempt: Attempt) -> Action:
    """Make what runs one attempt alone."""
    if situation.step.task is not None:
        return CreateChild(attempt, situation.step, situation.index)
    return CreateJob(attempt, situation.step)


def _go_on(situation: Situation, seen: Watch) -> StepOutcome:
    if seen.lost is not None:
        return _afterwards(situation, seen.lost)
    actions = (create(situation, seen.attempt),) if seen.absent else seen.actions
    view = _view(situation, StepPhase.RUNNING, seen.reason, seen.message)
    return StepOutcome(view, actions, wake_at=seen.wake_at, ready_turn=situation.takes_turn)


def _afterwards(situation: Situation, close: CloseAttempt | None = None) -> StepOutcome:
    """Say what follows the last attempt; ``close`` is what ends it, where that is still to be done."""
    last, attempts = situation.attempts[-1], situation.attempts
    if close is not None:
        attempts = closed(attempts, last, close, situation.state.now)
    follows = what_follows(situation.step, attempts)
    if isinstance(follows, Spent):
        if close is not None:
            return StepOutcome(_view(situation, StepPhase.RUNNING, close.reason, close.message), (close,))
        view = _view(situation, follows.phase, follows.reason, follows.message, ended=last)
        return StepOutcome(view, end_turn(situation))
    blocked = successor_waits(situation, last)
    if blocked is not None:
        view = _view(situation, StepPhase.RUNNING, attempts[-1].reason, blocked)
        return StepOutcome(view, (close,) if close else (), wake_at=situation.state.now + NODE_PAUSE)
    return _start(situation, follows, close)


def _start(situation: Situation, again: Again, close: CloseAttempt | None = None) -> StepOutcome:
    """Start the next attempt, or say what it waits for; ``close`` is carried out either way."""
    turn, attempts = situation.takes_turn, situation.attempts
    held = held_back(situation, close)
    if held is not None:
        return held
    if again.at is not None and situation.state.now < again.at:
        view = _view(situation, StepPhase.WAITING, Reason.RETRYING, retry_message(attempts[-1], again))
        back = () if again.soon else give_turn_back(situation)
        kept = again.soon or situation.has_paused
        return StepOutcome(view, back, wake_at=again.at, ready_turn=turn and kept)
    refusal = situation.around.gate.turn_refusal
    if turn and not attempts and refusal is not None and session_pause(situation) is None:
        return _refuse(situation, refusal)
    waits = queued(situation, close)
    if waits is not None:
        return waits
    number = attempts[-1].number + 1 if attempts else 1
    start = StartAttempt(situation.step, situation.index, number, again.cause, turn, close)
    view = _view(situation, StepPhase.QUEUED, Reason.PENDING)
    return StepOutcome(view, (start,), ready_turn=turn, wants_slot=wants(situation))


def _refuse(situation: Situation, refusal: Hold) -> StepOutcome:
    """Fail a turn that the session does not take. One that has begun goes on: what it was asked is told already."""
    view = _view(situation, StepPhase.QUEUED, refusal.reason, refusal.message)
    refuse = RefuseAttempt(situation.step, situation.index, 1, refusal.reason, refusal.message)
    return StepOutcome(view, (refuse,))


def retry_message(last: Attempt, again: Again) -> str:
    """Say when the next attempt starts, and what became of the last."""
    when = f" starts at {say_time(again.at)}" if again.at is not None else " is about to start"
    return f"attempt {last.number + 1}{when}; the last one: {last.message or last.reason or 'failed'}"


def _view(
    situation: Situation,
    phase: StepPhase,
    reason: Reason | None,
    message: str = "",
    *,
    ended: Attempt | None = None,
) -> StepView:
    attempts = situation.attempts
    child = attempts[-1].job if situation.step.task is not None and attempts else None
    return StepView(
        situation.step.name,
        phase,
        attempts,
        reason,
        message,
        child=child,
        started_at=attempts[0].created_at if attempts else None,
        ended_at=ended.ended_at if ended is not None else None,
    )
