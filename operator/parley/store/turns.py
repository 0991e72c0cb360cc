"""Turns: the queue of prompt steps for a session."""

from collections.abc import Sequence

from parley.store.ending import end_turns, wake_next
from parley.store.leader import Fence, leading
from parley.store.locks import lock_session, lock_session_of_task, lock_task
from parley.store.pool import Connection
from parley.store.posting import binding, move_posts
from parley.store.records import ReadyTurn, TurnRecord
from parley.store.rows import execute_all, fetch_all, fetch_value

WITHDRAW = """
UPDATE turns u SET state = 'Withdrawn', ended_at = now()
WHERE u.session_uid = %(session_uid)s AND u.state = 'Waiting' AND u.task_uid IS NOT NULL
  AND NOT EXISTS (SELECT FROM unnest(%(task_uids)s::text[], %(steps)s::text[]) AS ready (task_uid, step)
                  WHERE ready.task_uid = u.task_uid AND ready.step = u.step)
"""
# A step has one ticket at a time: what waits for a session that its task has left stands in the way of the new one.
WITHDRAW_ELSEWHERE = """
UPDATE turns u SET state = 'Withdrawn', ended_at = now()
FROM unnest(%(task_uids)s::text[], %(steps)s::text[]) AS ready (task_uid, step)
JOIN tasks t ON t.uid = ready.task_uid AND t.session_uid = %(session_uid)s
WHERE u.task_uid = ready.task_uid AND u.step = ready.step AND u.state = 'Waiting'
  AND u.session_uid <> %(session_uid)s
"""
# What was posted comes in the order in which it was said, though its Tasks may have come in another one.
GIVE_TICKETS = """
WITH fresh AS (
  SELECT ready.task_uid, ready.task_name, ready.step,
         row_number() OVER (ORDER BY (SELECT min(u.ticket) FROM turns u
                                      WHERE u.session_uid = %(session_uid)s AND u.task_uid = ready.task_uid
                                        AND u.step = ready.step AND u.posted_spec IS NOT NULL), ready.place) AS nth
  FROM unnest(%(task_uids)s::text[], %(task_names)s::text[], %(steps)s::text[])
         WITH ORDINALITY AS ready (task_uid, task_name, step, place)
  JOIN tasks t ON t.uid = ready.task_uid
  WHERE t.session_uid = %(session_uid)s
    AND t.ended_at IS NULL AND t.gone_since IS NULL AND t.suspended_since IS NULL
    AND NOT EXISTS (SELECT FROM turns u
                    WHERE u.session_uid = %(session_uid)s AND u.task_uid = ready.task_uid AND u.step = ready.step
                      AND u.state IN ('Waiting', 'Held'))
), counted AS (
  UPDATE sessions SET last_ticket = last_ticket + (SELECT count(*) FROM fresh)
  WHERE uid = %(session_uid)s AND EXISTS (SELECT FROM fresh)
  RETURNING last_ticket - (SELECT count(*) FROM fresh) AS base
)
INSERT INTO turns (session_uid, ticket, task_uid, task_name, step)
SELECT %(session_uid)s, counted.base + fresh.nth, fresh.task_uid, fresh.task_name, fresh.step
FROM fresh, counted
"""
# A paused attempt's calls are open until its successor has answered them: such a turn is never released.
RELEASE = """
UPDATE turns u SET state = 'Done', ended_at = now()
WHERE u.task_uid = %(task_uid)s AND u.step = %(step)s AND u.state = 'Held'
  AND NOT EXISTS (SELECT FROM attempts a
                  WHERE a.task_uid = u.task_uid AND a.step = u.step AND a.state IN ('Open', 'Running', 'Paused'))
RETURNING u.session_uid
"""
OPEN_TURNS = """
SELECT u.session_uid, u.ticket, u.task_uid, u.task_name, u.step, u.state, u.granted_at, u.ended_at,
       u.state = 'Held' AND coalesce((SELECT a.state = 'Paused' FROM attempts a
                                      WHERE a.session_uid = u.session_uid AND a.ticket = u.ticket
                                      ORDER BY a.id DESC LIMIT 1), false) AS paused
FROM turns u WHERE u.session_uid = %(session_uid)s AND u.state IN ('Waiting', 'Held') ORDER BY u.ticket
"""


async def queue_turns(
    conn: Connection, fence: Fence, session_uid: str, ready: Sequence[ReadyTurn]
) -> list[TurnRecord]:
    """Bring the queue in line with all steps that are ready for the session's turn.

    Those without a ticket get one, in the order given, at the end; waiting tickets of steps that are not ready
    any more are withdrawn. A held turn stays held. Tasks that are unknown, ended, gone, suspended or of another
    session get no ticket. The ticket of a message posted at the gateway passes to its Task.

    Returns:
        The turns that wait or are held now, by ticket.
    """
    distinct = list(dict.fromkeys(ready))
    parameters = {
        "session_uid": session_uid,
        "task_uids": [turn.task_uid for turn in distinct],
        "task_names": [turn.task_name for turn in distinct],
        "steps": [turn.step for turn in distinct],
    }
    async with leading(conn, fence):
        if not await lock_session(conn, session_uid):
            return []
        posted = binding(session_uid, [(turn.task_uid, turn.task_name, turn.step) for turn in distinct])
        if (await execute_all(conn, posted, (WITHDRAW, parameters)))[-1]:
            await wake_next(conn, session_uid)
        if (await execute_all(conn, (WITHDRAW_ELSEWHERE, parameters), (GIVE_TICKETS, parameters)))[-1]:
            await move_posts(conn, session_uid)
        return await session_turns(conn, session_uid)


async def session_turns(conn: Connection, session_uid: str) -> list[TurnRecord]:
    """Return the turns that wait or are held, by ticket. The first waiting one is next once none is held."""
    return await fetch_all(conn, TurnRecord, OPEN_TURNS, {"session_uid": session_uid})


async def end_turn(conn: Connection, fence: Fence, task_uid: str, step: str) -> bool:
    """End a step's turn after its final failure, or withdraw its ticket.

    Calls left open get a ``toolResult`` that says so. A success ends the turn by itself.

    Returns:
        Whether there was a turn or a ticket.
    """
    async with leading(conn, fence):
        await lock_session_of_task(conn, task_uid)
        await lock_task(conn, task_uid)
        return await end_turns(conn, task_uid, step=step, why=f"The step {step} failed.")


async def release_turn(conn: Connection, fence: Fence, task_uid: str, step: str) -> bool:
    """Give a held turn back because its step cannot go on now: suspended, or nothing can start; its work stays.

    Only a turn whose step has no attempt that is open or paused. The step takes a new ticket, at the end of the queue,
    when it is ready again; its next attempt continues with input and journal as stored.

    Returns:
        Whether the turn was released; the next in the queue is woken.
    """
    async with leading(conn, fence):
        await lock_session_of_task(conn, task_uid)
        await lock_task(conn, task_uid)
        session_uid = await fetch_value(conn, str, RELEASE, {"task_uid": task_uid, "step": step})
        if session_uid is None:
            return False
        await wake_next(conn, session_uid)
        return True
