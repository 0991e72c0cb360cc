"""Messages that people post: in the session at once, in their place in the queue, once for each key."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import LiteralString
from uuid import UUID

from psycopg.errors import UniqueViolation
from pydantic import JsonValue

from parley.store.ending import wake_next, waking
from parley.store.errors import KeyReused, SessionNotReady, SessionOver
from parley.store.events import Appended, NewEvent, appending, derived_id
from parley.store.leader import Fence, leading
from parley.store.lifecycle import FINAL
from parley.store.locks import lock_session
from parley.store.pool import Connection
from parley.store.records import NO_ITEM
from parley.store.rows import Statement, ask, beginning, encode, execute, fetch_all, fetch_value
from parley.store.session_records import LifeState

LOCK = """
SELECT state, last_ticket, last_sequence, gone_since IS NOT NULL AS gone, restored_from
FROM sessions WHERE uid = %(session_uid)s FOR NO KEY UPDATE
"""
KNOWN = """
SELECT p.sequence, p.event_id, p.task_name, p.body_hash,
       coalesce(u.task_uid IS NULL AND u.state = 'Waiting', false) AS waits
FROM posts p LEFT JOIN turns u USING (session_uid, ticket)
WHERE p.session_uid = %(session_uid)s AND p.key = %(key)s
"""
# A message that asks for no turn has its place in the conversation like one that does: a turn that is over.
TAKE_PLACE = """
INSERT INTO turns (session_uid, ticket, task_name, step, posted_spec, state, granted_at, ended_at)
SELECT %(session_uid)s, %(ticket)s, %(task_name)s, %(step)s, %(spec)s::json, %(state)s, over.at, over.at
FROM (SELECT CASE WHEN %(state)s = 'Done' THEN now() END AS at) over
"""
COUNT_TICKET = "UPDATE sessions SET last_ticket = %(ticket)s WHERE uid = %(session_uid)s"
REMEMBER = """
INSERT INTO posts (session_uid, key, body_hash, sequence, event_id, task_name, ticket)
VALUES (%(session_uid)s, %(key)s, %(body_hash)s, %(sequence)s, %(event_id)s, nullif(%(task_name)s, ''), %(ticket)s)
"""
IS_POSTED = """
SELECT EXISTS (SELECT FROM turns WHERE session_uid = %(session_uid)s AND task_uid = %(task_uid)s AND step = %(step)s
                 AND posted_spec IS NOT NULL)
"""
# From now on the message is of this task: no model is shown it as history beside the turn it is the input of.
BIND: LiteralString = """
WITH made AS (
  SELECT made.* FROM unnest(%(task_uids)s::text[], %(task_names)s::text[], %(steps)s::text[]) AS made (uid, name, step)
  JOIN tasks t ON t.uid = made.uid AND t.session_uid = %(session_uid)s AND t.ended_at IS NULL AND t.gone_since IS NULL
), bound AS (
  UPDATE turns u SET task_uid = made.uid FROM made
  WHERE u.session_uid = %(session_uid)s AND u.state = 'Waiting' AND u.task_uid IS NULL
    AND u.task_name = made.name AND u.step = made.step
  RETURNING u.session_uid, u.ticket, u.task_uid
)
UPDATE events e SET task_uid = bound.task_uid FROM bound JOIN posts p USING (session_uid, ticket)
WHERE e.session_uid = p.session_uid AND e.id = p.event_id
"""
# A step that takes a new place takes what was posted for it along: the order of the conversation is that of the turns.
MOVE = """
WITH moved AS (
  UPDATE posts p SET ticket = u.ticket
  FROM turns was JOIN turns u ON (u.session_uid, u.task_uid, u.step) = (was.session_uid, was.task_uid, was.step)
                              AND u.state = 'Waiting'
  WHERE p.session_uid = %(session_uid)s AND (was.session_uid, was.ticket) = (p.session_uid, p.ticket)
    AND was.state = 'Withdrawn'
  RETURNING p.session_uid, p.event_id, p.ticket
)
UPDATE events e SET ticket = moved.ticket FROM moved WHERE e.session_uid = moved.session_uid AND e.id = moved.event_id
"""
# Each namespace has its share: those of one that cannot be made, such as by its quota, stand in nobody else's way.
ORPHANS = """
WITH waiting AS (
  SELECT u.session_uid, s.namespace, s.name AS session, s.state, u.ticket, u.created_at,
         row_number() OVER (PARTITION BY s.namespace ORDER BY u.created_at, u.ticket) AS place
  FROM turns u JOIN sessions s ON s.uid = u.session_uid
  WHERE u.task_uid IS NULL AND u.state = 'Waiting' AND u.created_at <= now() - %(older)s::interval
    AND s.cluster = %(cluster)s AND s.install = %(install)s AND s.gone_since IS NULL
    AND u.task_name <> ALL(%(passing)s::text[])
)
SELECT session_uid, w.namespace, w.session, w.state, ticket, u.task_name, u.step, u.posted_spec AS spec
FROM waiting w JOIN turns u USING (session_uid, ticket)
WHERE w.place <= 20
ORDER BY w.place, w.created_at
"""
WITHDRAW = """
UPDATE turns SET state = 'Withdrawn', ended_at = now()
WHERE session_uid = %(session_uid)s AND ticket = %(ticket)s AND state = 'Waiting' AND task_uid IS NULL
"""


@dataclass(frozen=True, slots=True)
class Posted:
    """A message that is in its session. ``task_name`` is None for one that asks for no turn."""

    sequence: int
    event_id: UUID
    task_name: str | None
    repeated: bool
    """It was there before this call."""
    waits: bool
    """Its Task has not been seen yet."""


@dataclass(frozen=True, slots=True)
class TurnWanted:
    """The turn that a message asks for: its Task's name, the step it stands for, and the spec of that Task."""

    task_name: str
    step: str
    spec: Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Orphan:
    """A message whose Task nobody has seen yet."""

    session_uid: str
    namespace: str
    session: str
    state: LifeState
    """The session's."""
    ticket: int
    task_name: str
    step: str
    spec: dict[str, JsonValue]


@dataclass(frozen=True, slots=True)
class _Locked:
    state: LifeState
    last_ticket: int
    last_sequence: int
    gone: bool
    restored_from: str | None


@dataclass(frozen=True, slots=True)
class _Known:
    sequence: int
    event_id: UUID
    task_name: str | None
    body_hash: str
    waits: bool


async def post_message(
    conn: Connection,
    *,
    session_uid: str,
    key: str,
    body_hash: str,
    content: str,
    speaker: str | None = None,
    turn: TurnWanted | None = None,
    restores: str | None = None,
) -> Posted:
    """Commit a message and its place in the queue; a repeat with the same key changes nothing.

    The caller makes the Task afterwards; should it not, the leader does.

    Args:
        conn: a connection to the store.
        session_uid: of the session it is said in.
        key: the message's, in its session: what it says of its caller too.
        body_hash: tells a repeat from another message.
        content: what is said.
        speaker: who says it, as models are told.
        turn: None for a message that nobody is to answer.
        restores: uid of the session whose transcript this one is to go on with.

    Raises:
        KeyReused: the key came with another body, or another key's Task or event has the name of this one's.
        SessionNotReady: the operator has not registered the session, or not restored its transcript.
        SessionOver: the session has ended, or is gone.
        ResultTooLarge: the content is over MAX_OUTPUT_BYTES as JSON.
    """
    place: dict[str, object] = {"session_uid": session_uid, "key": key}
    async with AsyncExitStack() as transaction:
        async with beginning(conn, transaction):
            sessions = await ask(conn, _Locked, LOCK, place)
            posts = await ask(conn, _Known, KNOWN, place)
        session, known = await sessions.fetchone(), await posts.fetchone()
        if session is None:
            raise SessionNotReady("The operator has not taken this Session in yet.")
        if known is not None:
            # One that was erased has no hash: what it said is not known any more.
            if known.body_hash not in {body_hash, ""}:
                raise KeyReused(key)
            return Posted(known.sequence, known.event_id, known.task_name, repeated=True, waits=known.waits)
        _require_ready(session, restores)
        sequence = session.last_sequence + 1
        row = {
            **place,
            "body_hash": body_hash,
            "ticket": session.last_ticket + 1,
            "task_name": turn.task_name if turn else "",
            "step": turn.step if turn else "",
            "spec": encode(dict(turn.spec)) if turn else "{}",
            "state": "Waiting" if turn else "Done",
        }
        event = NewEvent(
            id=derived_id(session_uid, "post", NO_ITEM, key),
            type="message",
            role="user",
            content=content,
            speaker=speaker,
            task=turn.task_name if turn else None,
            step=turn.step if turn else None,
            ticket=session.last_ticket + 1,
        )
        row |= {"sequence": sequence, "event_id": event.id}
        try:
            appended = await _write(conn, session_uid, event, row)
        except UniqueViolation as error:
            # The session is held, so it is no repeat: the Task of another message has this one's name.
            raise KeyReused(key) from error
        if not appended:
            # The session has such an event without a post.
            raise KeyReused(key)
        name = turn.task_name if turn else None
        return Posted(sequence, event.id, name, repeated=False, waits=turn is not None)


async def _write(conn: Connection, session_uid: str, event: NewEvent, row: Mapping[str, object]) -> bool:
    """Write a message and its place; returns whether the session lacked the message."""
    async with conn.pipeline():
        await conn.execute(COUNT_TICKET, row)
        await conn.execute(TAKE_PLACE, row)
        answer = await ask(conn, Appended, *appending(session_uid, [event]))
        await conn.execute(REMEMBER, row)
        if event.task is None:
            # Without a turn no Task comes that would let the leader look at the session.
            await conn.execute(*waking(session_uid))
    appended = await answer.fetchone()
    return appended is not None and appended.events > 0


def _require_ready(session: _Locked, restores: str | None) -> None:
    if session.gone:
        raise SessionOver("Gone")
    if session.state in FINAL:
        raise SessionOver(session.state)
    if restores is not None and session.restored_from != restores:
        raise SessionNotReady("The Session does not have the transcript yet that it is to go on with.")


async def is_posted(conn: Connection, session_uid: str, task_uid: str, step: str) -> bool:
    """Whether what this step says was posted, and so is in the session already, whatever ticket it has by now."""
    place = {"session_uid": session_uid, "task_uid": task_uid, "step": step}
    return await fetch_value(conn, bool, IS_POSTED, place) or False


def binding(session_uid: str, made: Sequence[tuple[str, str, str]]) -> Statement:
    """Return what gives the places of posted messages to their tasks, each ``(uid, name, step)``.

    Whoever runs it holds the session.
    """
    uids, names, steps = ([each[column] for each in made] for column in range(3))
    parameters = {"session_uid": session_uid, "task_uids": uids, "task_names": names, "steps": steps}
    return BIND, parameters


async def move_posts(conn: Connection, session_uid: str) -> None:
    """Let posted messages follow their steps to the places these have taken; the caller holds the session."""
    await execute(conn, MOVE, {"session_uid": session_uid})


async def list_orphans(
    conn: Connection, fence: Fence, older: timedelta, passing: Collection[str] = ()
) -> list[Orphan]:
    """Return this install's messages that were posted so long ago and have no registered Task.

    They are the oldest 20 of each namespace, the oldest of all namespaces first, without those whose Tasks have one of
    the names that are passed over.
    """
    parameters = {"cluster": fence.cluster, "install": fence.install, "older": older, "passing": [*passing]}
    return await fetch_all(conn, Orphan, ORPHANS, parameters)


async def withdraw_post(conn: Connection, fence: Fence, orphan: Orphan) -> bool:
    """Take a message out of the queue for whose turn there can be no Task; the next one is woken.

    Returns:
        Whether this call did it. False: it has a Task by now.
    """
    async with leading(conn, fence):
        await lock_session(conn, orphan.session_uid)
        place = {"session_uid": orphan.session_uid, "ticket": orphan.ticket}
        if not await execute(conn, WITHDRAW, place):
            return False
        await wake_next(conn, orphan.session_uid)
        return True
