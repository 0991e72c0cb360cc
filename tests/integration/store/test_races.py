"""Many at once: whoever comes first wins, the others are told, and nothing is torn."""

import asyncio
from collections import Counter
from collections.abc import Awaitable
from datetime import timedelta

import pytest
from parley.store import attempts, tasks
from parley.store.errors import OtherHolder, Stopped
from parley.store.leader import Fenced, leading, raise_epoch, tick
from parley.store.records import Inserted, NotGranted

from tests.integration.store.story import Story, fails, says

MANY = 10


async def outcomes(*calls: Awaitable[object]) -> Counter[str]:
    """Run all at once and count what became of them by the name of the answer's or the error's type."""
    answers = await asyncio.gather(*calls, return_exceptions=True)
    unexpected = [
        answer
        for answer in answers
        if isinstance(answer, BaseException) and not isinstance(answer, Fenced | OtherHolder | Stopped)
    ]
    assert not unexpected, unexpected
    return Counter(type(answer).__name__ for answer in answers)


async def started(story: Story, session: str) -> tuple[str, int]:
    task = await story.task(session)
    await story.queue(session, task)
    return task, await story.start(task, session_uid=session)


async def test_one_of_many_takes_an_attempt(story: Story) -> None:
    task, _ = await started(story, await story.session())
    seen = await outcomes(*[story.take(task, holder=f"pod/{n}") for n in range(MANY)])
    assert seen == {"TakeAnswer": 1, "OtherHolder": MANY - 1}
    holder = (await story.load(task)).attempts[0].holder
    assert holder is not None
    assert await outcomes(*[story.take(task, holder=holder) for _ in range(MANY)]) == {"TakeAnswer": MANY}


async def test_a_finish_sent_many_times_is_committed_once(story: Story) -> None:
    alice = await story.session()
    task, attempt = await started(story, alice)
    await story.take(task)
    inputs = await asyncio.gather(*[story.say(attempt, f"Hi {n}") for n in range(MANY)])
    assert len({answer.model_dump_json() for answer in inputs}) == 1
    answers = await asyncio.gather(*[story.finish(attempt, says(f"Hello {n}")) for n in range(MANY)])
    assert {answer.model_dump_json() for answer in answers} == {'{"first_sequence":2,"last_sequence":2}'}
    assert [event[:2] for event in await story.events(alice)] == [(1, "user"), (2, "assistant")]


async def test_success_and_failure_of_one_attempt_exclude_each_other(story: Story) -> None:
    alice = await story.session()
    for _ in range(5):
        task, attempt = await started(story, alice)
        await story.take(task)
        bodies = [says("Hello"), fails()] * 3
        answers = await asyncio.gather(*[story.finish(attempt, body) for body in bodies])
        assert len(set(answers)) == 1
        record = await story.load(task)
        assert (record.attempts[0].state == "Succeeded") == ("reply" in record.outputs)
        if record.attempts[0].state == "Failed":
            async with story.conn() as conn:
                await tasks.task_gone(conn, story.fence, task)


async def test_either_the_runner_finishes_or_the_leader_closes(story: Story) -> None:
    alice = await story.session()
    for _ in range(8):
        task, attempt = await started(story, alice)
        await story.take(task)

        async def close(task: str = task, attempt: int = attempt) -> bool:
            async with story.conn() as conn:
                return await tasks.end_task(
                    conn, story.fence, task, phase="Cancelled", reason="Cancelled", message="",
                    close_attempts="Cancelled",
                ) and attempt > 0  # fmt: skip

        seen = await outcomes(story.finish(attempt, says("Hello")), close())
        state = (await story.load(task)).attempts[0].state
        assert (state, seen["FinishAnswer"], seen["Stopped"]) in {("Succeeded", 1, 0), ("Cancelled", 0, 1)}
    assert [sequence for sequence, *_ in await story.events(alice)] == [
        *range(1, len(await story.events(alice)) + 1)
    ]


async def test_racing_turns_of_one_session_go_one_at_a_time(story: Story) -> None:
    alice = await story.session()
    waiting = [await story.task(alice) for _ in range(MANY)]
    order = list(waiting)
    await story.queue(alice, *waiting)
    done: list[str] = []
    while waiting:
        await asyncio.gather(*[story.queue(alice, *waiting) for _ in range(3)])
        answers = await asyncio.gather(*[story.insert(task, session_uid=alice) for task in waiting])
        granted = [
            task for task, answer in zip(waiting, answers, strict=True) if isinstance(answer, Inserted)
        ]
        assert len(granted) == 1
        assert {answer for answer in answers if isinstance(answer, NotGranted)} <= {NotGranted("turn")}
        await story.take(granted[0])
        waiting.remove(granted[0])
        done += granted
        attempt = (await story.load(granted[0])).attempts[0].id
        await story.say(attempt, "Hi")
        await story.finish(attempt, says("Hello"))
    assert done == order
    assert [sequence for sequence, *_ in await story.events(alice)] == [*range(1, 2 * MANY + 1)]


async def test_racing_inserts_of_one_step_make_one_attempt(story: Story) -> None:
    task = await story.task()
    assert await outcomes(*[story.insert(task) for _ in range(MANY)]) == {
        "Inserted": 1,
        "NotGranted": MANY - 1,
    }
    first = (await story.load(task)).attempts[0].id
    successors = [
        story.insert(task, number=2, cause="Disruption", close=story.close(first), job=f"job-{n}")
        for n in range(MANY)
    ]
    assert await outcomes(*successors) == {"Inserted": 1, "NotGranted": MANY - 1}


async def test_a_new_leader_waits_for_what_the_old_one_is_writing_and_then_fences_it(story: Story) -> None:
    task = await story.task()
    async with story.conn() as conn, story.conn() as other:
        async with leading(conn, story.fence):
            raising = asyncio.create_task(raise_epoch(other, story.fence.cluster, "parley", "operator-1"))
            done, _ = await asyncio.wait({raising}, timeout=0.3)
            assert not done, "the old leader's transaction is still open"
        fence = await raising
        assert fence.epoch == story.fence.epoch + 1
        with pytest.raises(Fenced):
            await attempts.insert_attempt(conn, story.fence, story.attempt(task))


async def test_the_tick_waits_for_no_write(story: Story) -> None:
    # Given a write under way, as there always is one under load
    async with story.conn() as conn, story.conn() as other, leading(conn, story.fence):
        # When it had to wait, the database would end it after 10 s.
        assert await tick(other, story.fence) == timedelta(0)


async def test_no_deadline_moves_under_a_write(story: Story) -> None:
    task = await story.task(lasts=timedelta(hours=1))
    before = await story.load(task)
    async with story.conn() as conn, story.conn() as other:
        async with leading(conn, story.fence):
            # The write has begun before the gap is seen.
            await story.sql("UPDATE leader SET tick = tick - interval '100 s'")
            ticking = asyncio.create_task(tick(other, story.fence))
            done, _ = await asyncio.wait({ticking}, timeout=0.3)
            assert not done
            assert (await story.load(task)).deadline == before.deadline
        moved = await ticking
    assert moved >= timedelta(seconds=130)
    assert (await story.load(task)).deadline == (before.deadline or before.now) + moved


async def test_of_two_leaders_that_raise_and_write_at_once_the_newest_writes_last(story: Story) -> None:
    task = await story.task()

    async def raise_then_insert(n: int) -> object:
        async with story.conn() as conn:
            fence = await raise_epoch(conn, story.fence.cluster, "parley", f"operator-{n}")
            return await attempts.insert_attempt(conn, fence, story.attempt(task, f"step-{n}"))

    seen = await outcomes(*[raise_then_insert(n) for n in range(MANY)])
    assert seen["Inserted"] >= 1
    assert seen["Inserted"] + seen["Fenced"] == MANY
    newest = (await story.sql("SELECT holder FROM leader"))[0][0].removeprefix("operator-")
    assert (await story.load(task)).attempts[-1].step == f"step-{newest}"
