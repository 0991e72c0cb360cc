"""The runner's calls, one function and one transaction per endpoint of ``/runner/v1``.

``holder`` is the pod's uid from TokenReview, a slash and the process's nonce. Repeating a call gives the stored
answer again. All of them raise ``OtherHolder`` (409), ``Stopped`` (410) and, where a value may be too large,
``ResultTooLarge`` (413); after any of these nothing was written.
"""

from dataclasses import dataclass

from pydantic import JsonValue

from parley.protocol.messages import (
    CallBody,
    EventDraft,
    FinishAnswer,
    FinishBody,
    InputAnswer,
    InputBody,
    PauseAnswer,
    PauseBody,
    ResponseBody,
    StoredAnswer,
    TakeAnswer,
)
from parley.store.ending import wake, wake_next
from parley.store.errors import OtherHolder, ResultTooLarge, Stopped
from parley.store.events import append, derived_id, next_position
from parley.store.holding import Held, count_usage, lock_held
from parley.store.pool import Connection
from parley.store.rows import encode, encode_limited, execute, fetch_one, fetch_value, storable_text
from parley.store.taking import describe, input_messages, take_attempt, take_next_attempt

__all__ = [
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
]

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
IS_POSTED = """
SELECT posted_spec IS NOT NULL FROM turns WHERE session_uid = %(session_uid)s AND ticket = %(ticket)s
"""
STORE_RESPONSE = """
INSERT INTO journal (task_uid, step, item, round, call, attempt, result, input_tokens, output_tokens)
VALUES (%(task_uid)s, %(step)s, %(item)s, %(round)s, -1, %(attempt_id)s, %(result)s::json, %(input)s, %(output)s)
ON CONFLICT DO NOTHING
"""
STORE_BEGUN = """
INSERT INTO journal AS j (task_uid, step, item, round, call, attempt, begun)
VALUES (%(task_uid)s, %(step)s, %(item)s, %(round)s, %(call)s, %(attempt_id)s, %(value)s::json)
ON CONFLICT (task_uid, step, item, round, call) DO UPDATE SET begun = excluded.begun
WHERE j.begun IS NULL AND j.result IS NULL
"""
STORE_RESULT = """
INSERT INTO journal AS j (task_uid, step, item, round, call, attempt, result)
VALUES (%(task_uid)s, %(step)s, %(item)s, %(round)s, %(call)s, %(attempt_id)s, %(value)s::json)
ON CONFLICT (task_uid, step, item, round, call) DO UPDATE SET result = excluded.result
WHERE j.result IS NULL
"""
STORED_ENTRY = """
SELECT begun, result FROM journal
WHERE task_uid = %(task_uid)s AND step = %(step)s AND item = %(item)s AND round = %(round)s AND call = %(call)s
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
CLOSE = """
UPDATE attempts SET state = %(state)s, reason = %(reason)s, message = %(message)s, definite = %(definite)s,
       retry_after = %(retry_after)s, answer = %(answer)s::json, ended_at = now()
WHERE id = %(attempt_id)s
"""
STORE_WAIT = """
INSERT INTO waits (id, task_uid, step, item, round, call, kind, body)
VALUES (%(id)s, %(task_uid)s, %(step)s, %(item)s, %(round)s, %(call)s, %(kind)s, %(body)s::json)
ON CONFLICT (id) DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class _Entry:
    begun: JsonValue
    result: JsonValue


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
        return await describe(conn, held)


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
        return None if held is None else await describe(conn, held)


async def record_input(conn: Connection, attempt: int, holder: str, body: InputBody) -> InputAnswer:
    """Store the turn's messages, once per step; a later attempt gets back what the first one rendered.

    With a turn they become events of the session, unless the message was posted there already.
    """
    async with conn.transaction():
        held = await lock_held(conn, attempt, holder, session=True)
        held.require_running()
        place = held.attempt.place
        stored = await fetch_value(conn, str, STORED_INPUT, place)
        if stored is None:
            await _store_input(conn, held, body)
            stored = await fetch_value(conn, str, STORED_INPUT, place)
        position = await next_position(conn, held.attempt.task_uid, held.attempt.step, held.attempt.item)
        return InputAnswer(messages=input_messages(stored or "[]"), next_position=position)


async def _store_input(conn: Connection, held: Held, body: InputBody) -> None:
    origin = held.origin
    if origin is not None and not await fetch_value(conn, bool, IS_POSTED, _turn(held)):
        drafts = [EventDraft(type="message", role=said.role, content=said.content) for said in body.messages]
        await append(conn, origin, drafts)
    messages = encode_limited([said.model_dump(mode="json") for said in body.messages], "The input")
    await execute(
        conn, STORE_INPUT, held.attempt.place | {"messages": messages, "next_position": len(body.messages)}
    )


def _turn(held: Held) -> dict[str, object]:
    return {"session_uid": held.attempt.session_uid, "ticket": held.attempt.ticket}


async def put_response(
    conn: Connection, attempt: int, holder: str, round_number: int, body: ResponseBody
) -> StoredAnswer:
    """Journal a response that contains calls, before its calls run. The first write wins."""
    result = encode_limited(body.response, "The response")
    async with conn.transaction():
        held = await lock_held(conn, attempt, holder, session=True)
        held.require_running()
        entry = held.attempt.place | {"round": round_number, "call": -1}
        usage = {"input": body.usage.input_tokens, "output": body.usage.output_tokens}
        if await execute(conn, STORE_RESPONSE, entry | usage | {"result": result}):
            await count_usage(conn, held, body.usage)
        return await _stored(conn, held, round_number, -1, begun=False)


async def put_call(
    conn: Connection, attempt: int, holder: str, round_number: int, call: int, body: CallBody
) -> StoredAnswer:
    """Journal a call: ``begun`` before it runs, ``result`` after. The first write of each wins."""
    begun = "begun" in body.model_fields_set
    value = encode_limited(body.begun if begun else body.result, "The call's entry")
    async with conn.transaction():
        held = await lock_held(conn, attempt, holder, session=False)
        held.require_running()
        entry = held.attempt.place | {"round": round_number, "call": call, "value": value}
        await execute(conn, STORE_BEGUN if begun else STORE_RESULT, entry)
        return await _stored(conn, held, round_number, call, begun=begun)


async def _stored(conn: Connection, held: Held, round_number: int, call: int, *, begun: bool) -> StoredAnswer:
    attempt = held.attempt
    entry = await fetch_one(conn, _Entry, STORED_ENTRY, attempt.place | {"round": round_number, "call": call})
    if entry is None:
        raise AssertionError("the entry was written in this transaction")
    key = derived_id(attempt.task_uid, attempt.step, attempt.item, "call", round_number, call)
    return StoredAnswer(stored=entry.begun if begun else entry.result, key=str(key))


async def heartbeat(conn: Connection, attempt: int, holder: str) -> None:
    """Extend the lease by 9 s. Runners of a Job need none: their pod is watched."""
    async with conn.transaction():
        held = await lock_held(conn, attempt, holder, session=False)
        held.require_running()
        await execute(conn, EXTEND_LEASE, held.attempt.place)


async def finish(conn: Connection, attempt: int, holder: str, body: FinishBody) -> FinishAnswer:
    """Commit the outcome: with a success its events, output and usage, and its turn ends; else usage only."""
    output = encode_limited(body.output, "The output")
    async with conn.transaction():
        held = await lock_held(conn, attempt, holder, session=True)
        if held.attempt.state in {"Succeeded", "Failed"} and held.attempt.answer is not None:
            return FinishAnswer.model_validate(held.attempt.answer)
        held.require_running()
        sequences = await _succeed(conn, held, body.events, output) if body.outcome == "Succeeded" else None
        first, last = sequences or (None, None)
        answer = FinishAnswer(first_sequence=first, last_sequence=last)
        await count_usage(conn, held, body.usage)
        closing = {
            "state": body.outcome,
            "reason": body.reason or (None if body.outcome == "Succeeded" else "Error"),
            "message": storable_text(body.message or ""),
            "definite": body.definite,
            "retry_after": body.retry_after,
            "answer": encode(answer.model_dump(mode="json", by_alias=True)),
        }
        await execute(conn, CLOSE, held.attempt.place | closing)
        await wake(conn, held.attempt.task_uid)
        return answer


async def _succeed(
    conn: Connection, held: Held, events: list[EventDraft], output: str
) -> tuple[int, int] | None:
    """Store what a success leaves: its output, its events, and the session free for the next turn."""
    await execute(conn, STORE_OUTPUT, held.attempt.place | {"output": output})
    origin = held.origin
    if origin is None:
        return None
    sequences = await append(conn, origin, events)
    if not await execute(conn, END_OWN_TURN, _turn(held)):
        raise Stopped("Cancelled")
    await wake_next(conn, origin.session_uid)
    return sequences


async def pause(conn: Connection, attempt: int, holder: str, body: PauseBody) -> PauseAnswer:
    """Commit an attempt that waits for its calls. The turn stays held."""
    async with conn.transaction():
        held = await lock_held(conn, attempt, holder, session=True)
        if held.attempt.state == "Paused":
            return PauseAnswer.model_validate(held.attempt.answer)
        held.require_running()
        if held.origin is not None:
            await append(conn, held.origin, body.events)
        place = held.attempt.place
        waits: list[str] = []
        for paused in body.calls:
            wait_id = derived_id(
                held.attempt.task_uid, held.attempt.step, held.attempt.item, "wait", paused.round, paused.call
            )
            waits.append(str(wait_id))
            text = encode_limited(
                {"tool": paused.tool, "arguments": paused.arguments}, "The call's arguments"
            )
            wait = {
                "id": wait_id,
                "round": paused.round,
                "call": paused.call,
                "kind": paused.kind,
                "body": text,
            }
            await execute(conn, STORE_WAIT, place | wait)
        answer = PauseAnswer(waits=waits)
        await count_usage(conn, held, body.usage)
        closing = {
            "state": "Paused",
            "reason": None,
            "message": None,
            "definite": False,
            "retry_after": None,
            "answer": encode(answer.model_dump(mode="json", by_alias=True)),
        }
        await execute(conn, CLOSE, place | closing)
        await wake(conn, held.attempt.task_uid)
        return answer
