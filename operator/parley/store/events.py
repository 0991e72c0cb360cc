"""Appending events to a session: sequences without a gap, ids that follow from the event's origin."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID, uuid5

from parley.protocol.messages import EventDraft
from parley.store.pool import Connection
from parley.store.records import NO_ITEM
from parley.store.rows import encode_limited, execute, fetch_value

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
RESERVE = """
UPDATE sessions SET last_sequence = last_sequence + %(events)s, messages = messages + %(messages)s
WHERE uid = %(session_uid)s
RETURNING last_sequence - %(events)s
"""
INSERT = """
INSERT INTO events (session_uid, sequence, id, type, role, content, task_uid, task, step, item, attempt, ticket)
SELECT %(session_uid)s, %(base)s + nth, id::uuid, type, role, content::json,
       %(task_uid)s, %(task_name)s, %(step)s, %(item)s, %(attempt)s, %(ticket)s
FROM unnest(%(ids)s::text[], %(types)s::text[], %(roles)s::text[], %(contents)s::text[])
  WITH ORDINALITY AS draft (id, type, role, content, nth)
ORDER BY nth
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


def derived_id(task_uid: str, step: str, item: int, *place: int | str) -> UUID:
    """Return the id of what a step makes: an event by its position, a call or a wait by kind, round and call."""
    return uuid5(NAMESPACE, "/".join([task_uid, step, str(item), *map(str, place)]))


async def next_position(conn: Connection, task_uid: str, step: str, item: int) -> int:
    """Return the position of the next event the step would append, over all its attempts."""
    parameters = {"task_uid": task_uid, "step": step, "item": item}
    return await fetch_value(conn, int, NEXT_POSITION, parameters) or 0


async def append(conn: Connection, origin: Origin, drafts: Sequence[EventDraft]) -> tuple[int, int] | None:
    """Append events; the caller's transaction holds the session's row.

    Returns:
        The first and the last sequence, None for no drafts.

    Raises:
        ResultTooLarge: an event's content is over MAX_OUTPUT_BYTES as JSON.
    """
    if not drafts:
        return None
    step = {"task_uid": origin.task_uid, "step": origin.step, "item": origin.item}
    position = await next_position(conn, origin.task_uid, origin.step, origin.item)
    ids = [
        str(derived_id(origin.task_uid, origin.step, origin.item, position + offset))
        for offset in range(len(drafts))
    ]
    messages = sum(draft.type == "message" for draft in drafts)
    reserved = {"session_uid": origin.session_uid, "events": len(drafts), "messages": messages}
    base = await fetch_value(conn, int, RESERVE, reserved)
    if base is None:
        raise LookupError(f"no session {origin.session_uid}")
    rows = {
        "session_uid": origin.session_uid,
        "base": base,
        "task_name": origin.task_name,
        "attempt": origin.attempt,
        "ticket": origin.ticket,
        "ids": ids,
        "types": [draft.type for draft in drafts],
        "roles": [draft.role or ("assistant" if draft.type == "message" else None) for draft in drafts],
        "contents": [encode_limited(draft.content, "An event's content") for draft in drafts],
    }
    await execute(conn, INSERT, rows | step)
    await execute(conn, STORE_POSITION, step | {"next_position": position + len(drafts)})
    return base + 1, base + len(drafts)
