"""A session's events as people read them, page by page."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg import AsyncCursor
from pydantic import JsonValue

from parley.protocol.messages import EventType
from parley.store.pool import Connection
from parley.store.rows import Parameters, ask, fetch_all, fetch_value

PAGE_BYTES = 2 * 1024 * 1024
"""Content of a page, as JSON, after which it ends: an event alone may have 1 MiB."""

EVENTS_AFTER = """
WITH page AS (
  SELECT sequence, id, time, type, role, content, speaker, task, step, item, attempt,
         octet_length(content::text) AS size
  FROM events
  WHERE session_uid = %(session_uid)s AND sequence > %(begin)s
    AND (%(types)s::text[] IS NULL OR type = ANY(%(types)s::text[]))
  ORDER BY sequence LIMIT %(limit)s
), sized AS (
  SELECT *, sum(size) OVER (ORDER BY sequence) - size AS ahead FROM page
)
SELECT sequence, id, time, type, role, content, speaker, task, step, item, attempt FROM sized
WHERE ahead < %(bytes)s ORDER BY sequence
"""
EVENTS_BEFORE = """
WITH page AS (
  SELECT sequence, id, time, type, role, content, speaker, task, step, item, attempt,
         octet_length(content::text) AS size
  FROM events
  WHERE session_uid = %(session_uid)s AND sequence < %(begin)s
    AND (%(types)s::text[] IS NULL OR type = ANY(%(types)s::text[]))
  ORDER BY sequence DESC LIMIT %(limit)s
), sized AS (
  SELECT *, sum(size) OVER (ORDER BY sequence DESC) - size AS ahead FROM page
)
SELECT sequence, id, time, type, role, content, speaker, task, step, item, attempt FROM sized
WHERE ahead < %(bytes)s ORDER BY sequence
"""
LAST_SEQUENCE = "SELECT last_sequence FROM sessions WHERE uid = %(session_uid)s"


@dataclass(frozen=True, slots=True)
class EventRow:
    """An event, whole. ``content`` is None once it was erased; ``item`` is -1 without a forEach."""

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


async def events_after(
    conn: Connection,
    session_uid: str,
    after: int,
    *,
    limit: int,
    types: Sequence[EventType] | None = None,
    page_bytes: int = PAGE_BYTES,
) -> list[EventRow]:
    """Return the first events after a sequence, in their order: one at least where there is one, ``limit`` at most."""
    events = await ask_events_after(conn, session_uid, after, limit=limit, types=types, page_bytes=page_bytes)
    return await events.fetchall()


async def ask_events_after(
    conn: Connection,
    session_uid: str,
    after: int,
    *,
    limit: int,
    types: Sequence[EventType] | None = None,
    page_bytes: int = PAGE_BYTES,
) -> AsyncCursor[EventRow]:
    """Ask for the same; in a ``conn.pipeline()`` the answer is there once that is left."""
    return await ask(conn, EventRow, EVENTS_AFTER, _page(session_uid, after, limit, types, page_bytes))


async def events_before(
    conn: Connection,
    session_uid: str,
    before: int,
    *,
    limit: int,
    types: Sequence[EventType] | None = None,
    page_bytes: int = PAGE_BYTES,
) -> list[EventRow]:
    """Return the last events before a sequence, in their order, as ``events_after`` does."""
    return await fetch_all(
        conn, EventRow, EVENTS_BEFORE, _page(session_uid, before, limit, types, page_bytes)
    )


def _page(
    session_uid: str, begin: int, limit: int, types: Sequence[EventType] | None, page_bytes: int
) -> Parameters:
    return {
        "session_uid": session_uid,
        "begin": begin,
        "limit": limit,
        "types": None if types is None else list(types),
        "bytes": page_bytes,
    }


async def last_sequence(conn: Connection, session_uid: str) -> int | None:
    """Return how many events a session has; None for one that is not registered."""
    return await fetch_value(conn, int, LAST_SEQUENCE, {"session_uid": session_uid})
