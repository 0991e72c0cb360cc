"""Erasing what was said: contents go, for good; numbers, times and who ran what stay.

An event's content becomes JSON null. Of a task that is over and had a part in what is erased, everything is erased that
was said in it or made of that: its spec, what the model was told and answered, outputs, questions, replies, logs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import JsonValue

from parley.store.leader import Fence, leading
from parley.store.lifecycle import append_state
from parley.store.pool import Connection
from parley.store.rows import execute, fetch_one, fetch_value, fetch_values

REWRITE = "SELECT set_config('parley.rewriting', 'on', true)"
"""Lets this transaction change rows that stand for good."""

LOCK = """
SELECT last_sequence, clear_asked, cleared_through, active_at FROM sessions
WHERE uid = %(uid)s AND gone_since IS NULL FOR NO KEY UPDATE
"""
REACH = """
UPDATE sessions s SET
  clear_asked = greatest(s.clear_asked, %(asked)s),
  cleared_through = greatest(s.cleared_through, %(through)s),
  cleared_until = greatest(s.cleared_until, coalesce(
    (SELECT e.time FROM events e WHERE e.session_uid = s.uid AND e.sequence = %(through)s::bigint + 1), now()))
WHERE s.uid = %(uid)s
"""
# To have it cleared is no sign of life in a session: it sleeps on, and expires when it would have.
SLEEP_ON = "UPDATE sessions SET active_at = %(active_at)s WHERE uid = %(uid)s"
OLDER = """
SELECT max(sequence) FROM events
WHERE session_uid = %(uid)s AND sequence > %(cleared_through)s AND time < now() - %(max_age)s::interval
"""
# What the session's own states say was said by nobody.
ERASE_EVENTS = """
UPDATE events e SET content = 'null'::json, speaker = NULL
FROM sessions s
WHERE s.uid = %(uid)s AND e.session_uid = s.uid
  AND e.sequence > %(after)s AND e.sequence <= s.cleared_through
  AND json_typeof(e.content) <> 'null'
  AND NOT (e.type = 'state'
           AND coalesce(e.content ->> 'state', '') IN
             ('Active', 'Dormant', 'Paused', 'Expired', 'Ended', 'Archived', 'Cleared', 'Restored'))
"""
# So that nobody finds out by guessing what it was; a repeat of the request is answered all the same.
ERASE_HASHES = """
UPDATE posts p SET body_hash = '' FROM sessions s
WHERE s.uid = %(uid)s AND p.session_uid = s.uid AND p.sequence <= s.cleared_through AND p.body_hash <> ''
"""
# Those that no Task was ever made of.
ERASE_POSTS = """
UPDATE turns u SET posted_spec = '{}' FROM sessions s
WHERE s.uid = %(uid)s AND u.session_uid = s.uid AND u.task_uid IS NULL AND u.ended_at IS NOT NULL
  AND u.posted_spec::text <> '{}' AND u.created_at <= s.cleared_until
"""
# A summary stands for what it sums up, however late it came.
ERASE_SUMMARIES = """
UPDATE events e SET content = 'null'::json, speaker = NULL
FROM sessions s
WHERE s.uid = %(uid)s AND e.session_uid = s.uid AND e.type = 'summary' AND json_typeof(e.content) <> 'null'
  AND EXISTS (SELECT FROM json_array_elements(e.content -> 'ranges') AS range
              WHERE (range ->> 0)::bigint <= s.cleared_through)
"""
# Tasks of the session, and those below them that have none, that are over. A parent copies what its child gave, and a
# session is told how what it queued has ended: not before.
OVER = """
SELECT t.uid FROM sessions s
CROSS JOIN LATERAL (
  SELECT uid FROM tasks WHERE session_uid = s.uid AND erased_at IS NULL
  UNION
  SELECT below.uid FROM tasks root JOIN tasks below ON below.root_uid = root.uid
  WHERE root.session_uid = s.uid AND below.session_uid IS NULL AND below.erased_at IS NULL) family
JOIN tasks t ON t.uid = family.uid
WHERE s.uid = %(uid)s AND t.registered_at <= s.cleared_until
  AND (t.ended_at IS NOT NULL OR t.gone_since IS NOT NULL)
  AND NOT EXISTS (SELECT FROM attempts a WHERE a.id = t.parent_attempt AND a.state IN ('Open', 'Running'))
  AND NOT EXISTS (SELECT FROM queued_tasks q
                  WHERE q.task_uid = t.uid AND q.told_at IS NULL AND q.session_uid IS NOT NULL)
ORDER BY t.uid FOR NO KEY UPDATE OF t
"""
# Those of them that began to speak before what is kept: a message that waited in the queue until then is no part of
# it. One pass over the events, however many tasks there are.
TO_ERASE = """
WITH spoke AS (
  SELECT task_uid, min(sequence) AS first FROM events
  WHERE session_uid = %(uid)s AND task_uid IS NOT NULL
  GROUP BY task_uid
)
SELECT over.uid FROM unnest(%(over)s::text[]) AS over (uid)
LEFT JOIN spoke ON spoke.task_uid = over.uid
WHERE spoke.first IS NULL OR spoke.first <= (SELECT cleared_through FROM sessions WHERE uid = %(uid)s)
"""
ERASE_TASKS = (
    "UPDATE inputs SET messages = NULL WHERE task_uid = ANY(%(tasks)s::text[]) AND messages IS NOT NULL",
    "DELETE FROM journal WHERE task_uid = ANY(%(tasks)s::text[])",
    "DELETE FROM outputs WHERE task_uid = ANY(%(tasks)s::text[])",
    "DELETE FROM uploads u USING attempts a WHERE a.id = u.attempt AND a.task_uid = ANY(%(tasks)s::text[])",
    "UPDATE replies SET body = '{}', verdict = '' WHERE task_uid = ANY(%(tasks)s::text[])",
    """
UPDATE replies r SET body = '{}', verdict = ''
FROM waits w WHERE w.id = r.wait_id AND w.task_uid = ANY(%(tasks)s::text[])
""",
    "UPDATE waits SET body = '{}' WHERE task_uid = ANY(%(tasks)s::text[])",
    """
UPDATE turns SET posted_spec = '{}'
WHERE task_uid = ANY(%(tasks)s::text[]) AND posted_spec IS NOT NULL AND ended_at IS NOT NULL
""",
    """
UPDATE steps SET items = CASE WHEN items IS NOT NULL THEN '[]'::json END,
                 message = CASE WHEN message IS NOT NULL THEN '' END
WHERE task_uid = ANY(%(tasks)s::text[])
""",
    """
UPDATE attempts SET request = '{}', answer = NULL, log = NULL, message = CASE WHEN message IS NOT NULL THEN '' END
WHERE task_uid = ANY(%(tasks)s::text[])
""",
    """
UPDATE tasks SET spec = '{}', output = NULL, erased_at = now(),
                 end_message = CASE WHEN end_message IS NOT NULL THEN '' END
WHERE uid = ANY(%(tasks)s::text[])
""",
)


@dataclass(frozen=True, slots=True)
class _Locked:
    last_sequence: int
    clear_asked: int
    cleared_through: int
    active_at: datetime


async def clear_history(
    conn: Connection, fence: Fence, uid: str, through: int, by: str | None, busy: Sequence[str] = ()
) -> int | None:
    """Erase what was said up to a sequence, as somebody asks; a ``state`` event ``{state, through, by}`` says so.

    A request is done once: one that reaches beyond the last event erases what there is now. ``busy`` are the uids of
    tasks whose own status does not yet say that they are over: ``finish_erasing`` does them later.

    Returns:
        The sequence up to which it erased; None when the request was done before, or the session is gone.
    """
    async with leading(conn, fence):
        row = await _lock(conn, uid)
        if row is None or through <= row.clear_asked:
            return None
        reached = min(through, row.last_sequence)
        await execute(conn, REACH, {"uid": uid, "asked": through, "through": reached})
        content: Mapping[str, JsonValue] = {"state": "Cleared", "through": reached, "by": by}
        await append_state(conn, uid, row.last_sequence, content)
        await execute(conn, SLEEP_ON, {"uid": uid, "active_at": row.active_at})
        await _erase_events(conn, uid, row)
        await _erase_tasks(conn, uid, busy)
        return reached


async def erase_old(
    conn: Connection, fence: Fence, uid: str, max_age: timedelta, busy: Sequence[str] = ()
) -> int | None:
    """Erase what was said longer ago than that, on Postgres's clock; ``busy`` as in ``clear_history``.

    Returns:
        The sequence up to which it erased; None when nothing was that old, or the session is gone.
    """
    async with leading(conn, fence):
        row = await _lock(conn, uid)
        if row is None:
            return None
        old = {"uid": uid, "cleared_through": row.cleared_through, "max_age": max_age}
        through = await fetch_value(conn, int, OLDER, old)
        if through is None:
            return None
        await execute(conn, REACH, {"uid": uid, "asked": row.clear_asked, "through": through})
        await _erase_events(conn, uid, row)
        await _erase_tasks(conn, uid, busy)
        return through


async def finish_erasing(conn: Connection, fence: Fence, uid: str, busy: Sequence[str] = ()) -> bool:
    """Erase tasks that were under way when what they began with was erased; tell whether some are still ``busy``."""
    async with leading(conn, fence):
        return False if await _lock(conn, uid) is None else await _erase_tasks(conn, uid, busy)


async def _lock(conn: Connection, uid: str) -> _Locked | None:
    return await fetch_one(conn, _Locked, LOCK, {"uid": uid})


async def _erase_events(conn: Connection, uid: str, before: _Locked) -> None:
    """Erase what was said after what had been erased before: no event comes later with a sequence that was passed."""
    await fetch_value(conn, str, REWRITE, {})
    await execute(conn, ERASE_EVENTS, {"uid": uid, "after": before.cleared_through})
    await execute(conn, ERASE_HASHES, {"uid": uid})


async def _erase_tasks(conn: Connection, uid: str, busy: Sequence[str]) -> bool:
    """Erase the tasks that are over, and summaries; tell whether some of the tasks are still busy."""
    await fetch_value(conn, str, REWRITE, {})
    await execute(conn, ERASE_SUMMARIES, {"uid": uid})
    await execute(conn, ERASE_POSTS, {"uid": uid})
    over = await fetch_values(conn, str, OVER, {"uid": uid})
    if over:
        over = await fetch_values(conn, str, TO_ERASE, {"uid": uid, "over": over})
    tasks = sorted(set(over).difference(busy))
    if tasks:
        for statement in ERASE_TASKS:
            await execute(conn, statement, {"tasks": tasks})
    return len(tasks) < len(over)
