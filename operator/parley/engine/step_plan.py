"""What one step does next: start, watch, repeat after a disruption, time out."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from parley.engine.actions import (
    Action,
    CloseAttempt,
    CreateJob,
    EndTurn,
    FinishContainer,
    LookAgain,
    StartAttempt,
)
from parley.engine.pods import JobView, PodState, PodView, Verdict, judge, judge_refusal, judge_runner
from parley.engine.state import Attempt, Cause, Hold, Surroundings, TaskState, Turn
from parley.engine.views import StepOutcome, StepView
from parley.resources.common import format_duration
from parley.resources.reasons import Reason
from parley.resources.task import Step, StepPhase, TaskSpec

MAX_DISRUPTIONS = 5
_POD_PATIENCE = timedelta(seconds=3)
_REFUSED_PAUSE = timedelta(seconds=10)
_NODE_PAUSE = timedelta(seconds=30)


def takes_turn(task: TaskSpec, step: Step) -> bool:
    """Tell whether a step uses its session's history, and so runs as a turn of it."""
    return step.prompt is not None and task.session_ref is not None and step.prompt.history != "None"


def lacks_pod(
    attempt: Attempt, jobs: Mapping[str, JobView], pods: Mapping[str, PodView], now: datetime
) -> bool:
    """Tell whether an attempt's Job should have a pod by now, so that somebody should ask why it has none."""
    job = jobs.get(attempt.job)
    waits = attempt.open and job is not None and not job.ended and attempt.job not in pods
    return waits and now >= attempt.created_at + _POD_PATIENCE


def plan_step(task: TaskSpec, index: int, step: Step, state: TaskState, around: Surroundings) -> StepOutcome:
    """Decide what a step does next. ``index`` is its place in the spec, for the paths in messages."""
    attempts = state.of_step(step.name)
    if not attempts:
        return _start(task, index, step, attempts, state, around, cause="First")
    last = attempts[-1]
    if last.open:
        return _watch_attempt(task, index, step, attempts, state, around)
    if last.phase == "Succeeded":
        return StepOutcome(StepView(step.name, StepPhase.SUCCEEDED, attempts, Reason.SUCCEEDED))
    if last.phase == "Lost":
        return _after_disruption(task, index, step, attempts, state, around)
    phase = StepPhase.CANCELLED if last.phase == "Cancelled" else StepPhase.FAILED
    return StepOutcome(StepView(step.name, phase, attempts, last.reason or Reason.ERROR, last.message))


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
) -> StepOutcome:
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
        return StepOutcome(view, actions, ready_turn=turn and not pending)
    number = attempts[-1].number + 1 if attempts else 1
    start = StartAttempt(step, index, number, cause, turn, close)
    return StepOutcome(
        StepView(step.name, StepPhase.QUEUED, attempts, Reason.PENDING), (start,), ready_turn=turn
    )


def _watch_attempt(
    task: TaskSpec,
    index: int,
    step: Step,
    attempts: tuple[Attempt, ...],
    state: TaskState,
    around: Surroundings,
) -> StepOutcome:
    attempt = attempts[-1]
    verdict = _judge_attempt(step, attempt, around)
    if verdict.state is PodState.DISRUPTED:
        if attempt.job not in around.pods and attempt.job not in around.looked:
            view = StepView(step.name, StepPhase.RUNNING, attempts, verdict.reason, verdict.message)
            return StepOutcome(view, (LookAgain(attempt.job),), ready_turn=takes_turn(task, step))
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
        return StepOutcome(running, (action,), ready_turn=takes_turn(task, step))
    if state.now >= attempt.deadline:
        return StepOutcome(running, (_time_out(step, attempt, verdict),))
    actions = (CreateJob(attempt, step),) if verdict.state is PodState.ABSENT else ()
    wake_at = attempt.deadline
    if attempt.job not in around.pods:
        due = attempt.created_at + _POD_PATIENCE
        wake_at = min(wake_at, due if state.now < due else state.now + _REFUSED_PAUSE)
    elif around.pods[attempt.job].deleting:
        # Its node may be gone, and then nobody says that it ended.
        wake_at = min(wake_at, state.now + _NODE_PAUSE)
    return StepOutcome(running, actions, wake_at=wake_at, ready_turn=takes_turn(task, step))


def _judge_attempt(step: Step, attempt: Attempt, around: Surroundings) -> Verdict:
    verdict = judge(around.pods.get(attempt.job), around.jobs.get(attempt.job))
    if verdict.state is PodState.ABSENT and (attempt.job in around.vanished or attempt.phase == "Running"):
        return Verdict(PodState.DISRUPTED, Reason.POD_LOST, f"Job {attempt.job} was deleted")
    if verdict.state is PodState.ABSENT and (refusal := around.refusals.get(attempt.job)):
        return judge_refusal(refusal)
    return verdict if step.container is not None else judge_runner(verdict)


def _time_out(step: Step, attempt: Attempt, verdict: Verdict) -> CloseAttempt:
    """Close at the deadline; a step that never ran keeps the cause that held it."""
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
) -> StepOutcome:
    lost = sum(a.phase == "Lost" for a in attempts) + (close is not None)
    if lost > MAX_DISRUPTIONS:
        cause = close.message if close else attempts[-1].message
        if close is not None:
            return StepOutcome(
                StepView(step.name, StepPhase.RUNNING, attempts, close.reason, cause), (close,)
            )
        message = f"its pod was lost {lost} times, last: {cause}"
        return StepOutcome(StepView(step.name, StepPhase.FAILED, attempts, Reason.POD_LOST, message))
    pod = around.pods.get(attempts[-1].job)
    if step.container is not None and pod is not None and pod.holds_node:
        view = StepView(
            step.name, StepPhase.RUNNING, attempts, Reason.POD_LOST, f"waits until pod {pod.name} has ended"
        )
        return StepOutcome(view, (close,) if close else (), wake_at=state.now + _NODE_PAUSE)
    return _start(task, index, step, attempts, state, around, cause="Disruption", close=close)
