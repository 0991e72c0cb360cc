"""What is kept of objects that are gone, and its end."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from parley.store.leader import Fence, leading
from parley.store.pool import Connection
from parley.store.rows import execute, fetch_all, fetch_value, fetch_values

DEFAULT_RETENTION_SECONDS = 30 * 24 * 3600
"""What a Session that says nothing asks for: 720h."""

# Rows from before retentions were copied have the usual one, counted from the day on which they could have it.
DUE = """
SELECT 'Session' AS kind, s.uid, s.namespace, s.name FROM sessions s
WHERE s.cluster = %(cluster)s AND s.install = %(install)s AND s.uid = coalesce(%(uid)s, s.uid)
  AND s.gone_since IS NOT NULL AND coalesce(s.retention ->> 'transcript', 'Delete') = 'Delete'
  AND greatest(s.gone_since, CASE WHEN s.retention IS NULL
                                  THEN (SELECT applied_at FROM migrations WHERE number = 4) END)
      + make_interval(secs => coalesce((s.retention ->> 'afterSeconds')::float8, %(default_seconds)s)) <= now()
UNION ALL
SELECT 'Task', t.uid, t.namespace, t.name FROM tasks t
WHERE t.cluster = %(cluster)s AND t.install = %(install)s AND t.uid = coalesce(%(uid)s, t.uid)
  AND t.session_uid IS NULL AND t.gone_since + %(task_retention)s::interval <= now()
ORDER BY 3, 1, 2
"""
KEPT = """
SELECT namespace, sum(rows)::int AS rows FROM (
  SELECT namespace, count(*) AS rows FROM sessions WHERE cluster = %(cluster)s GROUP BY namespace
  UNION ALL
  SELECT namespace, count(*) FROM tasks WHERE cluster = %(cluster)s AND session_uid IS NULL GROUP BY namespace) each
GROUP BY namespace
"""
LOCK_SESSION = "SELECT uid FROM sessions WHERE uid = %(uid)s FOR UPDATE"
LOCK_TASK = "SELECT uid FROM tasks WHERE uid = %(uid)s FOR UPDATE"
# A task whose status does not say yet how it ended would begin again, were its rows gone.
IS_BUSY = "SELECT true FROM tasks WHERE session_uid = %(uid)s AND uid = ANY(%(busy)s::text[]) LIMIT 1"
FAMILY = """
SELECT t.uid FROM tasks t WHERE t.session_uid = %(uid)s
UNION
SELECT t.uid FROM tasks root JOIN tasks t ON t.root_uid = root.uid
WHERE root.session_uid = %(uid)s
  AND t.session_uid IS NULL AND (t.ended_at IS NOT NULL OR t.gone_since IS NOT NULL)
  AND t.uid <> ALL(%(busy)s::text[])
"""
DELETE_TASKS = "DELETE FROM tasks WHERE uid = ANY(%(tasks)s::text[])"
MOST_TASKS = 200
"""Tasks that one statement deletes, with all their rows: no statement may take longer than 10 s."""
DELETE_SESSION = "DELETE FROM sessions WHERE uid = %(uid)s"
DELETE_TASK = "DELETE FROM tasks WHERE uid = %(uid)s"


@dataclass(frozen=True, slots=True)
class Due:
    """Rows of an object that is gone, whose time is over."""

    kind: Literal["Session", "Task"]
    uid: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class _Kept:
    namespace: str
    rows: int


async def list_due(conn: Connection, fence: Fence, task_retention: timedelta) -> list[Due]:
    """Return what may be erased now: sessions that are gone, with all their tasks, and tasks without a session."""
    return await fetch_all(conn, Due, DUE, _parameters(fence, task_retention, None))


async def count_kept(conn: Connection, cluster: str) -> dict[str, int]:
    """Return how many sessions, and tasks without a session, each namespace has, those that are gone included."""
    return {row.namespace: row.rows for row in await fetch_all(conn, _Kept, KEPT, {"cluster": cluster})}


async def erase_gone(
    conn: Connection, fence: Fence, due: Due, task_retention: timedelta, busy: Sequence[str] = ()
) -> bool:
    """Delete the rows of a session with its tasks, or of a task, if their time is still over.

    ``busy`` are the uids of tasks whose own status does not yet say that they are over: while a session has one, it is
    kept.

    Returns:
        Whether anything was deleted.
    """
    parameters = {**_parameters(fence, task_retention, due.uid), "busy": list(busy)}
    is_session = due.kind == "Session"
    async with leading(conn, fence):
        await fetch_value(conn, str, LOCK_SESSION if is_session else LOCK_TASK, parameters)
        if not await fetch_all(conn, Due, DUE, parameters):
            return False
        if not is_session:
            return await execute(conn, DELETE_TASK, parameters) > 0
        if await fetch_value(conn, bool, IS_BUSY, parameters):
            return False
        family = await fetch_values(conn, str, FAMILY, parameters)
        for start in range(0, len(family), MOST_TASKS):
            await execute(conn, DELETE_TASKS, {"tasks": family[start : start + MOST_TASKS]})
        return await execute(conn, DELETE_SESSION, parameters) > 0


def _parameters(fence: Fence, task_retention: timedelta, uid: str | None) -> dict[str, object]:
    return {
        "cluster": fence.cluster,
        "install": fence.install,
        "default_seconds": DEFAULT_RETENTION_SECONDS,
        "task_retention": task_retention,
        "uid": uid,
    }
