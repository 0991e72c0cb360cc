"""Where in the store a text is, and a conversation that leaves one text wherever texts may be."""

import json
from typing import Any
from uuid import uuid4

from parley.protocol.messages import (
    CallBody,
    EventDraft,
    FinishBody,
    InputBody,
    InputMessage,
    ResponseBody,
    TakeAnswer,
    Usage,
)
from parley.store import containers, replies, runner_calls, sessions, tasks, uploads
from parley.store.entries import Done, Enter
from psycopg import sql

from tests.integration.store.story import Story, child_request, container_request, prompt_request

SECRET = "4111-1111-1111-1111"

COLUMNS = """
SELECT table_name, column_name FROM information_schema.columns
WHERE table_schema = 'public' AND data_type IN ('text', 'json', 'jsonb', 'character varying', 'ARRAY', 'bytea')
ORDER BY 1, 2
"""

CONTENT = {
    "attempts.answer", "attempts.log", "attempts.message", "attempts.request", "events.content", "events.speaker",
    "inputs.messages", "journal.begun", "journal.result", "outputs.shown", "outputs.value", "replies.body",
    "replies.verdict", "sessions.context", "steps.items", "steps.message", "tasks.end_message", "tasks.output",
    "tasks.spec", "turns.posted_spec", "uploads.problem", "uploads.value", "waits.body",
}  # fmt: skip
"""Columns that hold what was said, or what was made of it."""
NAMES = {
    "agent_usage.agent", "agent_usage.cluster", "agent_usage.namespace",
    "attempts.cause", "attempts.holder", "attempts.job", "attempts.pod_uid", "attempts.reason", "attempts.runtime",
    "attempts.session_uid", "attempts.state", "attempts.step", "attempts.task_uid",
    "attempts.pool", "events.role", "events.session_uid", "events.step", "events.task", "events.task_uid", "events.type",
    "idempotency.body_hash", "idempotency.key", "idempotency.scope", "inputs.step", "inputs.task_uid", "journal.step", "journal.task_uid", "outputs.step", "outputs.task_uid",
    "leader.cluster", "leader.holder", "leader.install", "migrations.checksum", "migrations.name",
    "posts.body_hash", "posts.key", "posts.session_uid", "posts.task_name", "queued_tasks.cluster", "queued_tasks.name", "queued_tasks.namespace", "queued_tasks.queued_by",
    "queued_tasks.session_uid", "queued_tasks.task_uid",
    "readers.gateway", "readers.session_uid", "replies.by", "replies.task_uid", "replies.uid", "replies.why",
    "sessions.cluster", "sessions.install", "sessions.name", "sessions.namespace", "sessions.restored_from",
    "sessions.retention", "sessions.state", "sessions.state_why", "sessions.uid",
    "slots.schedule_uid", "slots.slot", "slots.task_name",
    "steps.reason", "steps.state", "steps.step", "steps.task_uid",
    "tasks.cluster", "tasks.end_phase", "tasks.end_reason", "tasks.install", "tasks.name", "tasks.namespace",
    "tasks.parent_uid", "tasks.root_uid", "tasks.session_uid", "tasks.uid",
    "turns.session_uid", "turns.state", "turns.step", "turns.task_name", "turns.task_uid",
    "uploads.reason", "waits.kind", "waits.state", "waits.step", "waits.task_uid",
}  # fmt: skip
"""Columns that hold names, uids and words of Parley's own."""
PASSING = {"idempotency.answer"}
"""What is kept for a day, for repeats of a request, and then dropped as a whole."""


async def columns(story: Story) -> list[tuple[str, str]]:
    return [(table, column) for table, column in await story.sql(COLUMNS)]


async def where(story: Story, text: str = SECRET) -> set[str]:
    """Search every text and JSON of every table; return the columns that have the text."""
    found: set[str] = set()
    for table, column in await columns(story):
        query = sql.SQL("SELECT count(*) FROM {} WHERE strpos({}::text, %s) > 0").format(
            sql.Identifier(table), sql.Identifier(column)
        )
        [[rows]] = await story.sql(query, text)
        if rows:
            found.add(f"{table}.{column}")
    return found


async def say_it_everywhere(story: Story, session: str, secret: str = SECRET) -> dict[str, str]:
    """Let a text come into every column that may hold one; return the tasks, all of them ended."""
    made = {
        "prompt": await _prompt(story, session, secret),
        "steps": await _steps(story, session, secret),
        "refused": await _refused(story, session, secret),
    }
    made["child"] = await _child(story, session, secret)
    await story.sql(
        "INSERT INTO turns (session_uid, ticket, task_uid, task_name, step, state, posted_spec, ended_at)"
        " SELECT session_uid, 1000, uid, name, 'posted', 'Withdrawn', %s::json, now() FROM tasks WHERE uid = %s",
        json.dumps({"message": secret}), made["prompt"],
    )  # fmt: skip
    for task in made.values():
        await story.sql(
            "UPDATE tasks SET spec = %s::json WHERE uid = %s", json.dumps({"message": secret}), task
        )
        await story.end(task, output={"said": secret}, message=f"said {secret}")
    return made


async def _prompt(story: Story, session: str, secret: str) -> str:
    task = await story.task(session)
    await story.queue(session, task)
    request: dict[str, Any] = prompt_request(story.names[task], "reply")
    request["prompt"]["text"] = secret
    attempt = await story.start(task, session_uid=session, request=request)
    await story.take(task)
    call = {"id": "c0", "name": "get_order", "arguments": {"card": secret}}
    async with story.conn() as conn:
        asked = InputBody(messages=[InputMessage(role="user", content=secret)], speaker=secret)
        await runner_calls.record_input(conn, attempt, "pod/1", asked)
        response = ResponseBody(response={"text": secret, "calls": [call]}, usage=Usage(input_tokens=2))
        await runner_calls.put_response(conn, attempt, "pod/1", 0, response)
        await runner_calls.put_call(conn, attempt, "pod/1", 0, 0, CallBody(begun={"card": secret}))
        await runner_calls.put_call(conn, attempt, "pod/1", 0, 0, CallBody(result={"card": secret}))
        identity = {"id": "reply/-1/0/0", "round": 0, "call": 0, "tool": "get_order"}
        said = [
            EventDraft(type="toolCall", content={**identity, "arguments": {"card": secret}}),
            EventDraft(type="toolResult", content={**identity, "result": {"card": secret}}),
            EventDraft(type="message", role="assistant", content=f"Your card is {secret}.", speaker=secret),
        ]
        body = FinishBody(outcome="Succeeded", output=secret * 200, events=said, usage=Usage(input_tokens=3))
        await runner_calls.finish(conn, attempt, "pod/1", body)
    return task


async def _steps(story: Story, session: str, secret: str) -> str:
    task = await story.task(session)
    await story.enter(task, "note", Done("noted", {"card": secret}, {}))
    await story.enter(task, "each", Enter([secret]))
    wait = await story.ask(task, question=f"Charge {secret}?", choices=["approve", "reject"])
    async with story.conn() as conn:
        await replies.answer_wait(
            conn, story.fence, reply_uid=str(uuid4()), task_uid=task, wait_id=wait,
            body={"choice": "approve", "message": secret}, by="maria",
        )  # fmt: skip
        await story.sql("UPDATE replies SET verdict = %s, task_uid = NULL WHERE wait_id = %s", secret, wait)
        request = container_request(story.names[task], "score")
        request["container"]["args"] = [secret]
        for step, outcome in (("score", "Succeeded"), ("fail", "Failed")):
            attempt = await story.start(task, step, request=request)
            await containers.finish_container(
                conn, story.fence, attempt, outcome=outcome, reason="Error", message=secret, exit_code=0,
                output={"card": secret}, pod_uid="pod", log=f"charging {secret}",
            )  # fmt: skip
    return task


async def _refused(story: Story, session: str, secret: str) -> str:
    """A task that ends while a file has arrived, and one could not be sent."""
    task = await story.task(session)
    async with story.conn() as conn:
        for step, sent in (("file", {"value": secret}), ("bad", {"problem": secret})):
            request = container_request(story.names[task], step)
            await story.start(task, step, request=request)
            await uploads.put_upload(
                conn, job=f"{task}-{step}-1", index=0, task_uid=task, namespace="default", **sent
            )  # type: ignore[arg-type]
    await story.sql(
        "INSERT INTO steps (task_uid, step, state, reason, message, ended_at)"
        " VALUES (%s, 'late', 'Failed', 'Error', %s, now())",
        task, secret,
    )  # fmt: skip
    return task


async def _child(story: Story, session: str, secret: str) -> str:
    """A task below one of the session that has no session itself."""
    parent = await story.task(session)
    await story.start(
        parent, "call", request=child_request(story.names[parent], "call"), job=f"child-{parent}"[:50]
    )
    child = await story.child(parent, f"child-{parent}"[:50])
    await story.end(parent, message=secret)
    return child


async def talk(story: Story, session: str, question: str, answer: str) -> TakeAnswer:
    """A whole turn, and the end of its task; return what its runner was given."""
    taken = await story.converse(session, question, answer)
    for (task,) in await story.sql(
        "SELECT uid FROM tasks WHERE session_uid = %s AND ended_at IS NULL", session
    ):
        await story.end(task, output=answer)
    return taken


async def end_session(story: Story, session: str) -> None:
    async with story.conn() as conn:
        await sessions.session_gone(conn, story.fence, session)


async def lose(story: Story, *uids: str) -> None:
    """The tasks' objects are deleted."""
    async with story.conn() as conn:
        for uid in uids:
            await tasks.task_gone(conn, story.fence, uid)
