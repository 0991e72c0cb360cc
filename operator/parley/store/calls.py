"""Calls that the leader carries out: the results it writes down for them."""

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from pydantic import JsonValue

from parley.protocol.messages import MAX_OUTPUT_BYTES
from parley.store.ending import wake
from parley.store.errors import ResultTooLarge
from parley.store.leader import Fence, leading
from parley.store.locks import lock_open_task
from parley.store.pool import Connection
from parley.store.rows import encode_limited, execute, fetch_one, fetch_value

TASK_OF_WAIT = "SELECT task_uid FROM waits WHERE id = %(wait_id)s"
LOCK_CALL = """
SELECT id::text AS id, task_uid, step, item, round, call, kind FROM waits
WHERE id = %(wait_id)s AND task_uid = %(task_uid)s AND state = 'Open' AND kind IN ('Container', 'Task')
FOR NO KEY UPDATE
"""
# The name of a call's step ends with a hash of the wait's id: an attempt of another step is none of the call's.
OUTCOME = """
SELECT a.state, coalesce(nullif(a.message, ''), a.reason, a.state) AS message,
       octet_length(o.value::text) AS size,
       CASE WHEN octet_length(o.value::text) <= %(limit)s THEN o.value END AS output
FROM attempts a
LEFT JOIN outputs o ON o.task_uid = a.task_uid AND o.step = a.step AND o.item = a.item AND a.state = 'Succeeded'
WHERE a.id = %(attempt_id)s AND a.task_uid = %(task_uid)s AND a.ended_at IS NOT NULL
  AND right(a.step, 14) = '--' || left(encode(sha256(convert_to(%(wait_id)s, 'UTF8')), 'hex'), 12)
"""
# Its attempt, which has paused, stands for the leader: a journal's entry always belongs to one.
STORE_RESULT = """
INSERT INTO journal AS j (task_uid, step, item, round, call, attempt, result)
SELECT w.task_uid, w.step, w.item, w.round, w.call, max(a.id), %(result)s::json
FROM waits w JOIN attempts a ON a.task_uid = w.task_uid AND a.step = w.step AND a.item = w.item
WHERE w.id = %(wait_id)s
GROUP BY w.id
ON CONFLICT (task_uid, step, item, round, call) DO UPDATE SET result = excluded.result
WHERE j.result IS NULL
"""
# Its object was never seen: it counts in no family.
FORGET_QUEUED = "DELETE FROM queued_tasks WHERE wait_id = %(wait_id)s AND task_uid IS NULL"
END_WAIT = "UPDATE waits SET state = 'Answered', ended_at = now() WHERE id = %(wait_id)s"


ARGUMENTS = "SELECT body -> 'arguments' AS value FROM waits WHERE id = %(wait_id)s"


@dataclass(frozen=True, slots=True)
class _Arguments:
    value: JsonValue


@dataclass(frozen=True, slots=True)
class OpenCall:
    """A call that waits for its Job or its Task; the row is locked."""

    id: str
    task_uid: str
    step: str
    item: int
    round: int
    call: int
    kind: Literal["Container", "Task"]


@dataclass(frozen=True, slots=True)
class _Outcome:
    state: str
    message: str
    size: int | None
    output: JsonValue


async def call_arguments(conn: Connection, wait_id: str) -> JsonValue:
    """Return the whole arguments of a call that waits, or did; None for what is no call."""
    found = await fetch_one(conn, _Arguments, ARGUMENTS, {"wait_id": as_uuid(wait_id)})
    return None if found is None else found.value


async def answer_call(conn: Connection, fence: Fence, wait_id: str, attempt_id: int) -> bool:
    """Give a call the outcome of the container that ran for it: its output, or ``{"error": message}``.

    Returns:
        Whether this call did it. False: the call waits no more, its task ended or is gone, or the attempt is not one
        of the call's or is still open.
    """
    async with leading(conn, fence):
        call = await lock_call(conn, wait_id)
        if call is None:
            return False
        which = {
            "attempt_id": attempt_id,
            "task_uid": call.task_uid,
            "wait_id": call.id,
            "limit": MAX_OUTPUT_BYTES,
        }
        outcome = await fetch_one(conn, _Outcome, OUTCOME, which)
        if outcome is None:
            return False
        await give_result(conn, call, _result(outcome))
        return True


def _result(outcome: _Outcome) -> JsonValue:
    if outcome.state != "Succeeded":
        return {"error": outcome.message}
    if outcome.size is not None and outcome.size > MAX_OUTPUT_BYTES:
        limit = f"at most {MAX_OUTPUT_BYTES:,} go back to a model"
        return {"error": f"The result is {outcome.size:,} bytes as JSON; {limit}."}
    return outcome.output


async def call_refused(conn: Connection, fence: Fence, wait_id: str, message: str) -> bool:
    """Give a call the result ``{"error": message}``: what it asks for cannot be made, and was not.

    Returns:
        Whether this call did it. False: the call waits no more, or its task ended or is gone.
    """
    async with leading(conn, fence):
        call = await lock_call(conn, wait_id)
        if call is None:
            return False
        await execute(conn, FORGET_QUEUED, {"wait_id": call.id})
        await give_result(conn, call, {"error": message})
        return True


async def lock_call(conn: Connection, wait_id: str) -> OpenCall | None:
    """Lock the task of a call and what the call waits for; None when it waits no more, or its task ended or is gone."""
    which = {"wait_id": as_uuid(wait_id)}
    task_uid = await fetch_value(conn, str, TASK_OF_WAIT, which)
    if task_uid is None or not await lock_open_task(conn, task_uid):
        return None
    return await fetch_one(conn, OpenCall, LOCK_CALL, which | {"task_uid": task_uid})


async def give_result(conn: Connection, call: OpenCall, result: JsonValue) -> None:
    """Journal a call's result, so that it waits no more; its task is notified. The caller has locked the call."""
    try:
        text = encode_limited(result, "The result")
    except ResultTooLarge as error:
        text = encode_limited({"error": str(error)}, "The result")
    await execute(conn, STORE_RESULT, {"wait_id": call.id, "result": text})
    await execute(conn, END_WAIT, {"wait_id": call.id})
    await wake(conn, call.task_uid)


def as_uuid(wait_id: str) -> UUID | None:
    """Return the id of a wait, None for what cannot be one."""
    try:
        return UUID(wait_id)
    except ValueError:
        return None
