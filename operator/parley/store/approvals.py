"""What was decided about the calls of a step: by a person's reply, or by nobody in time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from psycopg import AsyncCursor

from parley.protocol.messages import ReplyEntry
from parley.store.holding import LockedAttempt
from parley.store.pool import Connection
from parley.store.rows import ask, fetch_all

DECISIONS = """
SELECT w.round, w.call, r.by,
       CASE WHEN r.accepted THEN r.body ->> 'choice'
            WHEN w.body ->> 'onTimeout' = 'Approve' THEN 'approve' ELSE 'reject' END AS choice,
       CASE WHEN r.accepted THEN coalesce(r.body ->> 'message', '')
            ELSE to_char(w.deadline, '"nobody answered by "YYYY-MM-DD"T"HH24:MI:SS"Z"') END AS message
FROM waits w LEFT JOIN replies r ON r.wait_id = w.id AND r.accepted
WHERE w.task_uid = %(task_uid)s AND w.step = %(step)s AND w.item = %(item)s AND w.kind = 'Approval'
  AND (r.accepted OR w.state = 'Expired')
ORDER BY w.round, w.call
"""


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided on one call; ``by`` is None for nobody's."""

    round: int
    call: int
    by: str | None
    choice: str | None
    message: str | None


async def decisions(conn: Connection, attempt: LockedAttempt) -> list[ReplyEntry]:
    """Return the decisions on all calls of the attempt's step, by round and call; ``by`` is None for nobody's."""
    return reply_entries(await fetch_all(conn, Decision, DECISIONS, attempt.place))


async def ask_decisions(conn: Connection, attempt: LockedAttempt) -> AsyncCursor[Decision]:
    """Ask for the same in a ``conn.pipeline()``."""
    return await ask(conn, Decision, DECISIONS, attempt.place)


def reply_entries(rows: Sequence[Decision]) -> list[ReplyEntry]:
    """Return decisions as a runner is told them."""
    return [
        ReplyEntry(round=row.round, call=row.call, choice=row.choice, message=row.message, by=row.by)
        for row in rows
    ]


async def decision(
    conn: Connection, attempt: LockedAttempt, round_number: int, call: int
) -> Literal["approve", "reject"] | None:
    """Return what was decided about one call; None while nothing is."""
    if attempt.number == 1:
        return None  # nobody was asked: no attempt has paused yet
    for made in await decisions(conn, attempt):
        if (made.round, made.call) == (round_number, call):
            return "approve" if made.choice == "approve" else "reject"
    return None
