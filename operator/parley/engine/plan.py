"""The plan: from a task's spec, rows and surroundings to the next actions.

The reconciler carries the actions out, reads again, and asks for another plan until none is left; so each plan may
be small, any action may fail or be repeated, and a crash between two of them is just a later first plan.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from parley.engine.pods import JobView, PodState, PodView, Verdict, judge, judge_refusal, judge_runner
from parley.engine.state import Attempt, Cause, EndPhase, Hold, Surroundings, TaskState, Turn
from parley.resources.common import format_duration
from parley.resources.reasons import Reason
from parley.resources.task import DesiredState, Step, StepPhase, TaskSpec

MAX_DISRUPTIONS = 5
_POD_PATIENCE = timedelta(seconds=3)
_REFUSED_PAUSE = timedelta(seconds=10)
_NODE_PAUSE = timedelta(seconds=30)
_ENDED_PHASES = {"Succeeded": StepPhase.SUCCEEDED, "Cancelled": StepPhase.CANCELLED}


@dataclass(frozen=True, slots=True)
class CloseAttempt:
    """Close an open attempt: from then on its runner is told to stop."""

    attempt: int
    phase: Literal["Failed", "Lost", "TimedOut", "Cancelled"]
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class StartAttempt:
    """Insert the next attempt of a step; ``close`` is closed in the same transaction."""

    step: Step
    index: int
    number: int
    cause: Cause
    needs_turn: bool
    close: CloseAttempt | None = None


@dataclass(frozen=True, slots=True)
class CreateJob:
    """Make the Job of an open attempt; it may be there already."""

    attempt: Attempt
    step: Step


@dataclass(frozen=True, slots=True)
class FinishContainer:
    """Commit a container attempt's outcome from its ended pod."""

    attempt: Attempt
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class StopJob:
    """Suspend the Job of a closed attempt: its pod ends, the Job stays as a tombstone of its name."""

    job: str


@dataclass(frozen=True, slots=True)
class LookAgain:
    """Read an attempt's Job and pod from the API server: that the watches show no pod may be their lag."""

    job: str


@dataclass(frozen=True, slots=True)
class SetSuspended:
    """Let the task's deadlines stand still, or go on."""

    suspended: bool


@dataclass(frozen=True, slots=True)
class EndTurn:
    """Give the session's turn back although the step has not ended: it may not go on now, others may."""

    step: str


@dataclass(frozen=True, slots=True)
class EndTask:
    """End the task; on success its output is rendered first. Open attempts are closed with it."""

    phase: EndPhase
    reason: Reason
    message: str = ""


Action = (
    CloseAttempt
    | StartAttempt
    | CreateJob
    | FinishContainer
    | StopJob
    | LookAgain
    | SetSuspended
    | EndTurn
    | EndTask
)


@dataclass(frozen=True, slots=True)
class StepView:
    """A step as status shows it."""

    name: str
    phase: StepPhase
    attempts: tuple[Attempt, ...] = ()
    reason: Reason | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, what to show, and when to look again."""

    steps: tuple[StepView, ...]
    actions: tuple[Action, ...] = ()
    wake_at: datetime | None = None
    ready_turn: str | None = None
    """The step that is ready but for its session's turn, or has it."""


@dataclass(frozen=True, slots=True)
class _StepOutcome:
    view: StepView
    actions: tuple[Action, ...] = ()
    wake_at: datetime | None = None
    ready_turn: bool = False


def takes_turn(task: TaskSpec, step: Step) -> bool:
    """Tell whether a step uses its session's history, and so runs as a turn of it (design 3.2)."""
    return step.prompt is not None and task.session_ref is not None and step.prompt.history != "None"


def lacks_pod(
    attempt: Attempt, jobs: Mapping[str, JobView], pods: Mapping[str, PodView], now: datetime
) -> bool:
    """Tell whether an attempt's Job should have a pod by now, so that somebody should ask why it has none."""
    job = jobs.get(attempt.job)
    waits = attempt.open and job is not None and not job.ended and attempt.job not in pods
    return waits and now >= attempt.created_at + _POD_PATIENCE


def make_plan(task: TaskSpec, steps: Sequence[Step], state: TaskState, around: Surroundings) -> Plan:
    """Decide what a task does next. ``steps`` are the effective ones (a ``message`` is one prompt step)."""
    if state.end is not None:
        return Plan(steps=_ended_views(steps, state), actions=_stop_leftovers(state, around))
    ending = _end_of_task(task, state, around)
    suspend = task.desired_state is DesiredState.SUSPENDED
    if ending is None and suspend != state.suspended:
        return Plan(steps=_idle_views(steps, state), actions=(SetSuspended(suspend),))
    outcomes: list[_StepOutcome] = []
    for index, step in enumerate(steps):
        outcome = _plan_step(task, index, step, state, around)
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
        ready_turn=last.view.name if last.ready_turn else None,
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


def _plan_step(
    task: TaskSpec, index: int, step: Step, state: TaskState, around: Surroundings
) -> _StepOutcome:
    attempts = state.of_step(step.name)
    if not attempts:
        return _start(task, index, step, attempts, state, around, cause="First")
    last = attempts[-1]
    if last.open:
        return _watch_attempt(task, index, step, attempts, state, around)
    if last.phase == "Succeeded":
        return _StepOutcome(StepView(step.name, StepPhase.SUCCEEDED, attempts, Reason.SUCCEEDED))
    if last.phase == "Lost":
        return _after_disruption(task, index, step, attempts, state, around)
    phase = StepPhase.CANCELLED if last.phase == "Cancelled" else StepPhase.FAILED
    return _StepOutcome(StepView(step.name, phase, attempts, last.reason or Reason.ERROR, last.message))


def _start(
    task: TaskSpec,
    index: int,
    step: Step,
    attempts: tuple[Attempt, ...],
    state: TaskState,
    around: Surroundings,
    *,
    cause: Cause,
    close: CloseAttempt | None = None,
) -> _StepOutcome:
    """Start the step's next attempt, or say what it waits for; ``close`` is carried out either way."""
    turn = takes_turn(task, step)
    hold = around.hold or around.denied.get(step.name)
    if state.suspended:
        hold = Hold(Reason.SUSPENDED, "spec.desiredState is Suspended")
    elif hold is None and turn and around.turns.get(step.name, Turn.NONE) is Turn.NONE:
        hold = Hold(Reason.SESSION_BUSY, "waits for its turn in the session")
    if hold is not None:
        pending = hold is around.hold or state.suspended
        view = StepView(
            step.name, StepPhase.PENDING if pending else StepPhase.QUEUED, attempts, hold.reason, hold.message
        )
        actions: tuple[Action, ...] = (close,) if close else ()
        if pending and not close and around.turns.get(step.name) is Turn.HELD:
            actions = (EndTurn(step.name),)
        return _StepOutcome(view, actions, ready_turn=turn and not pending)
    number = attempts[-1].number + 1 if attempts else 1
    start = StartAttempt(step, index, number, cause, turn, close)
    return _StepOutcome(
        StepView(step.name, StepPhase.QUEUED, attempts, Reason.PENDING), (start,), ready_turn=turn
    )


def _watch_attempt(
    task: TaskSpec,
    index: int,
    step: Step,
    attempts: tuple[Attempt, ...],
    state: TaskState,
    around: Surroundings,
) -> _StepOutcome:
    attempt = attempts[-1]
    verdict = _judge_attempt(step, attempt, around)
    if verdict.state is PodState.DISRUPTED:
        if attempt.job not in around.pods and attempt.job not in around.looked:
            view = StepView(step.name, StepPhase.RUNNING, attempts, verdict.reason, verdict.message)
            return _StepOutcome(view, (LookAgain(attempt.job),), ready_turn=takes_turn(task, step))
        close = CloseAttempt(attempt.id, "Lost", verdict.reason or Reason.POD_LOST, verdict.message)
        return _after_disruption(task, index, step, attempts, state, around, close=close)
    running = StepView(
        step.name, StepPhase.RUNNING, attempts, verdict.reason or Reason.SCHEDULING, verdict.message
    )
    if verdict.state in {PodState.SUCCEEDED, PodState.FAILED}:
        action = (
            FinishContainer(attempt, verdict)
            if step.container is not None
            else CloseAttempt(attempt.id, "Failed", verdict.reason or Reason.ERROR, verdict.message)
        )
        return _StepOutcome(running, (action,), ready_turn=takes_turn(task, step))
    if state.now >= attempt.deadline:
        return _StepOutcome(running, (_time_out(step, attempt, verdict),))
    actions = (CreateJob(attempt, step),) if verdict.state is PodState.ABSENT else ()
    wake_at = attempt.deadline
    if attempt.job not in around.pods:
        due = attempt.created_at + _POD_PATIENCE
        wake_at = min(wake_at, due if state.now < due else state.now + _REFUSED_PAUSE)
    elif around.pods[attempt.job].deleting:
        # Its node may be gone, and then nobody says that it ended.
        wake_at = min(wake_at, state.now + _NODE_PAUSE)
    return _StepOutcome(running, actions, wake_at=wake_at, ready_turn=takes_turn(task, step))


def _judge_attempt(step: Step, attempt: Attempt, around: Surroundings) -> Verdict:
    verdict = judge(around.pods.get(attempt.job), around.jobs.get(attempt.job))
    if verdict.state is PodState.ABSENT and (attempt.job in around.vanished or attempt.phase == "Running"):
        return Verdict(PodState.DISRUPTED, Reason.POD_LOST, f"Job {attempt.job} was deleted")
    if verdict.state is PodState.ABSENT and (refusal := around.refusals.get(attempt.job)):
        return judge_refusal(refusal)
    return verdict if step.container is not None else judge_runner(verdict)


def _time_out(step: Step, attempt: Attempt, verdict: Verdict) -> CloseAttempt:
    """Close at the deadline; a step that never ran keeps the cause that held it (design 4)."""
    limit = f"the step's timeout ({format_duration(step.timeout_or_default())})"
    if verdict.state is PodState.WAITING and verdict.reason and verdict.reason is not Reason.SCHEDULING:
        return CloseAttempt(
            attempt.id, "TimedOut", verdict.reason, f"{verdict.message} (until {limit} passed)"
        )
    return CloseAttempt(attempt.id, "TimedOut", Reason.STEP_TIMEOUT, f"did not end within {limit}")


def _after_disruption(
    task: TaskSpec,
    index: int,
    step: Step,
    attempts: tuple[Attempt, ...],
    state: TaskState,
    around: Surroundings,
    *,
    close: CloseAttempt | None = None,
) -> _StepOutcome:
    lost = sum(a.phase == "Lost" for a in attempts) + (close is not None)
    if lost > MAX_DISRUPTIONS:
        cause = close.message if close else attempts[-1].message
        if close is not None:
            return _StepOutcome(
                StepView(step.name, StepPhase.RUNNING, attempts, close.reason, cause), (close,)
            )
        message = f"its pod was lost {lost} times, last: {cause}"
        return _StepOutcome(StepView(step.name, StepPhase.FAILED, attempts, Reason.POD_LOST, message))
    pod = around.pods.get(attempts[-1].job)
    if step.container is not None and pod is not None and pod.holds_node:
        view = StepView(
            step.name, StepPhase.RUNNING, attempts, Reason.POD_LOST, f"waits until pod {pod.name} has ended"
        )
        return _StepOutcome(view, (close,) if close else (), wake_at=state.now + _NODE_PAUSE)
    return _start(task, index, step, attempts, state, around, cause="Disruption", close=close)


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
            views.append(StepView(step.name, StepPhase.CANCELLED if cancelled else StepPhase.PENDING))
            continue
        last = attempts[-1]
        phase = _ENDED_PHASES.get(last.phase, StepPhase.FAILED)
        reason = Reason.SUCCEEDED if phase is StepPhase.SUCCEEDED else last.reason
        views.append(StepView(step.name, phase, attempts, reason, last.message))
    return tuple(views)
