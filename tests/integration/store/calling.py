"""Words to tell of tool calls with: an agent's tools, turns that call them, people and the leader who answer."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import uuid4

from parley.engine.names import call_step
from parley.protocol.messages import (
    CallBody,
    ContextBody,
    EventDraft,
    PauseAnswer,
    PauseBody,
    PausedCall,
    StoredAnswer,
)
from parley.store import attempts, calls, queued, replies, runner_calls
from parley.store.records import NotGranted, ReplyVerdict, WaitRecord
from pydantic import JsonValue

from tests.integration.store.story import Story, container_request, prompt_request

Kind = Literal["Approval", "Container", "Task"]
TOOLS: list[dict[str, Any]] = [
    {"name": "tickets", "mcp": {"url": "http://tickets/mcp"}},
    {"name": "tickets_admin", "approval": "Required", "mcp": {"url": "http://tickets/admin"}},
    {"name": "score", "container": {"image": "score", "timeout": "90s"}},
    {"name": "audit", "container": {"image": "audit", "outputFrom": "File"}, "approval": "Required"},
    {"name": "report", "task": {"templateRef": {"name": "report"}}},
    {
        "name": "ship", "http": {"url": "http://shop/ship"}, "approval": "Required",
        "approvalTimeout": "1h", "onApprovalTimeout": "Approve",
    },
    {
        "name": "scrap", "http": {"url": "http://shop/scrap"}, "approval": "Required", "approvalTimeout": "1h",
    },
]  # fmt: skip


def call_event(tool: str, call: int = 0, round_number: int = 0) -> EventDraft:
    content: dict[str, JsonValue] = {
        "id": f"reply/-1/{round_number}/{call}", "round": round_number, "call": call, "tool": tool, "arguments": {},
    }  # fmt: skip
    return EventDraft(type="toolCall", content=content, key=f"call/{round_number}/{call}")


def result_event(tool: str, result: JsonValue, call: int = 0, round_number: int = 0) -> EventDraft:
    content: dict[str, JsonValue] = {
        "id": f"reply/-1/{round_number}/{call}", "round": round_number, "call": call, "tool": tool, "result": result,
    }  # fmt: skip
    return EventDraft(type="toolResult", content=content, key=f"result/{round_number}/{call}")


def request_of(story: Story, task: str, **session: JsonValue) -> dict[str, Any]:
    request = prompt_request(story.names[task], "reply", tools=TOOLS)
    return request | {"session": request["session"] | session}


async def turn(story: Story, session: str | None, *names: str, **snapshot: JsonValue) -> tuple[str, int]:
    """Begin a turn whose model calls these tools; return its task and its attempt."""
    task = await story.task(session)
    if session is not None:
        await story.queue(session, task)
    request = request_of(story, task, **snapshot)
    attempt = await story.start(task, session_uid=session, request=request)
    await story.take(task)
    await story.say(attempt, "Please")
    if names:
        await story.respond(attempt, *names)
    return task, attempt


async def resume(
    story: Story, task: str, session: str | None = None, *, number: int = 2, **snapshot: JsonValue
) -> int:
    """Go on with a paused or failed turn in a new attempt, held by ``pod/<number>``."""
    attempt = await story.start(
        task, number=number, cause="Resume", session_uid=session, request=request_of(story, task, **snapshot)
    )
    await story.take(task, number=number, holder=f"pod/{number}")
    return attempt


async def pause(
    story: Story,
    attempt: int,
    *waiting: tuple[int, Kind],
    holder: str = "pod/1",
    events: Sequence[EventDraft] = (),
    round_number: int = 0,
) -> list[str]:
    """Pause for calls of a round; the tool and arguments that the runner names are a lie."""
    paused = [
        PausedCall(round=round_number, call=call, kind=kind, tool="harmless", arguments={"lie": True})
        for call, kind in waiting
    ]
    body = PauseBody(calls=paused, events=list(events))
    async with story.conn() as conn:
        answer: PauseAnswer = await runner_calls.pause(conn, attempt, holder, body)
    return answer.waits


async def begin(
    story: Story, attempt: int, call: int = 0, *, holder: str = "pod/1", round_number: int = 0
) -> StoredAnswer:
    async with story.conn() as conn:
        return await runner_calls.put_call(
            conn, attempt, holder, round_number, call, CallBody(begun={"by": holder})
        )


async def result(
    story: Story,
    attempt: int,
    value: JsonValue,
    call: int = 0,
    *,
    holder: str = "pod/1",
    round_number: int = 0,
) -> StoredAnswer:
    async with story.conn() as conn:
        return await runner_calls.put_call(conn, attempt, holder, round_number, call, CallBody(result=value))


async def remember(
    story: Story,
    attempt: int,
    changes: dict[str, JsonValue],
    version: int | None = None,
    call: int = 0,
    *,
    holder: str = "pod/1",
) -> Any:
    """Call update_context; return what the model is told."""
    async with story.conn() as conn:
        body = ContextBody(changes=changes, version=version)
        answer = await runner_calls.update_context_call(conn, attempt, holder, 0, call, body)
    return answer.stored


async def reply(story: Story, task: str, wait: str, choice: str, **more: JsonValue) -> ReplyVerdict:
    async with story.conn() as conn:
        return await replies.answer_wait(
            conn, story.fence, reply_uid=str(more.pop("uid", uuid4())), task_uid=task, wait_id=wait,
            body={"choice": choice} | more, by="ann",
        )  # fmt: skip


async def expire(story: Story, wait: str, *, overdue: bool = True) -> bool:
    if overdue:
        await story.sql("UPDATE waits SET deadline = now() - interval '1 s' WHERE id = %s", wait)
    async with story.conn() as conn:
        return await replies.expire_wait(conn, story.fence, wait, has_default=False)


async def run_container(story: Story, task: str, wait: str, *, number: int = 1, **outcome: Any) -> int:
    """Run a call's container to its end, as the leader does; return its attempt."""
    step = call_step("reply", wait)
    attempt = await story.start(task, step, number=number, request=container_request(story.names[task], step))
    ended = {
        "outcome": "Succeeded",
        "reason": "Succeeded",
        "message": "",
        "exit_code": 0,
        "output": {"points": 7},
    }
    async with story.conn() as conn:
        assert await attempts.finish_container(conn, story.fence, attempt, pod_uid="p", **(ended | outcome))
    return attempt


async def answer(story: Story, wait: str, attempt: int) -> bool:
    async with story.conn() as conn:
        return await calls.answer_call(conn, story.fence, wait, attempt)


async def refuse(story: Story, wait: str, message: str = "no") -> bool:
    async with story.conn() as conn:
        return await calls.call_refused(conn, story.fence, wait, message)


async def queue(story: Story, wait: str, name: str) -> bool | NotGranted:
    async with story.conn() as conn:
        return await queued.queue_task(conn, story.fence, wait, name)


async def queued_now(story: Story, wait: str) -> bool:
    async with story.conn() as conn:
        return await queued.task_queued(conn, story.fence, wait)


async def register(story: Story, name: str, session: str | None = None) -> str:
    """Register a Task of this name, as the leader does when it sees the object."""
    uid = str(uuid4())
    story.names[uid] = name
    await story.register(uid, session)
    return uid


async def journal(story: Story, task: str) -> dict[tuple[int, int], Any]:
    """Return the results of a task's calls by round and call."""
    rows = await story.sql(
        "SELECT round, call, result FROM journal WHERE task_uid = %s AND call >= 0 AND result IS NOT NULL",
        task,
    )
    return {(row[0], row[1]): row[2] for row in rows}


async def wait_of(story: Story, task: str, wait: str) -> WaitRecord:
    (found,) = [row for row in (await story.load(task)).waits if row.id == wait]
    return found


async def said(story: Story, session: str, kind: str) -> list[Any]:
    """Return the contents of a session's events of one type."""
    rows = await story.sql(
        "SELECT content FROM events WHERE session_uid = %s AND type = %s ORDER BY sequence", session, kind
    )
    return [row[0] for row in rows]


def due(record: WaitRecord) -> float | None:
    """Return how long a wait lasts, in seconds."""
    deadline: datetime | None = record.deadline
    return None if deadline is None else round((deadline - record.created_at).total_seconds())
