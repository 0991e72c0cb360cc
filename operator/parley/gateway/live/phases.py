"""What people are told of a task that they follow."""

import json

from pydantic import JsonValue

from parley.api.stream import StreamedPhase, TaskChange, WaitingFor
from parley.store.following import FollowedTask, OpenWait

_MAX_ARGUMENTS = 512


def task_change(task: FollowedTask) -> TaskChange:
    """Tell where a task stands."""
    return TaskChange(
        name=task.name,
        phase=phase_of(task),
        step=task.step,
        waiting=[_waiting(wait) for wait in task.waits] or None,
        reason=task.reason,
        message=task.message,
    )


def phase_of(task: FollowedTask) -> StreamedPhase:
    """Return the phase as the store sees it; the Task's status follows a moment later."""
    if task.ended is not None:
        return task.ended
    if task.gone:
        return "Deleted"
    if task.suspended:
        return "Suspended"
    if task.waits:
        return "WaitingForInput"
    if task.step is not None or task.begun:
        return "Running"
    return "Queued"


def _waiting(wait: OpenWait) -> WaitingFor:
    choices, tool = wait.body.get("choices"), wait.body.get("tool")
    is_approval = wait.kind == "Approval"
    return WaitingFor(
        waitID=wait.id,
        step=wait.step,
        kind="Approval" if is_approval else "Question",
        question=str(wait.body.get("question") or ""),
        choices=[str(each) for each in choices] if isinstance(choices, list) else None,
        tool=str(tool) if is_approval and tool is not None else None,
        arguments=_text(wait.body.get("arguments")) if is_approval else None,
        since=wait.since,
        deadline=wait.deadline,
    )


def _text(arguments: JsonValue) -> str:
    text = json.dumps({} if arguments is None else arguments, ensure_ascii=False, separators=(",", ":"))
    return text if len(text) <= _MAX_ARGUMENTS else text[: _MAX_ARGUMENTS - 1] + "…"
