"""The runner's calls that keep a step's journal: responses with calls, and what became of each call."""

from dataclasses import dataclass

from pydantic import JsonValue

from parley.protocol.messages import CallBody, ResponseBody, StoredAnswer
from parley.store.approvals import decision
from parley.store.errors import NotAllowed
from parley.store.events import derived_id
from parley.store.holding import LockedAttempt, count_usage, holding
from parley.store.pool import Connection
from parley.store.rows import encode_limited, execute, execute_all, fetch_one, fetch_value
from parley.store.tools import JournaledCall, journaled_call

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
HAS_RESULT = """
SELECT result IS NOT NULL FROM journal
WHERE task_uid = %(task_uid)s AND step = %(step)s AND item = %(item)s AND round = %(round)s AND call = %(call)s
"""
RUN_BY_RUNNERS = {"http", "mcp"}
"""Kinds of tools whose calls a runner begins; others it pauses for."""


@dataclass(frozen=True, slots=True)
class _Entry:
    begun: JsonValue
    result: JsonValue


async def put_response(
    conn: Connection, attempt: int, holder: str, round_number: int, body: ResponseBody
) -> StoredAnswer:
    """Journal a response that contains calls, before its calls run. The first write wins."""
    result = encode_limited(body.response, "The response")
    async with holding(conn, attempt, holder, session=True) as held:
        held.require_running()
        entry = held.attempt.place | {"round": round_number}
        usage = {"input": body.usage.input_tokens, "output": body.usage.output_tokens}
        if await execute(conn, STORE_RESPONSE, entry | usage | {"result": result}):
            await execute_all(conn, *count_usage(held, body.usage))
        return await stored(conn, held.attempt, round_number, -1)


async def put_call(
    conn: Connection, attempt: int, holder: str, round_number: int, call: int, body: CallBody
) -> StoredAnswer:
    """Journal a call: ``begun`` before it runs, ``result`` after. The first write of each wins.

    Raises:
        NotAllowed: the journaled response lacks the call; or ``begun`` is for a tool that is not the runner's to
            run, or that needs an approval it has not; or ``result`` is for such a call, and no ``{"error": …}``.
    """
    begun = "begun" in body.model_fields_set
    value = encode_limited(body.begun if begun else body.result, "The call's entry")
    async with holding(conn, attempt, holder, session=False) as held:
        held.require_running()
        asked = await journaled_call(conn, held.attempt, round_number, call)
        if begun:
            await _require_runnable(conn, held.attempt, round_number, call, asked)
        elif not (isinstance(body.result, dict) and "error" in body.result):
            await _require_approval(conn, held.attempt, round_number, call, asked)
        entry = held.attempt.place | {"round": round_number, "call": call, "value": value}
        await execute(conn, STORE_BEGUN if begun else STORE_RESULT, entry)
        return await stored(conn, held.attempt, round_number, call, begun=begun)


async def _require_runnable(
    conn: Connection, attempt: LockedAttempt, round_number: int, call: int, asked: JournaledCall
) -> None:
    if asked.tool is None or asked.tool.kind not in RUN_BY_RUNNERS:
        raise NotAllowed(f"A call of {asked.name} is not the runner's to begin.")
    await _require_approval(conn, attempt, round_number, call, asked)


async def _require_approval(
    conn: Connection, attempt: LockedAttempt, round_number: int, call: int, asked: JournaledCall
) -> None:
    if asked.tool is None:
        return
    made = await decision(conn, attempt, round_number, call)
    if made == "reject":
        # Whatever the agent says of the tool by now.
        raise NotAllowed(f"Call {call} of round {round_number}, of {asked.name}, was rejected.")
    if asked.tool.needs_approval and made is None:
        raise NotAllowed(f"Nobody has approved call {call} of round {round_number}, of {asked.name}.")


async def store_result(
    conn: Connection, attempt: LockedAttempt, round_number: int, call: int, result: str
) -> None:
    """Journal a call's result, JSON as text, unless it has one; the caller holds the attempt."""
    entry = attempt.place | {"round": round_number, "call": call, "value": result}
    await execute(conn, STORE_RESULT, entry)


async def has_result(conn: Connection, attempt: LockedAttempt, round_number: int, call: int) -> bool:
    """Tell whether a call has its result, which may be null."""
    entry = attempt.place | {"round": round_number, "call": call}
    return await fetch_value(conn, bool, HAS_RESULT, entry) or False


async def stored(
    conn: Connection, attempt: LockedAttempt, round_number: int, call: int, *, begun: bool = False
) -> StoredAnswer:
    """Return what the journal holds of a response, -1, or a call."""
    entry = await fetch_one(conn, _Entry, STORED_ENTRY, attempt.place | {"round": round_number, "call": call})
    if entry is None:
        raise AssertionError("the entry was written in this transaction")
    key = derived_id(attempt.task_uid, attempt.step, attempt.item, "call", round_number, call)
    return StoredAnswer(stored=entry.begun if begun else entry.result, key=str(key))
