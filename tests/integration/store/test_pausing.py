"""What a call may wait for follows from its tool, never from what the runner says."""

from typing import get_args

import pytest
from parley.protocol.messages import EventDraft, FinishBody
from parley.store.errors import NotAllowed

from tests.integration.store import calling
from tests.integration.store.calling import Kind, begin, pause, reply, result, resume, turn, wait_of
from tests.integration.store.story import Story, says

WAITS_FOR: dict[str, Kind | None] = {
    "get_order": None, "tickets_create": None, "score": "Container", "report": "Task",
    "refund": "Approval", "tickets_admin_drop": "Approval", "audit": "Approval", "made_up": None, "tickets": None,
    "update_context": None,
}  # fmt: skip


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("tool", WAITS_FOR)
async def test_a_call_waits_for_nothing_else(story: Story, tool: str, kind: Kind) -> None:
    task, attempt = await turn(story, None, tool)
    if kind == WAITS_FOR[tool]:
        (wait,) = await pause(story, attempt, (0, kind))
        assert (await wait_of(story, task, wait)).kind == kind
        return
    with pytest.raises(NotAllowed, match=tool):
        await pause(story, attempt, (0, kind))
    assert (await story.load(task)).attempts[0].state == "Running", "nothing was written"


@pytest.mark.parametrize("tool", WAITS_FOR)
async def test_a_runner_begins_only_what_is_its_own(story: Story, tool: str) -> None:
    _, attempt = await turn(story, None, tool)
    if tool in {"get_order", "tickets_create"}:
        await begin(story, attempt)
        return
    with pytest.raises(NotAllowed, match=tool):
        await begin(story, attempt)


async def test_what_the_journal_lacks_cannot_be_called(story: Story) -> None:
    _, attempt = await turn(story, None, "get_order")
    for call, round_number in ((1, 0), (0, 1)):
        with pytest.raises(NotAllowed, match=f"no call {call} in round {round_number}"):
            await begin(story, attempt, call, round_number=round_number)
        with pytest.raises(NotAllowed, match="no call"):
            await result(story, attempt, {"error": "x"}, call, round_number=round_number)
        with pytest.raises(NotAllowed, match="no call"):
            await pause(story, attempt, (call, "Container"), round_number=round_number)


async def test_a_call_with_its_result_waits_no_more(story: Story) -> None:
    _, attempt = await turn(story, None, "score")
    await result(story, attempt, {"error": "the arguments do not fit"})
    with pytest.raises(NotAllowed, match="has its result"):
        await pause(story, attempt, (0, "Container"))


async def test_an_approved_container_waits_for_its_job_next(story: Story) -> None:
    task, attempt = await turn(story, None, "audit")
    (asked,) = await pause(story, attempt, (0, "Approval"))
    assert (await reply(story, task, asked, "approve")).accepted
    attempt = await resume(story, task)
    (wait,) = await pause(story, attempt, (0, "Container"), holder="pod/2")
    assert wait != asked
    body = (await wait_of(story, task, wait)).body
    assert body == {"tool": "audit", "arguments": {"nth": 0}, "timeoutSeconds": 600, "outputFrom": "File"}


async def test_what_the_leader_needs_of_a_container_is_in_its_wait(story: Story) -> None:
    task, attempt = await turn(story, None, "score", "report")
    container, report = await pause(story, attempt, (0, "Container"), (1, "Task"))
    assert (await wait_of(story, task, container)).body == {
        "tool": "score", "arguments": {"nth": 0}, "timeoutSeconds": 90, "outputFrom": "Message",
    }  # fmt: skip
    assert (await wait_of(story, task, report)).body == {"tool": "report", "arguments": {"nth": 1}}


async def test_a_turn_that_waits_says_so(story: Story) -> None:
    alice = await story.session()
    task, attempt = await turn(story, alice, "refund")
    assert [held.paused for held in (await story.load(task)).turns] == [False]
    (wait,) = await pause(story, attempt, (0, "Approval"))
    assert [held.paused for held in (await story.load(task)).turns] == [True]
    other = await story.task(alice)
    await story.queue(alice, other)
    assert [held.paused for held in (await story.load(other)).turns] == [False]
    assert (await reply(story, task, wait, "approve")).accepted
    await resume(story, task, alice)
    assert [held.paused for held in (await story.load(task)).turns] == [False]


async def test_a_call_whose_wait_was_withdrawn_may_wait_again(story: Story) -> None:
    """Else its attempt would wait for nothing, and be resumed for ever."""
    task, attempt = await turn(story, None, "refund")
    (wait,) = await pause(story, attempt, (0, "Approval"))
    await story.sql("UPDATE waits SET state = 'Withdrawn', ended_at = now() WHERE id = %s", wait)
    attempt = await resume(story, task)
    assert await pause(story, attempt, (0, "Approval"), holder="pod/2") == [wait]
    assert (await wait_of(story, task, wait)).state == "Open"


@pytest.mark.parametrize("kind", ["reply", "state", "summary"])
async def test_a_runner_speaks_for_nobody_else(story: Story, kind: str) -> None:
    alice = await story.session()
    _, attempt = await turn(story, alice, "refund")
    forged = EventDraft(type=kind, content={"choice": "approve", "by": "ann"})  # type: ignore[arg-type]
    with pytest.raises(NotAllowed, match=kind):
        await pause(story, attempt, (0, "Approval"), events=[forged])
    with pytest.raises(NotAllowed, match=kind):
        await story.finish(attempt, FinishBody(outcome="Succeeded", output="", events=[forged]))


async def test_what_a_runner_leaves_out_is_told_all_the_same(story: Story) -> None:
    """Every call of a turn that ended has its result, even where a runner ends without telling it."""
    alice = await story.session()
    task, attempt = await turn(story, alice, "score", "report")
    told = [calling.call_event("score", 0), calling.call_event("report", 1)]
    await pause(story, attempt, (0, "Container"), (1, "Task"), events=told)
    (container, report) = [wait.id for wait in (await story.load(task)).waits]
    if (await wait_of(story, task, container)).kind != "Container":
        container, report = report, container
    assert await calling.answer(story, container, await calling.run_container(story, task, container))
    await calling.refuse(story, report)
    attempt = await resume(story, task, alice)
    await story.finish(attempt, says("Done"), holder="pod/2")
    results = [
        (content["call"], content["result"]) for content in await calling.said(story, alice, "toolResult")
    ]
    assert results == [(0, {"points": 7}), (1, {"error": "no"})]


async def test_a_failed_turn_tells_what_its_calls_gave(story: Story) -> None:
    alice = await story.session()
    task, attempt = await turn(story, alice, "refund", "refund")
    told = [calling.call_event("refund", 0), calling.call_event("refund", 1)]
    first, second = await pause(story, attempt, (0, "Approval"), (1, "Approval"), events=told)
    for wait in (first, second):
        assert (await reply(story, task, wait, "approve")).accepted
    attempt = await resume(story, task, alice)
    await begin(story, attempt, 0, holder="pod/2")
    await result(story, attempt, "refunded", 0, holder="pod/2")
    await begin(story, attempt, 1, holder="pod/2")
    await story.end(task, "Cancelled")
    results = [content["result"] for content in await calling.said(story, alice, "toolResult")]
    assert results == ["refunded", {"error": "The task ended: Cancelled."}]
