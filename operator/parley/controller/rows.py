"""From the store's rows to the engine's state."""

from parley.engine.state import Attempt, End, Output, TaskState, Turn
from parley.resources.reasons import Reason
from parley.store.records import AttemptRecord, OutputRecord, TaskEnd, TaskRecord

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
        end=End(end.phase, _reason(end.reason), end.message, end.output.value, end.at) if end else None,
        attempts=tuple(_attempt(row) for row in record.attempts),
        outputs={step: Output(output.value, output.cut) for step, output in record.outputs.items()},
        input_tokens=record.input_tokens,
        output_tokens=record.output_tokens,
    )


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
    )


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
