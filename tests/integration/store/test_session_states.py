"""A session's states: each change is told once in its transcript, and only life counts as life."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from parley.store import lifecycle, sessions, tasks
from parley.store.session_records import LifeState, SessionSummary

from tests.integration.store.story import Story

WHY = "because"


async def move(story: Story, session: str, state: LifeState) -> int | None:
    async with story.conn() as conn:
        return await lifecycle.set_session_state(conn, story.fence, session, state, WHY)


async def summary(story: Story, session: str) -> SessionSummary:
    async with story.conn() as conn:
        found = await sessions.session_summary(conn, session)
    assert found is not None
    return found


async def states(story: Story, session: str) -> list[Any]:
    return [content["state"] for _, role, content in await story.events(session) if role is None]


async def active_at(story: Story, session: str) -> datetime:
    seen = (await summary(story, session)).active_at
    assert seen is not None
    return seen


async def age(story: Story, session: str, by: timedelta) -> None:
    """Let nothing have happened in the session, and its tasks, for that much longer."""
    await story.sql("UPDATE sessions SET active_at = active_at - %s::interval WHERE uid = %s", by, session)
    await story.sql(
        "UPDATE tasks SET registered_at = registered_at - %s::interval, ended_at = ended_at - %s::interval"
        " WHERE session_uid = %s AND ended_at IS NULL",
        by, by, session,
    )  # fmt: skip


async def test_a_change_of_state_is_an_event_and_told_once(story: Story) -> None:
    session = await story.session()

    assert await move(story, session, "Dormant") == 1
    assert await move(story, session, "Dormant") is None
    assert await move(story, session, "Active") == 2

    assert await story.events(session) == [
        (1, None, {"state": "Dormant", "why": WHY}),
        (2, None, {"state": "Active", "why": WHY}),
    ]
    shown = await summary(story, session)
    assert (shown.state, shown.state_why, shown.last_sequence, shown.messages) == ("Active", WHY, 2, 0)


@pytest.mark.parametrize(
    ("before", "after", "may"),
    [
        ("Ended", "Active", False),
        ("Ended", "Paused", False),
        ("Expired", "Active", False),
        ("Archived", "Ended", False),
        ("Ended", "Expired", False),
        ("Expired", "Ended", True),
        ("Ended", "Archived", True),
        ("Expired", "Archived", True),
        ("Paused", "Ended", True),
        ("Dormant", "Expired", True),
    ],
)
async def test_what_has_ended_never_comes_back(
    story: Story, before: LifeState, after: LifeState, may: bool
) -> None:
    session = await story.session()
    await move(story, session, before)

    moved = await move(story, session, after)

    assert (moved is not None) is may
    assert (await summary(story, session)).state == (after if may else before)
    assert await states(story, session) == ([before, after] if may else [before])


async def test_a_session_that_is_gone_changes_no_more(story: Story) -> None:
    session = await story.session()
    async with story.conn() as conn:
        await sessions.session_gone(conn, story.fence, session)

    assert await move(story, session, "Ended") is None
    assert await story.events(session) == []


async def test_falling_asleep_and_waking_are_no_signs_of_life_but_speaking_is(story: Story) -> None:
    session = await story.session()
    await age(story, session, timedelta(hours=2))
    quiet = await active_at(story, session)

    await move(story, session, "Dormant")
    await move(story, session, "Active")
    assert await active_at(story, session) == quiet

    await story.converse(session, "Hello?", "Hello!")
    assert await active_at(story, session) > quiet + timedelta(hours=1)


async def test_a_session_does_not_age_while_it_is_paused(story: Story) -> None:
    session = await story.session()
    await move(story, session, "Paused")
    await age(story, session, timedelta(hours=2))
    quiet = await active_at(story, session)

    await move(story, session, "Active")

    assert await active_at(story, session) > quiet + timedelta(hours=1)


async def test_a_task_that_speaks_with_no_model_is_life_too(story: Story) -> None:
    session = await story.session()
    await age(story, session, timedelta(hours=2))
    quiet = await active_at(story, session)

    task = await story.task(session)
    begun = await active_at(story, session)
    assert begun > quiet + timedelta(hours=1)

    await age(story, session, timedelta(hours=2))
    await story.end(task)
    ended = await active_at(story, session)
    assert ended >= begun
    async with story.conn() as conn:
        # A task that ended long ago and is deleted wakes nobody.
        assert await tasks.task_gone(conn, story.fence, task)
    assert await active_at(story, session) == ended


async def test_a_plan_reads_where_its_session_stands(story: Story) -> None:
    session = await story.session()
    await story.converse(session, "Hello?", "Hello!")
    await move(story, session, "Paused")
    task = await story.task(session)

    facts = (await story.load(task)).session

    assert facts is not None
    assert (facts.state, facts.messages, facts.cleared_through, facts.restored_from) == ("Paused", 2, 0, None)
    assert (await story.load(await story.task())).session is None


async def test_it_is_seen_whether_an_attempt_is_under_way(story: Story) -> None:
    session = await story.session()
    task = await story.task(session)
    assert not (await summary(story, session)).running

    await story.queue(session, task)
    await story.start(task, session_uid=session)
    assert (await summary(story, session)).running

    await story.end(task, "Cancelled")
    assert not (await summary(story, session)).running


async def test_retention_is_kept_with_the_rows(story: Story) -> None:
    session = await story.session()
    assert (await summary(story, session)).retention is None
    async with story.conn() as conn:
        wanted = {"transcript": "Delete", "afterSeconds": 3600}
        assert await lifecycle.set_retention(conn, story.fence, session, wanted)
        assert not await lifecycle.set_retention(conn, story.fence, session, wanted)
    assert (await summary(story, session)).retention == wanted
