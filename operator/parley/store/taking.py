"""The first of the runner's calls: which attempt this pod runs, and all it must know."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pydantic import JsonValue, TypeAdapter

from parley.protocol.messages import (
    InputMessage,
    JournalEntry,
    ReplyEntry,
    StoredEvent,
    TakeAnswer,
    Usage,
)
from parley.protocol.request import PromptRequest
from parley.store.ending import wake
from parley.store.errors import Stopped
from parley.store.holding import Held, LockedAttempt, LockedTask, require_holder
from parley.store.pool import Connection
from parley.store.rows import fetch_all, fetch_one, fetch_value

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
INPUT = """
SELECT messages::text AS messages, next_position FROM inputs
WHERE task_uid = %(task_uid)s AND step = %(step)s AND item = %(item)s
"""
JOURNAL = """
SELECT round, call, begun, result, result IS NOT NULL AS done, input_tokens, output_tokens FROM journal
WHERE task_uid = %(task_uid)s AND step = %(step)s AND item = %(item)s
ORDER BY round, call
"""
REPLIES = """
SELECT w.round, w.call, r.body, r.by FROM waits w JOIN replies r ON r.wait_id = w.id AND r.accepted
WHERE w.task_uid = %(task_uid)s AND w.step = %(step)s AND w.item = %(item)s
ORDER BY w.round, w.call
"""
OUTPUTS = """
SELECT step, value FROM outputs
WHERE task_uid = %(task_uid)s AND item = -1 AND step = ANY(%(steps)s::text[])
"""
# Tickets are granted in their order, so this is the order in which turns were granted. An event without a turn is
# no part of what the model is shown. Of the events before the oldest message in the window none is shown either:
# a result never comes without its call. What this step itself has said already is its input, not its history.
HISTORY = """
WITH past AS (
  SELECT e.sequence, e.time, e.type, e.role, e.content, e.task, e.step, e.ticket,
         count(*) FILTER (WHERE e.type = 'message') OVER (ORDER BY e.ticket DESC, e.sequence DESC) AS newest
  FROM events e JOIN turns t ON t.session_uid = e.session_uid AND t.ticket = e.ticket
  WHERE e.session_uid = %(session_uid)s AND t.state = 'Done'
    AND (e.task_uid, e.step, e.item) IS DISTINCT FROM (%(task_uid)s, %(own_step)s, %(item)s)
), shown AS (
  SELECT *, sum(octet_length(content::text)) OVER (ORDER BY ticket DESC, sequence DESC) AS size
  FROM past WHERE newest < %(window)s OR (newest = %(window)s AND type = 'message')
), fitting AS (
  SELECT max(newest) FILTER (WHERE type = 'message' AND size <= %(bytes)s) AS messages FROM shown
)
SELECT sequence, time, type, role, content, task, step FROM shown, fitting
WHERE newest < fitting.messages OR (newest = fitting.messages AND type = 'message')
ORDER BY ticket, sequence
"""
DEFAULT_WINDOW = 1000
"""Newest messages that a step is shown when its session sets no contextWindow."""
MAX_HISTORY_BYTES = 2 * 1024 * 1024
"""Most content, as JSON, that a step is shown of earlier turns, whatever the window: the answer to ``take`` is held in
memory by gateway and runner."""

LEASE = timedelta(seconds=9)
"""How long a runner that sends heartbeats is believed to be alive after the last one."""
NOT_FOR_RUNNERS = {"Container", "Task"}
"""Kinds of requests whose attempts stay open until the leader commits their outcome."""

_MESSAGES = TypeAdapter(list[InputMessage])


@dataclass(frozen=True, slots=True)
class _LiveTask(LockedTask):
    suspended: bool


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
class _Reply:
    round: int
    call: int
    body: dict[str, JsonValue]
    by: str


@dataclass(frozen=True, slots=True)
class _Output:
    step: str
    value: JsonValue


@dataclass(frozen=True, slots=True)
class _Event:
    sequence: int
    time: datetime
    type: str
    role: str | None
    content: JsonValue
    task: str | None
    step: str | None


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
        return Held(await _hold(conn, attempt, holder, None), task)
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


async def _hold(
    conn: Connection, attempt: LockedAttempt, holder: str, lease: timedelta | None
) -> LockedAttempt:
    taken = {"id": attempt.id, "holder": holder, "lease": lease}
    deadline = await fetch_value(conn, datetime, TAKE, taken)
    return replace(attempt, deadline=deadline or attempt.deadline, state="Running", holder=holder)


async def describe(conn: Connection, held: Held) -> TakeAnswer:
    """Collect what the attempt's runner must know: its request and what earlier attempts left."""
    attempt = held.attempt
    request = PromptRequest.model_validate(attempt.request)
    said = await fetch_one(conn, _Input, INPUT, attempt.place)
    steps = attempt.place | {"steps": request.needs_outputs}
    outputs = await fetch_all(conn, _Output, OUTPUTS, steps) if request.needs_outputs else []
    return TakeAnswer(
        attempt=attempt.id,
        number=attempt.number,
        deadline=attempt.deadline,
        next_position=said.next_position if said else 0,
        request=request,
        outputs={output.step: output.value for output in outputs},
        history=await _history(conn, attempt, request) if attempt.session_uid is not None else [],
        input=input_messages(said.messages) if said and said.messages is not None else None,
        journal=[_journal_entry(row) for row in await fetch_all(conn, _Entry, JOURNAL, attempt.place)],
        replies=[_reply(row) for row in await fetch_all(conn, _Reply, REPLIES, attempt.place)],
    )


async def _history(conn: Connection, attempt: LockedAttempt, request: PromptRequest) -> list[StoredEvent]:
    window = request.session.context_window if request.session else None
    parameters = {
        "session_uid": attempt.session_uid,
        "task_uid": attempt.task_uid,
        "own_step": attempt.step,
        "item": attempt.item,
        "window": DEFAULT_WINDOW if window is None else window,
        "bytes": MAX_HISTORY_BYTES,
    }
    rows = await fetch_all(conn, _Event, HISTORY, parameters)
    return [StoredEvent.model_validate(row, from_attributes=True) for row in rows]


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


def _reply(row: _Reply) -> ReplyEntry:
    return ReplyEntry.model_validate(row.body | {"round": row.round, "call": row.call, "by": row.by})
