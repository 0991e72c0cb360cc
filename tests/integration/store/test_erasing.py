"""What is erased is gone from every column of every table; numbers and times stay."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from parley.store import erasing, sessions
from parley.store.session_records import SessionSummary

from tests.integration.store.remains import (
    CONTENT,
    NAMES,
    PASSING,
    SECRET,
    columns,
    end_session,
    lose,
    say_it_everywhere,
    talk,
    where,
)
from tests.integration.store.story import Story, child_request, says

AGE = timedelta(days=30)


async def clear(story: Story, session: str, through: int, *busy: str, by: str | None = "maria") -> int | None:
    async with story.conn() as conn:
        return await erasing.clear_history(conn, story.fence, session, through, by, busy)


async def summary(story: Story, session: str) -> SessionSummary:
    async with story.conn() as conn:
        found = await sessions.session_summary(conn, session)
    assert found is not None
    return found


async def last(story: Story, session: str) -> int:
    return (await summary(story, session)).last_sequence


async def test_every_column_is_known_to_hold_content_or_names(story: Story) -> None:
    """A new column must be put on one of the two lists, and content must be erased."""
    assert {f"{table}.{column}" for table, column in await columns(story)} == CONTENT | NAMES | PASSING


async def test_clearing_leaves_no_text_anywhere(story: Story) -> None:
    session = await story.session()
    await say_it_everywhere(story, session)
    assert await where(story) == CONTENT - {"uploads.value", "uploads.problem", "attempts.answer"}, (
        "the story says it everywhere"
    )
    before = await story.sql("SELECT sequence, id, time, type FROM events ORDER BY sequence")

    reached = await clear(story, session, await last(story, session))

    assert await where(story) == {"sessions.context"}, "which is no history: steps go on with it"
    after = await story.sql("SELECT sequence, id, time, type FROM events ORDER BY sequence")
    assert after[:-1] == before
    assert (await story.events(session))[-1] == (
        reached + 1 if reached else 0, None, {"state": "Cleared", "through": reached, "by": "maria"},
    )  # fmt: skip


async def test_what_is_said_to_another_session_stays(story: Story) -> None:
    alice, bob = await story.session(), await story.session("bob")
    await say_it_everywhere(story, alice)
    await say_it_everywhere(story, bob, "bob's own words")
    everywhere = await where(story, "bob's own words")
    said = await story.events(bob)

    await clear(story, alice, await last(story, alice))

    assert await where(story, "bob's own words") == everywhere
    assert await story.events(bob) == said


async def test_what_is_said_later_stays(story: Story) -> None:
    session = await story.session()
    await talk(story, session, f"My card is {SECRET}", f"{SECRET}, I see")
    await talk(story, session, "Hello again", "Welcome back")

    assert await clear(story, session, 2) == 2

    assert await where(story) == set()
    assert [content for _, _, content in await story.events(session)][:4] == [
        None, None, "Hello again", "Welcome back",
    ]  # fmt: skip
    shown = await summary(story, session)
    assert (shown.cleared_through, shown.last_sequence, shown.messages) == (2, 5, 4)
    assert [each.text for each in shown.recent][:2] == [None, None]
    # And the model is shown what is left, and no more.
    taken = await talk(story, session, "What was my card?", "I do not know")
    assert [event.content for event in taken.history] == ["Hello again", "Welcome back"]


async def test_a_request_is_done_once_and_reaches_what_there_is(story: Story) -> None:
    session = await story.session()
    await talk(story, session, SECRET, "ok")

    assert await clear(story, session, 1000) == 2
    assert await clear(story, session, 1000) is None
    assert await clear(story, session, 999) is None
    await talk(story, session, "Hello again", "Welcome back")
    assert await clear(story, session, 1000) is None

    contents = [content for _, _, content in await story.events(session)]
    assert contents == [
        None, None, {"state": "Cleared", "through": 2, "by": "maria"}, "Hello again", "Welcome back",
    ]  # fmt: skip
    assert await clear(story, session, 1001, by=None) == 5
    assert [content for _, _, content in await story.events(session)][2:] == [
        {"state": "Cleared", "through": 2, "by": "maria"},
        None,
        None,
        {"state": "Cleared", "through": 5, "by": None},
    ], "who cleared what is on record for good"


async def test_a_session_in_which_nothing_was_said_can_be_cleared(story: Story) -> None:
    session = await story.session()

    assert await clear(story, session, 7) == 0
    assert (await summary(story, session)).cleared_through == 0


async def test_a_turn_under_way_loses_its_words_when_it_is_over(story: Story) -> None:
    session = await story.session()
    task = await story.task(session)
    await story.queue(session, task)
    attempt = await story.start(task, session_uid=session)
    await story.take(task)
    await story.say(attempt, f"My card is {SECRET}")

    # When it is cleared while the model thinks
    assert await clear(story, session, 1) == 1
    assert await where(story) == {"inputs.messages"}, "a pod that is lost now must still be able to go on"

    # Then it ends as ever, and when its own status has said so, the rest goes too
    await story.finish(attempt, says("Thank you"))
    async with story.conn() as conn:
        assert not await erasing.finish_erasing(conn, story.fence, session), "it is not over in the store"
        await story.end(task, output="Thank you")
        assert await erasing.finish_erasing(conn, story.fence, session, [task])
        assert await where(story) == {"inputs.messages"}
        assert not await erasing.finish_erasing(conn, story.fence, session)
    assert await where(story) == set()
    assert "Thank you" in [content for _, _, content in await story.events(session)]


async def test_a_message_that_waits_in_the_queue_is_not_history_yet(story: Story) -> None:
    session = await story.session()
    await talk(story, session, SECRET, "ok")
    waiting = await story.task(session)
    await story.sql("""UPDATE tasks SET spec = '{"message": "Next question"}' WHERE uid = %s""", waiting)

    await clear(story, session, 2)
    assert (await story.spec(waiting)) == {"message": "Next question"}
    await story.queue(session, waiting)
    attempt = await story.start(waiting, session_uid=session)
    await story.take(waiting)
    await story.say(attempt, "Next question")
    await story.finish(attempt, says("Next answer"))
    await story.end(waiting, output="Next answer")

    async with story.conn() as conn:
        await erasing.finish_erasing(conn, story.fence, session)
    assert (await story.spec(waiting)) == {"message": "Next question"}
    record = await story.load(waiting)
    assert record.outputs["reply"].value == "Next answer"


async def test_a_childs_output_stays_until_its_parent_has_it(story: Story) -> None:
    session = await story.session()
    await talk(story, session, SECRET, "ok")
    parent = await story.task(session)
    await story.start(parent, "call", request=child_request(story.names[parent], "call"), job="the-child")
    child = await story.child(parent, "the-child", session=session)
    await story.end(child, output="for my parent")

    await clear(story, session, 2)
    assert (await story.load(child)).ended is not None
    assert await where(story, "for my parent") == {"tasks.output"}

    await story.end(parent)
    async with story.conn() as conn:
        await erasing.finish_erasing(conn, story.fence, session)
    assert await where(story, "for my parent") == set()


async def test_a_summary_goes_with_what_it_sums_up(story: Story) -> None:
    session = await story.session()
    await talk(story, session, SECRET, "ok")
    await talk(story, session, "Hello again", "Welcome back")
    for sequence, ranges in ((5, "[[1, 2]]"), (6, "[[3, 4]]")):
        await story.sql("UPDATE sessions SET last_sequence = %s WHERE uid = %s", sequence, session)
        await story.sql(
            "INSERT INTO events (session_uid, sequence, id, type, content) VALUES (%s, %s, %s, 'summary', %s::json)",
            session, sequence, str(uuid4()), f'{{"text": "about {SECRET} {sequence}", "ranges": {ranges}}}',
        )  # fmt: skip

    await clear(story, session, 2)

    assert await where(story, f"{SECRET} 5") == set()
    assert await where(story, f"{SECRET} 6") == {"events.content"}


async def test_what_a_queued_task_came_to_is_erased_as_what_was_said(story: Story) -> None:
    session = await story.session()
    await story.sql("UPDATE sessions SET last_sequence = 1 WHERE uid = %s", session)
    await story.sql(
        "INSERT INTO events (session_uid, sequence, id, type, content) VALUES (%s, 1, %s, 'state', %s::json)",
        session, str(uuid4()), f'{{"state": "TaskEnded", "task": "t", "output": "{SECRET}"}}',
    )  # fmt: skip

    await clear(story, session, 1)

    assert await where(story) == set()


async def test_what_is_too_old_is_erased(story: Story) -> None:
    session = await story.session()
    old = await say_it_everywhere(story, session)
    await story.sql("UPDATE events SET time = time - interval '31 days' WHERE session_uid = %s", session)
    await story.sql("UPDATE tasks SET registered_at = registered_at - interval '31 days'")
    spoken = await last(story, session)
    await talk(story, session, "Hello again", "Welcome back")

    async with story.conn() as conn:
        assert await erasing.erase_old(conn, story.fence, session, AGE) == spoken
        assert await erasing.erase_old(conn, story.fence, session, AGE) is None

    assert await where(story) == {"sessions.context"}
    assert [content for _, _, content in await story.events(session)][spoken:] == [
        "Hello again",
        "Welcome back",
    ]
    shown = await summary(story, session)
    assert (shown.cleared_through, shown.clear_asked) == (spoken, 0)
    assert (await story.load(old["prompt"])).ended is not None


async def test_the_oldest_that_is_left_is_known(story: Story) -> None:
    session = await story.session()
    assert (await summary(story, session)).oldest is None
    await talk(story, session, "Hello", "Hi")
    await talk(story, session, "Hello again", "Welcome back")
    times = [row[0] for row in await story.sql("SELECT time FROM events ORDER BY sequence")]

    assert (await summary(story, session)).oldest == times[0]
    await clear(story, session, 3)
    assert (await summary(story, session)).oldest == times[3]


async def test_only_who_says_so_may_rewrite_what_stands(story: Story) -> None:
    session = await story.session()
    await talk(story, session, "Hello", "Hi")

    for statement in (
        "UPDATE attempts SET message = 'changed' WHERE ended_at IS NOT NULL",
        "UPDATE attempts SET request = '{}'",
        "UPDATE turns SET step = 'changed' WHERE ended_at IS NOT NULL",
        "UPDATE events SET session_uid = session_uid, sequence = sequence + 100",
    ):
        with pytest.raises(Exception, match=r"never changes|keeps its place"):
            await story.sql(statement)


async def test_a_session_that_is_gone_is_not_cleared(story: Story) -> None:
    session = await story.session()
    await talk(story, session, SECRET, "ok")
    await end_session(story, session)

    assert await clear(story, session, 2) is None
    async with story.conn() as conn:
        assert await erasing.erase_old(conn, story.fence, session, timedelta(0)) is None
        assert not await erasing.finish_erasing(conn, story.fence, session)
    assert "events.content" in await where(story)


async def test_a_task_whose_object_is_gone_is_erased_too(story: Story) -> None:
    session = await story.session()
    task = await story.task(session)
    await story.sql(f"""UPDATE tasks SET spec = '{{"message": "{SECRET}"}}' WHERE uid = %s""", task)
    await lose(story, task)

    await clear(story, session, 1)

    assert await where(story) == set()


async def test_a_repeated_call_of_a_late_runner_is_refused_as_ever(story: Story) -> None:
    """Its attempt is closed and erased; its stored answer is no more, and nothing new is written."""
    session = await story.session()
    task = await story.task(session)
    await story.queue(session, task)
    attempt = await story.start(task, session_uid=session)
    await story.take(task)
    await story.say(attempt, SECRET)
    await story.finish(attempt, says("ok"))
    await story.end(task)
    await clear(story, session, 2)

    for repeat in (lambda: story.finish(attempt, says("ok")), lambda: story.say(attempt, SECRET)):
        answer: Any = None
        try:
            answer = await repeat()
        except Exception as error:  # noqa: BLE001 - whatever it is called: it is no success
            answer = error
        assert SECRET not in str(answer)
    assert await where(story) == set()
    assert len(await story.events(session)) == 3
