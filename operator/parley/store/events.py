"""Appending events to a session: sequences without a gap, ids that follow from the event's origin."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import LiteralString
from uuid import UUID, uuid5

from pydantic import JsonValue

from parley.protocol.messages import EventDraft, EventType
from parley.store.pool import Connection
from parley.store.records import NO_ITEM
from parley.store.rows import Statement, ask, encode_limited, fetch_value, storable_text

NAMESPACE = UUID("0d6ed7c4-6f0c-5d3c-9d0e-7b0b6c1f4a11")
"""Names of Parley's version-5 UUIDs live in it. Never changes: ids of stored events derive from it."""

NEXT_POSITION = """
SELECT next_position FROM inputs WHERE task_uid = %(task_uid)s AND step = %(step)s AND item = %(item)s
"""
STORE_POSITION = """
INSERT INTO inputs (task_uid, step, item, next_position)
VALUES (%(task_uid)s, %(step)s, %(item)s, %(next_position)s)
ON CONFLICT (task_uid, step, item) DO UPDATE SET next_position = excluded.next_position
"""
# In one statement: the caller holds the session's row, so nobody else appends to it meanwhile.
APPEND: LiteralString = """
WITH new AS (
  SELECT * FROM unnest(%(ids)s::uuid[], %(types)s::text[], %(roles)s::text[], %(contents)s::text[],
                       %(speakers)s::text[], %(task_uids)s::text[], %(tasks)s::text[], %(steps)s::text[],
                       %(items)s::int[], %(attempts)s::int[], %(tickets)s::bigint[])
    WITH ORDINALITY AS given (id, type, role, content, speaker, task_uid, task, step, item, attempt, ticket, nth)
  WHERE NOT EXISTS (SELECT FROM events e WHERE e.session_uid = %(session_uid)s AND e.id = given.id)
), counted AS (
  SELECT count(*) AS events, count(*) FILTER (WHERE type = 'message') AS messages FROM new
), reserved AS (
  UPDATE sessions s SET last_sequence = s.last_sequence + c.events, messages = s.messages + c.messages
  FROM counted c WHERE s.uid = %(session_uid)s AND c.events > 0
  RETURNING s.last_sequence - c.events AS base
), inserted AS (
  INSERT INTO events (session_uid, sequence, id, type, role, content, speaker, task_uid, task, step, item, attempt,
                      ticket)
  SELECT %(session_uid)s, r.base + row_number() OVER (ORDER BY n.nth), n.id, n.type, n.role, n.content::json,
         n.speaker, n.task_uid, n.task, n.step, n.item, n.attempt, n.ticket
  FROM new n, reserved r
)
SELECT c.events, r.base FROM counted c LEFT JOIN reserved r ON true
"""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where events come from: a turn of a session, and the attempt's number in its step; a wait has neither."""

    session_uid: str
    ticket: int | None
    task_uid: str
    task_name: str
    step: str
    attempt: int | None
    item: int = NO_ITEM


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event with an id of its own. One of no ticket is no part of what models are shown."""

    id: UUID
    type: EventType
    content: JsonValue
    role: str | None = None
    speaker: str | None = None
    task_uid: str | None = None
    task: str | None = None
    step: str | None = None
    item: int = NO_ITEM
    attempt: int | None = None
    ticket: int | None = None


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of events that were to be appended: how many the session lacked, and the sequence before them."""

    events: int
    base: int | None

    @property
    def sequences(self) -> tuple[int, int] | None:
        """The first and the last sequence, None when nothing was appended.

        Raises:
            LookupError: there is no such session.
        """
        if self.events == 0:
            return None
        if self.base is None:
            raise LookupError("there is no such session")
        return self.base + 1, self.base + self.events


def derived_id(task_uid: str, step: str, item: int, *place: int | str) -> UUID:
    """Return the id of what a step makes: an event by its position or key, a call or a wait by round and call."""
    return uuid5(NAMESPACE, "/".join([task_uid, step, str(item), *map(str, place)]))


async def next_position(conn: Connection, task_uid: str, step: str, item: int) -> int:
    """Return the position of the next event without a key that the step would append, over all its attempts."""
    parameters = {"task_uid": task_uid, "step": step, "item": item}
    return await fetch_value(conn, int, NEXT_POSITION, parameters) or 0


async def append(conn: Connection, origin: Origin, drafts: Sequence[EventDraft]) -> tuple[int, int] | None:
    """Append a step's events; the caller's transaction holds the session's row.

    A draft whose key the step has used is left out.

    Returns:
        The first and the last sequence, None when nothing was appended.

    Raises:
        ResultTooLarge: an event's content is over MAX_OUTPUT_BYTES as JSON.
    """
    if not drafts:
        return None
    step = {"task_uid": origin.task_uid, "step": origin.step, "item": origin.item}
    position = before = await next_position(conn, origin.task_uid, origin.step, origin.item)
    events: list[NewEvent] = []
    for draft in drafts:
        place = position if draft.key is None else draft.key
        position += draft.key is None
        identity = derived_id(origin.task_uid, origin.step, origin.item, place)
        events.append(_of_step(origin, draft, identity))
    place = step | {"next_position": position}
    counting: list[Statement] = [(STORE_POSITION, place)] if position > before else []
    return await append_to(conn, origin.session_uid, events, *counting)


def _of_step(origin: Origin, draft: EventDraft, identity: UUID) -> NewEvent:
    return NewEvent(
        id=identity,
        type=draft.type,
        content=draft.content,
        role=draft.role or ("assistant" if draft.type == "message" else None),
        speaker=draft.speaker,
        task_uid=origin.task_uid,
        task=origin.task_name,
        step=origin.step,
        item=origin.item,
        attempt=origin.attempt,
        ticket=origin.ticket,
    )


async def append_to(
    conn: Connection, session_uid: str, events: Sequence[NewEvent], *also: Statement
) -> tuple[int, int] | None:
    """Append events whose ids the session lacks; the caller's transaction holds the session's row.

    Args:
        conn: a connection to the store.
        session_uid: of the session.
        events: in their order.
        also: what is run whether or not there was anything to append.

    Returns:
        The first and the last sequence, None when nothing was appended.

    Raises:
        ResultTooLarge: an event's content is over MAX_OUTPUT_BYTES as JSON.
    """
    async with conn.pipeline():
        answer = await ask(conn, Appended, *appending(session_uid, events))
        for query, parameters in also:
            await conn.execute(query, parameters)
    appended = await answer.fetchone()
    return appended.sequences if appended is not None else None


def appending(session_uid: str, events: Sequence[NewEvent]) -> Statement:
    """Return what appends events whose ids the session lacks, and answers with ``Appended``.

    Whoever runs it holds the session's row.

    Raises:
        ResultTooLarge: an event's content is over MAX_OUTPUT_BYTES as JSON.
    """
    distinct = {event.id: event for event in events}.values()
    rows = {
        "session_uid": session_uid,
        "ids": [event.id for event in distinct],
        "types": [event.type for event in distinct],
        "roles": [event.role for event in distinct],
        "contents": [encode_limited(event.content, "An event's content") for event in distinct],
        "speakers": [None if event.speaker is None else storable_text(event.speaker) for event in distinct],
        "task_uids": [event.task_uid for event in distinct],
        "tasks": [event.task for event in distinct],
        "steps": [event.step for event in distinct],
        "items": [event.item for event in distinct],
        "attempts": [event.attempt for event in distinct],
        "tickets": [event.ticket for event in distinct],
    }
    return APPEND, rows
