"""Runners that stay with their task take its attempts one after the other, each once."""

import asyncio
from datetime import timedelta

import pytest
from parley.protocol.messages import TakeAnswer
from parley.store import runner_calls, tasks
from parley.store.errors import OtherHolder, Stopped
from parley.store.leader import tick
from parley.store.records import Inserted

from tests.integration.store.story import Story, container_request, fails, says


async def next_of(
    story: Story, task: str, holder: str = "pod/1", namespace: str = "default"
) -> TakeAnswer | None:
    async with story.conn() as conn:
        return await runner_calls.take_next(conn, task_uid=task, namespace=namespace, holder=holder)


async def test_the_oldest_open_attempt_comes_first(story: Story) -> None:
    # Given a task with steps of every kind
    task, other = await story.task(), await story.task()
    await story.start(task, "in-a-job")
    await story.start(task, "container", request=container_request("t", "container"))
    first = await story.start(task, "first", runtime="Task")
    second = await story.start(task, "second", runtime="Task")
    await story.start(other, "first", runtime="Task")
    assert {a.step: a.runtime for a in (await story.load(task)).attempts}["first"] == "Task"

    # When one runner asks, works, and asks again
    taken = await next_of(story, task)
    assert taken is not None
    assert (taken.attempt, taken.request.step) == (first, "first")
    await story.finish(first, says("done"))
    taken = await next_of(story, task)
    assert taken is not None
    assert taken.attempt == second
    await story.finish(second, fails())

    # Then there is no more for it
    assert await next_of(story, task) is None


async def test_a_repeat_gets_the_same_attempt_and_nobody_else_does(story: Story) -> None:
    task = await story.task()
    first = await story.start(task, "first", runtime="Task")
    assert [answer.attempt for _ in range(2) if (answer := await next_of(story, task))] == [first, first]
    assert await next_of(story, task, "pod/2") is None
    with pytest.raises(OtherHolder):
        await story.finish(first, says("mine?"), holder="pod/2")


async def test_many_runners_share_the_attempts(story: Story) -> None:
    task = await story.task()
    attempts = [await story.start(task, f"step-{n}", runtime="Task") for n in range(6)]
    taken = await asyncio.gather(*[next_of(story, task, f"pod-{n}/1") for n in range(10)])
    assert sorted(answer.attempt for answer in taken if answer) == attempts
    assert sum(answer is None for answer in taken) == 4


async def test_a_lease_is_extended_by_heartbeats_and_lapses_without(story: Story) -> None:
    task = await story.task()
    attempt = await story.start(task, runtime="Task", item_timeout=timedelta(seconds=30))
    taken = await next_of(story, task)
    record = (await story.load(task)).attempts[0]
    assert taken is not None
    assert record.taken_at is not None
    assert record.lease_until == record.taken_at + timedelta(seconds=9)
    assert taken.deadline == record.deadline == record.taken_at + timedelta(seconds=30)

    await story.sql("UPDATE attempts SET lease_until = now() - interval '1 s'")
    async with story.conn() as conn:
        await runner_calls.heartbeat(conn, attempt, "pod/1")
    record = await story.load(task)
    lease = record.attempts[0].lease_until
    assert lease is not None
    assert lease > record.now

    again = await story.insert(task, number=2, cause="Disruption", close=story.close(attempt), runtime="Task")
    assert isinstance(again, Inserted)
    async with story.conn() as conn:
        with pytest.raises(Stopped):
            await runner_calls.heartbeat(conn, attempt, "pod/1")
    taken = await next_of(story, task, "pod/2")
    assert taken is not None
    assert (taken.attempt, taken.number) == (again.id, 2)


async def test_nothing_new_starts_while_the_task_is_suspended(story: Story) -> None:
    task = await story.task()
    first = await story.start(task, "first", runtime="Task")
    second = await story.start(task, "second", runtime="Task")
    await next_of(story, task)
    await story.suspend(task)
    held = await next_of(story, task)
    assert held is not None
    assert held.attempt == first, "what it holds it goes on with"
    await story.finish(first, says("done"))
    assert await next_of(story, task) is None
    await story.suspend(task, suspended=False)
    taken = await next_of(story, task)
    assert taken is not None
    assert taken.attempt == second


async def test_a_task_that_is_over_stops_its_runners(story: Story) -> None:
    ended, gone, here = [await story.task() for _ in range(3)]
    for task in (ended, gone, here):
        await story.start(task, runtime="Task")
    await story.end(ended, "Cancelled")
    async with story.conn() as conn:
        await tasks.task_gone(conn, story.fence, gone)
    for task, namespace in ((ended, "default"), (gone, "default"), (here, "another"), ("unknown", "default")):
        with pytest.raises(Stopped):
            await next_of(story, task, namespace=namespace)


async def test_either_a_runner_takes_the_attempt_or_the_cancel_closes_it(story: Story) -> None:
    for _ in range(6):
        task = await story.task()
        await story.start(task, runtime="Task")
        answers = await asyncio.gather(
            next_of(story, task), story.end(task, "Cancelled"), return_exceptions=True
        )
        assert answers[1] is True
        assert answers[0] is None or isinstance(answers[0], TakeAnswer | Stopped), answers[0]
        assert [a.state for a in (await story.load(task)).attempts] == ["Cancelled"]


@pytest.mark.parametrize("seconds", [15, 60])
async def test_a_lease_does_not_lapse_while_the_store_is_away(story: Story, seconds: int) -> None:
    """Nobody could keep it; whoever plans first afterwards must not take the runner for lost."""
    task = await story.task()
    await story.start(task, "first", runtime="Task")
    assert await next_of(story, task) is not None
    away = timedelta(seconds=seconds)
    await story.sql("UPDATE leader SET tick = tick - %s", away)
    await story.sql("UPDATE attempts SET lease_until = lease_until - %s", away)

    async def left() -> timedelta:
        record = await story.load(task)
        (attempt,) = record.attempts
        assert attempt.lease_until is not None
        return attempt.lease_until - record.now

    assert await left() > timedelta(seconds=5), "before the first tick"
    async with story.conn() as conn:
        await tick(conn, story.fence)
    assert await left() > timedelta(seconds=5), "after it"


async def test_a_lease_lapses_while_the_leader_ticks(story: Story) -> None:
    task = await story.task()
    await story.start(task, "first", runtime="Task")
    assert await next_of(story, task) is not None
    await story.sql("UPDATE attempts SET lease_until = now() - interval '1 s'")
    async with story.conn() as conn:
        await tick(conn, story.fence)

    record = await story.load(task)

    assert record.attempts[0].lease_until is not None
    assert record.attempts[0].lease_until < record.now
