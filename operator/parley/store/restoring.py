"""Handing the transcript of a session that is gone on to a new one."""

from dataclasses import dataclass
from datetime import datetime

from parley.store.erasing import REWRITE
from parley.store.leader import Fence, leading
from parley.store.lifecycle import append_state
from parley.store.pool import Connection
from parley.store.rows import execute, fetch_all, fetch_one, fetch_value

LOCK_BOTH = """
SELECT uid, cluster, namespace, name, last_sequence, last_ticket, context_version, gone_since, restored_from
FROM sessions WHERE uid IN (%(uid)s, %(from_uid)s) ORDER BY uid FOR UPDATE
"""
SUCCESSOR = """
SELECT name, uid FROM sessions
WHERE restored_from = %(from_uid)s AND cluster = %(cluster)s AND namespace = %(namespace)s LIMIT 1
"""
# Rows refer to turns, and both to the session: so the turns are there twice for a moment. A turn that is open has a
# task, which a session that is gone does not have.
MOVE = (
    """
INSERT INTO turns (session_uid, ticket, task_uid, task_name, step, state, posted_spec, created_at, granted_at, ended_at)
SELECT %(uid)s, ticket, task_uid, task_name, step, state, posted_spec, created_at, granted_at, ended_at
FROM turns WHERE session_uid = %(from_uid)s
""",
    "UPDATE attempts SET session_uid = %(uid)s WHERE session_uid = %(from_uid)s",
    "DELETE FROM turns WHERE session_uid = %(from_uid)s",
    "UPDATE events SET session_uid = %(uid)s WHERE session_uid = %(from_uid)s",
    "UPDATE posts SET session_uid = %(uid)s WHERE session_uid = %(from_uid)s",
    "UPDATE tasks SET session_uid = %(uid)s WHERE session_uid = %(from_uid)s",
    "UPDATE queued_tasks SET session_uid = %(uid)s WHERE session_uid = %(from_uid)s",
    """
UPDATE sessions s SET
  last_sequence = old.last_sequence, messages = old.messages, last_ticket = old.last_ticket,
  input_tokens = s.input_tokens + old.input_tokens, output_tokens = s.output_tokens + old.output_tokens,
  context = old.context, context_version = old.context_version, clear_asked = old.clear_asked,
  cleared_through = old.cleared_through, cleared_until = old.cleared_until, restored_from = old.uid
FROM sessions old WHERE s.uid = %(uid)s AND old.uid = %(from_uid)s
""",
    "DELETE FROM sessions WHERE uid = %(from_uid)s",
)


@dataclass(frozen=True, slots=True)
class _Session:
    uid: str
    cluster: str
    namespace: str
    name: str
    last_sequence: int
    last_ticket: int
    context_version: int
    gone_since: datetime | None
    restored_from: str | None


@dataclass(frozen=True, slots=True)
class _Successor:
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Restored:
    """What became of a wish to go on with an earlier transcript. ``problem`` is None when the session has it."""

    now: bool = False
    """This call did it."""
    problem: str | None = None


async def restore(conn: Connection, fence: Fence, uid: str, from_uid: str) -> Restored:
    """Let a registered session that has not begun go on with the transcript of one that is gone.

    Both must be of one namespace and cluster. Events, turns and tasks move to the new session, which continues its
    counts, context and usage; its next event has the next sequence, and a ``state`` event ``{state, from}`` says what
    happened. The earlier session's row goes. Repeating a call changes nothing.
    """
    async with leading(conn, fence):
        both = {"uid": uid, "from_uid": from_uid}
        rows = {row.uid: row for row in await fetch_all(conn, _Session, LOCK_BOTH, both)}
        new, old = rows.get(uid), rows.get(from_uid)
        if new is None or new.gone_since is not None:
            return Restored(problem="the session is gone")
        if new.restored_from == from_uid:
            return Restored()
        problem = await _problem(conn, new, old, from_uid)
        if problem is not None or old is None:
            return Restored(problem=problem)
        await fetch_value(conn, str, REWRITE, {})
        for statement in MOVE:
            await execute(conn, statement, both)
        await append_state(conn, uid, old.last_sequence, {"state": "Restored", "from": from_uid})
        return Restored(now=True)


async def _problem(conn: Connection, new: _Session, old: _Session | None, from_uid: str) -> str | None:
    if new.last_sequence or new.last_ticket or new.context_version:
        return "the session has begun already: only one that is new can go on with an earlier transcript"
    if old is None or (old.cluster, old.namespace) != (new.cluster, new.namespace):
        place = {"from_uid": from_uid, "cluster": new.cluster, "namespace": new.namespace}
        successor = await fetch_one(conn, _Successor, SUCCESSOR, place)
        if successor is not None:
            return (
                f"Session {successor.name} (uid {successor.uid}) went on with the transcript of {from_uid}: name "
                "that one once it is gone"
            )
        return f"no transcript of a Session with the uid {from_uid} is kept in this namespace"
    if old.uid == new.uid or old.gone_since is None:
        return f"Session {old.name}, whose uid is {from_uid}, still exists: delete it first"
    return None
