"""Steps that no pod runs: a decision to write down, a person's reply to wait for, a time to let pass."""

from parley.engine.actions import EndStep, EnterStep, ExpireWait
from parley.engine.situation import Situation
from parley.engine.starting import held_back, session_pause
from parley.engine.views import StepOutcome, StepView, say_time
from parley.resources.reasons import Reason
from parley.resources.task import Step, StepPhase


def needs_decision(step: Step) -> bool:
    """Tell whether something is rendered and written down before anything of the step may run."""
    return step.when is not None or step.for_each is not None or not step.has_attempts


def plan_entry(situation: Situation) -> StepOutcome:
    """Have the step decided."""
    step = situation.step
    held = held_back(situation) or (session_pause(situation) if step.has_attempts else None)
    if held is not None:
        return held
    view = StepView(step.name, StepPhase.QUEUED, situation.attempts, Reason.PENDING)
    return StepOutcome(view, (EnterStep(step, situation.index),))


def plan_wait(situation: Situation) -> StepOutcome:
    """Wait for a reply. Deadlines stand still while the task is suspended."""
    state, step = situation.state, situation.step
    waits = tuple(wait for wait in state.waits if wait.step == step.name and wait.state == "Open")
    deadlines = [wait.deadline for wait in waits if wait.deadline is not None and not state.suspended]
    expired = tuple(
        ExpireWait(wait.id, step, situation.index)
        for wait in waits
        if wait.deadline is not None and not state.suspended and state.now >= wait.deadline
    )
    view = StepView(
        step.name,
        StepPhase.WAITING,
        reason=Reason.WAITING_FOR_INPUT,
        message=waits[0].question if waits else "",
        waits=waits,
        started_at=situation.mark.entered_at if situation.mark else None,
    )
    return StepOutcome(view, expired, wake_at=min(deadlines, default=None))


def plan_sleep(situation: Situation) -> StepOutcome:
    """Let time pass. The end of a sleep stands whatever happens, but a suspended task goes no further."""
    state, step, mark = situation.state, situation.step, situation.mark
    until = mark.until if mark is not None and mark.until is not None else state.now
    view = StepView(
        step.name,
        StepPhase.WAITING,
        reason=Reason.SLEEPING,
        message=f"until {say_time(until)}",
        started_at=mark.entered_at if mark is not None else None,
    )
    if state.suspended:
        return StepOutcome(view)
    if state.now >= until:
        return StepOutcome(view, (EndStep(step.name, "Succeeded", Reason.SUCCEEDED),))
    return StepOutcome(view, wake_at=until)
