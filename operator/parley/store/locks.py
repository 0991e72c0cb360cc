"""Row locks, in the only order in which a transaction may take them: leader, sessions, tasks, turns, attempts.

NO KEY UPDATE, so that a foreign key's own check (KEY SHARE) never waits for them.
"""

from parley.store.pool import Connection
from parley.store.rows import execute, fetch_value

LOCK_SESSION = "SELECT uid FROM sessions WHERE uid = %(session_uid)s AND gone_since IS NULL FOR NO KEY UPDATE"
LOCK_SESSION_OF_TASK = """
SELECT uid FROM sessions WHERE uid = (SELECT session_uid FROM tasks WHERE uid = %(task_uid)s)
FOR NO KEY UPDATE
"""
LOCK_SESSION_OF_ATTEMPT = """
SELECT uid FROM sessions
WHERE uid = (SELECT t.session_uid FROM attempts a JOIN tasks t ON t.uid = a.task_uid WHERE a.id = %(attempt_id)s)
FOR NO KEY UPDATE
"""
# In one order: two tasks may each tell the other's session of its end.
LOCK_SESSIONS_OF_ENDING = """
SELECT uid FROM sessions
WHERE uid IN (SELECT session_uid FROM tasks WHERE uid = %(task_uid)s
              UNION ALL
              SELECT session_uid FROM queued_tasks WHERE task_uid = %(task_uid)s AND told_at IS NULL)
ORDER BY uid FOR NO KEY UPDATE
"""
LOCK_OPEN_TASK = """
SELECT uid FROM tasks WHERE uid = %(task_uid)s AND gone_since IS NULL AND ended_at IS NULL FOR NO KEY UPDATE
"""
LOCK_LIVE_TASK = """
SELECT uid FROM tasks
WHERE uid = %(task_uid)s AND gone_since IS NULL AND ended_at IS NULL AND suspended_since IS NULL
FOR NO KEY UPDATE
"""
LOCK_TASK = "SELECT uid FROM tasks WHERE uid = %(task_uid)s FOR NO KEY UPDATE"


async def lock_session(conn: Connection, session_uid: str) -> bool:
    """Lock a session; False when it is gone or unknown."""
    return await fetch_value(conn, str, LOCK_SESSION, {"session_uid": session_uid}) is not None


async def lock_session_of_task(conn: Connection, task_uid: str) -> str | None:
    """Lock the session a task belongs to, if any; return its uid."""
    return await fetch_value(conn, str, LOCK_SESSION_OF_TASK, {"task_uid": task_uid})


async def lock_sessions_of_ending(conn: Connection, task_uid: str) -> None:
    """Lock the session a task belongs to, and the one that queued it and is to hear of its end."""
    await execute(conn, LOCK_SESSIONS_OF_ENDING, {"task_uid": task_uid})


async def lock_open_task(conn: Connection, task_uid: str) -> bool:
    """Lock a task; False when it ended, is gone or unknown."""
    return await fetch_value(conn, str, LOCK_OPEN_TASK, {"task_uid": task_uid}) is not None


async def lock_live_task(conn: Connection, task_uid: str) -> bool:
    """Lock a task; False when it ended, is gone, suspended or unknown."""
    return await fetch_value(conn, str, LOCK_LIVE_TASK, {"task_uid": task_uid}) is not None


async def lock_task(conn: Connection, task_uid: str) -> bool:
    """Lock a task; False when it is unknown."""
    return await fetch_value(conn, str, LOCK_TASK, {"task_uid": task_uid}) is not None
