"""The first of the runner's calls: which attempt this pod runs, and all it must know."""

from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pydantic import JsonValue, TypeAdapter

from parley.protocol.messages import (
    InputMessage,
    JournalEntry,
    TakeAnswer,
    Usage,
)
from parley.protocol.request import runner_request
from parley.store.approvals import ask_decisions, reply_entries
from parley.store.ending import wake
from parley.store.errors import Stopped
from parley.store.history import ask_history, stored_events
from parley.store.holding import Held, LockedAttempt, LockedTask, require_holder
from parley.store.pool import Connection
from parley.store.rows import Statement, ask, beginning, fetch_one, fetch_value

SHARE_TASK = """
SELECT name, session_uid, gone_since, ended_at, end_reason FROM tasks
WHERE uid = %(task_uid)s AND namespace = %(namespace)s
FOR SHARE
"""
FIND_ATTEMPT = """
SELECT id, task_uid, step, item, number, state, holder, session_uid, ticket, deadline, reason, request, answer
FROM attempts WHERE job = %(job)s AND index = %(index)s AND task_uid = %(task_uid)s
FOR NO KEY UPDATE
"""
TAKE = """
UPDATE attempts
SET state = 'Running', holder = %(holder)s, taken_at = now(), lease_until = now() + %(lease)s::interval,
    deadline = least(deadline, CASE WHEN run_timeout IS NULL THEN deadline ELSE now() + run_timeout END)
WHERE id = %(id)s
RETURNING deadline
"""
SHARE_LIVE_TASK = """
SELECT name, session_uid, gone_since, ended_at, end_reason, suspended_since IS NOT NULL AS suspended FROM tasks
WHERE uid = %(task_uid)s AND namespace = %(namespace)s
FOR SHARE
"""
FIND_OWN = """
SELECT id, task_uid, step, item, number, state, holder, session_uid, ticket, deadline, reason, request, answer
FROM attempts WHERE task_uid = %(task_uid)s AND runtime = 'Task' AND state = 'Running' AND holder = %(holder)s
ORDER BY id LIMIT 1 FOR NO KEY UPDATE
"""
FIND_NEXT = """
SELECT id, task_uid, step, item, number, state, holder, session_uid, ticket, deadline, reason, request, answer
FROM attempts WHERE task_uid = %(task_uid)s AND runtime = 'Task' AND state = 'Open'
ORDER BY id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
"""
FIND_OWN_WARM = """
SELECT a.id FROM attempts a JOIN tasks t ON t.uid = a.task_uid
WHERE a.holder = %(holder)s AND a.state = 'Running' AND a.runtime = 'Warm'
  AND t.ended_at IS NULL AND t.gone_since IS NULL
ORDER BY a.id LIMIT 1
"""
SHARE_OWN_TASK = """
SELECT name, session_uid, gone_since, ended_at, end_reason FROM tasks
WHERE uid = (SELECT task_uid FROM attempts WHERE id = %(attempt_id)s) AND namespace = %(namespace)s
FOR SHARE
"""
LOCK_OWN = """
SELECT id, task_uid, step, item, number, state, holder, session_uid, ticket, deadline, reason, request, answer
FROM attempts WHERE id = %(attempt_id)s AND state = 'Running' AND holder = %(holder)s
FOR NO KEY UPDATE
"""
# The task's row first, as everywhere, and waited for: mostly it is held by who has just inserted the attempt. An
# attempt that another slot takes at this moment is left to it, and the next one is looked at.
FIND_NEXT_WARM = """
SELECT a.id, a.task_uid, a.step, a.item, a.number, a.state, a.holder, a.session_uid, a.ticket, a.reason,
       least(a.deadline, CASE WHEN a.run_timeout IS NULL THEN a.deadline ELSE now() + a.run_timeout END) AS deadline,
       a.request, a.answer, t.name AS task_name, t.session_uid AS task_session
FROM attempts a JOIN tasks t ON t.uid = a.task_uid
WHERE a.pool = %(pool)s AND a.state = 'Open' AND a.runtime = 'Warm' AND t.namespace = %(namespace)s
  AND t.suspended_since IS NULL AND t.ended_at IS NULL AND t.gone_since IS NULL
  AND NOT EXISTS (SELECT FROM attempts own JOIN tasks theirs ON theirs.uid = own.task_uid
                  WHERE own.holder = %(holder)s AND own.state = 'Running' AND own.runtime = 'Warm'
                    AND theirs.ended_at IS NULL AND theirs.gone_since IS NULL)
ORDER BY a.id LIMIT 1
FOR SHARE OF t FOR NO KEY UPDATE OF a SKIP LOCKED
"""
INPUT = """
SELECT messages::text AS messages, next_position FROM inputs
WHERE task_uid = %(task_uid)s AND step = %(step)s AND item = %(item)s
"""
JOURNAL = """
SELECT round, call, begun, result, result IS NOT NULL AS done, input_tokens, output_tokens FROM journal
WHERE task_uid = %(task_uid)s AND step = %(step)s AND item = %(item)s
ORDER BY round, call
"""
OUTPUTS = """
SELECT step, value FROM outputs
WHERE task_uid = %(task_uid)s AND item = -1 AND step = ANY(%(steps)s::text[])
"""

# The leader looks at a new attempt by itself, half a second after it was inserted; most are over by then.
TAKE_WARM = """
WITH taken AS (
  UPDATE attempts
  SET state = 'Running', holder = %(holder)s, taken_at = now(), lease_until = now() + %(lease)s::interval,
      deadline = least(deadline, CASE WHEN run_timeout IS NULL THEN deadline ELSE now() + run_timeout END)
  WHERE id = %(id)s
  RETURNING task_uid, created_at
)
SELECT CASE WHEN created_at + %(soon)s::interval < now() THEN pg_notify('parley', task_uid)::text END FROM taken
"""

_SOON = timedelta(milliseconds=250)
LEASE = timedelta(seconds=9)
"""How long a runner that sends heartbeats is believed to be alive after the last one."""
NOT_FOR_RUNNERS = {"Container", "Task"}
"""Kinds of requests whose attempts stay open until the leader commits their outcome."""

_MESSAGES = TypeAdapter(list[InputMessage])


@dataclass(frozen=True, slots=True)
class _LiveTask(LockedTask):
    suspended: bool


@dataclass(frozen=True, slots=True)
class _InPool(LockedAttempt):
    task_name: str
    task_session: str | None


@dataclass(frozen=True, slots=True)
class _Own:
    id: int


@dataclass(frozen=True, slots=True)
class _Input:
    messages: str | None
    next_position: int


@dataclass(frozen=True, slots=True)
class _Entry:
    round: int
    call: int
    begun: JsonValue
    result: JsonValue
    done: bool
    input_tokens: int | None
    output_tokens: int | None


@dataclass(frozen=True, slots=True)
class _Output:
    step: str
    value: JsonValue


async def take_attempt(
    conn: Connection, job: str, index: int, task_uid: str, namespace: str, holder: str
) -> Held:
    """Find the attempt of a Job and make the caller its holder, in the caller's transaction.

    Whoever may make Jobs in one namespace can copy name and owner of another's: so the namespace counts as well.

    Raises:
        Stopped: there is no such attempt in this namespace, it is closed, or its task ended or is gone.
        OtherHolder: another process has it.
    """
    found = await find_attempt(conn, job, index, task_uid, namespace)
    attempt, task = found.attempt, found.task
    if attempt.request.get("kind") in NOT_FOR_RUNNERS:
        raise Stopped("Gone")
    if attempt.state != "Open":
        require_holder(attempt, holder)
    elif task.stop_reason is None:
        return Held(await _hold(conn, attempt, holder, None), task, is_new=True)
    found.require_running()
    return found


async def find_attempt(conn: Connection, job: str, index: int, task_uid: str, namespace: str) -> Held:
    """Find and lock the attempt of a Job; whether its pod holds it is for the caller to see.

    Raises:
        Stopped: there is no such attempt in this namespace.
    """
    parameters = {"job": job, "index": index, "task_uid": task_uid, "namespace": namespace}
    task = await fetch_one(conn, LockedTask, SHARE_TASK, parameters)
    attempt = await fetch_one(conn, LockedAttempt, FIND_ATTEMPT, parameters)
    if task is None or attempt is None:
        raise Stopped("Gone")
    return Held(attempt, task)


async def take_next_attempt(conn: Connection, task_uid: str, namespace: str, holder: str) -> Held | None:
    """Make the caller the holder of the task's oldest open attempt of runtime Task, in the caller's transaction.

    Raises:
        Stopped: the task is not in this namespace, has ended or is gone.
    """
    parameters = {"task_uid": task_uid, "namespace": namespace, "holder": holder}
    task = await fetch_one(conn, _LiveTask, SHARE_LIVE_TASK, parameters)
    if task is None:
        raise Stopped("Gone")
    if task.stop_reason is not None:
        raise Stopped(task.stop_reason)
    # The answer to an earlier call was lost: what this holder has comes first, also while the task is suspended.
    attempt = await fetch_one(conn, LockedAttempt, FIND_OWN, parameters)
    if attempt is None and not task.suspended:
        attempt = await fetch_one(conn, LockedAttempt, FIND_NEXT, parameters)
        if attempt is not None:
            attempt = await _hold(conn, attempt, holder, LEASE)
            # No pod changes when a runner that stays takes its next step: only this tells the leader that it runs
            # now, and until when to believe that.
            await wake(conn, task_uid)
    return None if attempt is None else Held(attempt, task)


async def find_next_warm(
    conn: Connection,
    transaction: AsyncExitStack,
    pool: str,
    namespace: str,
    holder: str,
    *,
    own: bool = False,
) -> Held | None:
    """Begin a transaction and lock the pool's oldest open attempt in this namespace; ``taking`` makes it the holder's.

    What it holds already comes first; with ``own`` it gets nothing else. Attempts of tasks that have ended or gone, or
    are suspended, are left where they are.
    """
    parameters = {"pool": pool, "namespace": namespace, "holder": holder}
    async with beginning(conn, transaction):
        ours = await ask(conn, _Own, FIND_OWN_WARM, parameters)
        found = None if own else await ask(conn, _InPool, FIND_NEXT_WARM, parameters)
    mine, attempt = await ours.fetchone(), await found.fetchone() if found else None
    if attempt is None:
        return None if mine is None else await _own_warm(conn, namespace, mine.id, holder)
    task = LockedTask(attempt.task_name, attempt.task_session, None, None, None)
    return Held(_held_by(holder, attempt, attempt.deadline), task, is_new=True)


def taking(held: Held) -> Statement:
    """Return what makes the holder the holder of an attempt that ``find_next_warm`` has locked."""
    return TAKE_WARM, {
        "id": held.attempt.id,
        "holder": held.attempt.holder,
        "lease": LEASE,
        "soon": _SOON,
    }


async def _own_warm(conn: Connection, namespace: str, attempt_id: int, holder: str) -> Held | None:
    """What this holder has already, where the answer to an earlier call was lost."""
    parameters = {"attempt_id": attempt_id, "namespace": namespace, "holder": holder}
    task = await fetch_one(conn, LockedTask, SHARE_OWN_TASK, parameters)
    attempt = await fetch_one(conn, LockedAttempt, LOCK_OWN, parameters)
    if task is None or task.stop_reason is not None or attempt is None:
        return None
    return Held(attempt, task)


async def _hold(
    conn: Connection, attempt: LockedAttempt, holder: str, lease: timedelta | None
) -> LockedAttempt:
    taken = {"id": attempt.id, "holder": holder, "lease": lease}
    return _held_by(holder, attempt, await fetch_value(conn, datetime, TAKE, taken))


def _held_by(holder: str, attempt: LockedAttempt, deadline: datetime | None) -> LockedAttempt:
    return replace(attempt, deadline=deadline or attempt.deadline, state="Running", holder=holder)


async def describe(conn: Connection, held: Held, *first: Statement) -> TakeAnswer:
    """Collect what the attempt's runner must know: its request and what earlier attempts left.

    Args:
        conn: a connection to the store, in a transaction.
        held: the attempt.
        first: statements that are run before, in the same round trip.
    """
    attempt = held.attempt
    request = runner_request(attempt.request)
    # What a first attempt journals and what is decided of it comes after it was given out.
    is_first = held.is_new and attempt.number == 1
    steps = attempt.place | {"steps": request.needs_outputs}
    async with conn.pipeline():
        for query, parameters in first:
            await conn.execute(query, parameters)
        inputs = await ask(conn, _Input, INPUT, attempt.place)
        entries = None if is_first else await ask(conn, _Entry, JOURNAL, attempt.place)
        needed = await ask(conn, _Output, OUTPUTS, steps) if request.needs_outputs else None
        events = None if attempt.session_uid is None else await ask_history(conn, attempt)
        decided = None if is_first else await ask_decisions(conn, attempt)
    said = await inputs.fetchone()
    outputs = await needed.fetchall() if needed else []
    return TakeAnswer(
        attempt=attempt.id,
        number=attempt.number,
        deadline=attempt.deadline,
        next_position=said.next_position if said else 0,
        request=request,
        outputs={output.step: output.value for output in outputs},
        history=stored_events(await events.fetchall()) if events else [],
        input=input_messages(said.messages) if said and said.messages is not None else None,
        journal=[_journal_entry(row) for row in await entries.fetchall()] if entries else [],
        replies=reply_entries(await decided.fetchall()) if decided else [],
    )


def input_messages(stored: str) -> list[InputMessage]:
    """Read the messages that a step's first attempt stored."""
    return _MESSAGES.validate_json(stored)


def _journal_entry(row: _Entry) -> JournalEntry:
    usage = None
    if row.input_tokens is not None and row.output_tokens is not None:
        usage = Usage(input_tokens=row.input_tokens, output_tokens=row.output_tokens)
    return JournalEntry(
        round=row.round, call=row.call, begun=row.begun, result=row.result, done=row.done, usage=usage
    )
