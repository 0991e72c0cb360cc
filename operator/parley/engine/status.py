"""What users see of a Task: phase, conditions, steps, questions, output; pure, and bounded by ``budget``."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from pydantic import JsonValue

from parley.engine import attempt_status
from parley.engine.budget import (
    MESSAGES_BYTES,
    STATUS_BYTES,
    TASK_OUTPUT_BYTES,
    WAITING_BYTES,
    OutputBudget,
    Room,
    fit_output,
    fit_text,
    json_size,
)
from parley.engine.shared_runner import runner_job
from parley.engine.state import NO_ITEM, Hold, TaskState, Wait
from parley.engine.summary import Summary, ask, open_waits, summarise
from parley.engine.views import StepView
from parley.resources import conditions
from parley.resources.common import MAX_CONDITION_MESSAGE, Usage, shorten
from parley.resources.conditions import merge_conditions
from parley.resources.task import StepPhase, TaskPhase
from parley.resources.task_status import (
    MAX_STATUS_ARGUMENTS,
    MAX_STATUS_QUESTION,
    MAX_STEP_MESSAGE,
    MAX_WAITING,
    AttemptStatus,
    ItemCounts,
    StepStatus,
    TaskStatus,
    WaitingEntry,
    WaitingKind,
)

_ENDED = frozenset({StepPhase.SUCCEEDED, StepPhase.FAILED, StepPhase.CANCELLED})


def build_status(
    steps: Sequence[StepView],
    state: TaskState,
    *,
    hold: Hold | None,
    agent: str | None,
    generation: int,
    previous: TaskStatus,
    tolerated: Collection[str] = (),
    parent: str | None = None,
) -> TaskStatus:
    """Build the whole status from the plan's view of the steps and the task's rows.

    Args:
        steps: every step of the task, in order.
        state: the task's rows.
        hold: what the task waits for before its next step, if it does.
        agent: name of the agent that answers.
        generation: of the spec that was read.
        previous: the status that stands, whose transition times are kept where nothing changed.
        tolerated: names of the steps with ``continueOnError``: when they fail they are done.
        parent: name of the Task whose step this is.
    """
    summary, waits = summarise(steps, state, hold), open_waits(steps)
    waiting = [] if state.end else _waiting_entries(waits)
    output, output_cut = fit_output(state.end.output, TASK_OUTPUT_BYTES) if state.end else (None, False)
    bare = TaskStatus(
        observed_generation=generation,
        phase=summary.phase,
        conditions=merge_conditions(
            previous.conditions,
            [*_verdicts(summary), *_beside(summary, waits, previous)],
            generation=generation,
            now=state.now,
        ),
        start_time=_began(steps),
        completion_time=state.end.at if state.end else None,
        progress=f"{sum(_done(view, tolerated) for view in steps)}/{len(steps)}",
        agent=agent,
        parent=parent,
        steps=[_bare_step(view, state) for view in steps],
        waiting=waiting or None,
        waiting_total=len(waits) if waiting and len(waits) > len(waiting) else None,
        output=output,
        truncated=True if output_cut or (state.end and state.end.cut) else None,
        usage=Usage(input_tokens=state.input_tokens, output_tokens=state.output_tokens)
        if state.input_tokens or state.output_tokens
        else None,
    )
    return bare.model_copy(update={"steps": _fill(bare, steps, state)})


def _began(steps: Sequence[StepView]) -> datetime | None:
    return min((at for view in steps if (at := _start(view)) is not None), default=None)


def _start(view: StepView) -> datetime | None:
    return view.started_at or (view.attempts[0].created_at if view.attempts else None)


def _done(view: StepView, tolerated: Collection[str]) -> bool:
    """Tell whether nothing more is to be done for a step; one that the task's end cut off was not done."""
    if view.phase is StepPhase.SKIPPED:
        return view.ended_at is not None
    return view.phase is StepPhase.SUCCEEDED or (view.phase is StepPhase.FAILED and view.name in tolerated)


def _verdicts(summary: Summary) -> list[conditions.Verdict]:
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
        case TaskPhase.PENDING | TaskPhase.QUEUED | TaskPhase.RUNNING | TaskPhase.WAITING_FOR_INPUT:
            return conditions.task_in_progress(reason, message)


def _beside(summary: Summary, waits: Sequence[Wait], previous: TaskStatus) -> list[conditions.Verdict]:
    """Return what is true beside how the work stands."""
    if summary.phase in {TaskPhase.SUCCEEDED, TaskPhase.FAILED, TaskPhase.CANCELLED}:
        return conditions.still_pruned(previous.conditions)
    return conditions.is_waiting(fit_text(ask(waits), MAX_CONDITION_MESSAGE)) if waits else []


def _waiting_entries(waits: Sequence[Wait]) -> list[WaitingEntry]:
    room, entries = Room(WAITING_BYTES), list[WaitingEntry]()
    for wait in waits[:MAX_WAITING]:
        asked = fit_text(wait.question, MAX_STATUS_QUESTION)
        arguments = shorten(wait.arguments, MAX_STATUS_ARGUMENTS)
        entry = WaitingEntry(
            id=wait.id,
            step=wait.step,
            item=None if wait.item == NO_ITEM else wait.item,
            kind=WaitingKind(wait.kind),
            call=wait.call or None,
            arguments=arguments or None,
            question=asked,
            truncated=True if (asked, arguments) != (wait.question, wait.arguments) else None,
            choices=list(wait.choices) or None,
            since=wait.since,
            deadline=wait.deadline,
        )
        if not room.take(entry.to_json()) and entries:
            break
        entries.append(entry)
    return entries


def _bare_step(view: StepView, state: TaskState) -> StepStatus:
    """Return a step without what may be long."""
    last = view.attempts[-1] if view.attempts else None
    ended = view.ended_at or (last.ended_at if last and view.phase in _ENDED else None)
    return StepStatus(
        name=view.name,
        phase=view.phase,
        attempt=last.number if last else 0,
        job=runner_job(last, state.attempts) or None if last and view.child is None else None,
        task=view.child,
        items=ItemCounts(
            total=view.items.total,
            succeeded=view.items.succeeded,
            failed=view.items.failed,
            active=view.items.active,
        )
        if view.items
        else None,
        start_time=_start(view),
        completion_time=ended,
        reason=view.reason,
    )


def _fill(bare: TaskStatus, views: Sequence[StepView], state: TaskState) -> list[StepStatus]:
    """Add to the steps what the budget has room for."""
    # Keys, marks and empty lists of what is added are counted here, so that the room is for values alone.
    per_step = json_size({"message": "", "output": None, "truncated": True, "attempts": []})
    room = Room(STATUS_BYTES - json_size(bare.to_json()) - len(views) * per_step)
    messages = Room(min(MESSAGES_BYTES, room.left))
    texts = [messages.fit_text(view.message, MAX_STEP_MESSAGE) for view in views]
    room.left -= sum(json_size(text) for text in texts if text)
    budget, outputs = OutputBudget(max(room.left, 0)), dict[str, tuple[JsonValue, bool]]()
    for view in views:
        if (output := state.outputs.get(view.name)) is not None:
            value, cut = budget.fit(output.value)
            outputs[view.name] = value, cut or output.cut
    room.left -= sum(json_size(value) for value, _ in outputs.values() if value is not None)
    attempts = attempt_status.newest(views, room)
    return [
        _filled(step, text != view.message, text, outputs, attempts)
        for step, view, text in zip(bare.steps, views, texts, strict=True)
    ]


def _filled(
    step: StepStatus,
    message_cut: bool,
    message: str,
    outputs: Mapping[str, tuple[JsonValue, bool]],
    attempts: Mapping[str, list[AttemptStatus]],
) -> StepStatus:
    output, output_cut = outputs.get(step.name, (None, False))
    return step.model_copy(
        update={
            "message": message or None,
            "output": output,
            "truncated": True if output_cut or message_cut else None,
            "attempts": attempts.get(step.name),
        }
    )
