"""How turns, attempts and waits of a task come to their end, and who is woken by it.

The caller's transaction holds the rows of the session and of the task, in this order.
"""

from dataclasses import dataclass

from pydantic import JsonValue

from parley.protocol.messages import EventDraft
from parley.store.events import Origin, append
from parley.store.pool import Connection
from parley.store.rows import (
    Statement,
    execute,
    execute_all,
    fetch_all,
    fetch_one,
    fetch_value,
    fetch_values,
    storable_text,
)

END_TURNS = """
UPDATE turns SET state = CASE state WHEN 'Held' THEN 'Done' ELSE 'Withdrawn' END, ended_at = now()
WHERE task_uid = %(task_uid)s AND step = coalesce(%(step)s, step) AND state IN ('Waiting', 'Held')
RETURNING session_uid
"""
OPEN_TURN = """
SELECT u.session_uid, u.ticket, u.task_uid, u.task_name, u.step,
       (SELECT max(a.number) FROM attempts a WHERE a.session_uid = u.session_uid AND a.ticket = u.ticket) AS attempt
FROM turns u
WHERE u.task_uid = %(task_uid)s AND u.step = coalesce(%(step)s, u.step) AND u.state = 'Held'
"""
# With what the journal has of them: a call that ran and whose turn then failed has its own result. One whose content
# was erased needs none.
OPEN_CALLS = """
SELECT c.content ->> 'id' AS id, c.content ->> 'tool' AS tool, c.place[1] AS round, c.place[2] AS call,
       j.result IS NOT NULL AS done, j.result
FROM (SELECT sequence, content, task_uid, step, item,
             CASE WHEN content ->> 'round' ~ '^[0-9]{1,6}$' AND content ->> 'call' ~ '^[0-9]{1,6}$'
                  THEN ARRAY[(content ->> 'round')::int, (content ->> 'call')::int] END AS place
      FROM events
      WHERE session_uid = %(session_uid)s AND ticket = %(ticket)s AND type = 'toolCall'
        AND json_typeof(content) = 'object') c
LEFT JOIN journal j ON (j.task_uid, j.step, j.item, j.round, j.call)
                     = (c.task_uid, c.step, c.item, c.place[1], c.place[2])
WHERE NOT EXISTS (SELECT FROM events r
                  WHERE r.session_uid = %(session_uid)s AND r.ticket = %(ticket)s AND r.type = 'toolResult'
                    AND r.content ->> 'id' = c.content ->> 'id')
ORDER BY c.sequence
"""
CANCEL_ATTEMPTS = """
UPDATE attempts SET state = 'Cancelled', reason = %(reason)s, message = %(message)s, ended_at = now()
WHERE task_uid = %(task_uid)s AND state IN ('Open', 'Running')
"""
# A file counts while its container's attempt is open; then it is the output, or nothing.
FORGET_UPLOADS = """
DELETE FROM uploads u USING attempts a
WHERE a.id = u.attempt AND a.task_uid = %(task_uid)s AND a.ended_at IS NOT NULL
"""
WITHDRAW_WAITS = """
UPDATE waits SET state = 'Withdrawn', ended_at = now()
WHERE task_uid = %(task_uid)s AND step = coalesce(%(step)s, step) AND state = 'Open'
"""
WAKE = "SELECT pg_notify('parley', %(uid)s)::text"
WAKE_NEXT = """
SELECT pg_notify('parley', task_uid)::text
FROM (SELECT task_uid FROM turns
      WHERE session_uid = %(session_uid)s AND state = 'Waiting' AND task_uid IS NOT NULL
      ORDER BY ticket LIMIT 1) AS first_in_queue
"""
# A child looks at its parent, and a parent at its child, when the other has ended, gone or changed its pace.
WAKE_CHILDREN = """
SELECT pg_notify('parley', uid)::text FROM tasks
WHERE parent_uid = %(task_uid)s AND parent_attempt = coalesce(%(attempt_id)s::bigint, parent_attempt)
  AND ended_at IS NULL AND gone_since IS NULL
"""
WAKE_PARENT = """
SELECT pg_notify('parley', parent_uid)::text FROM tasks WHERE uid = %(task_uid)s AND parent_uid IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class _OpenCall:
    id: str | None
    tool: str | None
    round: int | None
    call: int | None
    done: bool
    result: JsonValue


async def end_turns(conn: Connection, task_uid: str, *, step: str | None, why: str) -> bool:
    """End the held turn of a task, or of one step, without a success; withdraw its tickets and waits.

    Each call the turn leaves open gets a ``toolResult``: what the journal has of it, else ``why``. The next in the
    queue is woken.

    Returns:
        Whether there was a turn or a ticket.
    """
    which = {"task_uid": task_uid, "step": step}
    turn = await fetch_one(conn, Origin, OPEN_TURN, which)
    if turn is not None:
        await answer_open_calls(conn, turn, why)
    await execute(conn, WITHDRAW_WAITS, which)
    session_uid = await fetch_value(conn, str, END_TURNS, which)
    if session_uid is None:
        return False
    await wake_next(conn, session_uid)
    return True


async def answer_open_calls(conn: Connection, turn: Origin, why: str) -> None:
    """Append a ``toolResult`` for each call that a turn has told of without its result."""
    place = {"session_uid": turn.session_uid, "ticket": turn.ticket}
    calls = await fetch_all(conn, _OpenCall, OPEN_CALLS, place)
    await append(conn, turn, [_result(call, why) for call in calls])


def _result(call: _OpenCall, why: str) -> EventDraft:
    result: JsonValue = call.result if call.done else {"error": why}
    content: dict[str, JsonValue] = {
        "id": call.id,
        "round": call.round,
        "call": call.call,
        "tool": call.tool,
        "result": result,
    }
    key = None if call.round is None else f"result/{call.round}/{call.call}"
    return EventDraft(type="toolResult", content=content, key=key)


async def cancel_attempts(conn: Connection, task_uid: str, reason: str, message: str) -> None:
    """Close all open attempts of a task as Cancelled."""
    closing = {"task_uid": task_uid, "reason": reason, "message": storable_text(message)}
    if await execute(conn, CANCEL_ATTEMPTS, closing):
        await forget_uploads(conn, task_uid)


async def forget_uploads(conn: Connection, task_uid: str) -> None:
    """Drop the files of a task's attempts that are closed."""
    await execute(conn, FORGET_UPLOADS, {"task_uid": task_uid})


async def wake(conn: Connection, uid: str) -> None:
    """Notify the operator of a task, or of a session, when this transaction commits."""
    await execute(conn, *waking(uid))


def waking(uid: str) -> Statement:
    """Return what notifies the operator of a task, or of a session, when its transaction commits."""
    return WAKE, {"uid": uid}


async def wake_next(conn: Connection, session_uid: str) -> None:
    """Notify the operator of the task whose turn is next, if one waits."""
    await execute(conn, *waking_next(session_uid))


def waking_next(session_uid: str) -> Statement:
    """Return what notifies the operator of the task whose turn is next, if one waits."""
    return WAKE_NEXT, {"session_uid": session_uid}


async def wake_children(conn: Connection, task_uid: str, attempt_id: int | None = None) -> None:
    """Notify the operator of a task's open children, or of the one that an attempt made."""
    await fetch_values(conn, str, WAKE_CHILDREN, {"task_uid": task_uid, "attempt_id": attempt_id})


async def wake_family(conn: Connection, task_uid: str) -> None:
    """Notify the operator of a task, its parent and its open children."""
    family = {"task_uid": task_uid, "attempt_id": None}
    await execute_all(conn, waking(task_uid), (WAKE_PARENT, family), (WAKE_CHILDREN, family))
