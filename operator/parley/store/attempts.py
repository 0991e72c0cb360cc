"""Attempts as the leader writes them: insert, close, and the result of a container."""

from collections.abc import Mapping, Sequence
from typing import Literal, cast

from pydantic import JsonValue

from parley.store.children import refuse_child
from parley.store.containers import finish_container
from parley.store.ending import end_turns, forget_uploads, wake_children
from parley.store.errors import ResultTooLarge
from parley.store.leader import Fence, leading
from parley.store.locks import LOCK_SESSION, lock_session_of_task, lock_task
from parley.store.pool import Connection
from parley.store.records import Close, ClosedState, Inserted, NewAttempt, NotGranted
from parley.store.rows import (
    Statement,
    encode,
    execute_all,
    fetch_one,
    fetch_value,
    storable_text,
)

__all__ = [
    "Refused",
    "ResultTooLarge",
    "close_attempt",
    "close_old",
    "finish_container",
    "insert_attempt",
    "insert_failed_attempt",
    "is_child",
    "load_request",
]

LOCK_LIVE_TASK = """
SELECT uid FROM tasks
WHERE uid = %(task_uid)s AND gone_since IS NULL AND ended_at IS NULL AND suspended_since IS NULL
  AND session_uid IS NOT DISTINCT FROM coalesce(%(session_uid)s, session_uid)
FOR NO KEY UPDATE
"""
# While its task is suspended nobody works on a child, and its deadline stands still. What is Pending is closed only
# while nobody has taken it.
TASK_OF_ATTEMPT = "SELECT task_uid FROM attempts WHERE id = %(attempt_id)s"
CLOSE = """
UPDATE attempts SET state = %(state)s, reason = %(reason)s, message = %(message)s, log = %(log)s, ended_at = now()
WHERE id = %(attempt_id)s AND task_uid = %(task_uid)s AND state IN ('Open', 'Running')
  AND (state = 'Open' OR %(reason)s <> 'Pending')
  AND (%(state)s <> 'TimedOut'
       OR deadline <= coalesce((SELECT t.suspended_since FROM tasks t WHERE t.uid = task_uid AND child), now()))
RETURNING step
"""
TAKE_TURN = """
UPDATE turns u SET state = 'Held', granted_at = coalesce(granted_at, now())
WHERE u.session_uid = %(session_uid)s AND u.task_uid = %(task_uid)s AND u.step = %(step)s
  AND (u.state = 'Held'
       OR (u.state = 'Waiting'
           AND NOT EXISTS (SELECT FROM turns h WHERE h.session_uid = u.session_uid AND h.state = 'Held')
           AND u.ticket = (SELECT min(w.ticket) FROM turns w
                           WHERE w.session_uid = u.session_uid AND w.state = 'Waiting')))
"""
INSERT = """
INSERT INTO attempts (task_uid, step, item, number, cause, job, index, session_uid, ticket, request, deadline,
                      runtime, pool, child, run_timeout, state, reason, message, definite, ended_at)
SELECT %(task_uid)s, %(step)s, %(item)s, %(number)s, %(cause)s, %(job)s, %(index)s, %(turn_session)s,
       (SELECT u.ticket FROM turns u
        WHERE u.session_uid = %(turn_session)s AND u.task_uid = %(task_uid)s AND u.step = %(step)s
          AND u.state = 'Held'),
       %(request)s::json, now() + %(timeout)s, %(runtime)s, %(pool)s, %(child)s,
       %(item_timeout)s::interval,
       %(state)s, %(reason)s, %(message)s, %(state)s <> 'Open',
       CASE WHEN %(state)s = 'Open' THEN NULL ELSE now() END
WHERE %(number)s = 1 + coalesce((SELECT max(number) FROM attempts
                                 WHERE task_uid = %(task_uid)s AND step = %(step)s AND item = %(item)s), 0)
  AND NOT EXISTS (SELECT FROM attempts WHERE task_uid = %(task_uid)s AND step = %(step)s AND item = %(item)s
                  AND state IN ('Open', 'Running', 'Succeeded'))
  AND NOT EXISTS (SELECT FROM steps WHERE task_uid = %(task_uid)s AND step = %(step)s AND ended_at IS NOT NULL)
ON CONFLICT DO NOTHING
RETURNING id, deadline, ticket
"""
REQUEST = "SELECT request FROM attempts WHERE id = %(attempt_id)s"


async def load_request(conn: Connection, attempt_id: int) -> Mapping[str, JsonValue]:
    """Return the request an attempt was inserted with.

    Raises:
        LookupError: there is no such attempt.
    """
    async with await conn.execute(REQUEST, {"attempt_id": attempt_id}) as cursor:
        row = await cursor.fetchone()
    if row is None:
        raise LookupError(f"there is no attempt {attempt_id}")
    return cast("Mapping[str, JsonValue]", row[0])


class Refused(Exception):
    """Undoes the transaction; its ``answer`` is what the caller is told."""

    def __init__(self, why: Literal["turn", "task", "closed", "stale", "depth", "tree"]) -> None:
        super().__init__(why)
        self.answer = NotGranted(why)


async def insert_attempt(conn: Connection, fence: Fence, new: NewAttempt) -> Inserted | NotGranted:
    """Insert an attempt, close the one it follows and take the session's turn: all or nothing.

    Only after ``Inserted`` may the Job be created.
    """
    try:
        async with leading(conn, fence, *([] if is_child(new) else _claims(new))) as claimed:
            if is_child(new):
                # Before any task's row is locked.
                await _admit(conn, new)
            _require(await execute_all(conn, *_claims(new)) if is_child(new) else claimed)
            if new.close is not None:
                await close_old(conn, new.task_uid, new.close)
            return await _insert(conn, new, state="Open", reason=None, message=None)
    except Refused as refused:
        return refused.answer


async def insert_failed_attempt(
    conn: Connection, fence: Fence, new: NewAttempt, reason: str, message: str
) -> Inserted | NotGranted:
    """Insert an attempt that failed before it could start (TemplateError), for good: nothing runs.

    Takes no turn; the step's ticket, if any, is withdrawn and its held turn ended.
    """
    try:
        async with leading(conn, fence):
            await lock_session_of_task(conn, new.task_uid)
            _require(await execute_all(conn, *_locks(new)))
            if new.close is not None:
                await close_old(conn, new.task_uid, new.close)
            inserted = await _insert(conn, new, state="Failed", reason=reason, message=message)
            await end_turns(conn, new.task_uid, step=new.step, why=f"The step {new.step} failed: {reason}.")
            return inserted
    except Refused as refused:
        return refused.answer


def _step(new: NewAttempt) -> dict[str, object]:
    return {"task_uid": new.task_uid, "session_uid": new.session_uid, "step": new.step, "item": new.item}


async def _admit(conn: Connection, new: NewAttempt) -> None:
    """Keep a family within its limits."""
    if (why := await refuse_child(conn, new.task_uid)) is not None:
        raise Refused(why)


def _locks(new: NewAttempt) -> list[Statement]:
    """Return what locks the task, after its session if the step needs a turn of it."""
    task = LOCK_LIVE_TASK, _step(new)
    return [task] if new.session_uid is None else [(LOCK_SESSION, {"session_uid": new.session_uid}), task]


def _claims(new: NewAttempt) -> list[Statement]:
    """Return what takes all that an attempt needs before it is inserted: the locks, and the session's turn."""
    return _locks(new) if new.session_uid is None else [*_locks(new), (TAKE_TURN, _step(new))]


def _require(claimed: Sequence[int]) -> None:
    """Refuse an attempt of which something was not to be had, the turn being the third."""
    if not all(claimed):
        raise Refused("task" if not all(claimed[:2]) else "turn")


async def close_old(conn: Connection, task_uid: str, old: Close) -> None:
    """Close an attempt that another one follows; the caller holds the task.

    Raises:
        Refused: it has an outcome already, or its deadline has moved.
    """
    parameters = _closing(old.attempt_id, old.state, old.reason, old.message)
    if await fetch_value(conn, str, CLOSE, parameters | {"task_uid": task_uid}) is None:
        raise Refused("closed")
    await forget_uploads(conn, task_uid)
    await wake_children(conn, task_uid, old.attempt_id)


def is_child(new: NewAttempt) -> bool:
    """Tell whether the attempt's job is a child Task."""
    return new.request.get("kind") == "Task"


async def _insert(
    conn: Connection,
    new: NewAttempt,
    *,
    state: Literal["Open", "Failed"],
    reason: str | None,
    message: str | None,
) -> Inserted:
    parameters = _step(new) | {
        "number": new.number,
        "cause": new.cause,
        "job": new.job,
        "index": new.index,
        "turn_session": new.session_uid if state == "Open" else None,
        "request": encode(dict(new.request)),
        "timeout": new.timeout,
        "runtime": new.runtime,
        "pool": new.pool,
        "child": state == "Open" and is_child(new),
        "item_timeout": new.item_timeout,
        "state": state,
        "reason": reason,
        "message": None if message is None else storable_text(message),
    }
    inserted = await fetch_one(conn, Inserted, INSERT, parameters)
    if inserted is None:
        raise Refused("stale")
    return inserted


def _closing(
    attempt_id: int, state: ClosedState, reason: str, message: str, log: str | None = None
) -> dict[str, object]:
    return {
        "attempt_id": attempt_id,
        "state": state,
        "reason": reason,
        "message": storable_text(message),
        "log": None if log is None else storable_text(log),
    }


async def close_attempt(
    conn: Connection,
    fence: Fence,
    attempt_id: int,
    state: ClosedState,
    reason: str,
    message: str,
    *,
    end_turn: bool,
    log: str | None = None,
) -> bool:
    """Close an attempt that has no outcome; with ``end_turn`` its turn ends too. A child it made is notified.

    Returns:
        Whether this call closed it. False: it had an outcome already, or ``state`` is TimedOut and its deadline
        has moved. Plan again.
    """
    parameters = _closing(attempt_id, state, reason, message, log)
    async with leading(conn, fence):
        task_uid = await fetch_value(conn, str, TASK_OF_ATTEMPT, parameters)
        if task_uid is None:
            return False
        if end_turn:
            await lock_session_of_task(conn, task_uid)
        await lock_task(conn, task_uid)
        step = await fetch_value(conn, str, CLOSE, parameters | {"task_uid": task_uid})
        if step is None:
            return False
        if end_turn:
            await end_turns(conn, task_uid, step=step, why=f"The step {step} failed: {reason}.")
        await forget_uploads(conn, task_uid)
        await wake_children(conn, task_uid, attempt_id)
        return True
