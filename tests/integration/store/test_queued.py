"""A task that a tool queues is made once, counts in its family, and its end is told once to who queued it."""

import asyncio
from typing import Any

import pytest
from parley.store import children, sessions, tasks
from parley.store.records import NotGranted

from tests.integration.store import calling
from tests.integration.store.calling import (
    journal,
    pause,
    queue,
    queued_now,
    refuse,
    register,
    resume,
    said,
    turn,
)
from tests.integration.store.story import Story, child_request, says


async def waiting(story: Story, session: str | None = None, calls: int = 1) -> tuple[str, list[str]]:
    """Return a task whose turn waits for queued tasks, and the waits."""
    task, attempt = await turn(story, session, *["report"] * calls)
    return task, await pause(story, attempt, *[(nth, "Task") for nth in range(calls)])


async def queued(
    story: Story, session: str | None = None, name: str = "report-1", *, into: str | None = None
) -> str:
    """Queue a task from a turn of the session, which then ends; return the queued task's uid."""
    task, (wait,) = await waiting(story, session)
    assert await queue(story, wait, name) is True
    uid = await register(story, name, into or session)
    assert await queued_now(story, wait)
    attempt = await resume(story, task, session)
    await story.finish(attempt, says(f"I have queued {name}."), holder="pod/2")
    return uid


async def told(story: Story, session: str) -> list[dict[str, Any]]:
    return await said(story, session, "state")


async def test_the_model_hears_the_name_once_the_task_stands(story: Story) -> None:
    task, (wait,) = await waiting(story)
    assert not await queued_now(story, wait), "nothing is queued yet"
    assert await queue(story, wait, "report-1") is True
    assert await queue(story, wait, "report-1") is False, "it is there: whoever was interrupted may go on"
    assert await queue(story, wait, "report-2") == NotGranted("stale")
    assert await journal(story, task) == {}
    await register(story, "report-1")
    assert await queued_now(story, wait)
    assert not await queued_now(story, wait)
    assert await journal(story, task) == {(0, 0): {"task": "report-1"}}
    assert await queue(story, wait, "report-1") == NotGranted("stale"), "the call waits no more"


async def test_a_task_that_was_seen_is_never_made_again(story: Story) -> None:
    """The operator died between the create and its record; the object was deleted meanwhile."""
    task, (wait,) = await waiting(story)
    assert await queue(story, wait, "report-1") is True
    uid = await register(story, "report-1")
    async with story.conn() as conn:
        await tasks.task_gone(conn, story.fence, uid)
    assert await queue(story, wait, "report-1") == NotGranted("stale")
    assert await journal(story, task) == {(0, 0): {"task": "report-1"}}


async def test_a_refusal_is_the_calls_result_and_counts_nowhere(story: Story) -> None:
    task, (wait,) = await waiting(story)
    assert await queue(story, wait, "report-1") is True
    assert await refuse(story, wait, "TaskTemplate report is missing")
    assert await journal(story, task) == {(0, 0): {"error": "TaskTemplate report is missing"}}
    async with story.conn() as conn:
        assert await children.count_tree(conn, task) == 1
    assert not await refuse(story, wait)


async def test_nothing_is_queued_for_a_task_that_does_not_run(story: Story) -> None:
    task, (wait,) = await waiting(story)
    await story.suspend(task)
    assert await queue(story, wait, "report-1") == NotGranted("task")
    await story.suspend(task, suspended=False)
    await story.end(task, "Cancelled")
    assert await queue(story, wait, "report-1") == NotGranted("stale")
    assert await queue(story, "no-uuid", "report-1") == NotGranted("stale")
    _, attempt = await turn(story, None, "score")
    (container,) = await pause(story, attempt, (0, "Container"))
    assert await queue(story, container, "report-1") == NotGranted("stale")


async def test_two_calls_cannot_have_the_same_task(story: Story) -> None:
    _, waits = await waiting(story, calls=2)
    assert await queue(story, waits[0], "report-1") is True
    assert await queue(story, waits[1], "report-1") == NotGranted("stale")


async def test_a_queued_task_is_of_the_callers_family(story: Story) -> None:
    first, (wait,) = await waiting(story)
    assert await queue(story, wait, "second") is True
    second = await register(story, "second")
    record = await story.load(second)
    assert (record.depth, record.parent) == (1, None)
    rows = await story.sql("SELECT root_uid, parent_uid FROM tasks WHERE uid = %s", second)
    assert rows == [(first, None)]
    # And its own children count on
    request = child_request("second", "sub")
    await story.start(second, "sub", request=request, job="third")
    third = await story.child(second, "third")
    assert (await story.load(third)).depth == 2
    async with story.conn() as conn:
        assert await children.count_tree(conn, first) == 3
    unrelated = await register(story, "other")
    assert (await story.load(unrelated)).depth == 0


async def test_a_family_is_bounded(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "MAX_TREE", 4)
    task, waits = await waiting(story, calls=5)
    # Given one child, that leaves room for two more beside the first
    await story.start(task, "sub", request=child_request("t", "sub"), job="child")
    answers = await asyncio.gather(*[queue(story, wait, f"report-{nth}") for nth, wait in enumerate(waits)])
    assert sorted(map(str, answers)) == sorted(map(str, [True, True, *[NotGranted("tree")] * 3]))
    # A refused one makes room
    await refuse(story, waits[answers.index(True)])
    left = waits[answers.index(NotGranted("tree"))]
    assert await queue(story, left, "report-9") is True


async def test_a_family_is_not_endlessly_deep(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "MAX_DEPTH", 2)
    task, (wait,) = await waiting(story)
    for depth in range(2):
        assert await queue(story, wait, f"level-{depth}") is True
        task = await register(story, f"level-{depth}")
        attempt = await story.start(task, request=calling.request_of(story, task))
        await story.take(task)
        await story.respond(attempt, "report")
        (wait,) = await pause(story, attempt, (0, "Task"))
    assert await queue(story, wait, "level-2") == NotGranted("depth")


async def test_the_session_hears_of_the_end_once(story: Story) -> None:
    alice = await story.session()
    uid = await queued(story, alice)
    await story.end(uid, output={"pages": 3}, message="All steps succeeded.", reason="Succeeded")
    await story.end(uid)
    async with story.conn() as conn:
        await tasks.task_gone(conn, story.fence, uid)
    expected = {
        "state": "TaskEnded", "task": "report-1", "phase": "Succeeded", "reason": "Succeeded",
        "message": "All steps succeeded.", "output": {"pages": 3},
    }  # fmt: skip
    assert await told(story, alice) == [expected]
    taken = await story.converse(alice, "Is it done?", "Yes")
    assert [event.type for event in taken.history] == ["message", "message", "state"]
    assert taken.history[-1].content == expected
    assert taken.history[-1].task == "report-1"


@pytest.mark.parametrize("phase", ["Failed", "Cancelled"])
async def test_a_bad_end_is_told_too(story: Story, phase: str) -> None:
    alice = await story.session()
    uid = await queued(story, alice)
    await story.end(uid, phase, reason=phase, message="no luck")
    assert [(e["phase"], e["message"], e["output"]) for e in await told(story, alice)] == [
        (phase, "no luck", None)
    ]


async def test_a_task_deleted_before_its_end_is_told_as_such(story: Story) -> None:
    alice = await story.session()
    uid = await queued(story, alice)
    async with story.conn() as conn:
        await tasks.task_gone(conn, story.fence, uid)
    (event,) = await told(story, alice)
    assert (event["phase"], event["message"]) == ("Cancelled", "The task was deleted.")


async def test_a_large_output_is_told_in_part(story: Story) -> None:
    alice = await story.session()
    text, listed = await queued(story, alice, "one"), await queued(story, alice, "two")
    await story.end(text, output="ü" * 3000)
    await story.end(listed, output=["x" * 3000])
    first, second = await told(story, alice)
    assert first["cut"] is True
    assert first["output"].startswith("üü")
    assert len(first["output"].encode()) <= 2048
    assert (second["cut"], second["output"]) == (True, None)


async def test_an_end_that_came_first_is_told_when_the_task_is_bound(story: Story) -> None:
    """An operator of the version before registered and ended it."""
    alice = await story.session()
    task, (wait,) = await waiting(story, alice)
    uid = await register(story, "report-1", alice)
    await story.end(uid, output="early")
    assert await queue(story, wait, "report-1") is True
    assert await told(story, alice) == []
    await story.register(uid, alice)
    await story.register(uid, alice)
    assert [event["output"] for event in await told(story, alice)] == ["early"]
    # In a turn that still goes on it comes behind what the turn says
    assert await queued_now(story, wait)
    attempt = await resume(story, task, alice)
    events = [calling.call_event("report"), calling.result_event("report", {"task": "report-1"})]
    await story.finish(
        attempt, says("ok").model_copy(update={"events": [*events, *says("ok").events]}), "pod/2"
    )
    history = (await story.converse(alice, "Well?", "Yes")).history
    assert [event.type for event in history] == ["message", "toolCall", "toolResult", "message", "state"]


async def test_the_session_that_queued_it_is_told_wherever_it_runs(story: Story) -> None:
    alice, bob = await story.session("alice"), await story.session("bob")
    uid = await queued(story, alice, into=bob)
    await story.task(bob)
    await story.end(uid)
    assert len(await told(story, alice)) == 1
    assert await told(story, bob) == []


async def test_it_is_told_when_the_session_it_runs_in_is_deleted(story: Story) -> None:
    alice, bob = await story.session("alice"), await story.session("bob")
    uid = await queued(story, alice, into=bob)
    await story.start(uid, "score", request={"kind": "Container"})
    async with story.conn() as conn:
        assert await sessions.session_gone(conn, story.fence, bob)
    assert [event["reason"] for event in await told(story, alice)] == ["SessionDeleted"]


async def test_a_session_that_is_gone_is_told_nothing(story: Story) -> None:
    alice, bob = await story.session("alice"), await story.session("bob")
    uid = await queued(story, alice, into=bob)
    async with story.conn() as conn:
        await sessions.session_gone(conn, story.fence, alice)
    await story.end(uid)
    assert await told(story, alice) == []
    assert await story.sql("SELECT told_at IS NOT NULL FROM queued_tasks") == [(True,)]


async def test_sessions_that_tell_each_other_do_not_wait_for_each_other(story: Story) -> None:
    alice, bob = await story.session("alice"), await story.session("bob")
    for nth in range(8):
        one = await queued(story, alice, f"a-{nth}", into=bob)
        two = await queued(story, bob, f"b-{nth}", into=alice)
        async with asyncio.timeout(20):
            await asyncio.gather(story.end(one), story.end(two))
    assert len(await told(story, alice)) == len(await told(story, bob)) == 8


async def test_an_end_before_the_first_turn_is_shown_to_it(story: Story) -> None:
    """A tool step takes no turn, and may queue a task before anybody has said anything."""
    alice = await story.session()
    task = await story.task(alice)
    attempt = await story.start(task, request=calling.request_of(story, task))
    await story.take(task)
    await story.respond(attempt, "report")
    (wait,) = await pause(story, attempt, (0, "Task"))
    assert await queue(story, wait, "report-1") is True
    await story.end(await register(story, "report-1", alice))
    first = await story.converse(alice, "Hello", "Hello")
    second = await story.converse(alice, "And?", "Nothing")
    assert [event.type for event in first.history] == ["state"]
    assert [event.type for event in second.history] == ["message", "message", "state"]


async def test_the_wrong_task_is_not_bound(story: Story) -> None:
    """A second Task of the name, made by hand once the first is gone, is none of the session's business."""
    alice = await story.session()
    first = await queued(story, alice)
    again = await register(story, "report-1", alice)
    assert (await story.load(again)).depth == 0
    await story.end(again)
    assert await told(story, alice) == []
    await story.end(first)
    assert len(await told(story, alice)) == 1
