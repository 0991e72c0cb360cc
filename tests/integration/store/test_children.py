"""A task makes tasks: their ends come up, its end goes down, and a family stays small."""

import asyncio
from datetime import timedelta
from typing import Any

from parley.store import attempts, children, reading, sessions, tasks
from parley.store.leader import tick
from parley.store.records import ChildRecord, Inserted, NotGranted, OutputRecord, ParentRecord

from tests.integration.store.story import Story, child_request
from tests.integration.store.test_waking import listening


async def started(story: Story, name: str = "child-1", *, session: str | None = None) -> tuple[str, int, str]:
    """Return a parent, its attempt and the registered child."""
    parent = await story.task(session, "parent")
    attempt = await make(story, parent, name)
    return parent, attempt, await story.child(parent, name, session=session)


async def make(story: Story, parent: str, name: str, step: str = "make", **changes: Any) -> int:
    return await story.start(
        parent, step, job=name, request=child_request(story.names[parent], step), **changes
    )


async def finish(story: Story, attempt: int, child: str) -> bool:
    async with story.conn() as conn:
        return await children.finish_child(conn, story.fence, attempt, child)


async def close(story: Story, attempt: int, state: Any = "TimedOut", reason: str = "StepTimeout") -> bool:
    async with story.conn() as conn:
        return await attempts.close_attempt(
            conn, story.fence, attempt, state, reason, "too long", end_turn=False
        )


async def test_a_success_comes_up_whole(story: Story) -> None:
    parent, attempt, child = await started(story)
    assert (await story.load(parent)).children == [
        ChildRecord("child-1", child, None, None, None, gone=False)
    ]
    assert (await story.load(child)).parent == ParentRecord(parent, "parent", None, suspended=False)
    assert not await finish(story, attempt, child), "it has not ended"

    large = "x" * 3_000_000
    await story.end(child, output=large)
    (ended,) = (await story.load(parent)).children
    assert (ended.ended, ended.reason) == ("Succeeded", "Succeeded")
    assert await finish(story, attempt, child)
    assert not await finish(story, attempt, child)

    record = await story.load(parent)
    assert (record.attempts[0].state, record.children) == ("Succeeded", [])
    assert record.outputs == {"make": OutputRecord("x" * 2000, cut=True)}
    async with story.conn() as conn:
        assert await reading.load_outputs(conn, parent, ["make"]) == {"make": large}


async def test_a_failure_comes_up_with_its_name(story: Story) -> None:
    for phase, reason in (("Failed", "ExitCode"), ("Cancelled", "Cancelled")):
        parent, attempt, child = await started(story, f"child-{reason}")
        await story.end(child, phase, reason=reason, message="exit code 3")
        assert await finish(story, attempt, child)
        made = (await story.load(parent)).attempts[0]
        assert (made.state, made.reason, made.message) == (
            "Failed",
            reason,
            f"Task child-{reason}: exit code 3",
        )
        assert await story.outputs(parent) == {}


async def test_only_its_own_child_ends_an_attempt(story: Story) -> None:
    parent, attempt, child = await started(story)
    stranger = await story.task(name="child-1")
    for uid in (stranger, child):
        await story.end(uid)
    assert not await finish(story, attempt, stranger)
    assert not await finish(story, 999, child)
    other = await make(story, parent, "child-2", "another")
    assert not await finish(story, other, child)
    assert await finish(story, attempt, child)


async def test_whoever_claims_a_parent_without_its_attempt_has_none(story: Story) -> None:
    parent, attempt, _ = await started(story)
    plain = await story.start(parent, "plain", job="no-child")
    elsewhere = Story(story.pool, story.fence)
    for name, of, number in (
        ("child-2", parent, None),
        ("child-1", "unknown", None),
        ("child-1", parent, attempt + 1000),
        ("no-child", parent, plain),
    ):
        uid = await elsewhere.child(of, name, attempt=number)
        record = await story.load(uid)
        assert (record.parent, record.depth) == (None, 0), name
    named = await story.load(await elsewhere.child(parent, "child-1", attempt=attempt))
    assert (named.parent is not None, named.depth) == (True, 1)


async def test_a_child_made_again_under_its_name_is_not_waited_for(story: Story) -> None:
    parent, attempt, child = await started(story)
    async with story.conn() as conn:
        await tasks.task_gone(conn, story.fence, child)
    again = await story.child(parent, "child-1")
    assert (await story.load(parent)).children == [ChildRecord("child-1", child, None, None, None, gone=True)]
    assert await close(story, attempt, "Failed", "Cancelled")
    parent_of_it = (await story.load(again)).parent
    assert parent_of_it is not None
    assert parent_of_it.closed == "step make of its parent task parent was closed: Cancelled"


async def test_a_child_sees_why_its_parent_waits_no_more(story: Story) -> None:
    async def closed(child: str) -> str | None:
        parent = (await story.load(child)).parent
        assert parent is not None
        return parent.closed

    parent, attempt, child = await started(story)
    await story.sql("UPDATE attempts SET deadline = now() - interval '1 s'")
    assert await close(story, attempt)
    assert await closed(child) == "step make of its parent task parent was closed: StepTimeout"
    await story.end(parent, "Cancelled")
    assert await closed(child) == "its parent task parent has ended: Cancelled"
    async with story.conn() as conn:
        await tasks.task_gone(conn, story.fence, parent)
    assert await closed(child) == "its parent task parent was deleted"
    await story.sql("DELETE FROM tasks WHERE uid = %s", parent)
    assert await closed(child) == "its parent task is gone from the store"


async def test_each_looks_when_the_other_changed(story: Story, database: str) -> None:
    parent, attempt, child = await started(story)
    async with listening(database) as ear, story.conn() as conn:
        await ear.until(lambda: ear.connected == 1)

        async def heard(*expected: str) -> None:
            await ear.until(lambda: set(expected) <= set(ear.heard))
            ear.heard.clear()

        await story.suspend(parent)
        await heard(child)
        await story.suspend(parent, suspended=False)
        await heard(child)
        assert isinstance(
            await story.insert(
                parent, "make", number=2, job="child-2", close=story.close(attempt),
                request=child_request("parent", "make"),
            ),
            Inserted,
        )  # fmt: skip
        await heard(child)
        second = await story.child(parent, "child-2")
        await close(story, (await story.load(parent)).attempts[-1].id, "Failed", "Cancelled")
        await heard(second)
        await story.end(child, "Cancelled")
        await heard(child, parent)
        await tasks.task_gone(conn, story.fence, second)
        await heard(second, parent)
        third = await make(story, parent, "child-3", "more")
        last = await story.child(parent, "child-3")
        await story.end(last)
        await heard(last, parent)
        await finish(story, third, last)
        await heard(parent)
        await make(story, parent, "child-4", "most")
        orphan = await story.child(parent, "child-4")
        await story.end(parent, "Cancelled")
        await heard(parent, orphan)


async def test_a_deleted_session_tells_children_too(story: Story, database: str) -> None:
    alice = await story.session()
    parent, _, child = await started(story, session=alice)
    async with listening(database) as ear, story.conn() as conn:
        await ear.until(lambda: ear.connected == 1)
        await sessions.session_gone(conn, story.fence, alice)
        await ear.until(lambda: {parent, child} <= set(ear.heard))


async def test_suspension_and_the_time_of_the_step_go_down(story: Story) -> None:
    # Given a child whose parent is suspended for an hour
    parent, attempt, child = await started(story)
    before = (await story.load(parent)).attempts[0].deadline
    await story.suspend(parent)
    seen = (await story.load(child)).parent
    assert seen is not None
    assert seen.suspended
    await story.sql(
        "UPDATE tasks SET suspended_since = suspended_since - interval '1 h' WHERE uid = %s", parent
    )
    await story.sql("UPDATE attempts SET deadline = deadline - interval '1 h'")

    # Then the step that waits for it does not time out meanwhile, whatever the clock says, nor by an outage
    assert not await close(story, attempt)
    assert timedelta(0) <= (await story.load(parent)).attempts[0].deadline - before < timedelta(minutes=1)
    await story.sql("UPDATE leader SET tick = tick - interval '100 s'")
    async with story.conn() as conn:
        assert await tick(conn, story.fence) > timedelta(seconds=100)

    # And has as much time as before when it goes on
    await story.suspend(parent, suspended=False)
    assert timedelta(0) <= (await story.load(parent)).attempts[0].deadline - before < timedelta(minutes=1)


async def test_children_go_five_levels_deep(story: Story) -> None:
    task = await story.task(name="level-0")
    root = task
    for level in range(1, 6):
        await make(story, task, f"level-{level}")
        task = await story.child(task, f"level-{level}")
        assert (await story.load(task)).depth == level
    async with story.conn() as conn:
        assert await children.count_tree(conn, root) == 6
    deepest = await story.insert(task, "make", job="level-6", request=child_request("level-5", "make"))
    assert deepest == NotGranted("depth")
    assert isinstance(await story.insert(task, "plain"), Inserted), "other steps may run"


async def test_a_family_has_five_hundred_tasks_also_when_many_are_made_at_once(story: Story) -> None:
    # Given a family with room for three more, and two of it that make some
    parent, _, child = await started(story)
    await story.sql(
        "INSERT INTO attempts (task_uid, step, item, number, cause, job, request, deadline, child)"
        " SELECT %s, 'many', n, 1, 'First', 'many-' || n, '{}', now(), true FROM generate_series(1, 495) n",
        parent,
    )
    async with story.conn() as conn:
        assert await children.count_tree(conn, parent) == 497

    # When they make ten at once
    makers = [
        story.insert(uid, f"step-{n}", job=f"{uid}-{n}", request=child_request("t", f"step-{n}"))
        for uid in (parent, child)
        for n in range(5)
    ]
    answers = await asyncio.gather(*makers)

    # Then three are made
    assert sum(isinstance(answer, Inserted) for answer in answers) == 3
    assert {answer for answer in answers if isinstance(answer, NotGranted)} == {NotGranted("tree")}
    async with story.conn() as conn:
        assert await children.count_tree(conn, parent) == 500
        failed = story.attempt(child, "told", job="told", request=child_request("t", "told"))
        assert isinstance(
            await attempts.insert_failed_attempt(conn, story.fence, failed, "InvalidSpec", "too many"),
            Inserted,
        )
        assert await children.count_tree(conn, parent) == 500


async def test_either_the_child_ends_the_step_or_its_time_does(story: Story) -> None:
    for n in range(8):
        parent, attempt, child = await started(story, f"child-{n}")
        await story.end(child, output="done")
        await story.sql("UPDATE attempts SET deadline = now() - interval '1 s' WHERE state = 'Open'")
        finished, closed = await asyncio.gather(finish(story, attempt, child), close(story, attempt))
        assert finished != closed
        assert await story.outputs(parent) == ({"make": "done"} if finished else {})


async def test_either_the_child_ends_the_step_or_the_cancel_does(story: Story) -> None:
    for n in range(8):
        parent, attempt, child = await started(story, f"child-{n}")
        await story.end(child, output="done")
        finished, ended = await asyncio.gather(finish(story, attempt, child), story.end(parent, "Cancelled"))
        assert ended
        state = (await story.load(parent)).attempts[0].state
        assert state == ("Succeeded" if finished else "Cancelled")
        assert ("make" in (await story.load(parent)).outputs) == finished


async def test_the_end_of_a_child_and_a_retry_exclude_each_other(story: Story) -> None:
    parent, attempt, child = await started(story)
    await story.end(child, output="done")
    again = story.insert(
        parent,
        "make",
        number=2,
        job="child-2",
        close=story.close(attempt),
        request=child_request("parent", "make"),
    )
    finished, inserted = await asyncio.gather(finish(story, attempt, child), again)
    assert finished != isinstance(inserted, Inserted)
