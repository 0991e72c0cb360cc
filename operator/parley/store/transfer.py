"""A whole transcript out of the store, and into a session that has none.

Events keep their sequence, id, time and turn: so a summary stands for what it stood for, models are shown the
conversation in its order, and an import that is repeated finds each event there.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg import errors
from pydantic import JsonValue

from parley.protocol.messages import EventType
from parley.store.context import MAX_CONTEXT_BYTES
from parley.store.ending import wake
from parley.store.errors import SessionNotReady, SessionOver, TranscriptConflict
from parley.store.lifecycle import FINAL
from parley.store.pool import Connection
from parley.store.rows import encode_limited, execute, fetch_all, fetch_one, fetch_value, storable_text
from parley.store.session_records import LifeState
from parley.store.transcript import PAGE_BYTES

HEAD = """
SELECT last_sequence, last_ticket AS last_turn, context, context_version FROM sessions WHERE uid = %(session_uid)s
"""
# The turn of a message that still waits, or has lost its place, is none: models are not shown it either.
PAGE = """
WITH page AS (
  SELECT e.sequence, e.id, e.time, e.type, e.role, e.content, e.speaker, e.task, e.step, e.item, e.attempt,
         CASE WHEN u.state IN ('Held', 'Done') THEN e.ticket END AS turn, octet_length(e.content::text) AS size
  FROM events e LEFT JOIN turns u ON (u.session_uid, u.ticket) = (e.session_uid, e.ticket)
  WHERE e.session_uid = %(session_uid)s AND e.sequence > %(after)s AND e.sequence <= %(through)s
  ORDER BY e.sequence LIMIT %(limit)s
), sized AS (
  SELECT *, sum(size) OVER (ORDER BY sequence) - size AS ahead FROM page
)
SELECT sequence, id, time, type, role, content, speaker, task, step, item, attempt, turn FROM sized
WHERE ahead < %(bytes)s ORDER BY sequence
"""
LOCK = """
SELECT state, last_sequence, last_ticket, gone_since IS NOT NULL AS gone
FROM sessions WHERE uid = %(session_uid)s FOR NO KEY UPDATE
"""
# What the session has at these sequences must be these events.
OTHERS = """
SELECT min(e.sequence) FROM events e
JOIN unnest(%(sequences)s::bigint[], %(ids)s::text[]) AS given (sequence, id) ON given.sequence = e.sequence
WHERE e.session_uid = %(session_uid)s AND e.id <> given.id::uuid
"""
# A turn of its own has a task, or waits for one.
OWN_TURN = """
SELECT min(ticket) FROM turns
WHERE session_uid = %(session_uid)s AND ticket = ANY(%(turns)s::bigint[])
  AND NOT (task_uid IS NULL AND state = 'Done' AND posted_spec::text = '{}')
"""
ADD_TURNS = """
INSERT INTO turns (session_uid, ticket, task_name, step, posted_spec, state, granted_at, ended_at)
SELECT %(session_uid)s, ticket, task, step, '{}', 'Done', now(), now()
FROM unnest(%(turns)s::bigint[], %(tasks)s::text[], %(steps)s::text[]) AS given (ticket, task, step)
ON CONFLICT (session_uid, ticket) DO NOTHING
"""
ADD_EVENTS = """
INSERT INTO events (session_uid, sequence, id, time, type, role, content, speaker, task, step, item, attempt, ticket)
SELECT %(session_uid)s, given.sequence, given.id::uuid, given.time, given.type, given.role, given.content::json,
       given.speaker, given.task, given.step, given.item, given.attempt, given.turn
FROM unnest(%(sequences)s::bigint[], %(ids)s::text[], %(times)s::timestamptz[], %(types)s::text[], %(roles)s::text[],
            %(contents)s::text[], %(speakers)s::text[], %(tasks)s::text[], %(steps)s::text[], %(items)s::int[],
            %(attempts)s::int[], %(turns)s::bigint[])
  AS given (sequence, id, time, type, role, content, speaker, task, step, item, attempt, turn)
"""
COUNT = """
UPDATE sessions SET last_sequence = last_sequence + %(events)s, messages = messages + %(messages)s,
                    last_ticket = greatest(last_ticket, %(last_turn)s)
WHERE uid = %(session_uid)s
"""
TAKE_CONTEXT = """
UPDATE sessions SET context = %(context)s::json, context_version = %(version)s
WHERE uid = %(session_uid)s AND context_version = 0
"""


@dataclass(frozen=True, slots=True)
class TranscriptHead:
    """What a session has beside its events. ``context`` is None while no step has changed it."""

    last_sequence: int
    last_turn: int
    context: dict[str, JsonValue] | None
    context_version: int


@dataclass(frozen=True, slots=True)
class TranscriptRow:
    """An event with its turn, by which the conversation is ordered; None for one that is part of none."""

    sequence: int
    id: UUID
    time: datetime
    type: EventType
    role: str | None
    content: JsonValue
    speaker: str | None
    task: str | None
    step: str | None
    item: int
    attempt: int | None
    turn: int | None


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did."""

    imported: int
    already_there: int
    last_sequence: int


@dataclass(frozen=True, slots=True)
class _Locked:
    state: LifeState
    last_sequence: int
    last_ticket: int
    gone: bool


async def transcript_head(conn: Connection, session_uid: str) -> TranscriptHead | None:
    """Return what an export begins with; None for a session that is not registered."""
    return await fetch_one(conn, TranscriptHead, HEAD, {"session_uid": session_uid})


async def transcript_page(
    conn: Connection, session_uid: str, after: int, through: int, *, limit: int = 500
) -> list[TranscriptRow]:
    """Return the next events of an export, none at its end."""
    parameters = {
        "session_uid": session_uid,
        "after": after,
        "through": through,
        "limit": limit,
        "bytes": PAGE_BYTES,
    }
    return await fetch_all(conn, TranscriptRow, PAGE, parameters)


async def import_transcript(
    conn: Connection, session_uid: str, head: TranscriptHead, batches: AsyncIterator[Sequence[TranscriptRow]]
) -> Imported:
    """Store a transcript, all of it or nothing; what is there already, by sequence and id, is left as it is.

    The session must hold nothing else than the beginning of the transcript, or all of it. The context is taken over
    by a session that no step has changed the context of.

    Args:
        conn: a connection to the store.
        session_uid: of the session that gets it.
        head: of the transcript.
        batches: its events in their order, without a gap; small ones, for each is one statement.

    Raises:
        TranscriptConflict: the session holds events or turns of its own.
        SessionNotReady: the operator has not registered the session.
        SessionOver: the session has ended, or is gone.
        ResultTooLarge: an event or the context is larger than the store takes.
    """
    place: dict[str, object] = {"session_uid": session_uid}
    async with conn.transaction():
        session = await fetch_one(conn, _Locked, LOCK, place)
        if session is None:
            raise SessionNotReady("The operator has not taken this Session in yet.")
        if session.gone or session.state in FINAL:
            raise SessionOver("Gone" if session.gone else session.state)
        added = found = messages = 0
        async for batch in batches:
            await _require_same(
                conn, session_uid, [row for row in batch if row.sequence <= session.last_sequence]
            )
            fresh = [row for row in batch if row.sequence > session.last_sequence]
            found += len(batch) - len(fresh)
            added += len(fresh)
            messages += sum(row.type == "message" for row in fresh)
            if fresh:
                await _add(conn, session_uid, fresh)
        if added:
            counted = {"events": added, "messages": messages, "last_turn": head.last_turn}
            await execute(conn, COUNT, place | counted)
            await wake(conn, session_uid)
        if head.context is not None:
            text = encode_limited(head.context, "The transcript's context", MAX_CONTEXT_BYTES)
            await execute(
                conn, TAKE_CONTEXT, place | {"context": text, "version": max(head.context_version, 1)}
            )
        return Imported(added, found, session.last_sequence + added)


async def _require_same(conn: Connection, session_uid: str, rows: Sequence[TranscriptRow]) -> None:
    if not rows:
        return
    parameters = {
        "session_uid": session_uid,
        "sequences": [row.sequence for row in rows],
        "ids": [str(row.id) for row in rows],
    }
    other = await fetch_value(conn, int, OTHERS, parameters)
    if other is not None:
        raise TranscriptConflict(f"its event {other} is another one")


async def _add(conn: Connection, session_uid: str, rows: Sequence[TranscriptRow]) -> None:
    turns = {row.turn: row for row in reversed(rows) if row.turn is not None}
    parameters: dict[str, object] = {
        "session_uid": session_uid,
        "turns": sorted(turns),
        "tasks": [_text(turns[ticket].task) or "" for ticket in sorted(turns)],
        "steps": [_text(turns[ticket].step) or "" for ticket in sorted(turns)],
    }
    own = await fetch_value(conn, int, OWN_TURN, parameters)
    if own is not None:
        raise TranscriptConflict(f"its turn {own} is another one")
    await execute(conn, ADD_TURNS, parameters)
    columns = {
        "session_uid": session_uid,
        "sequences": [row.sequence for row in rows],
        "ids": [str(row.id) for row in rows],
        "times": [row.time for row in rows],
        "types": [row.type for row in rows],
        "roles": [row.role for row in rows],
        "contents": [encode_limited(row.content, f"The content of event {row.sequence}") for row in rows],
        "speakers": [_text(row.speaker) for row in rows],
        "tasks": [_text(row.task) for row in rows],
        "steps": [_text(row.step) for row in rows],
        "items": [row.item for row in rows],
        "attempts": [row.attempt for row in rows],
        "turns": [row.turn for row in rows],
    }
    try:
        await execute(conn, ADD_EVENTS, columns)
    except errors.UniqueViolation as error:
        raise TranscriptConflict("an id stands for two events") from error


def _text(value: str | None) -> str | None:
    return None if value is None else storable_text(value)
