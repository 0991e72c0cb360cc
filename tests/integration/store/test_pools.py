"""Warm runners take the attempts of their pool, each once, the oldest first."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from parley.protocol.messages import TakeAnswer
from parley.store import runner_calls
from parley.store.errors import OtherHolder
from parley.store.posting import TurnWanted, post_message

from tests.integration.store.posts import answer
from tests.integration.store.story import Story, prompt_request, says

POOL = "warm-support-1"


async def start(story: Story, task: str, step: str = "reply", **changes: Any) -> int:
    return await story.start(task, step, runtime="Warm", job=None, **{"pool": POOL, **changes})


async def take(
    story: Story, holder: str = "pod/1", *, pool: str = POOL, namespace: str = "default", own: bool = False
) -> TakeAnswer | None:
    async with story.conn() as conn:
        return await runner_calls.take_warm(conn, pool=pool, namespace=namespace, holder=holder, own=own)


async def taken(story: Story, holder: str = "pod/1", **where: Any) -> int | None:
    answer = await take(story, holder, **where)
    return None if answer is None else answer.attempt


async def test_the_pools_oldest_comes_first_whatever_task_it_is_of(story: Story) -> None:
    # Given attempts of several tasks, of which some are not for this pool
    one, two = await story.task(), await story.task()
    await story.start(one, "in-a-job")
    await story.start(one, "with-its-task", runtime="Task")
    await start(story, one, "of-another-pool", pool="warm-support-2")
    first, second = await start(story, two, "a"), await start(story, one, "b")

    # When two slots ask, then each gets one, and no other slot or namespace gets any
    assert [await taken(story, holder) for holder in ("pod/1", "pod/2", "pod/3")] == [first, second, None]
    assert await taken(story, "pod/4", pool="warm-support-2", namespace="elsewhere") is None


async def test_many_slots_share_the_attempts_and_none_waits_in_vain(story: Story) -> None:
    tasks = [await story.task() for _ in range(8)]
    attempts = [await start(story, task) for task in tasks]

    found = await asyncio.gather(*[taken(story, f"pod/{n}") for n in range(12)])

    # Whoever looks finds one while there is one: what another slot has just taken is passed over, not waited for.
    assert sorted(each for each in found if each is not None) == attempts
    assert found.count(None) == 4


async def test_a_holder_gets_what_it_has_and_with_own_nothing_else(story: Story) -> None:
    first = await start(story, await story.task())
    second = await start(story, await story.task())
    assert await taken(story, own=True) is None

    assert [await taken(story) for _ in range(2)] == [first, first]
    assert await taken(story, own=True) == first
    with pytest.raises(OtherHolder):
        await story.finish(first, says("mine?"), holder="pod/2")
    await story.finish(first, says("done"))

    assert await taken(story, own=True) is None
    assert await taken(story) == second


async def test_what_is_suspended_over_or_closed_is_left_alone(story: Story) -> None:
    suspended, over, closed = [await story.task() for _ in range(3)]
    attempt, *_ = [await start(story, task) for task in (suspended, over, closed)]
    await story.suspend(suspended)
    assert await story.end(over, "Cancelled")
    await story.sql("UPDATE tasks SET gone_since = now() WHERE uid = %s", closed)

    assert await taken(story) is None

    await story.suspend(suspended, suspended=False)
    assert await taken(story) == attempt


async def test_what_the_leader_closed_is_not_its_holders_any_more(story: Story) -> None:
    task = await story.task()
    first = await start(story, task)
    assert await taken(story) == first
    second = await start(story, task, number=2, cause="Disruption", close=story.close(first))

    assert await taken(story, own=True) is None
    assert await taken(story) == second


async def test_it_is_held_by_a_lease_and_its_time_begins(story: Story) -> None:
    task = await story.task()
    await start(story, task, item_timeout=timedelta(seconds=30))
    answer = await take(story)
    (record,) = (await story.load(task)).attempts

    assert answer is not None
    assert record.taken_at is not None
    assert record.lease_until == record.taken_at + timedelta(seconds=9)
    assert answer.deadline == record.deadline == record.taken_at + timedelta(seconds=30)


async def post(story: Story, session_uid: str, text: str, **asked: Any) -> tuple[str, int]:
    """Post a message and give its task the turn; returns the task and its attempt."""
    async with story.conn() as conn:
        await post_message(
            conn,
            session_uid=session_uid,
            key="key",
            body_hash="x",
            content=text,
            turn=TurnWanted("m-1", "reply", {"message": text}),
        )
    task = await story.task(session_uid, "m-1")
    await story.queue(session_uid, task)
    request = prompt_request("m-1", "reply") | {"prompt": {"text": text}} | asked
    return task, await start(story, task, session_uid=session_uid, request=request)


async def test_what_was_posted_is_its_turns_input_at_once(story: Story) -> None:
    session = await story.session()
    _, attempt = await post(story, session, "hello\x00")

    answer = await take(story)

    assert answer is not None
    assert answer.input is not None
    assert [(said.role, said.content) for said in answer.input] == [
        ("user", "hello\N{REPLACEMENT CHARACTER}")
    ]
    # And a runner that stores it all the same changes nothing
    assert [said.content for said in (await story.say(attempt, "other")).messages] == [
        answer.input[0].content
    ]
    assert [role for _, role, _ in await story.events(session)] == ["user"]


@pytest.mark.parametrize(
    "asked",
    [
        {"literal": False},
        {"history": "None"},
        {"session": {"name": "alice", "contextOverflow": "Summarize"}},
    ],
)
async def test_what_must_be_rendered_or_summed_up_first_is_left_to_the_runner(
    story: Story, asked: Any
) -> None:
    session = await story.session()
    await post(story, session, "hello", **asked)

    answer = await take(story)

    assert answer is not None
    assert answer.input is None


async def test_what_was_not_posted_is_left_to_the_runner(story: Story) -> None:
    session = await story.session()
    task = await story.task(session)
    await story.queue(session, task)
    await start(story, task, session_uid=session)

    answer = await take(story)

    assert answer is not None
    assert answer.input is None
    assert await story.events(session) == []


async def test_a_later_attempt_is_told_what_the_first_one_did(story: Story) -> None:
    session = await story.session()
    task, first = await post(story, session, "hello")
    assert await taken(story) == first
    await story.respond(first, "get_order")
    second = await start(
        story, task, number=2, cause="Disruption", close=story.close(first), session_uid=session
    )

    answer = await take(story, "pod/2")

    assert answer is not None
    assert answer.attempt == second
    assert [(entry.round, entry.call) for entry in answer.journal] == [(0, -1)]
    assert answer.input is not None


async def test_a_session_that_cannot_be_read_ends_its_own_step_and_no_runner(story: Story) -> None:
    # Given a session with a time in it that only Postgres can tell, and a second one behind it in the pool
    session = await story.session()
    await answer(story, session, await queued(story, session), "Answer")
    await story.sql("UPDATE events SET time = '20000-01-01' WHERE session_uid = %s", session)
    broken = await start(story, await queued(story, session), session_uid=session)
    good = await start(story, await story.task())

    # When a slot asks
    found = await taken(story)

    # Then it gets what can be read, and the other has failed for good, in a sentence without any content
    assert found == good
    ((state, reason, definite, message),) = await story.sql(
        "SELECT state, reason, definite, message FROM attempts WHERE id = %s", broken
    )
    assert (state, reason, definite) == ("Failed", "Error", True)
    assert "cannot be read" in message
    assert await taken(story, "pod/2") is None


async def queued(story: Story, session: str) -> str:
    """Give a task the session's turn."""
    task = await story.task(session)
    await story.queue(session, task)
    return task
