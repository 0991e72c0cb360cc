"""A turn that waits for its calls keeps the session; how ever it ends, no call is left without a result."""

import pytest
from parley.protocol.messages import EventDraft, PauseBody, PausedCall, Usage
from parley.store import runner_calls, tasks
from parley.store.errors import Stopped
from parley.store.records import Inserted, NotGranted
from pydantic import JsonValue

from tests.integration.store.story import Story, says

CALL = PausedCall(round=0, call=0, kind="Approval", tool="refund", arguments={"amount": 10})
CONTENT: dict[str, JsonValue] = {"id": "reply/-1/0/0", "round": 0, "call": 0, "tool": "refund"}
CALL_EVENT = EventDraft(type="toolCall", role="assistant", content=CONTENT, key="call/0/0")
RESULT_EVENT = EventDraft(type="toolResult", content=CONTENT | {"result": "done"}, key="result/0/0")


async def paused_turn(story: Story, session: str) -> tuple[str, int, str]:
    """Return the task, its attempt and the wait of its only call."""
    task = await story.task(session)
    await story.queue(session, task)
    attempt = await story.start(task, session_uid=session)
    await story.take(task)
    await story.say(attempt, "Refund me")
    await story.respond(attempt, "refund")
    body = PauseBody(calls=[CALL], events=[CALL_EVENT], usage=Usage(input_tokens=2))
    async with story.conn() as conn:
        answer = await runner_calls.pause(conn, attempt, "pod/1", body)
        assert await runner_calls.pause(conn, attempt, "pod/1", body) == answer, (
            "a repeat gets the stored answer"
        )
    return task, attempt, answer.waits[0]


async def test_a_paused_turn_keeps_the_session_and_resumes_with_the_reply(story: Story) -> None:
    alice = await story.session()
    task, attempt, wait = await paused_turn(story, alice)
    other = await story.task(alice)
    assert await story.queue(alice, other) == [(task, "Held"), (other, "Waiting")]
    assert await story.insert(other, session_uid=alice) == NotGranted("turn")
    with pytest.raises(Stopped):
        await story.finish(attempt, says("Refunded"))

    await story.sql(
        "INSERT INTO replies (uid, wait_id, accepted, body, by) VALUES ('r', %s, true, '{\"choice\":\"approve\"}', 'ann')",
        wait,
    )
    resumed = await story.start(task, number=2, cause="Resume", session_uid=alice)
    taken = await story.take(task, number=2, holder="pod/2")
    assert [(reply.round, reply.call, reply.choice, reply.by) for reply in taken.replies] == [
        (0, 0, "approve", "ann")
    ]
    events = [CALL_EVENT, RESULT_EVENT, *says("Refunded").events]
    body = says("Refunded").model_copy(update={"events": events})
    await story.finish(resumed, body, holder="pod/2")
    said = [(number, content) for number, _, content in await story.events(alice)]
    assert said == [
        (1, "Refund me"),
        (2, CONTENT),
        (3, CONTENT | {"result": "done"}),
        (4, "Refunded"),
    ], "what the pause has told is not told again"
    assert isinstance(await story.insert(other, session_uid=alice), Inserted)
    assert (await story.load(task)).input_tokens == 14


async def test_a_cancelled_turn_answers_its_open_calls(story: Story) -> None:
    alice = await story.session()
    task, _, _ = await paused_turn(story, alice)
    async with story.conn() as conn:
        assert await tasks.end_task(
            conn, story.fence, task, phase="Cancelled", reason="Cancelled", message="asked for",
            close_attempts="Cancelled",
        )  # fmt: skip
    assert (await story.events(alice))[-1] == (
        3, None, CONTENT | {"result": {"error": "The task ended: Cancelled."}},
    )  # fmt: skip
    assert await story.sql("SELECT state FROM waits") == [("Withdrawn",)]
    taken = await story.converse(alice, "Well?", "It was cancelled.")
    assert [event.type for event in taken.history] == ["message", "toolCall", "toolResult"]


async def test_a_pause_without_a_session_writes_no_events(story: Story) -> None:
    task = await story.task()
    attempt = await story.start(task)
    await story.take(task)
    await story.respond(attempt, "refund")
    async with story.conn() as conn:
        await runner_calls.pause(conn, attempt, "pod/1", PauseBody(calls=[CALL], events=[CALL_EVENT]))
    assert await story.sql("SELECT * FROM events") == []
    assert [a.state for a in (await story.load(task)).attempts] == ["Paused"]
