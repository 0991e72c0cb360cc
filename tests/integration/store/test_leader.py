"""One leader writes; deadlines stand still while nobody is there."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from parley.store import attempts, children, replies, rounds, sessions, slots, steps, tasks, turns
from parley.store.entries import Done, Sleep
from parley.store.leader import Fence, Fenced, raise_epoch, tick
from parley.store.pool import Connection
from parley.store.records import Inserted, NotGranted, TaskRecord

from tests.integration.store.story import Story, child_request, container_request

AWAY = "interval '100 s'"


def operator_writes(
    story: Story, task: str, session: str, attempt: int, wait: str
) -> dict[str, Callable[[Connection], Awaitable[object]]]:
    old = Fence(story.fence.cluster, story.fence.install, story.fence.epoch)
    new = story.attempt(task, "other")
    child = story.attempt(task, "child", request=child_request("t", "child"))
    return {
        "tick": lambda c: tick(c, old),
        "register_session": lambda c: sessions.register_session(
            c, old, uid="new", cluster=old.cluster, namespace="default", name="new"
        ),
        "session_gone": lambda c: sessions.session_gone(c, old, session),
        "register_task": lambda c: tasks.register_task(
            c, old, uid="new", cluster=old.cluster, namespace="default", name="new", session_uid=None, spec={},
            timeout=None, created_at=datetime.now(UTC),
        ),
        "end_task": lambda c: tasks.end_task(c, old, task, phase="Failed", reason="Error", message=""),
        "task_gone": lambda c: tasks.task_gone(c, old, task),
        "set_suspended": lambda c: tasks.set_suspended(c, old, task, suspended=True),
        "queue_turns": lambda c: turns.queue_turns(c, old, session, []),
        "end_turn": lambda c: turns.end_turn(c, old, task, "reply"),
        "release_turn": lambda c: turns.release_turn(c, old, task, "reply"),
        "insert_attempt": lambda c: attempts.insert_attempt(c, old, new),
        "insert_failed_attempt": lambda c: attempts.insert_failed_attempt(c, old, new, "TemplateError", ""),
        "close_attempt": lambda c: attempts.close_attempt(c, old, attempt, "Lost", "PodLost", "", end_turn=True),
        "finish_container": lambda c: attempts.finish_container(
            c, old, attempt, outcome="Succeeded", reason="Succeeded", message="", exit_code=0, output=1, pod_uid="p"
        ),
        "insert_attempt of a child": lambda c: attempts.insert_attempt(c, old, child),
        "insert_round": lambda c: rounds.insert_round(c, old, [replace(new, item=0)]),
        "enter_step": lambda c: steps.enter_step(c, old, task, "other", Done(1, {"key": 1})),
        "end_step": lambda c: steps.end_step(c, old, task, "nap", "Failed", "Error", ""),
        "answer_wait": lambda c: replies.answer_wait(
            c, old, reply_uid="r", task_uid=task, wait_id=wait, body={"choice": "approve"}, by="ann"
        ),
        "expire_wait": lambda c: replies.expire_wait(c, old, wait, "approve", has_default=True),
        "finish_child": lambda c: children.finish_child(c, old, attempt, "child"),
        "take_slot": lambda c: slots.take_slot(c, old, "schedule", "slot", "name"),
        "confirm_slot": lambda c: slots.confirm_slot(c, old, "schedule", "taken"),
    }  # fmt: skip


EVERYTHING = """
SELECT (SELECT json_agg(s) FROM sessions s)::text, (SELECT json_agg(t) FROM tasks t)::text,
       (SELECT json_agg(u) FROM turns u)::text, (SELECT json_agg(a) FROM attempts a)::text,
       (SELECT json_agg(e) FROM events e)::text, (SELECT json_agg(o) FROM outputs o)::text,
       (SELECT json_agg(p) FROM steps p)::text, (SELECT json_agg(w) FROM waits w)::text,
       (SELECT json_agg(r) FROM replies r)::text, (SELECT json_agg(l) FROM slots l)::text
"""


async def test_a_leader_that_was_replaced_writes_nothing(story: Story) -> None:
    alice = await story.session()
    task = await story.task(alice)
    await story.queue(alice, task)
    attempt = await story.start(task, session_uid=alice)
    wait = await story.ask(task, patience=timedelta(0))
    assert await story.enter(task, "nap", Sleep(timedelta(hours=1)))
    async with story.conn() as conn:
        assert await slots.take_slot(conn, story.fence, "schedule", "taken", "name")
    writes = operator_writes(story, task, alice, attempt, wait)
    async with story.conn() as conn:
        newer = await raise_epoch(conn, story.fence.cluster, "parley", "operator-1")
        assert newer.epoch == story.fence.epoch + 1
        before = await story.sql(EVERYTHING)
        for name, write in writes.items():
            with pytest.raises(Fenced):
                await write(conn)
            assert await story.sql(EVERYTHING) == before, name
        await raise_epoch(conn, "another cluster", "parley", "operator-0")
        assert await tick(conn, newer) == timedelta(0), "leaders of other clusters are no rivals"


async def test_the_gap_moves_what_is_open_and_nothing_else(story: Story) -> None:
    open_task = await story.task(lasts=timedelta(hours=1))
    ended, suspended = await story.task(lasts=timedelta(hours=1)), await story.task(lasts=timedelta(hours=1))
    await story.start(open_task)
    attempt = await story.start(ended)
    async with story.conn() as conn:
        await attempts.close_attempt(conn, story.fence, attempt, "Lost", "PodLost", "", end_turn=False)
        await tasks.end_task(conn, story.fence, ended, phase="Failed", reason="Error", message="")
        await tasks.set_suspended(conn, story.fence, suspended, suspended=True)
    stranger = Story(story.pool, await _raise(story, "elsewhere"))
    elsewhere = await stranger.task(lasts=timedelta(hours=1))
    before = {uid: await story.load(uid) for uid in (open_task, ended, suspended, elsewhere)}

    await story.sql(f"UPDATE leader SET tick = tick - {AWAY}")
    async with story.conn() as conn:
        moved = await tick(conn, story.fence)
        assert await tick(conn, story.fence) == timedelta(0)

    assert moved >= timedelta(seconds=130)
    after = {uid: await story.load(uid) for uid in before}
    for uid, by in (
        (open_task, moved),
        (ended, timedelta(0)),
        (suspended, timedelta(0)),
        (elsewhere, timedelta(0)),
    ):
        assert _deadline(after[uid]) - _deadline(before[uid]) == by
    assert after[open_task].attempts[0].deadline - before[open_task].attempts[0].deadline == moved
    assert after[ended].attempts == before[ended].attempts


async def test_the_first_write_after_a_gap_strikes_no_deadline(story: Story) -> None:
    task = await story.task(lasts=timedelta(seconds=60))
    attempt = await story.start(task)
    # The store was away: both deadlines lie behind, and the last tick lies before them.
    await story.sql(f"UPDATE leader SET tick = tick - {AWAY}")
    await story.sql(f"UPDATE tasks SET deadline = deadline - {AWAY}")
    await story.sql(f"UPDATE attempts SET deadline = deadline - {AWAY}")
    async with story.conn() as conn:
        assert not await tasks.end_task(
            conn, story.fence, task, phase="Failed", reason="TaskTimeout", message="too late"
        )
        assert not await attempts.close_attempt(
            conn, story.fence, attempt, "TimedOut", "StepTimeout", "too late", end_turn=False
        )
    record = await story.load(task)
    assert record.ended is None
    assert _deadline(record) > record.now


async def test_a_new_leader_applies_the_gap(story: Story) -> None:
    task = await story.task(lasts=timedelta(seconds=60))
    before = await story.load(task)
    await story.sql(f"UPDATE leader SET tick = tick - {AWAY}")
    await _raise(story, story.fence.cluster)
    assert _deadline(await story.load(task)) - _deadline(before) >= timedelta(seconds=130)


async def test_resuming_moves_the_tasks_deadlines_by_the_time_suspended(story: Story) -> None:
    task = await story.task(lasts=timedelta(hours=1))
    await story.start(task)
    before = await story.load(task)
    async with story.conn() as conn:
        await tasks.set_suspended(conn, story.fence, task, suspended=True)
        await story.sql("UPDATE tasks SET suspended_since = suspended_since - interval '1 hour'")
        await tasks.set_suspended(conn, story.fence, task, suspended=False)
    after = await story.load(task)
    assert after.suspended_since is None
    assert timedelta(hours=1) <= _deadline(after) - _deadline(before) < timedelta(hours=1, minutes=5)
    assert after.attempts == before.attempts, "a running attempt's deadline goes on"


async def test_a_container_of_a_gone_task_commits_nothing(story: Story) -> None:
    task = await story.task()
    inserted = await story.insert(task, "score", request=container_request("t", "score"))
    assert isinstance(inserted, Inserted)
    async with story.conn() as conn:
        await tasks.task_gone(conn, story.fence, task)
        assert not await attempts.finish_container(
            conn, story.fence, inserted.id, outcome="Succeeded", reason="Succeeded", message="", exit_code=0,
            output=1, pod_uid="p",
        )  # fmt: skip
    assert await story.outputs(task) == {}


async def _raise(story: Story, cluster: str) -> Fence:
    async with story.conn() as conn:
        return await raise_epoch(conn, cluster, "parley", "operator-1")


def _deadline(record: TaskRecord) -> datetime:
    assert record.deadline is not None
    return record.deadline


async def test_an_attempt_refused_after_a_gap_leaves_the_turn_where_it_was(story: Story) -> None:
    """Given a store that was away, when the first write is an attempt that is refused, then nobody holds the turn."""
    alice = await story.session()
    task = await story.task(alice)
    await story.queue(alice, task)
    await story.sql(f"UPDATE leader SET tick = tick - {AWAY}")

    refused = await story.insert(task, session_uid=alice, number=2)

    assert isinstance(refused, NotGranted)
    assert await story.queue(alice, task) == [(task, "Waiting")]
