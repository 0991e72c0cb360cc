"""What users see of a Task: phase, conditions, steps, output; pure, and bounded by ``budget``."""

from dataclasses import dataclass
from datetime import datetime

from pydantic import JsonValue

from parley.engine.budget import TASK_OUTPUT_BYTES, OutputBudget, fit_output, fit_text
from parley.engine.state import Hold, TaskState
from parley.engine.views import StepView
from parley.resources import conditions
from parley.resources.common import MAX_CONDITION_MESSAGE, Usage
from parley.resources.conditions import merge_conditions
from parley.resources.reasons import Reason
from parley.resources.task import MAX_STEP_MESSAGE, StepPhase, StepStatus, TaskPhase, TaskStatus


@dataclass(frozen=True, slots=True)
class _Summary:
    """A task in one line."""

    phase: TaskPhase
    reason: Reason
    message: str


def build_status(
    steps: tuple[StepView, ...],
    state: TaskState,
    *,
    hold: Hold | None,
    agent: str | None,
    generation: int,
    previous: TaskStatus,
) -> TaskStatus:
    """Build the whole status from the plan's view of the steps and the task's rows.

    Args:
        steps: every step of the task, in order.
        state: the task's rows.
        hold: what the task waits for before its next step, if it does.
        agent: name of the agent that answers.
        generation: of the spec that was read.
        previous: the status that stands, whose transition times are kept where nothing changed.
    """
    summary = _summarise(steps, state, hold)
    done = sum(view.phase is StepPhase.SUCCEEDED for view in steps)
    output, output_cut = fit_output(state.end.output, TASK_OUTPUT_BYTES) if state.end else (None, False)
    return TaskStatus(
        observed_generation=generation,
        phase=summary.phase,
        conditions=merge_conditions(
            previous.conditions, _verdicts(summary), generation=generation, now=state.now
        ),
        start_time=min((a.created_at for a in state.attempts), default=None),
        completion_time=state.end.at if state.end else None,
        progress=f"{done}/{len(steps)}",
        agent=agent,
        steps=_step_statuses(steps, state),
        output=output,
        truncated=True if output_cut else None,
        usage=Usage(input_tokens=state.input_tokens, output_tokens=state.output_tokens)
        if state.input_tokens or state.output_tokens
        else None,
    )


def _summarise(steps: tuple[StepView, ...], state: TaskState, hold: Hold | None) -> _Summary:
    if state.end is not None:
        return _Summary(TaskPhase(state.end.phase), state.end.reason, state.end.message)
    current = next((view for view in steps if view.phase is not StepPhase.SUCCEEDED), None)
    if current is None:
        return _Summary(TaskPhase.RUNNING, Reason.RUNNING, "all steps are done")
    if current.phase is StepPhase.RUNNING:
        reason = current.reason or Reason.RUNNING
        plain = "waits for its pod to start" if reason is Reason.SCHEDULING else "runs"
        return _Summary(TaskPhase.RUNNING, reason, f"step {current.name}: {current.message or plain}")
    if state.suspended:
        return _Summary(
            TaskPhase.SUSPENDED, Reason.SUSPENDED, "spec.desiredState is Suspended: nothing new starts"
        )
    if hold is not None:
        return _Summary(TaskPhase.PENDING, hold.reason, hold.message)
    if current.phase is StepPhase.QUEUED:
        reason = current.reason or Reason.QUEUED
        started = any(view.phase is StepPhase.SUCCEEDED for view in steps)
        phase = TaskPhase.QUEUED if reason is not Reason.PENDING or not started else TaskPhase.RUNNING
        return _Summary(phase, reason, f"step {current.name}: {current.message or 'is about to start'}")
    return _Summary(TaskPhase.PENDING, Reason.PENDING, f"step {current.name} is about to start")


def _verdicts(summary: _Summary) -> list[conditions.Verdict]:
    reason, message = summary.reason, fit_text(summary.message, MAX_CONDITION_MESSAGE)
    match summary.phase:
        case TaskPhase.SUCCEEDED:
            return conditions.task_succeeded(message)
        case TaskPhase.CANCELLED:
            return conditions.task_cancelled(message)
        case TaskPhase.FAILED:
            return conditions.task_failed(reason, message)
        case TaskPhase.SUSPENDED:
            return conditions.task_suspended(message)
        case TaskPhase.PENDING | TaskPhase.QUEUED | TaskPhase.RUNNING:
            return conditions.task_in_progress(reason, message)


def _step_statuses(steps: tuple[StepView, ...], state: TaskState) -> list[StepStatus]:
    budget = OutputBudget()
    return [
        _step_status(view, state.outputs.get(view.name), budget, view.name in state.outputs) for view in steps
    ]


def _step_status(view: StepView, value: JsonValue, budget: OutputBudget, has_output: bool) -> StepStatus:
    output, output_cut = budget.fit(value) if has_output else (None, False)
    message = fit_text(view.message, MAX_STEP_MESSAGE)
    last = view.attempts[-1] if view.attempts else None
    ended: datetime | None = None
    if last is not None and view.phase in {StepPhase.SUCCEEDED, StepPhase.FAILED, StepPhase.CANCELLED}:
        ended = last.ended_at
    return StepStatus(
        name=view.name,
        phase=view.phase,
        attempt=last.number if last else 0,
        job=last.job if last else None,
        start_time=view.attempts[0].created_at if view.attempts else None,
        completion_time=ended,
        reason=view.reason,
        message=message or None,
        output=output,
        truncated=True if output_cut or message != view.message else None,
    )
