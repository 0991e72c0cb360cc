"""Tasks that tools queue: made once, within their family's limits, and told of at their end."""

from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue

from parley.resources.common import shorten
from parley.store.calls import OpenCall, as_uuid, give_result, lock_call
from parley.store.children import refuse_child
from parley.store.ending import wake
from parley.store.events import NewEvent, append_to, derived_id
from parley.store.leader import Fence, leading
from parley.store.pool import Connection
from parley.store.records import NotGranted
from parley.store.rows import execute, fetch_one, fetch_value

MAX_TOLD_BYTES = 2048
"""Largest output, as JSON, that a session is told of whole."""
TASK_ENDED = "TaskEnded"
"""``state`` of the event that tells a session of the end of a task it queued."""

TASK_OF_WAIT = "SELECT task_uid FROM waits WHERE id = %(wait_id)s"
SUSPENDED = "SELECT suspended_since IS NOT NULL FROM tasks WHERE uid = %(task_uid)s"
QUEUED = "SELECT name, task_uid FROM queued_tasks WHERE wait_id = %(wait_id)s"
QUEUE = """
INSERT INTO queued_tasks (wait_id, cluster, namespace, name, session_uid, queued_by)
SELECT %(wait_id)s, t.cluster, t.namespace, %(name)s, t.session_uid, t.uid FROM tasks t WHERE t.uid = %(task_uid)s
ON CONFLICT DO NOTHING
"""
# Its end, or that its object is gone before it had one. Its session's newest turn: whoever is shown that is shown this.
UNTOLD = """
SELECT q.wait_id::text AS wait_id, s.uid AS session_uid, q.queued_by, t.uid AS task_uid, t.name,
       coalesce(t.end_phase, 'Cancelled') AS phase, coalesce(t.end_reason, 'Cancelled') AS reason,
       coalesce(t.end_message, 'The task was deleted.') AS message, size.of_output > %(limit)s AS cut,
       CASE WHEN size.of_output <= %(limit)s THEN t.output
            WHEN json_typeof(t.output) = 'string' THEN to_json(left(t.output #>> '{}', %(limit)s)) END AS output,
       (SELECT max(u.ticket) FROM turns u WHERE u.session_uid = s.uid AND u.state IN ('Held', 'Done')) AS ticket
FROM queued_tasks q JOIN tasks t ON t.uid = q.task_uid
LEFT JOIN sessions s ON s.uid = q.session_uid AND s.gone_since IS NULL
CROSS JOIN LATERAL (SELECT coalesce(octet_length(t.output::text), 0) AS of_output) size
WHERE q.task_uid = %(task_uid)s AND q.told_at IS NULL AND (t.ended_at IS NOT NULL OR t.gone_since IS NOT NULL)
FOR NO KEY UPDATE OF q
"""
MARK_TOLD = "UPDATE queued_tasks SET told_at = now() WHERE wait_id = %(wait_id)s"


@dataclass(frozen=True, slots=True)
class _Queued:
    name: str
    task_uid: str | None


@dataclass(frozen=True, slots=True)
class _End:
    wait_id: str
    session_uid: str | None
    queued_by: str
    task_uid: str
    name: str
    phase: str
    reason: str
    message: str
    cut: bool
    output: JsonValue
    ticket: int | None


async def queue_task(conn: Connection, fence: Fence, wait_id: str, name: str) -> bool | NotGranted:
    """Write down that a call queues the Task of this name, before its object is made.

    Returns:
        True: written now; False: it was there. The object may be made in both cases. NotGranted: no object may be
        made; ``depth`` and ``tree`` are for good, after ``task`` and ``stale`` (the call waits no more, or another
        call has the name) plan again. A call whose Task was seen already has its answer then.
    """
    async with leading(conn, fence):
        queuing = await fetch_value(conn, str, TASK_OF_WAIT, {"wait_id": as_uuid(wait_id)})
        if queuing is None:
            return NotGranted("stale")
        refused = await refuse_child(conn, queuing)
        call = await lock_call(conn, wait_id)
        if call is None or await fetch_value(conn, bool, SUSPENDED, {"task_uid": queuing}):
            return NotGranted("stale" if call is None else "task")
        queued = await fetch_one(conn, _Queued, QUEUED, {"wait_id": call.id})
        if queued is not None:
            return await _go_on(conn, call, queued, name)
        if call.kind != "Task":
            return NotGranted("stale")
        if refused is not None:
            return NotGranted(refused)
        row = {"wait_id": call.id, "name": name, "task_uid": call.task_uid}
        return True if await execute(conn, QUEUE, row) else NotGranted("stale")


async def _go_on(conn: Connection, call: OpenCall, queued: _Queued, name: str) -> Literal[False] | NotGranted:
    if queued.task_uid is not None:
        # Its object was there, and may be gone: it is never made again.
        await give_result(conn, call, {"task": queued.name})
        return NotGranted("stale")
    return False if queued.name == name else NotGranted("stale")


async def task_queued(conn: Connection, fence: Fence, wait_id: str) -> bool:
    """Give a call its result, the name of the Task it queued, once the object stands.

    Returns:
        Whether this call did it. False: the call waits no more, has queued nothing, or its task ended or is gone.
    """
    async with leading(conn, fence):
        call = await lock_call(conn, wait_id)
        queued = await fetch_one(conn, _Queued, QUEUED, {"wait_id": call.id}) if call is not None else None
        if call is None or queued is None:
            return False
        await give_result(conn, call, {"task": queued.name})
        return True


async def tell_end(conn: Connection, task_uid: str) -> None:
    """Tell the session that queued a task of its end, once; the caller has locked that session.

    The event belongs to the session's newest turn: later turns are shown it.
    """
    end = await fetch_one(conn, _End, UNTOLD, {"task_uid": task_uid, "limit": MAX_TOLD_BYTES})
    if end is None:
        return
    if end.session_uid is not None:
        event = NewEvent(
            id=derived_id(end.task_uid, "", -1, TASK_ENDED),
            type="state",
            content=_content(end),
            task_uid=end.task_uid,
            task=end.name,
            ticket=end.ticket,
        )
        await append_to(conn, end.session_uid, [event])
    await execute(conn, MARK_TOLD, {"wait_id": end.wait_id})
    await wake(conn, end.queued_by)


def _content(end: _End) -> dict[str, JsonValue]:
    output = shorten(end.output, MAX_TOLD_BYTES) if end.cut and isinstance(end.output, str) else end.output
    content: dict[str, JsonValue] = {
        "state": TASK_ENDED,
        "task": end.name,
        "phase": end.phase,
        "reason": end.reason,
        "message": shorten(end.message, MAX_TOLD_BYTES),
        "output": output,
    }
    return content | ({"cut": True} if end.cut else {})
