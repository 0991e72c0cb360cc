"""The plan: from a task's spec, rows and surroundings to the next actions.

The reconciler carries the actions out, reads again, and asks for another plan until none is left; so each plan may
be small, any action may fail or be repeated, and a crash between two of them is just a later first plan.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from parley.engine.actions import Action, EndStep, EndTask, EnterStep, SetSuspended
from parley.engine.ended import ended_views
from parley.engine.flow import has_failed_task, is_done, is_ready, plan_step
from parley.engine.leftovers import stop_leftovers
from parley.engine.names import call_step
from parley.engine.shared_runner import find_served
from parley.engine.situation import Situation, needs_slot
from parley.engine.state import Attempt, Surroundings, TaskState, Turn
from parley.engine.views import StepOutcome, StepView
from parley.resources.reasons import Reason
from parley.resources.task import DesiredState, Step, StepPhase, TaskSpec

_UNDER_WAY = frozenset({StepPhase.PENDING, StepPhase.QUEUED, StepPhase.RUNNING, StepPhase.WAITING})


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


def awaits_ticket(plan: Plan, around: Surroundings) -> bool:
    """Tell whether a step of a plan waits for a place in the session's queue."""
    return any(around.turns.get(step, Turn.NONE) is Turn.NONE for step in plan.ready_turns)


def holds_slot(steps: Sequence[Step], state: TaskState) -> bool:
    """Tell whether a task holds a concurrency slot: a runner or a container of it is under way, also of a call."""
    running = {attempt.step for attempt in state.attempts if attempt.open}
    calls = {call_step(wait.step, wait.id) for wait in state.waits if wait.kind == "Container"}
    return not running.isdisjoint(calls) or any(step.name in running and needs_slot(step) for step in steps)


def make_plan(task: TaskSpec, steps: Sequence[Step], state: TaskState, around: Surroundings) -> Plan:
    """Decide what a task does next. ``steps`` are the effective ones (a ``message`` is one prompt step).

    Steps are missing while their template is: then the task waits.
    """
    situations = _situations(task, steps, state, around)
    if state.end is not None:
        return Plan(ended_views(situations, state.end), actions=stop_leftovers(state, around))
    ending = _end_of_task(task, state, around)
    suspend = task.desired_state is DesiredState.SUSPENDED or state.parent_suspended
    if ending is None and suspend != state.suspended:
        views = tuple(StepView(s.step.name, StepPhase.PENDING, s.attempts) for s in situations)
        return Plan(views, actions=(SetSuspended(suspend),))
    outcomes = _plan_steps(steps, situations)
    views = tuple(outcome.view for outcome in outcomes)
    ending = _with_cause(ending, views) if ending else _end_of_steps(steps, views)
    ending = ending or _end_with_session(state, around, outcomes)
    if ending is not None:
        return Plan(views, actions=(ending,))
    wakes = [outcome.wake_at for outcome in outcomes]
    wakes.append(None if state.suspended else state.deadline)
    return Plan(
        views,
        actions=_enders(outcomes) or _all_actions(outcomes, state, around),
        wake_at=min((at for at in wakes if at is not None), default=None),
        ready_turns=tuple(outcome.view.name for outcome in outcomes if outcome.ready_turn),
        wants_slot=any(outcome.wants_slot for outcome in outcomes),
    )


def _situations(
    task: TaskSpec, steps: Sequence[Step], state: TaskState, around: Surroundings
) -> list[Situation]:
    attempts: defaultdict[str, list[Attempt]] = defaultdict(list)
    for attempt in sorted(state.attempts, key=lambda attempt: (attempt.item, attempt.number)):
        attempts[attempt.step].append(attempt)
    slot, served = holds_slot(steps, state), find_served(state.attempts, around)
    return [
        Situation(
            task,
            index,
            step,
            tuple(attempts[step.name]),
            state.marks.get(step.name),
            state,
            around,
            holds_slot=slot,
            served=served,
        )
        for index, step in enumerate(steps)
    ]


def _plan_steps(steps: Sequence[Step], situations: Sequence[Situation]) -> list[StepOutcome]:
    done: set[str] = set()
    outcomes: list[StepOutcome] = []
    for situation in situations:
        outcome = plan_step(situation, ready=is_ready(steps, situation.index, done))
        outcomes.append(outcome)
        if is_done(situation.step, outcome.view):
            done.add(situation.step.name)
    return outcomes


def _end_of_task(task: TaskSpec, state: TaskState, around: Surroundings) -> EndTask | None:
    if task.desired_state is DesiredState.CANCELLED:
        return EndTask("Cancelled", Reason.CANCELLED, "cancelled as asked by spec.desiredState")
    if state.parent_closed is not None:
        return EndTask("Cancelled", Reason.CANCELLED, state.parent_closed)
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


def _with_cause(ending: EndTask, views: Sequence[StepView]) -> EndTask:
    """Keep what held a task whose time is up: nobody sees it once the steps are cancelled."""
    held = next((view for view in views if view.phase in _UNDER_WAY and view.message), None)
    if ending.reason is not Reason.TASK_TIMEOUT or held is None:
        return ending
    return replace(
        ending, message=f"{ending.message}; step {held.name}: {held.reason or held.phase}: {held.message}"
    )


def _end_of_steps(steps: Sequence[Step], views: Sequence[StepView]) -> EndTask | None:
    for step, view in zip(steps, views, strict=True):
        if has_failed_task(step, view):
            return EndTask(
                "Failed", view.reason or Reason.ERROR, f"step {view.name}: {view.message or view.reason}"
            )
    if views and all(is_done(step, view) for step, view in zip(steps, views, strict=True)):
        return EndTask("Succeeded", Reason.SUCCEEDED, "all steps are done")
    return None


def _end_with_session(
    state: TaskState, around: Surroundings, outcomes: Sequence[StepOutcome]
) -> EndTask | None:
    """End a task whose session takes no more turns, once what runs has ended and is written down."""
    if around.gate.session_over is None or any(attempt.open for attempt in state.attempts):
        return None
    if any(isinstance(action, EndStep) for outcome in outcomes for action in outcome.actions):
        return None
    return EndTask("Failed", Reason.SESSION_ENDED, around.gate.session_over)


def _enders(outcomes: Sequence[StepOutcome]) -> tuple[Action, ...]:
    """Return what may end the task in this very plan: nothing else is begun beside it."""
    return tuple(
        action
        for outcome in outcomes
        for action in outcome.actions
        if isinstance(action, EnterStep) and (action.step.return_ is not None or action.step.fail is not None)
    )[:1]


def _all_actions(
    outcomes: Sequence[StepOutcome], state: TaskState, around: Surroundings
) -> tuple[Action, ...]:
    wanted = tuple(action for outcome in outcomes for action in outcome.actions)
    return wanted + stop_leftovers(state, around)
