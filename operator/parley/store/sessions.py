"""Sessions: their registration, their end and what their status shows."""

from collections.abc import Mapping

from pydantic import JsonValue, TypeAdapter

from parley.store.ending import cancel_attempts, end_turns, wake, wake_family
from parley.store.leader import Fence, leading
from parley.store.pool import Connection
from parley.store.queued import tell_end
from parley.store.rows import encode, execute, fetch_value, fetch_values
from parley.store.session_records import SessionSummary

DELETED = "SessionDeleted"
DELETED_MESSAGE = "The Session that the task belonged to was deleted."

REGISTER = """
INSERT INTO sessions AS s (uid, cluster, install, namespace, name, retention)
VALUES (%(uid)s, %(cluster)s, %(install)s, %(namespace)s, %(name)s, %(retention)s::json)
ON CONFLICT (uid) DO UPDATE SET install = excluded.install WHERE s.install <> excluded.install
"""
GONE = "UPDATE sessions SET gone_since = now() WHERE uid = %(uid)s AND gone_since IS NULL RETURNING uid"
# In one order: the session itself, and those that queued tasks in it and are to hear of their ends.
LOCK_SESSIONS = """
SELECT uid FROM sessions
WHERE uid = %(uid)s
   OR uid IN (SELECT q.session_uid FROM queued_tasks q JOIN tasks t ON t.uid = q.task_uid
              WHERE t.session_uid = %(uid)s AND q.told_at IS NULL)
ORDER BY uid FOR NO KEY UPDATE
"""
LOCK_TASKS = """
SELECT uid FROM tasks
WHERE session_uid = %(uid)s AND ended_at IS NULL AND gone_since IS NULL
ORDER BY uid FOR NO KEY UPDATE
"""
END_IF_BOUND = """
UPDATE tasks t SET ended_at = now(), end_phase = 'Failed', end_reason = %(reason)s, end_message = %(message)s
WHERE t.uid = %(task_uid)s AND (EXISTS (SELECT FROM attempts a WHERE a.task_uid = t.uid)
                                OR EXISTS (SELECT FROM steps s WHERE s.task_uid = t.uid))
RETURNING t.uid
"""
# Those of tasks that are registered with another session by now, and those of posted messages.
WITHDRAW_REST = """
UPDATE turns SET state = 'Withdrawn', ended_at = now() WHERE session_uid = %(uid)s AND state = 'Waiting'
RETURNING task_uid
"""
UNBIND = "UPDATE tasks SET session_uid = NULL WHERE uid = %(task_uid)s"
SUMMARY = """
SELECT json_build_object(
  'last_sequence', s.last_sequence, 'messages', s.messages,
  'input_tokens', s.input_tokens, 'output_tokens', s.output_tokens,
  'last_time', (SELECT max(e.time) FROM events e WHERE e.session_uid = s.uid AND e.sequence = s.last_sequence),
  'recent', (
    SELECT coalesce(json_agg(r ORDER BY r.sequence), '[]')
    FROM (SELECT sequence, id, time, type, role, speaker, task, step, item, attempt,
                 left(CASE json_typeof(content) WHEN 'string' THEN content #>> '{}'
                                                WHEN 'null' THEN NULL ELSE content::text END, 1000) AS text
          FROM events WHERE session_uid = s.uid ORDER BY sequence DESC LIMIT %(recent)s) r),
  'tasks_active', counted.active, 'tasks_succeeded', counted.succeeded, 'tasks_failed', counted.failed,
  'tasks_waiting', (SELECT count(*) FROM tasks t
                    WHERE t.session_uid = s.uid AND t.ended_at IS NULL AND t.gone_since IS NULL
                      AND EXISTS (SELECT FROM waits w WHERE w.task_uid = t.uid AND w.state = 'Open'
                                    AND w.kind IN ('Question', 'Approval'))),
  'running', EXISTS (SELECT FROM tasks t JOIN attempts a ON a.task_uid = t.uid AND a.state IN ('Open', 'Running')
                     WHERE t.session_uid = s.uid AND t.ended_at IS NULL AND t.gone_since IS NULL),
  'context', s.context, 'context_version', s.context_version, 'now', now(),
  'state', s.state, 'state_since', s.state_since, 'state_why', s.state_why,
  'active_at', greatest(s.active_at, counted.active_at), 'retention', s.retention,
  'clear_asked', s.clear_asked, 'cleared_through', s.cleared_through, 'restored_from', s.restored_from,
  'oldest', (SELECT e.time FROM events e WHERE e.session_uid = s.uid AND e.sequence = s.cleared_through + 1)
)::text
FROM sessions s
CROSS JOIN LATERAL (
  SELECT count(*) FILTER (WHERE ended_at IS NULL AND gone_since IS NULL) AS active,
         count(*) FILTER (WHERE end_phase = 'Succeeded') AS succeeded,
         count(*) FILTER (WHERE end_phase = 'Failed') AS failed,
         greatest(max(registered_at), max(ended_at), max(gone_since) FILTER (WHERE ended_at IS NULL)) AS active_at
  FROM tasks WHERE session_uid = s.uid) counted
WHERE s.uid = %(uid)s
"""

_SUMMARY = TypeAdapter(SessionSummary)


async def register_session(
    conn: Connection,
    fence: Fence,
    *,
    uid: str,
    cluster: str,
    namespace: str,
    name: str,
    retention: Mapping[str, JsonValue] | None = None,
) -> None:
    """Make the session's row, or find it made already; ``retention`` as in ``set_retention``."""
    parameters = {
        "uid": uid,
        "cluster": cluster,
        "install": fence.install,
        "namespace": namespace,
        "name": name,
        "retention": encode(dict(retention)) if retention is not None else None,
    }
    async with leading(conn, fence):
        await execute(conn, REGISTER, parameters)


async def session_gone(conn: Connection, fence: Fence, uid: str) -> bool:
    """Close a session whose object is gone, and with it the tasks bound to it, in one transaction.

    A task that has attempts or has entered a step is bound: it ends Failed, SessionDeleted, its open attempts are
    Cancelled and its turn ends. Any other loses its ticket only; it may be registered with another Session of that
    name, or may have been already. All of them are notified, with their parents and children.

    Returns:
        Whether this call did it; False when it was done before or the session is unknown.
    """
    async with leading(conn, fence):
        await execute(conn, LOCK_SESSIONS, {"uid": uid})
        if await fetch_value(conn, str, GONE, {"uid": uid}) is None:
            return False
        for task_uid in await fetch_values(conn, str, LOCK_TASKS, {"uid": uid}):
            await _release(conn, task_uid)
        for task_uid in await fetch_values(conn, str, WITHDRAW_REST, {"uid": uid}):
            await wake(conn, task_uid)
        return True


async def _release(conn: Connection, task_uid: str) -> None:
    parameters = {"task_uid": task_uid, "reason": DELETED, "message": DELETED_MESSAGE}
    await end_turns(conn, task_uid, step=None, why=DELETED_MESSAGE)
    if await fetch_value(conn, str, END_IF_BOUND, parameters) is None:
        await execute(conn, UNBIND, parameters)
    await cancel_attempts(conn, task_uid, DELETED, DELETED_MESSAGE)
    await tell_end(conn, task_uid)
    await wake_family(conn, task_uid)


async def session_summary(conn: Connection, uid: str, recent: int = 10) -> SessionSummary | None:
    """Return what the session's status shows, None for an unknown session."""
    found = await fetch_value(conn, str, SUMMARY, {"uid": uid, "recent": recent})
    return None if found is None else _SUMMARY.validate_json(found)
