"""Tasks: registration, the one read that planning needs, and their end."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import JsonValue, TypeAdapter

from parley.resources.task import MESSAGE_STEP
from parley.store.ending import cancel_attempts, end_turns, wake_children, wake_family, wake_next
from parley.store.leader import Fence, leading
from parley.store.loading import LOAD_TASK
from parley.store.locks import lock_session_of_task, lock_sessions_of_ending, lock_task
from parley.store.pool import Connection
from parley.store.posting import binding
from parley.store.queued import tell_end
from parley.store.records import EndPhase, NewParent, OpenObject, TaskRecord
from parley.store.rows import (
    MAX_STORED_BYTES,
    ask,
    encode,
    encode_limited,
    execute,
    fetch_all,
    fetch_value,
    storable_text,
)

# Only an attempt of the parent whose job bears this name makes it a child: an owner reference alone can be forged. A
# task that a tool queued is bound to that call by its name, the first one that bears it.
REGISTER = """
WITH bound AS (
  UPDATE queued_tasks SET task_uid = %(uid)s
  WHERE cluster = %(cluster)s AND namespace = %(namespace)s AND name = %(name)s AND task_uid IS NULL
  RETURNING queued_by
), family AS (
  SELECT p.uid AS parent_uid, a.id AS parent_attempt, coalesce(p.root_uid, p.uid) AS root_uid, p.depth + 1 AS depth
  FROM tasks p JOIN attempts a ON a.task_uid = p.uid AND a.child AND a.job = %(name)s
  WHERE p.uid = %(parent_uid)s AND p.cluster = %(cluster)s AND p.namespace = %(namespace)s
    AND a.id = coalesce(%(parent_attempt)s::bigint, a.id)
  UNION ALL
  SELECT NULL, NULL, coalesce(q.root_uid, q.uid), q.depth + 1 FROM tasks q JOIN bound ON q.uid = bound.queued_by
  ORDER BY parent_uid NULLS LAST LIMIT 1
), made AS (
  INSERT INTO tasks AS t (uid, cluster, install, namespace, name, session_uid, spec, created_at, deadline,
                          parent_uid, parent_attempt, root_uid, depth)
  SELECT %(uid)s, %(cluster)s, %(install)s, %(namespace)s, %(name)s, %(session_uid)s, %(spec)s::json,
         %(created_at)s, now() + %(timeout)s::interval,
         f.parent_uid, f.parent_attempt, f.root_uid, coalesce(f.depth, 0)
  FROM (SELECT) one LEFT JOIN family f ON true
  ON CONFLICT (uid) DO UPDATE SET
    install = excluded.install,
    session_uid = CASE WHEN EXISTS (SELECT FROM attempts a WHERE a.task_uid = t.uid)
                         OR EXISTS (SELECT FROM steps s WHERE s.task_uid = t.uid) THEN t.session_uid
                       ELSE excluded.session_uid END,
    spec = CASE WHEN EXISTS (SELECT FROM attempts a WHERE a.task_uid = t.uid)
                  OR EXISTS (SELECT FROM steps s WHERE s.task_uid = t.uid) THEN t.spec
                ELSE excluded.spec END
  WHERE t.ended_at IS NULL AND t.gone_since IS NULL
    AND (t.install, t.session_uid, t.spec::text)
      IS DISTINCT FROM (excluded.install, excluded.session_uid, excluded.spec::text)
  RETURNING uid
)
SELECT EXISTS (SELECT FROM bound) AS bound
"""
# In one order; the session that queued the task hears of its end, should it have ended before it was bound.
LOCK_SESSIONS = """
SELECT s.uid FROM sessions s
WHERE s.uid IN (SELECT t.session_uid FROM tasks t WHERE t.uid = %(uid)s
                UNION ALL
                SELECT %(session_uid)s
                UNION ALL
                SELECT q.session_uid FROM queued_tasks q
                WHERE q.cluster = %(cluster)s AND q.namespace = %(namespace)s AND q.name = %(name)s
                  AND q.task_uid IS NULL)
ORDER BY s.uid FOR NO KEY UPDATE
"""
# Else the old ticket would keep the step from a place in the queue of the session it has now.
WITHDRAW_ELSEWHERE = """
UPDATE turns u SET state = 'Withdrawn', ended_at = now()
FROM tasks t
WHERE t.uid = %(uid)s AND u.task_uid = t.uid AND u.state = 'Waiting'
  AND u.session_uid IS DISTINCT FROM t.session_uid
RETURNING u.session_uid
"""
END = """
UPDATE tasks SET ended_at = now(), end_phase = %(phase)s, end_reason = %(reason)s, end_message = %(message)s,
                 output = %(output)s::json
WHERE uid = %(uid)s AND ended_at IS NULL AND gone_since IS NULL
  AND (%(reason)s <> 'TaskTimeout' OR deadline <= now())
RETURNING uid
"""
GONE = "UPDATE tasks SET gone_since = now() WHERE uid = %(uid)s AND gone_since IS NULL RETURNING uid"
SUSPEND = """
UPDATE tasks SET suspended_since = now()
WHERE uid = %(uid)s AND suspended_since IS NULL AND ended_at IS NULL AND gone_since IS NULL
RETURNING uid
"""
WITHDRAW_TICKETS = """
UPDATE turns SET state = 'Withdrawn', ended_at = now() WHERE task_uid = %(uid)s AND state = 'Waiting'
"""
RESUME_WAITS = """
UPDATE waits w SET deadline = w.deadline + (now() - t.suspended_since)
FROM tasks t WHERE t.uid = %(uid)s AND w.task_uid = t.uid AND w.state = 'Open' AND t.suspended_since IS NOT NULL
"""
# They wait for a child that stands still as well; other attempts run on while their task is suspended.
RESUME_CHILDREN = """
UPDATE attempts a SET deadline = a.deadline + (now() - t.suspended_since)
FROM tasks t
WHERE t.uid = %(uid)s AND a.task_uid = t.uid AND a.child AND a.state = 'Open' AND t.suspended_since IS NOT NULL
"""
RESUME = """
UPDATE tasks SET deadline = deadline + (now() - suspended_since), suspended_since = NULL
WHERE uid = %(uid)s AND suspended_since IS NOT NULL
RETURNING uid
"""
LIST_OPEN = """
SELECT 'Session' AS kind, uid, namespace, name FROM sessions WHERE cluster = %(cluster)s AND gone_since IS NULL
UNION ALL
SELECT 'Task', uid, namespace, name FROM tasks WHERE cluster = %(cluster)s AND gone_since IS NULL
"""

_TASK = TypeAdapter(TaskRecord)


@dataclass(frozen=True, slots=True)
class _Registered:
    bound: bool


@dataclass(frozen=True, slots=True)
class _Left:
    session_uid: str


@dataclass(frozen=True, slots=True)
class _Loaded:
    task: str


async def register_task(  # noqa: PLR0913 - a row's columns
    conn: Connection,
    fence: Fence,
    *,
    uid: str,
    cluster: str,
    namespace: str,
    name: str,
    session_uid: str | None,
    spec: Mapping[str, JsonValue],
    timeout: timedelta | None,  # noqa: ASYNC109 - the task's, not this call's
    created_at: datetime,
    parent: NewParent | None = None,
) -> TaskRecord | None:
    """Make the task's row, or find it made already; returns it as ``load_task`` does.

    The deadline (``timeout`` from now) and the parent are set by the first registration. ``session_uid`` and ``spec``
    may change until the task has an attempt or a step was entered: by its first step a task is bound to both for good.
    A task that changes its session loses its tickets in the old one. One that was made for a posted message gets the
    place of that. One that claims a parent which has no attempt for a child of this name is registered without a
    parent. One that a tool queued is of its caller's family.
    """
    parameters = {
        "uid": uid,
        "cluster": cluster,
        "install": fence.install,
        "namespace": namespace,
        "name": name,
        "session_uid": session_uid,
        "spec": encode(dict(spec)),
        "created_at": created_at,
        "timeout": timeout,
        "parent_uid": parent.parent_uid if parent else None,
        "parent_attempt": parent.parent_attempt if parent else None,
    }
    posted = [binding(session_uid, [(uid, name, MESSAGE_STEP)])] if session_uid is not None else []
    async with leading(conn, fence, (LOCK_SESSIONS, parameters)):
        async with conn.pipeline():
            answer = await ask(conn, _Registered, REGISTER, parameters)
            for query, values in posted:
                await conn.execute(query, values)
            left = await ask(conn, _Left, WITHDRAW_ELSEWHERE, parameters)
            loaded = await ask(conn, _Loaded, LOAD_TASK, {"uid": uid})
        registered, record = await answer.fetchone(), await loaded.fetchone()
        if registered is not None and registered.bound:
            await tell_end(conn, uid)
        for before in {row.session_uid for row in await left.fetchall()}:
            await wake_next(conn, before)
        return None if record is None else _TASK.validate_json(record.task)


async def load_task(conn: Connection, uid: str) -> TaskRecord | None:
    """Return all that planning needs, in one round trip; None for an unknown task."""
    found = await fetch_value(conn, str, LOAD_TASK, {"uid": uid})
    return None if found is None else _TASK.validate_json(found)


async def end_task(
    conn: Connection,
    fence: Fence,
    uid: str,
    *,
    phase: EndPhase,
    reason: str,
    message: str,
    output: JsonValue = None,
    close_attempts: str | None = None,
) -> bool:
    """End a task; the first end stands. Ends its held turn, withdraws its tickets and waits.

    A session that queued it by a tool is told.

    ``close_attempts`` is the reason with which attempts still open are closed as Cancelled; None leaves them as
    they are, and what they write is refused from now on.

    Returns:
        Whether this call ended it. False: it had ended before (``load_task`` says how), it is gone or unknown, or
        ``reason`` is TaskTimeout and its deadline has moved.

    Raises:
        ResultTooLarge: the output is over 16 MiB as JSON; nothing was written.
    """
    parameters = {
        "uid": uid,
        "phase": phase,
        "reason": reason,
        "message": storable_text(message),
        "output": encode_limited(output, "The task's output", MAX_STORED_BYTES),
    }
    async with leading(conn, fence):
        await lock_sessions_of_ending(conn, uid)
        await lock_task(conn, uid)
        if await fetch_value(conn, str, END, parameters) is None:
            return False
        await end_turns(conn, uid, step=None, why=f"The task ended: {reason}.")
        if close_attempts is not None:
            await cancel_attempts(conn, uid, close_attempts, message)
        await tell_end(conn, uid)
        await wake_family(conn, uid)
        return True


async def task_gone(conn: Connection, fence: Fence, uid: str) -> bool:
    """Close a task whose object is gone: attempts are Cancelled, its turn ends, tickets and waits are withdrawn.

    Runners are told to stop from now on; what had been committed stands.

    Returns:
        Whether this call did it; False when it was done before or the task is unknown.
    """
    async with leading(conn, fence):
        await lock_sessions_of_ending(conn, uid)
        await lock_task(conn, uid)
        if await fetch_value(conn, str, GONE, {"uid": uid}) is None:
            return False
        await end_turns(conn, uid, step=None, why="The task was deleted.")
        await cancel_attempts(conn, uid, "Cancelled", "The task was deleted.")
        await tell_end(conn, uid)
        await wake_family(conn, uid)
        return True


async def set_suspended(conn: Connection, fence: Fence, uid: str, *, suspended: bool) -> bool:
    """Suspend a task (its waiting tickets are withdrawn, nothing new starts) or resume it.

    Resuming moves the deadlines of the task, of its waits and of attempts that wait for a child by the time it was
    suspended. Running attempts and their deadlines go on in both cases, and a held turn stays held. Its children are
    notified.

    Returns:
        Whether anything changed.
    """
    async with leading(conn, fence):
        session_uid = await lock_session_of_task(conn, uid)
        await lock_task(conn, uid)
        if not suspended:
            await execute(conn, RESUME_WAITS, {"uid": uid})
            await execute(conn, RESUME_CHILDREN, {"uid": uid})
            if await fetch_value(conn, str, RESUME, {"uid": uid}) is None:
                return False
            await wake_children(conn, uid)
            return True
        if await fetch_value(conn, str, SUSPEND, {"uid": uid}) is None:
            return False
        if await execute(conn, WITHDRAW_TICKETS, {"uid": uid}) and session_uid is not None:
            await wake_next(conn, session_uid)
        await wake_children(conn, uid)
        return True


async def list_open(conn: Connection, cluster: str) -> list[OpenObject]:
    """Return all sessions and tasks of a cluster that have not been closed as gone, ended tasks included."""
    return await fetch_all(conn, OpenObject, LIST_OPEN, {"cluster": cluster})
