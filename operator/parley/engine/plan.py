"""The plan: from a task's spec, rows and surroundings to the next actions.

The reconciler carries the actions out, reads again, and asks for another plan until none is left; so each plan may
be small, any action may fail or be repeated, and a crash between two of them is just a later first plan.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from parley.engine.actions import Action, EndTask, SetSuspended, StopJob
from parley.engine.state import Surroundings, TaskState, Turn
from parley.engine.step_plan import plan_step
from parley.engine.views import StepOutcome, StepView
from parley.resources.reasons import Reason
from parley.resources.task import DesiredState, Step, StepPhase, TaskSpec

_ENDED_PHASES = {"Succeeded": StepPhase.SUCCEEDED, "Cancelled": StepPhase.CANCELLED}


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, what to show, and when to look again."""

    steps: tuple[StepView, ...]
    actions: tuple[Action, ...] = ()
    wake_at: datetime | None = None
    ready_turns: tuple[str, ...] = ()
    """The steps that are ready but for their session's turn, or have it."""
    wants_slot: bool = False
    """A step is ready that needs a concurrency slot, and the task holds none."""

    @property
    def ready_turn(self) -> str | None:
        """The first of them."""
        return self.ready_turns[0] if self.ready_turns else None


def awaits_ticket(plan: Plan, around: Surroundings) -> bool:
    """Tell whether all that a plan waits for is its place in the session's queue."""
    return any(around.turns.get(step, Turn.NONE) is Turn.NONE for step in plan.ready_turns)


def make_plan(task: TaskSpec, steps: Sequence[Step], state: TaskState, around: Surroundings) -> Plan:
    """Decide what a task does next. ``steps`` are the effective ones (a ``message`` is one prompt step)."""
    if state.end is not None:
        return Plan(steps=_ended_views(steps, state), actions=_stop_leftovers(state, around))
    ending = _end_of_task(task, state, around)
    suspend = task.desired_state is DesiredState.SUSPENDED
    if ending is None and suspend != state.suspended:
        return Plan(steps=_idle_views(steps, state), actions=(SetSuspended(suspend),))
    outcomes: list[StepOutcome] = []
    for index, step in enumerate(steps):
        outcome = plan_step(task, index, step, state, around)
        outcomes.append(outcome)
        if outcome.view.phase is not StepPhase.SUCCEEDED:
            break
    views = tuple(o.view for o in outcomes)
    views += tuple(StepView(s.name, StepPhase.PENDING) for s in steps[len(views) :])
    if ending is not None:
        return Plan(steps=views, actions=(ending,))
    last = outcomes[-1]
    if last.view.phase in {StepPhase.FAILED, StepPhase.CANCELLED}:
        end = EndTask(
            "Failed", last.view.reason or Reason.ERROR, f"step {last.view.name}: {last.view.message}"
        )
        return Plan(steps=views, actions=(end,))
    if last.view.phase is StepPhase.SUCCEEDED:
        return Plan(steps=views, actions=(EndTask("Succeeded", Reason.SUCCEEDED, "all steps are done"),))
    task_deadline = None if state.suspended else state.deadline
    return Plan(
        steps=views,
        actions=last.actions + _stop_leftovers(state, around),
        wake_at=min((t for t in (last.wake_at, task_deadline) if t is not None), default=None),
        ready_turns=(last.view.name,) if last.ready_turn else (),
    )


def _end_of_task(task: TaskSpec, state: TaskState, around: Surroundings) -> EndTask | None:
    if task.desired_state is DesiredState.CANCELLED:
        return EndTask("Cancelled", Reason.CANCELLED, "cancelled as asked by spec.desiredState")
    if around.lacking is not None:
        return EndTask("Failed", Reason.STORE_MISMATCH, around.lacking)
    if around.problems:
        return EndTask("Failed", Reason.INVALID_SPEC, "; ".join(around.problems))
    if around.session_gone:
        return EndTask("Failed", Reason.SESSION_DELETED, "the Session this task ran in was deleted")
    if state.deadline is not None and not state.suspended and state.now >= state.deadline:
        return EndTask(
            "Failed", Reason.TASK_TIMEOUT, f"the task did not end within spec.timeout ({task.timeout})"
        )
    return None


def _stop_leftovers(state: TaskState, around: Surroundings) -> tuple[Action, ...]:
    """Stop the pods of attempts that were closed over their heads."""
    return tuple(
        StopJob(attempt.job)
        for attempt in state.attempts
        if attempt.phase in {"TimedOut", "Cancelled", "Lost"}
        and (job := around.jobs.get(attempt.job)) is not None
        and not job.ended
    )


def _idle_views(steps: Sequence[Step], state: TaskState) -> tuple[StepView, ...]:
    return tuple(StepView(s.name, StepPhase.PENDING, state.of_step(s.name)) for s in steps)


def _ended_views(steps: Sequence[Step], state: TaskState) -> tuple[StepView, ...]:
    views: list[StepView] = []
    for step in steps:
        attempts = state.of_step(step.name)
        if not attempts:
            cancelled = state.end is not None and state.end.phase == "Cancelled"
            phase = StepPhase.CANCELLED if cancelled else StepPhase.SKIPPED
            views.append(StepView(step.name, phase, (), None if cancelled else Reason.SKIPPED))
            continue
        last = attempts[-1]
        phase = _ENDED_PHASES.get(last.phase, StepPhase.FAILED)
        reason = Reason.SUCCEEDED if phase is StepPhase.SUCCEEDED else last.reason
        views.append(StepView(step.name, phase, attempts, reason, last.message))
    return tuple(views)
