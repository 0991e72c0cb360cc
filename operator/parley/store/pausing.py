"""The runner's call by which an attempt ends with calls open: what each of them waits for."""

import math
from collections.abc import Mapping
from typing import Literal

from pydantic import JsonValue

from parley.protocol.messages import PauseAnswer, PauseBody, PausedCall
from parley.resources.tools import ToolSpec
from parley.store.approvals import decision
from parley.store.ending import waking
from parley.store.errors import NotAllowed
from parley.store.events import append, derived_id
from parley.store.holding import LockedAttempt, count_usage, holding
from parley.store.journal import has_result
from parley.store.outcomes import close_held, require_own_events
from parley.store.pool import Connection
from parley.store.rows import encode, encode_limited, execute, execute_all
from parley.store.tools import JournaledCall, journaled_call

APPROVE, REJECT = "approve", "reject"
"""The choices of an approval."""
# Withdrawn: an earlier turn of the step ended without a result, and the step goes on all the same.
STORE_WAIT = """
INSERT INTO waits AS w (id, task_uid, step, item, round, call, kind, body, deadline)
VALUES (%(id)s, %(task_uid)s, %(step)s, %(item)s, %(round)s, %(call)s, %(kind)s, %(body)s::json,
        now() + %(patience)s::interval)
ON CONFLICT (id) DO UPDATE SET state = 'Open', ended_at = NULL, body = excluded.body, deadline = excluded.deadline
WHERE w.state = 'Withdrawn'
"""
CARRIED_OUT: Mapping[str, Literal["Container", "Task"]] = {"container": "Container", "task": "Task"}
"""Kinds of tools that the leader carries out, and what their calls wait for."""


async def pause(conn: Connection, attempt: int, holder: str, body: PauseBody) -> PauseAnswer:
    """Commit an attempt that waits for its calls. The turn stays held.

    What a call waits for is read from the journal and the attempt's own request; the body only names it.

    Raises:
        NotAllowed: the journal lacks a call or has its result, or the call waits for something else: a tool that
            needs approval waits for nothing but that until it has it.
    """
    async with holding(conn, attempt, holder, session=True) as held:
        if held.attempt.state == "Paused":
            return PauseAnswer.model_validate(held.attempt.answer)
        held.require_running()
        require_own_events(body.events)
        if held.origin is not None:
            await append(conn, held.origin, body.events)
        waits = [await _wait(conn, held.attempt, paused) for paused in body.calls]
        answer = PauseAnswer(waits=waits)
        stored = encode(answer.model_dump(mode="json", by_alias=True))
        closing = close_held(held, "Paused", answer=stored)
        await execute_all(conn, *count_usage(held, body.usage), closing, waking(held.attempt.task_uid))
        return answer


async def _wait(conn: Connection, attempt: LockedAttempt, paused: PausedCall) -> str:
    """Store what a call waits for; return the wait's id."""
    call = await journaled_call(conn, attempt, paused.round, paused.call)
    tool = await _waiting_tool(conn, attempt, paused, call)
    identity = derived_id(
        attempt.task_uid, attempt.step, attempt.item, "wait", paused.kind, paused.round, paused.call
    )
    wait = {
        "id": identity,
        "round": paused.round,
        "call": paused.call,
        "kind": paused.kind,
        "body": encode_limited(_body(attempt, paused, call, tool), "The call's arguments"),
        "patience": tool.approval_timeout_or_none() if paused.kind == "Approval" else None,
    }
    await execute(conn, STORE_WAIT, attempt.place | wait)
    return str(identity)


async def _waiting_tool(
    conn: Connection, attempt: LockedAttempt, paused: PausedCall, call: JournaledCall
) -> ToolSpec:
    """Return the tool of a call that may wait for what it says.

    Raises:
        NotAllowed: it may not.
    """
    which = f"The call of {call.name} in round {paused.round}"
    if call.tool is None:
        raise NotAllowed(f"{which} is of no tool of the agent: it has nothing to wait for.")
    if await has_result(conn, attempt, paused.round, paused.call):
        raise NotAllowed(f"{which} has its result.")
    made = await decision(conn, attempt, paused.round, paused.call)
    if made == REJECT:
        # Whatever the agent says of the tool by now.
        raise NotAllowed(f"{which} was rejected.")
    asks = made is None and call.tool.needs_approval
    due = "Approval" if asks else CARRIED_OUT.get(call.tool.kind)
    if paused.kind != due:
        raise NotAllowed(f"{which} waits for {due or 'nothing'}, not for {paused.kind}.")
    return call.tool


def _body(
    attempt: LockedAttempt, paused: PausedCall, call: JournaledCall, tool: ToolSpec
) -> dict[str, JsonValue]:
    asked: dict[str, JsonValue] = {"tool": call.name, "arguments": call.arguments}
    timeout = tool.timeout_or_none()
    match paused.kind:
        case "Approval":
            asked["question"] = f"May {attempt.agent.get('name')} call {call.name}?"
            asked["choices"] = [APPROVE, REJECT]
            asked["onTimeout"] = tool.on_approval_timeout
        case "Container" if timeout is not None:
            asked["timeoutSeconds"] = math.ceil(timeout.total_seconds())
            asked["outputFrom"] = tool.container.output_from if tool.container is not None else "Message"
        case _:
            pass
    return asked
