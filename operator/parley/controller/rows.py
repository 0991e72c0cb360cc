"""From the store's rows to the engine's state."""

import json
from datetime import timedelta

from pydantic import JsonValue

from parley.engine.state import Attempt, Child, End, Output, StepMark, TaskState, Turn, Wait
from parley.resources.reasons import Reason
from parley.store.records import (
    AttemptRecord,
    ChildRecord,
    OutputRecord,
    StepRecord,
    TaskEnd,
    TaskRecord,
    WaitRecord,
)

_GONE = "the store saw this Task deleted: the cluster was restored from an older backup. Create it anew to run it again"


def task_state(record: TaskRecord) -> TaskState:
    """Read a task's rows for the plan."""
    end = record.ended
    if end is None and record.gone_since is not None:
        end = TaskEnd("Failed", Reason.STORE_MISMATCH, _GONE, OutputRecord(None), record.gone_since)
    return TaskState(
        now=record.now,
        created_at=record.registered_at,
        deadline=record.deadline,
        suspended=record.suspended_since is not None,
        end=_end(end) if end else None,
        attempts=tuple(_attempt(row) for row in record.attempts),
        outputs={step: Output(output.value, output.cut) for step, output in record.outputs.items()},
        input_tokens=record.input_tokens,
        output_tokens=record.output_tokens,
        marks={row.step: _mark(row) for row in record.steps},
        waits=tuple(_wait(row) for row in record.waits),
        children={row.name: _child(row) for row in record.children},
        parent_closed=record.parent.closed if record.parent else None,
        parent_suspended=record.parent is not None and record.parent.suspended,
    )


def _end(row: TaskEnd) -> End:
    return End(row.phase, _reason(row.reason), row.message, row.output.value, row.at, row.output.cut)


def _attempt(row: AttemptRecord) -> Attempt:
    return Attempt(
        id=row.id,
        step=row.step,
        item=row.item,
        number=row.number,
        job=row.job or "",
        phase=row.state,
        deadline=row.deadline,
        created_at=row.created_at,
        taken_at=row.taken_at,
        ended_at=row.ended_at,
        reason=_reason(row.reason) if row.reason else None,
        message=row.message or "",
        cause=row.cause,
        index=row.index,
        runtime=row.runtime,
        pool=row.pool or "",
        # The holder is the pod's uid and a nonce of the process.
        holder_pod=(row.holder or "").partition("/")[0],
        lease_until=row.lease_until,
        definite=row.definite,
        retry_after=row.retry_after,
        exit_code=row.exit_code,
        uploaded=row.uploaded,
    )


def _mark(row: StepRecord) -> StepMark:
    return StepMark(
        phase=row.state,
        items=row.item_count,
        until=row.until,
        reason=_reason(row.reason) if row.reason else None,
        message=row.message or "",
        entered_at=row.entered_at,
        ended_at=row.ended_at,
        succeeded=row.succeeded,
        failed=row.failed,
    )


def _wait(row: WaitRecord) -> Wait:
    choices, seconds = row.body.get("choices"), row.body.get("timeoutSeconds")
    calls = row.kind != "Question"
    return Wait(
        id=row.id,
        step=row.step,
        item=row.item,
        kind=row.kind,
        question=str(row.body.get("question") or ""),
        choices=tuple(str(each) for each in choices) if isinstance(choices, list) else (),
        since=row.created_at,
        deadline=row.deadline,
        state=row.state,
        call=str(row.body.get("tool") or "") if calls else "",
        arguments=_as_text(row.body.get("arguments")) if calls else "",
        timeout=timedelta(seconds=seconds) if isinstance(seconds, int | float) else None,
        output_file=row.body.get("outputFrom") == "File",
    )


def _as_text(value: JsonValue) -> str:
    """Return a call's arguments as JSON; large ones come as the beginning of that."""
    if isinstance(value, str):
        return value
    return json.dumps({} if value is None else value, ensure_ascii=False, separators=(",", ":"))


def _child(row: ChildRecord) -> Child:
    reason = _reason(row.reason) if row.reason else None
    return Child(row.name, row.uid, row.ended, reason, row.message or "", row.gone)


def _reason(name: str) -> Reason:
    """Read a reason; one that only a newer version knows is an Error to this one, and stops nothing."""
    try:
        return Reason(name)
    except ValueError:
        return Reason.ERROR


def turns_of(record: TaskRecord, session_uid: str | None) -> dict[str, Turn]:
    """Return the task's place in its session's queue, by step."""
    return {
        turn.step: Turn.HELD if turn.state == "Held" else Turn.WAITING
        for turn in record.turns
        if turn.session_uid == session_uid and turn.state in {"Held", "Waiting"}
    }
