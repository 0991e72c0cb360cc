"""How tasks and sessions end: once, with everything that was open."""

from datetime import timedelta

import pytest
from parley.store import sessions, tasks
from parley.store.errors import Stopped
from parley.store.records import Inserted, NotGranted, OutputRecord

from tests.integration.store.story import Story, says


async def end(story: Story, task: str, **changes: object) -> bool:
    fields = {"phase": "Failed", "reason": "Error", "message": "broke"} | changes
    async with story.conn() as conn:
        return await tasks.end_task(conn, story.fence, task, **fields)  # type: ignore[arg-type]


async def test_an_ended_task_stops_its_runner_and_frees_its_session(story: Story) -> None:
    alice = await story.session()
    task, other = await story.task(alice), await story.task(alice)
    await story.queue(alice, task, other)
    attempt = await story.start(task, session_uid=alice)
    await story.take(task)

    assert await end(story, task, phase="Cancelled", reason="Cancelled", close_attempts="Cancelled")

    record = await story.load(task)
    assert [(a.state, a.reason) for a in record.attempts] == [("Cancelled", "Cancelled")]
    assert [turn.state for turn in record.turns] == ["Done"]
    with pytest.raises(Stopped) as stopped:
        await story.finish(attempt, says("late"))
    assert stopped.value.reason == "Cancelled"
    assert isinstance(await story.insert(other, session_uid=alice), Inserted)


async def test_the_first_end_stands(story: Story) -> None:
    task = await story.task()
    assert await end(story, task, phase="Succeeded", reason="Succeeded", output="first")
    assert not await end(story, task, output="second")
    ended = (await story.load(task)).ended
    assert ended is not None
    assert (ended.phase, ended.output) == ("Succeeded", OutputRecord("first"))
    assert not await end(story, "unknown")


async def test_open_attempts_left_open_may_still_not_write(story: Story) -> None:
    task = await story.task()
    attempt = await story.start(task)
    await story.take(task)
    assert await end(story, task)
    assert (await story.load(task)).attempts[0].state == "Running"
    with pytest.raises(Stopped):
        await story.finish(attempt, says("late"))


async def test_a_task_times_out_when_its_deadline_has_passed(story: Story) -> None:
    task = await story.task(lasts=timedelta(hours=1))
    assert not await end(story, task, reason="TaskTimeout")
    await story.sql("UPDATE tasks SET deadline = now() - interval '1 s'")
    assert await end(story, task, reason="TaskTimeout")
    without = await story.task()
    assert not await end(story, without, reason="TaskTimeout")


async def test_a_gone_task_is_closed_and_what_was_committed_stands(story: Story) -> None:
    alice = await story.session()
    task = await story.task(alice)
    await story.queue(alice, task)
    attempt = await story.start(task, session_uid=alice)
    await story.take(task)
    await story.say(attempt, "Hi")
    async with story.conn() as conn:
        assert await tasks.task_gone(conn, story.fence, task)
        assert not await tasks.task_gone(conn, story.fence, task)
        assert not await tasks.task_gone(conn, story.fence, "unknown")
        assert [row.uid for row in await tasks.list_open(conn, story.fence.cluster)] == [alice]
    record = await story.load(task)
    assert record.gone_since is not None
    assert record.ended is None
    assert [(a.state, turn.state) for a, turn in zip(record.attempts, record.turns, strict=True)] == [
        ("Cancelled", "Done")
    ]
    with pytest.raises(Stopped):
        await story.finish(attempt, says("late"))
    assert await story.events(alice) == [(1, "user", "Hi")]
    assert not await end(story, task)


async def test_a_gone_session_fails_the_tasks_bound_to_it_and_lets_the_others_go(story: Story) -> None:
    alice = await story.session()
    bound, waiting, finished = [await story.task(alice) for _ in range(3)]
    await story.queue(alice, bound, waiting)
    attempt = await story.start(bound, session_uid=alice)
    await story.take(bound)
    await end(story, finished, phase="Succeeded", reason="Succeeded")

    async with story.conn() as conn:
        assert await sessions.session_gone(conn, story.fence, alice)
        assert not await sessions.session_gone(conn, story.fence, alice)
        assert not await sessions.session_gone(conn, story.fence, "unknown")

    ended = (await story.load(bound)).ended
    assert ended is not None
    assert (ended.phase, ended.reason) == ("Failed", "SessionDeleted")
    with pytest.raises(Stopped) as stopped:
        await story.finish(attempt, says("late"))
    assert stopped.value.reason == "SessionDeleted"
    assert (await story.load(finished)).ended != ended

    record = await story.load(waiting)
    assert (record.session_uid, record.ended) == (None, None)
    assert [turn.state for turn in record.turns] == ["Withdrawn"]
    assert await story.queue(alice, waiting) == [], "a gone session takes no turn"
    assert await story.insert(waiting, session_uid=alice) == NotGranted("task")

    again = await story.session("alice")
    await story.register(waiting, again)
    assert await story.queue(again, waiting) == [(waiting, "Waiting")]


async def test_a_session_made_again_is_queued_for_whichever_is_seen_first(story: Story) -> None:
    # Given tasks that wait for a session, one of them holding its turn
    alice = await story.session()
    held, first, second = [await story.task(alice) for _ in range(3)]
    await story.queue(alice, held, first, second)
    await story.start(held, session_uid=alice)

    # When the Session is made again, and a task is registered with the new one before the old one is seen gone
    again = await story.session("alice")
    await story.register(first, again)
    assert await story.queue(again, first) == [(first, "Waiting")]
    async with story.conn() as conn:
        await sessions.session_gone(conn, story.fence, alice)
    await story.register(second, again)

    # Then both wait in the new queue only
    assert await story.queue(again, first, second) == [(first, "Waiting"), (second, "Waiting")]
    turns = [turn for task in (held, first, second) for turn in (await story.load(task)).turns]
    assert {(turn.session_uid, turn.state) for turn in turns} == {
        (alice, "Done"),
        (alice, "Withdrawn"),
        (again, "Waiting"),
    }
    assert isinstance(await story.insert(first, session_uid=again), Inserted)


async def test_an_old_ticket_of_a_session_left_behind_does_not_stand_in_the_way(story: Story) -> None:
    # Given a task that an earlier version moved to another session without withdrawing its ticket
    alice, again = await story.session(), await story.session()
    moved, stuck = await story.task(alice), await story.task(alice)
    await story.queue(alice, moved, stuck)
    for task in (moved, stuck):
        await story.sql("UPDATE tasks SET session_uid = %s WHERE uid = %s", again, task)

    # When it is queued for its session, and the old session goes
    assert await story.queue(again, moved) == [(moved, "Waiting")]
    async with story.conn() as conn:
        await sessions.session_gone(conn, story.fence, alice)

    # Then nothing waits for the old session
    assert [turn.state for turn in (await story.load(stuck)).turns] == ["Withdrawn"]
    assert await story.queue(alice, moved) == []


async def test_a_task_is_bound_by_its_first_attempt(story: Story) -> None:
    alice, again = await story.session(), await story.session()
    task = await story.task(None)
    await story.register(task, alice)
    await story.start(task)
    await story.register(task, again)
    assert (await story.load(task)).session_uid == alice


async def test_registering_again_moves_no_deadline(story: Story) -> None:
    task = await story.task(lasts=timedelta(hours=1))
    before = await story.load(task)
    assert before.deadline is not None
    assert before.deadline - before.registered_at == timedelta(hours=1)
    await story.register(task, None, lasts=timedelta(hours=5))
    assert (await story.load(task)).deadline == before.deadline


async def test_a_suspended_task_loses_its_ticket_and_keeps_its_held_turn(story: Story) -> None:
    alice = await story.session()
    held, waiting = await story.task(alice), await story.task(alice)
    await story.queue(alice, held, waiting)
    attempt = await story.start(held, session_uid=alice)
    async with story.conn() as conn:
        for task in (held, waiting):
            assert await tasks.set_suspended(conn, story.fence, task, suspended=True)
    assert await story.queue(alice, waiting) == [(held, "Held")], "a suspended task gets no ticket"
    await story.take(held)
    await story.finish(attempt, says("a running attempt finishes"))
    assert await story.outputs(held) == {"reply": "a running attempt finishes"}


async def test_a_task_that_nobody_registered_is_unknown(story: Story) -> None:
    async with story.conn() as conn:
        assert await tasks.load_task(conn, "unknown") is None
        assert await sessions.session_summary(conn, "unknown") is None
