"""Steps as the leader decides them: entered, skipped, asked, slept, and the end of a fan-out."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from parley.resources.reasons import Reason
from parley.store.context import context_version, merge_context
from parley.store.entries import AskPerson, Done, Enter, Entry, FailStep, Skip, Sleep
from parley.store.leader import Fence, leading
from parley.store.locks import lock_live_task, lock_open_task, lock_session_of_task
from parley.store.pool import Connection
from parley.store.records import StepState
from parley.store.rows import (
    MAX_STORED_BYTES,
    encode_limited,
    execute,
    fetch_one,
    fetch_value,
    storable_text,
    too_large,
)

# A step that has an attempt was entered, with or without a row.
DECIDE = """
INSERT INTO steps (task_uid, step, state, items, item_count, succeeded, failed, until, reason, message, ended_at)
SELECT %(task_uid)s, %(step)s, %(state)s, %(items)s::json, %(item_count)s::int,
       CASE WHEN %(item_count)s::int = 0 THEN 0 END, CASE WHEN %(item_count)s::int = 0 THEN 0 END,
       coalesce(%(until)s::timestamptz, now() + %(duration)s::interval), %(reason)s, %(message)s,
       CASE WHEN %(state)s = 'Entered' THEN NULL ELSE now() END
WHERE NOT EXISTS (SELECT FROM attempts WHERE task_uid = %(task_uid)s AND step = %(step)s)
ON CONFLICT DO NOTHING
RETURNING step
"""
STORE_OUTPUT = """
INSERT INTO outputs (task_uid, step, value) VALUES (%(task_uid)s, %(step)s, %(output)s::json)
"""
ASK = """
INSERT INTO waits (id, task_uid, step, kind, body, deadline)
VALUES (%(id)s, %(task_uid)s, %(step)s, 'Question', %(body)s::json, now() + %(timeout)s::interval)
"""
LOCK_ENTERED = """
SELECT s.item_count, s.until IS NOT NULL AND s.until > now() AS asleep,
       EXISTS (SELECT FROM attempts a
               WHERE a.task_uid = s.task_uid AND a.step = s.step AND a.state IN ('Open', 'Running')) AS busy,
       s.until IS NOT NULL AS sleeps
FROM steps s WHERE s.task_uid = %(task_uid)s AND s.step = %(step)s AND s.state = 'Entered'
FOR NO KEY UPDATE
"""
# Brackets, commas and a null for each item without an output: what encode would make of the list.
SIZE_OF_LIST = """
SELECT 1 + %(item_count)s::bigint
       + coalesce(sum(octet_length(value::text)), 0)::bigint + 4 * (%(item_count)s::bigint - count(*))
FROM outputs WHERE task_uid = %(task_uid)s AND step = %(step)s AND item >= 0
"""
STORE_LIST = """
INSERT INTO outputs (task_uid, step, value)
SELECT %(task_uid)s, %(step)s, json_agg(o.value ORDER BY n.item)
FROM generate_series(0, %(item_count)s::int - 1) AS n (item)
LEFT JOIN outputs o ON o.task_uid = %(task_uid)s AND o.step = %(step)s AND o.item = n.item
"""
# An item that was called off before it began, since another one failed, has not failed itself.
END = """
WITH given AS (
  SELECT item FROM outputs WHERE task_uid = %(task_uid)s AND step = %(step)s AND item >= 0
), newest AS (
  SELECT DISTINCT ON (item) item, state FROM attempts
  WHERE task_uid = %(task_uid)s AND step = %(step)s AND item >= 0
  ORDER BY item, number DESC
)
UPDATE steps
SET state = %(state)s, reason = %(reason)s, message = %(message)s, ended_at = now(),
    succeeded = CASE WHEN item_count IS NOT NULL THEN (SELECT count(*) FROM given) END,
    failed = CASE WHEN item_count IS NOT NULL THEN
      (SELECT count(*) FROM newest
       WHERE state <> 'Cancelled' AND item NOT IN (SELECT item FROM given)) END
WHERE task_uid = %(task_uid)s AND step = %(step)s
"""
WITHDRAW_WAITS = """
UPDATE waits SET state = 'Withdrawn', ended_at = now()
WHERE task_uid = %(task_uid)s AND step = %(step)s AND state = 'Open'
"""


@dataclass(frozen=True, slots=True)
class _Decision:
    """An entry as its row's columns."""

    state: StepState
    items: str | None = None
    item_count: int | None = None
    until: datetime | None = None
    duration: timedelta | None = None
    reason: str | None = None
    message: str | None = None
    output: str | None = None


@dataclass(frozen=True, slots=True)
class _Entered:
    item_count: int | None
    asleep: bool
    busy: bool
    sleeps: bool


async def enter_step(conn: Connection, fence: Fence, task_uid: str, step: str, entry: Entry) -> bool:
    """Write down what was decided about a step before any attempt. The first decision stands.

    Returns:
        Whether this call did it. False: the step was decided or has an attempt, the task is gone, ended, suspended
        or unknown, or the context has another version than expected. Plan again.

    Raises:
        ResultTooLarge: items or output are over 16 MiB, the question over 1 MiB, or the context over 256 KiB;
            nothing was written.
        LookupError: ``Done`` with a context for a task without a session.
    """
    decision = _decide(entry)
    which = {"task_uid": task_uid, "step": step}
    row = {
        "state": decision.state,
        "items": decision.items,
        "item_count": decision.item_count,
        "until": decision.until,
        "duration": decision.duration,
        "reason": decision.reason,
        "message": None if decision.message is None else storable_text(decision.message),
    }
    async with leading(conn, fence):
        session_uid = await lock_session_of_task(conn, task_uid)
        if not await lock_live_task(conn, task_uid) or await _is_stale(conn, session_uid, entry):
            return False
        if await fetch_value(conn, str, DECIDE, which | row) is None:
            return False
        if decision.output is not None:
            await execute(conn, STORE_OUTPUT, which | {"output": decision.output})
        match entry:
            case AskPerson():
                await _ask(conn, which, entry)
            case Done() if entry.context is not None:
                if session_uid is None:
                    raise LookupError(f"step {step} sets the context of a session, and its task has none")
                await merge_context(conn, session_uid, entry.context, entry.base)
            case _:
                pass
        return True


async def _is_stale(conn: Connection, session_uid: str | None, entry: Entry) -> bool:
    """Tell whether the context has changed since the entry was rendered from it; the session's row is locked."""
    if session_uid is None or not isinstance(entry, Done) or entry.expected_version is None:
        return False
    return await context_version(conn, session_uid) != entry.expected_version


def _decide(entry: Entry) -> _Decision:
    match entry:
        case Skip():
            return _Decision("Skipped", reason=Reason.SKIPPED, message=entry.message)
        case Enter():
            if entry.items is None:
                return _Decision("Entered")
            listed = list(entry.items)
            text = encode_limited(listed, "The list of items", MAX_STORED_BYTES)
            if listed:
                return _Decision("Entered", items=text, item_count=len(listed))
            return _Decision("Succeeded", items=text, item_count=0, output="[]")
        case Sleep():
            return _Decision("Entered", until=entry.until, duration=entry.duration)
        case AskPerson():
            return _Decision("Entered")
        case Done():
            return _Decision("Succeeded", output=encode_limited(entry.output, "The output", MAX_STORED_BYTES))
        case FailStep():
            return _Decision("Failed", reason=entry.reason, message=entry.message)


async def _ask(conn: Connection, which: dict[str, str], entry: AskPerson) -> None:
    wait = {
        "id": UUID(entry.wait_id),
        "body": encode_limited(dict(entry.body), "The question"),
        "timeout": entry.timeout,
    }
    await execute(conn, ASK, which | wait)


async def end_step(
    conn: Connection,
    fence: Fence,
    task_uid: str,
    step: str,
    phase: Literal["Succeeded", "Failed"],
    reason: str,
    message: str,
) -> bool:
    """End a step that was entered: a fan-out whose items are through, or a sleep that is over.

    Both ends of a fan-out store its output: the list in the order of the items, null where an item has none (a Failed
    one whose list is over 16 MiB has none). A sleep's output is null.

    Returns:
        Whether this call ended it. False: it had ended, was never entered, has an open attempt, its sleep is not
        over, or the task ended.

    Raises:
        ResultTooLarge: the list of a Succeeded fan-out is over 16 MiB; nothing was written.
    """
    which = {"task_uid": task_uid, "step": step}
    end = {"state": phase, "reason": reason, "message": storable_text(message)}
    async with leading(conn, fence):
        if not await lock_open_task(conn, task_uid):
            return False
        entered = await fetch_one(conn, _Entered, LOCK_ENTERED, which)
        if entered is None or entered.busy or (entered.asleep and phase == "Succeeded"):
            return False
        if entered.item_count is not None:
            await _store_list(conn, which, entered.item_count, required=phase == "Succeeded")
        elif entered.sleeps and phase == "Succeeded":
            await execute(conn, STORE_OUTPUT, which | {"output": "null"})
        await execute(conn, END, which | end)
        await execute(conn, WITHDRAW_WAITS, which)
        return True


async def _store_list(conn: Connection, which: dict[str, str], item_count: int, *, required: bool) -> None:
    """Store a fan-out's output, unless it is too large and not required."""
    parameters = which | {"item_count": item_count}
    size = await fetch_value(conn, int, SIZE_OF_LIST, parameters) or 0
    if size <= MAX_STORED_BYTES:
        await execute(conn, STORE_LIST, parameters)
    elif required:
        raise too_large("The list of all items' outputs", size, MAX_STORED_BYTES)
