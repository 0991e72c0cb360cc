"""What keeps a step from starting although it is its time: suspension, its session, something missing, a slot."""

from datetime import datetime

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
    hold = standstill(situation) or situation.around.gate.hold
    if hold is None:
        return None
    view = StepView(situation.step.name, StepPhase.PENDING, situation.attempts, hold.reason, hold.message)
    return StepOutcome(view, (close,) if close else give_turn_back(situation))


def standstill(situation: Situation) -> Hold | None:
    """Say why nothing of the task is to go further: not even what is started already, where it has not begun."""
    state, around = situation.state, situation.around
    if around.gate.session_over is not None:
        return Hold(Reason.SESSION_ENDED, around.gate.session_over)
    if state.suspended:
        return _PARENT_SUSPENDED if state.parent_suspended else _SUSPENDED
    return None


def session_pause(situation: Situation, close: CloseAttempt | None = None) -> StepOutcome | None:
    """Say that the session is paused: then what runs in attempts stays queued."""
    hold = situation.around.gate.session_hold
    return _barred(situation, hold, None, close) if hold is not None else None


def queued(situation: Situation, close: CloseAttempt | None = None) -> StepOutcome | None:
    """Say what a step that may start has to wait for: its session, tokens, the store's refusal, its turn, a slot."""
    around, step, turn = situation.around, situation.step, situation.takes_turn
    barred = session_pause(situation, close)
    if barred is None and step.prompt is not None and around.gate.quota is not None:
        barred = _barred(situation, around.gate.quota, around.gate.quota_until, close)
    if barred is not None:
        return barred
    hold, actions, wants_slot = around.denied.get(step.name), (close,) if close else (), False
    if hold is None and turn:
        hold = _session_hold(situation)
    if hold is not None and hold.reason is Reason.SESSION_BUSY:
        hold = around.gate.turn_holder or hold
    if hold is None and wants(situation) and around.slot is not None:
        hold, wants_slot = around.slot, True
        # A session must not stand still because an agent is busy elsewhere.
        actions = actions or give_turn_back(situation)
    if hold is None:
        return None
    view = StepView(step.name, StepPhase.QUEUED, situation.attempts, hold.reason, hold.message)
    return StepOutcome(view, actions, ready_turn=turn, wants_slot=wants_slot)


def _barred(
    situation: Situation, hold: Hold, until: datetime | None, close: CloseAttempt | None
) -> StepOutcome:
    """Keep a step queued that is not to take part in any queue: others are to have its session meanwhile."""
    view = StepView(situation.step.name, StepPhase.QUEUED, situation.attempts, hold.reason, hold.message)
    return StepOutcome(view, (close,) if close else give_turn_back(situation), wake_at=until)


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
    """End the session's turn, if the step has it: others may go on meanwhile.

    Not while calls of the turn may be open: the next turn would see calls without results.
    """
    gives = situation.turn is Turn.HELD and not situation.has_paused
    return (EndTurn(situation.step.name),) if gives else ()


def end_turn(situation: Situation) -> tuple[Action, ...]:
    """End the session's turn, if the step has it, for a step that has failed for good."""
    return (EndTurn(situation.step.name, failed=True),) if situation.turn is Turn.HELD else ()
