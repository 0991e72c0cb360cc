"""The outcome of a container, as its pod showed it and as its output file says."""

from dataclasses import dataclass, replace
from typing import Literal

from pydantic import JsonValue

from parley.store.ending import forget_uploads, wake
from parley.store.leader import Fence, leading
from parley.store.locks import lock_open_task
from parley.store.pool import Connection
from parley.store.rows import MAX_STORED_BYTES, encode_limited, execute, fetch_one, fetch_value, storable_text

TASK_OF_ATTEMPT = "SELECT task_uid FROM attempts WHERE id = %(attempt_id)s"
LOCK_OPEN = "SELECT id FROM attempts WHERE id = %(attempt_id)s AND state = 'Open' FOR NO KEY UPDATE"
UPLOAD = "SELECT reason, problem FROM uploads WHERE attempt = %(attempt_id)s"
FINISH = """
UPDATE attempts SET state = %(outcome)s, reason = %(reason)s, message = %(message)s, exit_code = %(exit_code)s,
       pod_uid = %(pod_uid)s, log = %(log)s, ended_at = now()
WHERE id = %(attempt_id)s
"""
STORE_OUTPUT = """
INSERT INTO outputs (task_uid, step, item, value)
SELECT a.task_uid, a.step, a.item, coalesce(u.value, %(output)s::json)
FROM attempts a LEFT JOIN uploads u ON u.attempt = a.id
WHERE a.id = %(attempt_id)s
"""


@dataclass(frozen=True, slots=True)
class _Upload:
    reason: str | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class _Outcome:
    outcome: Literal["Succeeded", "Failed"]
    reason: str
    message: str


async def finish_container(  # noqa: PLR0913 - a row's columns
    conn: Connection,
    fence: Fence,
    attempt_id: int,
    *,
    outcome: Literal["Succeeded", "Failed"],
    reason: str,
    message: str,
    exit_code: int | None,
    output: JsonValue,
    pod_uid: str | None,
    log: str | None = None,
) -> bool:
    """Commit a container's outcome as its pod showed it. The output is stored when it Succeeded.

    A file that was uploaded is the output in place of ``output``. What was wrong with the file makes a success Failed:
    Error or ResultTooLarge. ``log`` is the end of what the container wrote.

    Returns:
        Whether this call committed it. False: the attempt is not open any more, or its task ended or is gone.

    Raises:
        ResultTooLarge: the output is over 16 MiB as JSON; nothing was written.
    """
    which = {"attempt_id": attempt_id}
    shown = _Outcome(outcome, reason, message)
    text = encode_limited(output, "The output", MAX_STORED_BYTES)
    async with leading(conn, fence):
        task_uid = await fetch_value(conn, str, TASK_OF_ATTEMPT, which)
        if task_uid is None or not await lock_open_task(conn, task_uid):
            return False
        if await fetch_value(conn, int, LOCK_OPEN, which) is None:
            return False
        upload = await fetch_one(conn, _Upload, UPLOAD, which)
        told = _judge(shown, upload)
        seen = {
            "outcome": told.outcome,
            "reason": told.reason,
            "message": storable_text(told.message),
            "exit_code": exit_code,
            "pod_uid": pod_uid,
            "log": None if log is None else storable_text(log),
        }
        await execute(conn, FINISH, which | seen)
        if told.outcome == "Succeeded":
            await execute(conn, STORE_OUTPUT, which | {"output": text})
        if upload is not None:
            await forget_uploads(conn, task_uid)
        await wake(conn, task_uid)
        return True


def _judge(shown: _Outcome, upload: _Upload | None) -> _Outcome:
    """Fail a success whose output file could not be taken."""
    if shown.outcome == "Failed" or upload is None or upload.problem is None:
        return shown
    return replace(shown, outcome="Failed", reason=upload.reason or "Error", message=upload.problem)
