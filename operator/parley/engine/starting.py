"""What keeps a step from starting although it is its time: suspension, something missing, its turn, a slot."""

from parley.engine.actions import Action, CloseAttempt, EndTurn
from parley.engine.situation import Situation, needs_slot
from parley.engine.state import Hold, Turn
from parley.engine.views import StepOutcome, StepView
from parley.resources.reasons import Reason
from parley.resources.task import StepPhase

_SUSPENDED = Hold(Reason.SUSPENDED, "spec.desiredState is Suspended")
_PARENT_SUSPENDED = Hold(Reason.SUSPENDED, "its parent task is suspended")


def held_back(situation: Situation, close: CloseAttempt | None = None) -> StepOutcome | None:
    """Say why nothing of the task may start now; ``close`` is carried out all the same."""
    state, around = situation.state, situation.around
    hold = around.hold
    if state.suspended:
        hold = _PARENT_SUSPENDED if state.parent_suspended else _SUSPENDED
    if hold is None:
        return None
    view = StepView(situation.step.name, StepPhase.PENDING, situation.attempts, hold.reason, hold.message)
    return StepOutcome(view, (close,) if close else give_turn_back(situation))


def queued(situation: Situation, close: CloseAttempt | None = None) -> StepOutcome | None:
    """Say what a step that may start has to wait for: the store's refusal, its turn, a slot."""
    around, step, turn = situation.around, situation.step, situation.takes_turn
    hold, actions, wants_slot = around.denied.get(step.name), (close,) if close else (), False
    if hold is None and turn:
        hold = _session_hold(situation)
    if hold is None and wants(situation) and around.slot is not None:
        hold, wants_slot = around.slot, True
        # A session must not stand still because an agent is busy elsewhere.
        actions = actions or give_turn_back(situation)
    if hold is None:
        return None
    view = StepView(step.name, StepPhase.QUEUED, situation.attempts, hold.reason, hold.message)
    return StepOutcome(view, actions, ready_turn=turn, wants_slot=wants_slot)


def _session_hold(situation: Situation) -> Hold | None:
    if situation.turn is Turn.NONE:
        return Hold(Reason.SESSION_BUSY, "waits for its turn in the session")
    held = next((step for step, turn in situation.around.turns.items() if turn is Turn.HELD), None)
    if held is not None and held != situation.step.name:
        return Hold(Reason.SESSION_BUSY, f"step {held} of this task has the session's turn")
    return None


def wants(situation: Situation) -> bool:
    """Tell whether the step's start would take a concurrency slot for the task."""
    return needs_slot(situation.step) and not situation.holds_slot


def give_turn_back(situation: Situation) -> tuple[Action, ...]:
    """End the session's turn, if the step has it: others may go on meanwhile."""
    return (EndTurn(situation.step.name),) if situation.turn is Turn.HELD else ()
