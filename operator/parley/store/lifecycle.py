"""Where a session stands: each change is told once, as a ``state`` event of its transcript."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from pydantic import JsonValue

from parley.store.events import NewEvent, append_to, derived_id
from parley.store.leader import Fence, leading
from parley.store.pool import Connection
from parley.store.records import NO_ITEM
from parley.store.rows import encode, execute, fetch_one
from parley.store.session_records import LifeState

FINAL: tuple[LifeState, ...] = ("Expired", "Ended", "Archived")
"""A session never comes back from one of these to one before it."""

LOCK = """
SELECT state, active_at, last_sequence FROM sessions WHERE uid = %(uid)s AND gone_since IS NULL FOR NO KEY UPDATE
"""
# Falling asleep is no sign of life, and waking is none beside what woke it. While paused a session does not age.
SET_STATE = """
UPDATE sessions SET state = %(state)s, state_since = now(), state_why = %(why)s,
                    active_at = CASE WHEN state = 'Paused' THEN now() ELSE %(active_at)s END
WHERE uid = %(uid)s
"""
SET_RETENTION = """
UPDATE sessions SET retention = %(retention)s::json
WHERE uid = %(uid)s AND gone_since IS NULL AND retention::text IS DISTINCT FROM %(retention)s
"""


@dataclass(frozen=True, slots=True)
class _Locked:
    state: LifeState
    active_at: datetime
    last_sequence: int


async def set_session_state(
    conn: Connection, fence: Fence, uid: str, state: LifeState, why: str
) -> int | None:
    """Move a session to a state; ``why`` is a sentence. Its tasks are not notified: the caller wakes them.

    Returns:
        The sequence of the ``state`` event ``{state, why}``. None: it is there already, has ended for good in a later
        state, is gone or unknown.
    """
    async with leading(conn, fence):
        row = await fetch_one(conn, _Locked, LOCK, {"uid": uid})
        if row is None or not _may_follow(row.state, state):
            return None
        sequence = await append_state(conn, uid, row.last_sequence, {"state": state, "why": why})
        await execute(conn, SET_STATE, {"uid": uid, "state": state, "why": why, "active_at": row.active_at})
        return sequence


def _may_follow(before: LifeState, after: LifeState) -> bool:
    if before not in FINAL:
        return before != after
    return after in FINAL and FINAL.index(after) > FINAL.index(before)


async def append_state(
    conn: Connection, session_uid: str, last_sequence: int, content: Mapping[str, JsonValue]
) -> int:
    """Append a ``state`` event of the session itself, whose row the caller has locked; return its sequence."""
    event = NewEvent(
        id=derived_id(session_uid, "state", NO_ITEM, last_sequence + 1), type="state", content=dict(content)
    )
    sequences = await append_to(conn, session_uid, [event])
    if sequences is None:
        raise AssertionError("a sequence is used once")
    return sequences[0]


async def set_retention(conn: Connection, fence: Fence, uid: str, retention: Mapping[str, JsonValue]) -> bool:
    """Remember what becomes of a session's rows when its object is gone: ``{transcript, afterSeconds}``.

    Returns:
        Whether that was news; False also for a session that is gone.
    """
    async with leading(conn, fence):
        parameters = {"uid": uid, "retention": encode(dict(retention))}
        return await execute(conn, SET_RETENTION, parameters) > 0
