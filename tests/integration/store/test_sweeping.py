"""What is kept of objects that are gone is erased in time, whole, and nothing else is."""

from datetime import timedelta
from typing import Any

from parley.resources.session import Retention
from parley.store import lifecycle, sweeping
from parley.store.sweeping import Due, count_kept, erase_gone, list_due

from tests.integration.store.remains import SECRET, end_session, lose, say_it_everywhere, talk, where
from tests.integration.store.story import Story

TASK_RETENTION = timedelta(days=90)


async def retain(story: Story, session: str, retention: dict[str, Any]) -> None:
    async with story.conn() as conn:
        await lifecycle.set_retention(conn, story.fence, session, retention)


async def after(story: Story, passed: timedelta) -> None:
    """Let time pass for all that is gone; the schema is as old as anything."""
    await story.sql("UPDATE migrations SET applied_at = applied_at - interval '10 years'")
    for table in ("sessions", "tasks"):
        await story.sql(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        await story.sql(f"UPDATE {table} SET gone_since = gone_since - %s::interval", passed)
        await story.sql(f"ALTER TABLE {table} ENABLE TRIGGER USER")


async def due(story: Story) -> list[Due]:
    async with story.conn() as conn:
        return await list_due(conn, story.fence, TASK_RETENTION)


async def sweep(story: Story, *busy: str) -> list[str]:
    """Erase all that is due; return the kinds of what was erased."""
    async with story.conn() as conn:
        return [
            each.kind
            for each in await list_due(conn, story.fence, TASK_RETENTION)
            if await erase_gone(conn, story.fence, each, TASK_RETENTION, busy)
        ]


async def rows(story: Story) -> dict[str, int]:
    tables = ("sessions", "tasks", "events", "turns", "attempts", "inputs", "journal", "outputs", "waits", "replies",
              "steps", "uploads")  # fmt: skip
    return {table: (await story.sql(f"SELECT count(*) FROM {table}"))[0][0] for table in tables}


async def test_of_a_session_that_is_gone_nothing_is_left(story: Story) -> None:
    session = await story.session()
    await retain(story, session, {"transcript": "Delete", "afterSeconds": 3600})
    await say_it_everywhere(story, session)
    await end_session(story, session)
    assert len(await where(story)) > 15

    await after(story, timedelta(minutes=59))
    assert await sweep(story) == []
    await after(story, timedelta(minutes=2))
    assert await sweep(story) == ["Session"]

    assert await where(story) == set()
    assert set((await rows(story)).values()) == {0}
    assert await sweep(story) == []


async def test_other_sessions_lose_nothing(story: Story) -> None:
    bob = await story.session("bob")
    await say_it_everywhere(story, bob)
    before = await rows(story), await where(story), await story.events(bob)
    alice = await story.session()
    await say_it_everywhere(story, alice, "alice's own words")
    await end_session(story, alice)
    await after(story, timedelta(days=31))

    assert await sweep(story) == ["Session"]

    assert (await rows(story), await where(story), await story.events(bob)) == before


async def test_a_session_that_lives_is_never_erased(story: Story) -> None:
    session = await story.session()
    await retain(story, session, {"transcript": "Delete", "afterSeconds": 3600})
    await talk(story, session, SECRET, "ok")
    await story.sql("UPDATE sessions SET created_at = now() - interval '10 years', active_at = created_at")
    await after(story, timedelta(days=1000))

    assert await due(story) == []


async def test_a_transcript_to_retain_is_kept_for_ever(story: Story) -> None:
    session = await story.session()
    await retain(story, session, {"transcript": "Retain"})
    await talk(story, session, SECRET, "ok")
    await end_session(story, session)
    await after(story, timedelta(days=3650))

    assert await sweep(story) == []
    assert "events.content" in await where(story)


async def test_a_session_from_before_retentions_were_kept_has_the_usual_one_from_then_on(
    story: Story,
) -> None:
    """Its Session was gone when this version came: nobody could say what becomes of its transcript."""
    session = await story.session()
    await talk(story, session, SECRET, "ok")
    await end_session(story, session)
    for table in ("sessions", "tasks"):
        await story.sql(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        await story.sql(f"UPDATE {table} SET gone_since = gone_since - interval '1 year'")
        await story.sql(f"ALTER TABLE {table} ENABLE TRIGGER USER")

    assert await due(story) == [], "the upgrade was today"
    await story.sql("UPDATE migrations SET applied_at = applied_at - interval '31 days'")
    assert [each.uid for each in await due(story)] == [session]


async def test_a_task_without_a_session_is_kept_for_its_own_time(story: Story) -> None:
    task, other = await story.task(), await story.task()
    await story.sql(f"""UPDATE tasks SET spec = '{{"message": "{SECRET}"}}' WHERE uid = %s""", task)
    await story.end(task)
    await lose(story, task)

    await after(story, timedelta(days=89))
    assert await sweep(story) == []
    await after(story, timedelta(days=2))
    assert await sweep(story) == ["Task"]

    assert await where(story) == set()
    assert (await story.load(other)).uid == other


async def test_a_task_of_a_session_goes_with_the_session_only(story: Story) -> None:
    session = await story.session()
    task = await story.task(session)
    await story.end(task)
    await lose(story, task)
    await after(story, timedelta(days=1000))

    assert await sweep(story) == []
    assert (await story.load(task)).uid == task


async def test_a_session_is_kept_while_a_task_of_it_has_not_shown_its_end(story: Story) -> None:
    """Its Task object would begin again, were its rows gone."""
    session = await story.session()
    await talk(story, session, SECRET, "ok")
    [[task]] = await story.sql("SELECT uid FROM tasks")
    await end_session(story, session)
    await after(story, timedelta(days=31))

    assert await sweep(story, task) == []
    assert await sweep(story) == ["Session"]


async def test_a_task_below_that_still_runs_is_left_alone(story: Story) -> None:
    session = await story.session()
    made = await say_it_everywhere(story, session)
    running = await story.task(name="queued")
    await story.sql("UPDATE tasks SET root_uid = %s, depth = 1 WHERE uid = %s", made["prompt"], running)
    await end_session(story, session)
    await after(story, timedelta(days=31))

    assert await sweep(story) == ["Session"]
    assert (await story.load(running)).ended is None


async def test_what_came_back_into_use_meanwhile_is_not_erased(story: Story) -> None:
    """Between the list and the erasing a new session took the transcript over."""
    session = await story.session()
    await talk(story, session, "Hello", "Hi")
    await end_session(story, session)
    await after(story, timedelta(days=31))
    [listed] = await due(story)
    await story.sql("""UPDATE sessions SET retention = '{"transcript": "Retain"}'""")

    async with story.conn() as conn:
        assert not await erase_gone(conn, story.fence, listed, TASK_RETENTION)
    assert len(await story.events(session)) == 2


async def test_another_cluster_in_the_same_store_is_left_alone(story: Story) -> None:
    session = await story.session()
    await end_session(story, session)
    await after(story, timedelta(days=31))
    assert len(await due(story)) == 1

    await story.sql("UPDATE sessions SET cluster = 'another'")
    assert await due(story) == []
    await story.sql("UPDATE sessions SET cluster = %s, install = 'another'", story.fence.cluster)
    assert await due(story) == []


async def test_what_a_namespace_has_is_counted(story: Story) -> None:
    session, gone = await story.session(), await story.session("bob")
    await story.task(session)
    await story.task()
    await end_session(story, gone)

    async with story.conn() as conn:
        assert await count_kept(conn, story.fence.cluster) == {"default": 3}


def test_the_usual_time_is_the_apis_default() -> None:
    usual = Retention().after_gone

    assert usual is not None
    assert usual.total_seconds() == sweeping.DEFAULT_RETENTION_SECONDS
