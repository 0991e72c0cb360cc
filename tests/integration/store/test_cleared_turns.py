"""History is cleared while a turn waits with a call open: the turn goes on, and nothing is made up for what is gone."""

from parley.protocol.messages import EventDraft, FinishBody
from parley.store import erasing, runner_calls

from tests.integration.store import calling
from tests.integration.store.calling import (
    begin,
    call_event,
    pause,
    reply,
    result,
    result_event,
    resume,
    turn,
)
from tests.integration.store.story import Story


async def test_a_turn_whose_call_was_erased_ends_without_a_result_for_nothing(story: Story) -> None:
    # Given a turn that waits for a person
    alice = await story.session()
    task, attempt = await turn(story, alice, "refund")
    (wait,) = await pause(story, attempt, (0, "Approval"), events=[call_event("refund")])
    # When what was said until now is cleared, and the turn goes on
    async with story.conn() as conn:
        assert await erasing.clear_history(conn, story.fence, alice, 1000, "maria") == 2
    assert (await reply(story, task, wait, "approve")).accepted
    attempt = await resume(story, task, alice)
    await begin(story, attempt, holder="pod/2")
    await result(story, attempt, "refunded", holder="pod/2")
    events = [
        call_event("refund"),
        result_event("refund", "refunded"),
        EventDraft(type="message", role="assistant", content="Done."),
    ]
    body = FinishBody(outcome="Succeeded", output="Done.", events=events)
    async with story.conn() as conn:
        await runner_calls.finish(conn, attempt, "pod/2", body)
    # Then its result is told once
    told = await story.sql("SELECT type, content FROM events WHERE sequence > 3 ORDER BY sequence")
    assert [kind for kind, _ in told] == ["reply", "toolResult", "message"], told


async def test_a_cancelled_turn_whose_call_was_erased_tells_of_no_call(story: Story) -> None:
    alice = await story.session()
    task, attempt = await turn(story, alice, "refund")
    await pause(story, attempt, (0, "Approval"), events=[calling.call_event("refund")])
    async with story.conn() as conn:
        await erasing.clear_history(conn, story.fence, alice, 1000, "maria")
    await story.end(task)
    told = await story.sql("SELECT type, content FROM events WHERE sequence > 3 ORDER BY sequence")
    assert told == []
