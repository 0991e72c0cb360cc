"""A message that somebody posts is in the session once, in its place, whoever fails in between."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from parley.store import attempts, erasing, sessions, turns
from parley.store.errors import KeyReused, SessionNotReady, SessionOver
from parley.store.lifecycle import set_session_state
from parley.store.posting import list_orphans, withdraw_post
from parley.store.restoring import restore

from tests.integration.store.posts import answer, note, post, shown, turn
from tests.integration.store.remains import where
from tests.integration.store.story import MINUTE, Story, says

NOW = timedelta(0)


async def test_however_often_and_at_once_a_message_is_posted_it_is_there_once(story: Story) -> None:
    alice = await story.session()
    answers = await asyncio.gather(*[post(story, alice, "k1") for _ in range(10)])
    assert {(each.sequence, each.event_id, each.task_name) for each in answers} == {
        (1, answers[0].event_id, "m-k1")
    }
    assert [each.repeated for each in answers].count(False) == 1
    assert await story.events(alice) == [(1, "user", "Hi")]
    assert await story.queue(alice) == [("", "Waiting")], "it waits for its Task"

    assert (await post(story, alice, "k2")).sequence == 2, "the same words under another key are said again"
    bob = await story.session("bob")
    assert (await post(story, bob, "k1")).sequence == 1, "and a key is its session's"


async def test_a_key_is_good_for_one_body(story: Story) -> None:
    alice = await story.session()
    await post(story, alice, "k1", "Hi")
    with pytest.raises(KeyReused, match="k1"):
        await post(story, alice, "k1", "Hello")
    assert await story.events(alice) == [(1, "user", "Hi")]


async def test_a_key_whose_names_another_has_is_refused_and_says_nothing(story: Story) -> None:
    # Given a key whose Task's name is that of another key
    alice = await story.session()
    await post(story, alice, "k1")
    with pytest.raises(KeyReused, match="k2"):
        await post(story, alice, "k2", turn=turn("k1"))
    # And one whose event is there without its post
    await note(story, alice, "n1")
    await story.sql("DELETE FROM posts WHERE key = 'n1' RETURNING 1")
    with pytest.raises(KeyReused, match="n1"):
        await note(story, alice, "n1")
    # Then nothing of either is in the session
    assert await story.events(alice) == [(1, "user", "Hi"), (2, "user", "By the way")]
    assert await story.sql("SELECT last_ticket FROM sessions") == [(2,)]


async def test_its_task_gets_its_place_and_does_not_say_it_again(story: Story) -> None:
    # Given a message that was posted, then a task that somebody made before the message's own came
    alice = await story.session()
    await post(story, alice, "k1", "Hi", speaker="Alice")
    other = await story.task(alice)
    posted = await story.task(alice, "m-k1")
    # When all are ready, then the message goes first, and is there once
    assert await story.queue(alice, other, posted) == [(posted, "Waiting"), (other, "Waiting")]
    await answer(story, alice, posted, "Hello")
    assert await story.events(alice) == [(1, "user", "Hi"), (2, "assistant", "Hello")]
    assert await story.sql("SELECT speaker, task, step FROM events ORDER BY sequence") == [
        ("Alice", "m-k1", "reply"),
        (None, "m-k1", "reply"),
    ]


async def test_a_message_whose_ticket_was_withdrawn_moves_with_its_step(story: Story) -> None:
    # Given a posted message whose Task is suspended before anything ran
    alice = await story.session()
    await post(story, alice, "k1", "first")
    posted, other = await story.task(alice, "m-k1"), await story.task(alice)
    await story.queue(alice, posted, other)
    await story.suspend(posted)
    await answer(story, alice, other, "done")
    # When it goes on, with a ticket of its own time
    await story.suspend(posted, suspended=False)
    await story.queue(alice, posted)
    await answer(story, alice, posted, "answered")
    # Then it was said once, and models are shown it where it was answered
    assert [event for _, _, event in await story.events(alice)] == [
        "first", "as rendered", "done", "answered"
    ]  # fmt: skip
    assert await shown(story, alice) == ["as rendered", "done", "first", "answered"]


async def test_a_turn_given_back_goes_on_with_the_message_where_it_was(story: Story) -> None:
    # Given a posted message whose step began, lost its pod, and gave the session back for a while
    alice = await story.session()
    await post(story, alice, "k1", "first")
    posted = await story.task(alice, "m-k1")
    await story.queue(alice, posted)
    attempt = await story.start(posted, session_uid=alice)
    await story.take(posted)
    await story.say(attempt, "as rendered")
    async with story.conn() as conn:
        await attempts.close_attempt(conn, story.fence, attempt, "Lost", "PodLost", "", end_turn=False)
        assert await turns.release_turn(conn, story.fence, posted, "reply")
    # When it goes on, then its model is shown the message as what it answers, and not as history beside
    await story.queue(alice, posted)
    second = await story.start(posted, session_uid=alice, number=2, cause="Retry")
    given = await story.take(posted, number=2)
    assert ([event.content for event in given.history], given.input and given.input[0].content) == (
        [],
        "Hello",
    )
    await story.say(second, "as rendered")
    await story.finish(second, says("answered"))
    assert [event for _, _, event in await story.events(alice)] == ["first", "answered"]


async def test_messages_come_back_into_the_queue_in_the_order_they_were_said(story: Story) -> None:
    # Given three messages whose tickets are withdrawn as their session pauses
    alice = await story.session()
    for key in "cab":
        await post(story, alice, key, f"said {key}")
    posted = {key: await story.task(alice, f"m-{key}") for key in "abc"}
    latecomer = await story.task(alice)
    assert await story.queue(alice) == []
    # When it goes on, and their Tasks come in the order of their names
    queue = await story.queue(alice, latecomer, *posted.values())
    # Then who spoke first is first, and who came later is last
    assert [task for task, _ in queue] == [posted["c"], posted["a"], posted["b"], latecomer]


async def test_what_nobody_is_to_answer_is_part_of_the_conversation(story: Story) -> None:
    alice = await story.session()
    said = await note(story, alice, "n1", "A note")
    assert (said.sequence, said.task_name) == (1, None)
    assert (await note(story, alice, "n1", "A note")).repeated
    assert await story.queue(alice) == [], "it waits for nobody"
    await post(story, alice, "k1", "A question")
    posted = await story.task(alice, "m-k1")
    await story.queue(alice, posted)
    await answer(story, alice, posted, "An answer")
    await note(story, alice, "n2", "Another note")
    assert await shown(story, alice) == ["A note", "A question", "An answer", "Another note"]


async def test_a_session_is_spoken_in_while_it_is_there_and_has_not_ended(story: Story) -> None:
    with pytest.raises(SessionNotReady):
        await post(story, "0000-unknown", "k1")
    alice = await story.session()
    await post(story, alice, "k1")
    async with story.conn() as conn:
        await set_session_state(conn, story.fence, alice, "Ended", "as asked")
    with pytest.raises(SessionOver, match="Ended"):
        await post(story, alice, "k2")
    assert (await post(story, alice, "k1")).repeated, "whoever repeats is told what became of the first"
    bob = await story.session("bob")
    async with story.conn() as conn:
        await sessions.session_gone(conn, story.fence, bob)
    with pytest.raises(SessionOver, match="Gone"):
        await post(story, bob, "k1")


async def test_a_session_that_is_to_go_on_with_another_transcript_waits_for_it(story: Story) -> None:
    # Given a conversation that is gone, and a session that is to go on with it
    old, new = await story.session(), await story.session()
    await post(story, old, "k1", "Hi")
    async with story.conn() as conn:
        await sessions.session_gone(conn, story.fence, old)
    with pytest.raises(SessionNotReady, match="transcript"):
        await post(story, new, "k2", restores=old)
    # When it has it, then it is spoken in, and knows what was said in the other
    async with story.conn() as conn:
        assert (await restore(conn, story.fence, new, old)).now
    assert (await post(story, new, "k1", "Hi", restores=old)).repeated
    assert (await story.events(new))[0][2] == "Hi"
    assert not (await post(story, new, "k2", restores=old)).repeated


async def test_messages_without_a_task_are_found_and_can_be_given_up(story: Story) -> None:
    alice, bob = await story.session(), await story.session("bob")
    for key in ("k1", "k2"):
        await post(story, alice, key)
    await note(story, alice, "n1")
    await post(story, bob, "k1")
    await story.task(alice, "m-k1")
    async with story.conn() as conn:
        await sessions.session_gone(conn, story.fence, bob)
        assert await list_orphans(conn, story.fence, MINUTE) == [], "their gateway may still make them"
        assert await list_orphans(conn, replace(story.fence, install="another"), NOW) == []
        (orphan,) = await list_orphans(conn, story.fence, NOW)
    assert (orphan.session, orphan.task_name, orphan.step, orphan.spec) == (
        "alice", "m-k2", "reply", {"message": "Hi", "sessionRef": {"name": "alice"}},
    )  # fmt: skip
    async with story.conn() as conn:
        assert await withdraw_post(conn, story.fence, orphan)
        assert not await withdraw_post(conn, story.fence, orphan)
        assert await list_orphans(conn, story.fence, NOW) == []
    assert [text for _, _, text in await story.events(alice)] == ["Hi", "Hi", "By the way"], "said is said"


async def test_however_many_wait_in_one_namespace_the_others_are_found(story: Story) -> None:
    # Given a hundred messages in one namespace that can have no Task, and later two in another
    alice, bob = await story.session(), await story.session("bob")
    await story.sql("UPDATE sessions SET namespace = 'full' WHERE uid = %s RETURNING 1", alice)
    await story.sql(
        "INSERT INTO turns (session_uid, ticket, task_name, step, posted_spec, state, created_at) "
        "SELECT %s, n, 'm-' || n, 'reply', '{}', 'Waiting', now() - interval '1 h' "
        "FROM generate_series(1, 100) n RETURNING 1",
        alice,
    )
    for key in ("k1", "k2"):
        await post(story, bob, key)
    # When the leader looks, then all namespaces have their share, each in its order
    async with story.conn() as conn:
        found = [(each.session, each.ticket) for each in await list_orphans(conn, story.fence, NOW)]
    assert [ticket for session, ticket in found if session == "bob"] == [1, 2]
    assert [ticket for session, ticket in found if session == "alice"] == list(range(1, 21))
    assert found[:3] == [("alice", 1), ("bob", 1), ("alice", 2)]


async def test_a_message_that_is_erased_leaves_nothing_and_is_not_posted_again(story: Story) -> None:
    alice = await story.session()
    await post(story, alice, "k1", "4111-2222")
    async with story.conn() as conn:
        for orphan in await list_orphans(conn, story.fence, NOW):
            await withdraw_post(conn, story.fence, orphan)
        assert await erasing.clear_history(conn, story.fence, alice, 1, "maria") == 1
    assert await where(story, "4111-2222") == set()
    assert (await post(story, alice, "k1", "4111-2222")).repeated
