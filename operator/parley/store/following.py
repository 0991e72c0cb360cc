"""What there is to tell somebody who reads a session along, at one moment."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import JsonValue, TypeAdapter

from parley.store.pool import Connection
from parley.store.records import EndPhase
from parley.store.rows import ask, at_once
from parley.store.session_records import LifeState
from parley.store.transcript import EventRow, ask_events_after

MOST_TASKS = 100
"""Open tasks that a reader is told of, the oldest."""
MAX_OUTPUT_BYTES = 64 * 1024
"""Largest output, as JSON, that is told of; a larger one is in the task's own answer."""

# Those that were open when the reader looked last are looked up once more: to be told of their end. Of a name it is the
# newest: one that was made again under it is another.
LOOK = """
SELECT json_build_object(
  'last_sequence', s.last_sequence, 'state', s.state, 'why', s.state_why, 'gone', s.gone_since IS NOT NULL,
  'withdrawn', EXISTS (
    SELECT FROM posts p JOIN turns u USING (session_uid, ticket)
    WHERE p.session_uid = s.uid AND p.task_name = %(name)s AND u.state = 'Withdrawn' AND u.task_uid IS NULL),
  'tasks', (
    SELECT coalesce(json_agg(row_to_json(told) ORDER BY told.registered_at, told.uid), '[]') FROM (
      SELECT t.uid, t.name, t.registered_at, t.end_phase AS ended, t.end_reason AS reason, t.end_message AS message,
             t.gone_since IS NOT NULL AS gone, t.suspended_since IS NOT NULL AS suspended,
             CASE WHEN t.ended_at IS NOT NULL AND octet_length(t.output::text) <= %(output_bytes)s
                  THEN t.output END AS output,
             under_way.step AS step, coalesce(under_way.state, '') = 'Running' AS taken,
             EXISTS (SELECT FROM attempts a WHERE a.task_uid = t.uid) AS begun,
             (SELECT coalesce(json_agg(json_build_object(
                       'id', w.id, 'step', w.step, 'kind', w.kind, 'body', w.body, 'since', w.created_at,
                       'deadline', w.deadline) ORDER BY w.created_at, w.id), '[]')
              FROM waits w
              WHERE w.task_uid = t.uid AND w.state = 'Open' AND w.kind IN ('Question', 'Approval')) AS waits
      FROM ((SELECT uid FROM tasks
             WHERE session_uid = s.uid AND ended_at IS NULL AND gone_since IS NULL
             ORDER BY registered_at, uid LIMIT %(most)s)
            UNION SELECT unnest(%(known)s::text[])
            UNION (SELECT uid FROM tasks WHERE session_uid = s.uid AND name = %(name)s
                   ORDER BY registered_at DESC LIMIT 1)) meant (uid)
      JOIN tasks t USING (uid)
      LEFT JOIN LATERAL (SELECT a.step, a.state FROM attempts a
                         WHERE a.task_uid = t.uid AND a.state IN ('Open', 'Running')
                         ORDER BY a.id DESC LIMIT 1) under_way ON true) told)
)::text AS look
FROM sessions s WHERE s.uid = %(session_uid)s
"""


@dataclass(frozen=True, slots=True)
class OpenWait:
    """What a task waits for from a person; ``body`` as in ``WaitRecord``."""

    id: str
    step: str
    kind: str
    body: dict[str, JsonValue]
    since: datetime
    deadline: datetime | None


@dataclass(frozen=True, slots=True)
class FollowedTask:
    """A task of the session, as of now."""

    uid: str
    name: str
    registered_at: datetime
    ended: EndPhase | None
    reason: str | None
    message: str | None
    output: JsonValue
    """None also where it is larger than MAX_OUTPUT_BYTES."""
    gone: bool
    suspended: bool
    step: str | None
    """The step that is under way."""
    taken: bool
    """A runner has it."""
    begun: bool
    """Something of it has run already, or runs."""
    waits: list[OpenWait] = field(default_factory=list[OpenWait])


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a session."""

    last_sequence: int
    state: LifeState
    why: str | None
    gone: bool
    withdrawn: bool
    """There will be no task of the name asked for, for the message that wanted it."""
    tasks: list[FollowedTask]


@dataclass(frozen=True, slots=True)
class _Looked:
    look: str


_LOOK = TypeAdapter(Look)


async def look(
    conn: Connection,
    session_uid: str,
    *,
    after: int,
    limit: int,
    known: Sequence[str] = (),
    name: str | None = None,
) -> tuple[Look, list[EventRow]] | None:
    """Look at a session and its tasks, and then at its events: all that an ended task has said is among them.

    Args:
        conn: a connection to the store.
        session_uid: of the session.
        after: the last sequence that the reader has.
        limit: most events.
        known: uids of tasks to be told of beside the open ones.
        name: of another such task, the newest that bears it.

    Returns:
        None for a session that is not registered.
    """
    parameters = {
        "session_uid": session_uid,
        "known": list(known),
        "name": name,
        "most": MOST_TASKS,
        "output_bytes": MAX_OUTPUT_BYTES,
    }
    async with at_once(conn):
        looks = await ask(conn, _Looked, LOOK, parameters)
        events = await ask_events_after(conn, session_uid, after, limit=limit)
    found = await looks.fetchone()
    return None if found is None else (_LOOK.validate_json(found.look), await events.fetchall())
