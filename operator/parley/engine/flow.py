"""The flow of a task: which steps are ready, and which kind of plan each one needs."""

from collections.abc import Collection, Sequence

from parley.engine.calls import is_paused, open_calls, plan_paused
from parley.engine.fan_out import plan_fan_out
from parley.engine.single import plan_single
from parley.engine.situation import Situation
from parley.engine.state import NO_ITEM, StepMark
from parley.engine.views import ItemCounts, StepOutcome, StepView
from parley.engine.waiting import needs_decision, plan_entry, plan_sleep, plan_wait
from parley.resources.reasons import Reason
from parley.resources.steps import needs_of
from parley.resources.task import Step, StepPhase

_MARKED = {"Succeeded": StepPhase.SUCCEEDED, "Failed": StepPhase.FAILED, "Skipped": StepPhase.SKIPPED}
_FAILED = {StepPhase.FAILED, StepPhase.CANCELLED}


def is_ready(steps: Sequence[Step], index: int, done: Collection[str]) -> bool:
    """Tell whether all that a step needs is done."""
    return all(name in done for name in needs_of(steps, index))


def is_done(step: Step, view: StepView) -> bool:
    """Tell whether what needs a step may go on: it succeeded, was skipped, or may fail."""
    if view.phase in _FAILED:
        return step.continue_on_error
    return view.phase in {StepPhase.SUCCEEDED, StepPhase.SKIPPED}


def has_failed_task(step: Step, view: StepView) -> bool:
    """Tell whether the task fails with a step."""
    return view.phase in _FAILED and not step.continue_on_error


def plan_step(situation: Situation, *, ready: bool) -> StepOutcome:
    """Decide what one step does next."""
    step, mark = situation.step, situation.mark
    if mark is not None and mark.ended:
        return StepOutcome(marked_view(situation, mark))
    if not ready:
        return StepOutcome(StepView(step.name, StepPhase.PENDING, situation.attempts))
    if mark is None and needs_decision(step):
        return plan_entry(situation)
    if step.wait is not None:
        return plan_wait(situation)
    if step.sleep is not None:
        return plan_sleep(situation)
    if step.for_each is not None:
        return plan_fan_out(situation, mark.items or 0 if mark is not None else 0)
    if is_paused(situation):
        return plan_paused(situation, open_calls(situation)[NO_ITEM])
    return plan_single(situation) if step.has_attempts else plan_entry(situation)


def marked_view(situation: Situation, mark: StepMark) -> StepView:
    """Show a step whose end is written down."""
    attempts = sorted(situation.attempts, key=lambda attempt: attempt.id)
    phase = _MARKED[mark.phase]
    return StepView(
        situation.step.name,
        phase,
        tuple(attempts),
        mark.reason or Reason(phase.value) if phase is not StepPhase.FAILED else mark.reason or Reason.ERROR,
        mark.message,
        items=counted(mark),
        child=attempts[-1].job if situation.step.task is not None and attempts else None,
        started_at=mark.entered_at,
        ended_at=mark.ended_at,
    )


def counted(mark: StepMark) -> ItemCounts | None:
    """Return the counts of an ended step with items, as they are written down."""
    if mark.items is None:
        return None
    return ItemCounts(mark.items, mark.succeeded or 0, mark.failed or 0, 0)
