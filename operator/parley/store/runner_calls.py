"""The runner's calls, one function and one transaction per endpoint of ``/runner/v1``.

``holder`` is the pod's uid from TokenReview, a slash and the process's nonce. Repeating a call gives the stored
answer again. All of them raise ``OtherHolder`` (409), ``Stopped`` (410) and, where a value may be too large,
``ResultTooLarge`` (413); some ``NotAllowed`` (422). After any of these nothing was written.
"""

import logging
from contextlib import AsyncExitStack

from psycopg import DataError
from pydantic import ValidationError

from parley.protocol.messages import (
    EventDraft,
    FinishAnswer,
    FinishBody,
    InputAnswer,
    InputBody,
    SummaryContent,
    TakeAnswer,
)
from parley.store.context_calls import update_context_call
from parley.store.ending import answer_open_calls, waking, waking_next
from parley.store.errors import NotAllowed, OtherHolder, ResultTooLarge, Stopped
from parley.store.events import append, next_position
from parley.store.holding import (
    LOCK_ATTEMPT,
    SHARE_TASK,
    Held,
    LockedAttempt,
    LockedTask,
    count_usage,
    holding,
)
from parley.store.journal import put_call, put_response
from parley.store.outcomes import close_held, require_own_events
from parley.store.pausing import pause
from parley.store.pool import Connection
from parley.store.posting import IS_POSTED, is_posted
from parley.store.rows import Statement, encode, encode_limited, execute, execute_all, fetch_one, fetch_value
from parley.store.taking import (
    describe,
    find_next_warm,
    input_messages,
    take_attempt,
    take_next_attempt,
    taking,
)

__all__ = [
    "NotAllowed",
    "OtherHolder",
    "ResultTooLarge",
    "Stopped",
    "finish",
    "heartbeat",
    "pause",
    "put_call",
    "put_response",
    "record_input",
    "take",
    "take_next",
    "take_warm",
    "update_context_call",
]

UNREADABLE = "What is stored of the step or of its Session cannot be read: continue in another Session."
SUMMARY_KEY = "summary"
"""A step makes at most one."""
STORED_INPUT = """
SELECT messages::text FROM inputs
WHERE task_uid = %(task_uid)s AND step = %(step)s AND item = %(item)s AND messages IS NOT NULL
"""
STORE_INPUT = """
INSERT INTO inputs (task_uid, step, item, messages, next_position)
VALUES (%(task_uid)s, %(step)s, %(item)s, %(messages)s::json, %(next_position)s)
ON CONFLICT (task_uid, step, item)
DO UPDATE SET messages = excluded.messages, next_position = greatest(inputs.next_position, excluded.next_position)
"""
STORE_POSTED_INPUT = f"""
INSERT INTO inputs (task_uid, step, item, messages, next_position)
SELECT %(task_uid)s, %(step)s, %(item)s, %(messages)s::json, %(next_position)s WHERE ({IS_POSTED})
ON CONFLICT (task_uid, step, item)
DO UPDATE SET messages = excluded.messages, next_position = greatest(inputs.next_position, excluded.next_position)
WHERE inputs.messages IS NULL
"""
EXTEND_LEASE = "UPDATE attempts SET lease_until = now() + interval '9 s' WHERE id = %(attempt_id)s"
STORE_OUTPUT = """
INSERT INTO outputs (task_uid, step, item, value)
VALUES (%(task_uid)s, %(step)s, %(item)s, %(output)s::json)
"""
END_OWN_TURN = """
UPDATE turns SET state = 'Done', ended_at = now()
WHERE session_uid = %(session_uid)s AND ticket = %(ticket)s AND state = 'Held'
"""

log = logging.getLogger(__name__)


async def take(
    conn: Connection, *, job: str, index: int, task_uid: str, namespace: str, holder: str
) -> TakeAnswer:
    """Give the attempt of this Job, Task uid, namespace and completion index to the holder.

    Raises:
        Stopped: there is no such attempt, it is closed, or its task ended or is gone.
        OtherHolder: another process has it.
    """
    async with conn.transaction():
        held = await take_attempt(conn, job, index, task_uid, namespace, holder)
        return await _give(conn, held)


async def take_next(conn: Connection, *, task_uid: str, namespace: str, holder: str) -> TakeAnswer | None:
    """Give the oldest open attempt of runtime Task of this Task to the holder, for 9 s: it must send heartbeats.

    A holder that has one gets that one again.

    Returns:
        None when none is ready, or the task is suspended: ask again.

    Raises:
        Stopped: the task ended, is gone, or is not in this namespace.
    """
    async with conn.transaction():
        held = await take_next_attempt(conn, task_uid, namespace, holder)
        return None if held is None else await _give(conn, held)


async def take_warm(
    conn: Connection, *, pool: str, namespace: str, holder: str, own: bool = False
) -> TakeAnswer | None:
    """Give the oldest open attempt of a pool to the holder, for 9 s: it must send heartbeats.

    A holder that has one gets that one again; with ``own`` it gets no other. One of which nobody can be told, such as
    of a session with an event that cannot be read, is closed as Failed: it would keep all others from the pool.

    Returns:
        None when none is ready: ask again.
    """
    while True:
        held = None
        try:
            async with AsyncExitStack() as transaction:
                held = await find_next_warm(conn, transaction, pool, namespace, holder, own=own)
                if held is None:
                    return None
                return await _give(conn, held, *([taking(held)] if held.is_new else []))
        except (DataError, ValidationError) as error:
            if held is None:
                raise
            log.error("attempt %d cannot be given out: %s", held.attempt.id, type(error).__name__)  # noqa: TRY400
            await _give_up(conn, held)


async def _give_up(conn: Connection, given: Held) -> None:
    """Close an attempt as Failed for good, unless somebody else has it now."""
    parameters = {"attempt_id": given.attempt.id}
    async with conn.transaction():
        task = await fetch_one(conn, LockedTask, SHARE_TASK, parameters)
        attempt = await fetch_one(conn, LockedAttempt, LOCK_ATTEMPT, parameters)
        if task is None or attempt is None or attempt.state not in {"Open", "Running"}:
            return
        if attempt.holder not in {None, given.attempt.holder}:
            return
        closing = close_held(
            Held(attempt, task),
            "Failed",
            answer=encode(FinishAnswer().model_dump(mode="json", by_alias=True)),
            reason="Error",
            message=UNREADABLE,
            definite=True,
        )
        await execute_all(conn, closing, waking(attempt.task_uid))


async def _give(conn: Connection, held: Held, *first: Statement) -> TakeAnswer:
    """Tell the runner what it must know; what was posted is its input already, and the runner need not store it."""
    origin, text = held.origin, _literal_text(held)
    if origin is not None and text is not None:
        said = {"messages": encode([{"role": "user", "content": text}]), "next_position": 1}
        said |= {"session_uid": origin.session_uid}
        first = *first, (STORE_POSTED_INPUT, held.attempt.place | said)
    return await describe(conn, held, *first)


def _literal_text(held: Held) -> str | None:
    """What the step says, where it is no template, and no summary of earlier turns is to come before it."""
    request = held.attempt.request
    prompt, session = request.get("prompt"), request.get("session")
    if request.get("literal") is not True or not isinstance(prompt, dict) or not isinstance(session, dict):
        return None
    if request.get("history") != "Session" or session.get("contextOverflow") == "Summarize":
        return None
    text = prompt.get("text")
    return text if isinstance(text, str) else None


async def record_input(conn: Connection, attempt: int, holder: str, body: InputBody) -> InputAnswer:
    """Store the turn's messages, once per step; a later attempt gets back what the first one rendered.

    With a turn they become events of the session, unless the message was posted there already; before them comes the
    summary, if there is one.

    Raises:
        NotAllowed: the summary is none.
    """
    _check_summary(body.summary)
    async with holding(conn, attempt, holder, session=True) as held:
        held.require_running()
        place = held.attempt.place
        stored = await fetch_value(conn, str, STORED_INPUT, place)
        if stored is None:
            await _store_input(conn, held, body)
            stored = await fetch_value(conn, str, STORED_INPUT, place)
        position = await next_position(conn, held.attempt.task_uid, held.attempt.step, held.attempt.item)
        return InputAnswer(messages=input_messages(stored or "[]"), next_position=position)


def _check_summary(summary: EventDraft | None) -> None:
    """Refuse what no later turn could read."""
    if summary is None:
        return
    try:
        SummaryContent.model_validate(summary.content)
    except ValidationError as error:
        raise NotAllowed("The summary is none: it has a text and ranges of sequences.") from error
    if summary.type != "summary":
        raise NotAllowed(f"An event of type {summary.type} is no summary.")


async def _store_input(conn: Connection, held: Held, body: InputBody) -> None:
    origin = held.origin
    if origin is not None:
        posted = await is_posted(conn, origin.session_uid, origin.task_uid, origin.step)
        summaries = [body.summary.model_copy(update={"key": SUMMARY_KEY})] if body.summary else []
        await append(conn, origin, [*summaries, *([] if posted else _said(body))])
    messages = encode_limited([said.model_dump(mode="json") for said in body.messages], "The input")
    await execute(
        conn, STORE_INPUT, held.attempt.place | {"messages": messages, "next_position": len(body.messages)}
    )


def _said(body: InputBody) -> list[EventDraft]:
    return [
        EventDraft(
            type="message",
            role=said.role,
            content=said.content,
            speaker=body.speaker if said.role == "user" else None,
        )
        for said in body.messages
    ]


def _turn(held: Held) -> dict[str, object]:
    return {"session_uid": held.attempt.session_uid, "ticket": held.attempt.ticket}


async def heartbeat(conn: Connection, attempt: int, holder: str) -> None:
    """Extend the lease by 9 s. Runners of a Job need none: their pod is watched."""
    async with holding(conn, attempt, holder, session=False) as held:
        held.require_running()
        await execute(conn, EXTEND_LEASE, held.attempt.place)


async def finish(conn: Connection, attempt: int, holder: str, body: FinishBody) -> FinishAnswer:
    """Commit the outcome: with a success its events, output and usage, and its turn ends; else usage only.

    A call that the turn leaves open gets its journaled result, or one that says that there is none.

    Raises:
        NotAllowed: an event is none that a runner writes.
    """
    require_own_events(body.events)
    output = encode_limited(body.output, "The output")
    async with holding(conn, attempt, holder, session=True) as held:
        if held.attempt.state in {"Succeeded", "Failed"} and held.attempt.answer is not None:
            return FinishAnswer.model_validate(held.attempt.answer)
        held.require_running()
        sequences = await _succeed(conn, held, body.events, output) if body.outcome == "Succeeded" else None
        first, last = sequences or (None, None)
        answer = FinishAnswer(first_sequence=first, last_sequence=last)
        closing = close_held(
            held,
            body.outcome,
            answer=encode(answer.model_dump(mode="json", by_alias=True)),
            reason=body.reason or (None if body.outcome == "Succeeded" else "Error"),
            message=body.message or "",
            definite=body.definite,
            retry_after=body.retry_after,
        )
        await execute_all(conn, *count_usage(held, body.usage), closing, waking(held.attempt.task_uid))
        return answer


async def _succeed(
    conn: Connection, held: Held, events: list[EventDraft], output: str
) -> tuple[int, int] | None:
    """Store what a success leaves: its output, its events, and the session free for the next turn."""
    storing = STORE_OUTPUT, held.attempt.place | {"output": output}
    origin = held.origin
    if origin is None:
        await execute(conn, *storing)
        return None
    sequences = await append(conn, origin, events)
    await answer_open_calls(conn, origin, "The turn ended without a result of this call.")
    ending = END_OWN_TURN, _turn(held)
    _, ended, _ = await execute_all(conn, storing, ending, waking_next(origin.session_uid))
    if not ended:
        raise Stopped("Cancelled")
    return sequences
