"""A new session goes on with the transcript of one that is gone; nobody else gets at it."""

import asyncio
from uuid import uuid4

import pytest
from parley.store import lifecycle, sessions
from parley.store.entries import Done
from parley.store.erasing import clear_history
from parley.store.restoring import Restored, restore
from parley.store.session_records import SessionSummary

from tests.integration.store.remains import end_session, say_it_everywhere, talk, where
from tests.integration.store.story import Story


async def go_on(story: Story, session: str, before: str) -> Restored:
    async with story.conn() as conn:
        return await restore(conn, story.fence, session, before)


async def summary(story: Story, session: str) -> SessionSummary:
    async with story.conn() as conn:
        found = await sessions.session_summary(conn, session)
    assert found is not None
    return found


async def test_a_new_session_goes_on_where_the_old_one_ended(story: Story) -> None:
    # Given a conversation with a context, whose Session was deleted
    old = await story.session()
    await talk(story, old, "Hello", "Hi")
    task = await story.task(old)
    await story.enter(task, "note", Done("noted", {"order": "12345"}, {}))
    await story.end(task)
    before = await summary(story, old)
    await end_session(story, old)

    # When another is made that asks for it
    new = await story.session()
    assert await go_on(story, new, old) == Restored(now=True)
    assert await go_on(story, new, old) == Restored(), "once"

    # Then it has the transcript, and goes on counting
    after = await summary(story, new)
    assert (after.last_sequence, after.messages) == (before.last_sequence + 1, before.messages)
    assert (after.context, after.context_version) == ({"order": "12345"}, before.context_version)
    assert (after.input_tokens, after.output_tokens) == (before.input_tokens, before.output_tokens)
    assert (after.tasks_succeeded, after.state, after.restored_from) == (2, "Active", old)
    assert (await story.events(new))[-1] == (3, None, {"state": "Restored", "from": old})

    # And the model is shown what was said before
    taken = await talk(story, new, "Who am I?", "Alice")
    assert [event.content for event in taken.history] == ["Hello", "Hi"]
    assert [sequence for sequence, _, _ in await story.events(new)] == [1, 2, 3, 4, 5]
    assert await story.events(old) == []


async def test_a_session_made_anew_under_the_same_name_starts_clean(story: Story) -> None:
    old = await story.session()
    await talk(story, old, "My card is 4111", "ok")
    await end_session(story, old)

    new = await story.session()
    taken = await talk(story, new, "What was my card?", "I do not know")

    assert taken.history == []
    assert (await summary(story, new)).messages == 2


async def test_everything_moves_and_nothing_is_doubled(story: Story) -> None:
    old = await story.session()
    await say_it_everywhere(story, old)
    await end_session(story, old)
    tables = ("events", "turns", "attempts", "tasks", "journal", "outputs", "waits", "replies", "inputs")
    before = {table: (await story.sql(f"SELECT count(*) FROM {table}"))[0][0] for table in tables}
    there = await where(story)
    new = await story.session()

    await go_on(story, new, old)

    after = {table: (await story.sql(f"SELECT count(*) FROM {table}"))[0][0] for table in tables}
    assert after == before | {"events": before["events"] + 1}
    assert await where(story) == there
    assert await where(story, old) == {"events.content", "sessions.restored_from"}
    for table in ("attempts", "events", "turns", "tasks"):
        assert {row[0] for row in await story.sql(f"SELECT DISTINCT session_uid FROM {table}")} <= {new, None}


@pytest.mark.parametrize("case", ["unknown", "another namespace", "another cluster", "still there", "itself"])
async def test_what_is_not_there_to_go_on_with_is_refused(story: Story, case: str) -> None:
    old = await story.session()
    await talk(story, old, "Hello", "Hi")
    if case != "still there":
        await end_session(story, old)
    match case:
        case "another namespace":
            await story.sql("UPDATE sessions SET namespace = 'other' WHERE uid = %s", old)
        case "another cluster":
            await story.sql("UPDATE sessions SET cluster = 'other' WHERE uid = %s", old)
        case _:
            pass
    new = await story.session()
    wanted = {"unknown": str(uuid4()), "itself": new}.get(case, old)

    refused = await go_on(story, new, wanted)

    assert refused.problem is not None
    assert not refused.now
    says = (
        "still exists"
        if case in {"still there", "itself"}
        else f"no transcript of a Session with the uid {wanted}"
    )
    assert says in refused.problem
    assert len(await story.events(old)) == 2
    assert await story.events(new) == []
    assert (await summary(story, new)).restored_from is None


async def test_a_transcript_goes_to_one_session_only(story: Story) -> None:
    old = await story.session()
    await talk(story, old, "Hello", "Hi")
    await end_session(story, old)
    first, second = await story.session("first"), await story.session("second")

    both = await asyncio.gather(go_on(story, first, old), go_on(story, second, old))

    assert sorted(each.now for each in both) == [False, True]
    (refused,) = (each.problem for each in both if each.problem is not None)
    assert "went on with the transcript" in refused
    assert sorted([len(await story.events(first)), len(await story.events(second))]) == [0, 3]


async def test_a_session_that_has_begun_cannot_take_over_another(story: Story) -> None:
    old, new = await story.session(), await story.session()
    await talk(story, old, "Hello", "Hi")
    await end_session(story, old)
    await talk(story, new, "Hello there", "Hi")

    refused = await go_on(story, new, old)

    assert refused.problem is not None
    assert "has begun already" in refused.problem
    assert len(await story.events(old)) == 2


async def test_it_can_be_handed_on_again(story: Story) -> None:
    first = await story.session()
    await talk(story, first, "Hello", "Hi")
    await end_session(story, first)
    second = await story.session()
    await go_on(story, second, first)
    await end_session(story, second)
    third = await story.session()

    refused = await go_on(story, third, first)
    assert refused.problem is not None
    assert f"Session alice (uid {second}) went on" in refused.problem
    assert await go_on(story, third, second) == Restored(now=True)
    taken = await talk(story, third, "Who am I?", "Alice")
    assert [event.content for event in taken.history] == ["Hello", "Hi"]


async def test_what_was_erased_stays_erased_and_done(story: Story) -> None:
    old = await story.session()
    await talk(story, old, "Hello", "Hi")
    async with story.conn() as conn:
        await clear_history(conn, story.fence, old, 2, "maria")
    await end_session(story, old)
    new = await story.session()
    await go_on(story, new, old)

    shown = await summary(story, new)
    assert (shown.cleared_through, shown.clear_asked) == (2, 2)
    async with story.conn() as conn:
        assert await clear_history(conn, story.fence, new, 2, "maria") is None


async def test_a_session_that_had_ended_lives_again_in_the_new_one(story: Story) -> None:
    old = await story.session()
    async with story.conn() as conn:
        await lifecycle.set_session_state(conn, story.fence, old, "Expired", "nothing happened")
    await end_session(story, old)
    new = await story.session()

    await go_on(story, new, old)

    assert (await summary(story, new)).state == "Active"


async def test_the_end_of_a_task_that_was_queued_reaches_the_new_session(story: Story) -> None:
    old = await story.session()
    queuing = await story.task(old)
    wait = await story.ask(queuing)
    await story.sql(
        "INSERT INTO queued_tasks (wait_id, cluster, namespace, name, session_uid, queued_by)"
        " VALUES (%s, %s, 'default', 'long-one', %s, %s)",
        wait, story.fence.cluster, old, queuing,
    )  # fmt: skip
    await end_session(story, old)
    new = await story.session()

    await go_on(story, new, old)

    assert await story.sql("SELECT session_uid FROM queued_tasks") == [(new,)]
