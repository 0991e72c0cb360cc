"""A conversation: turns in order, events once, sequences without a gap."""

import pytest
from parley.protocol.messages import EventDraft, FinishBody, PauseBody, PausedCall, ResponseBody, Usage
from parley.store import attempts, history, runner_calls, sessions, tasks, turns
from parley.store.records import Inserted, NotGranted

from tests.integration.store.story import Story, fails, prompt_request, says


async def test_the_second_turn_is_given_what_the_first_one_said(story: Story) -> None:
    alice, bob = await story.session("alice"), await story.session("bob")

    first = await story.converse(alice, "I am Alice.", "Hello Alice.")
    second = await story.converse(alice, "Who am I?", "Alice.")
    other = await story.converse(bob, "Who am I?", "I do not know.")

    assert first.history == []
    assert [event.content for event in second.history] == ["I am Alice.", "Hello Alice."]
    assert other.history == [], "a session hears nothing of another"
    assert await story.events(alice) == [
        (1, "user", "I am Alice."),
        (2, "assistant", "Hello Alice."),
        (3, "user", "Who am I?"),
        (4, "assistant", "Alice."),
    ]


async def test_a_finished_turn_is_whole_in_task_and_session(story: Story) -> None:
    alice = await story.session()
    await story.converse(alice, "Hi", "Hello")

    async with story.conn() as conn:
        summary = await sessions.session_summary(conn, alice)
    assert summary is not None
    assert (summary.last_sequence, summary.messages) == (2, 2)
    assert (summary.input_tokens, summary.output_tokens) == (10, 5)
    assert [(event.sequence, event.role, event.text) for event in summary.recent] == [
        (1, "user", "Hi"),
        (2, "assistant", "Hello"),
    ]
    assert summary.last_time == summary.recent[-1].time
    assert summary.tasks_active == 1

    [(task,)] = await story.sql("SELECT uid FROM tasks")
    record = await story.load(task)
    assert await story.outputs(task) == {"reply": "Hello"}
    assert [(a.number, a.state, a.input_tokens) for a in record.attempts] == [(1, "Succeeded", 10)]
    assert [turn.state for turn in record.turns] == ["Done"]
    assert record.ended is None
    async with story.conn() as conn:
        assert await tasks.end_task(
            conn,
            story.fence,
            task,
            phase="Succeeded",
            reason="Succeeded",
            message="",
            output={"b": 1, "a": None},
        )
        assert not await tasks.end_task(
            conn, story.fence, task, phase="Failed", reason="Error", message="late"
        )
        summary = await sessions.session_summary(conn, alice)
    assert summary is not None
    assert (summary.tasks_active, summary.tasks_succeeded, summary.tasks_failed) == (0, 1, 0)
    ended = (await story.load(task)).ended
    assert ended is not None
    assert (ended.phase, ended.reason) == ("Succeeded", "Succeeded")
    assert list(ended.output.value.items()) == [("b", 1), ("a", None)], (
        "keys keep the order their author gave them"
    )  # type: ignore[union-attr]


async def test_the_window_counts_the_newest_messages(story: Story) -> None:
    alice = await story.session()
    for number in range(3):
        await story.converse(alice, f"question {number}", f"answer {number}")

    taken = await story.converse(alice, "last", "done", window=3)
    assert [event.content for event in taken.history] == ["answer 1", "question 2", "answer 2"]


async def test_a_long_conversation_is_shown_in_part(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "DEFAULT_WINDOW", 3)
    alice = await story.session()
    for n in range(3):
        await story.converse(alice, f"q{n}", f"a{n}")

    taken = await story.converse(alice, "last", "done")

    assert [event.content for event in taken.history] == ["a1", "q2", "a2"]


@pytest.mark.parametrize("window", [None, 10])
async def test_of_large_messages_those_that_fit_are_shown(
    story: Story, window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MAX_HISTORY_BYTES", 30)
    alice = await story.session()
    await story.converse(alice, "short", "short")
    await story.converse(alice, "twelve bytes", "twelve bytes")

    some = await story.converse(alice, "x" * 50, "y", window=window)
    few = await story.converse(alice, "last", "done", window=window)

    assert [event.content for event in some.history] == ["twelve bytes", "twelve bytes"]
    assert [event.content for event in few.history] == ["y"]


async def test_the_window_never_shows_a_result_without_its_call(story: Story) -> None:
    alice = await story.session()
    task = await story.task(alice)
    await story.queue(alice, task)
    attempt = await story.start(task, session_uid=alice)
    await story.take(task)
    await story.say(attempt, "Where is my order?")
    events = [
        EventDraft(type="toolCall", content={"id": "1", "tool": "get_order"}),
        EventDraft(type="toolResult", content={"id": "1", "tool": "get_order", "result": "lost"}),
        EventDraft(type="message", role="assistant", content="Lost."),
    ]
    await story.finish(attempt, FinishBody(outcome="Succeeded", output="Lost.", events=events))

    one = await story.converse(alice, "?", "!", window=1)
    assert [event.type for event in one.history] == ["message"]
    four = await story.converse(alice, "?", "!", window=4)
    assert [event.type for event in four.history] == ["message", "toolCall", "toolResult", *["message"] * 3]


async def test_turns_are_granted_in_the_order_of_their_tickets(story: Story) -> None:
    alice = await story.session()
    first, second, third = [await story.task(alice) for _ in range(3)]

    assert await story.queue(alice, first) == [(first, "Waiting")]
    assert await story.queue(alice, first, second, third) == [
        (first, "Waiting"), (second, "Waiting"), (third, "Waiting"),
    ]  # fmt: skip
    assert await story.insert(second, session_uid=alice) == NotGranted("turn")

    attempt = await story.start(first, session_uid=alice)
    assert await story.insert(second, session_uid=alice) == NotGranted("turn")
    await story.take(first)
    await story.finish(attempt, says("one"))

    assert await story.queue(alice, third) == [(third, "Waiting")], (
        "a step that is not ready loses its ticket"
    )
    assert await story.queue(alice, third, second) == [(third, "Waiting"), (second, "Waiting")]
    assert await story.insert(second, session_uid=alice) == NotGranted("turn")
    assert isinstance(await story.insert(third, session_uid=alice), Inserted)


async def test_a_task_of_an_older_object_of_the_same_name_has_its_own_ticket(story: Story) -> None:
    alice = await story.session()
    old, new = await story.task(alice, "hello"), await story.task(alice, "hello")
    await story.queue(alice, old)
    attempt = await story.start(old, session_uid=alice)

    assert await story.queue(alice, new) == [(old, "Held"), (new, "Waiting")]
    async with story.conn() as conn:
        assert await tasks.task_gone(conn, story.fence, old)
        assert not await tasks.task_gone(conn, story.fence, old)
    assert isinstance(await story.insert(new, session_uid=alice), Inserted)
    with pytest.raises(runner_calls.Stopped):
        await story.take(old)
    assert (await story.load(old)).attempts[0].id == attempt
    assert (await story.load(old)).attempts[0].state == "Cancelled"


async def test_a_turn_that_cannot_go_on_is_released_and_continues_later(story: Story) -> None:
    # Given a turn whose only attempt was lost after its input, and a conversation that waits for it
    alice = await story.session()
    task, other = await story.task(alice), await story.task(alice)
    await story.queue(alice, task, other)
    attempt = await story.start(task, session_uid=alice)
    await story.take(task)
    await story.say(attempt, "Hi")

    async def release() -> bool:
        async with story.conn() as conn:
            return await turns.release_turn(conn, story.fence, task, "reply")

    assert not await release(), "its attempt runs"
    async with story.conn() as conn:
        await attempts.close_attempt(conn, story.fence, attempt, "Lost", "PodLost", "", end_turn=False)
    assert await story.insert(other, session_uid=alice) == NotGranted("turn")

    # When it is released
    assert await release()
    assert not await release()

    # Then the other goes on, and the step comes after it with what it had said
    await story.queue(alice, other, task)
    between = await story.start(other, session_uid=alice)
    assert [event.content for event in (await story.take(other)).history] == ["Hi"]
    assert await story.insert(task, number=2, cause="Disruption", session_uid=alice) == NotGranted("turn")
    await story.say(between, "Me first")
    await story.finish(between, says("Hello, other"))
    successor = await story.start(task, number=2, cause="Disruption", session_uid=alice)
    taken = await story.take(task, number=2, holder="pod/2")
    assert [event.content for event in taken.history] == ["Me first", "Hello, other"]
    assert [message.content for message in taken.input or []] == ["Hi"]
    await story.finish(successor, says("Hello"), holder="pod/2")
    assert [content for *_, content in await story.events(alice)] == [
        "Hi",
        "Me first",
        "Hello, other",
        "Hello",
    ]


async def test_a_paused_turn_is_never_released(story: Story) -> None:
    alice = await story.session()
    task = await story.task(alice)
    await story.queue(alice, task)
    attempt = await story.start(task, session_uid=alice)
    await story.take(task)
    await story.respond(attempt, "refund")
    call = PausedCall(round=0, call=0, kind="Approval", tool="refund", arguments={})
    async with story.conn() as conn:
        await runner_calls.pause(conn, attempt, "pod/1", PauseBody(calls=[call]))
        assert not await turns.release_turn(conn, story.fence, task, "reply")


async def test_a_failed_attempt_leaves_its_input_and_its_usage_only(story: Story) -> None:
    alice = await story.session()
    task = await story.task(alice)
    await story.queue(alice, task)
    attempt = await story.start(task, session_uid=alice)
    await story.take(task)
    await story.say(attempt, "Hi")
    await story.finish(attempt, fails())
    assert await story.events(alice) == [(1, "user", "Hi")]
    assert (await story.load(task)).turns[0].state == "Held", "the leader decides whether a retry keeps it"

    retry = await story.start(task, session_uid=alice, number=2, cause="Retry")
    taken = await story.take(task, number=2, holder="pod/2")
    assert taken.history == [], "this turn's own input is no history"
    assert taken.input is not None
    assert [message.content for message in taken.input] == ["Hi"]
    assert taken.next_position == 1
    stored = await story.say(retry, "rendered otherwise", holder="pod/2")
    assert [message.content for message in stored.messages] == ["Hi"]
    answer = await story.finish(retry, says("Hello"), holder="pod/2")
    assert (answer.first_sequence, answer.last_sequence) == (2, 2)
    assert await story.events(alice) == [(1, "user", "Hi"), (2, "assistant", "Hello")]
    async with story.conn() as conn:
        summary = await sessions.session_summary(conn, alice)
    assert summary is not None
    assert summary.input_tokens == 13, "a failed attempt's usage counts"


async def test_after_the_final_failure_the_turn_is_free_and_its_input_is_history(story: Story) -> None:
    alice = await story.session()
    task = await story.task(alice)
    await story.queue(alice, task)
    attempt = await story.start(task, session_uid=alice)
    await story.take(task)
    await story.say(attempt, "Hi")
    await story.finish(attempt, fails())
    async with story.conn() as conn:
        assert await turns.end_turn(conn, story.fence, task, "reply")
        assert not await turns.end_turn(conn, story.fence, task, "reply")

    taken = await story.converse(alice, "Again", "Hello")
    assert [event.content for event in taken.history] == ["Hi"]


async def test_a_step_without_history_writes_no_events_and_needs_no_turn(story: Story) -> None:
    alice = await story.session()
    task = await story.task(alice)
    attempt = await story.start(task, request=prompt_request("t", "reply", history="None"))
    await story.take(task)
    await story.say(attempt, "Classify")
    answer = await story.finish(attempt, says("late"))

    assert (answer.first_sequence, answer.last_sequence) == (None, None)
    assert await story.events(alice) == []
    assert await story.outputs(task) == {"reply": "late"}
    async with story.conn() as conn:
        summary = await sessions.session_summary(conn, alice)
    assert summary is not None
    assert summary.input_tokens == 10, "its tokens are the session's all the same"


async def test_a_posted_message_keeps_its_ticket_and_is_not_said_twice(story: Story) -> None:
    alice = await story.session()
    await story.sql(
        "UPDATE sessions SET last_ticket = 1, last_sequence = 1, messages = 1 WHERE uid = %s", alice
    )
    await story.sql(
        "INSERT INTO turns (session_uid, ticket, task_name, step, posted_spec) VALUES (%s, 1, 'post', 'reply', '{}')",
        alice,
    )
    await story.sql(
        "INSERT INTO events (session_uid, sequence, id, type, role, content, ticket)"
        " VALUES (%s, 1, gen_random_uuid(), 'message', 'user', '\"Hi\"', 1)",
        alice,
    )
    earlier = await story.task(alice)
    assert await story.queue(alice) == [("", "Waiting")], "it waits for its Task"
    posted = await story.task(alice, "post")
    assert await story.queue(alice, earlier, posted) == [(posted, "Waiting"), (earlier, "Waiting")]

    attempt = await story.start(posted, session_uid=alice)
    await story.take(posted)
    assert (await story.say(attempt, "Hi")).next_position == 1
    await story.finish(attempt, says("Hello"))
    assert await story.events(alice) == [(1, "user", "Hi"), (2, "assistant", "Hello")]


async def test_a_template_error_fails_the_step_without_a_turn(story: Story) -> None:
    alice = await story.session()
    task, other = await story.task(alice), await story.task(alice)
    await story.queue(alice, task, other)
    async with story.conn() as conn:
        inserted = await attempts.insert_failed_attempt(
            conn,
            story.fence,
            story.attempt(task, session_uid=alice, job=None),
            "TemplateError",
            "text: x is undefined",
        )
    assert isinstance(inserted, Inserted)
    record = await story.load(task)
    assert [(a.state, a.reason, a.message) for a in record.attempts] == [
        ("Failed", "TemplateError", "text: x is undefined")
    ]
    assert [turn.state for turn in record.turns] == ["Withdrawn"]
    assert isinstance(await story.insert(other, session_uid=alice), Inserted)


async def test_usage_is_what_was_journaled_and_what_was_finished(story: Story) -> None:
    alice = await story.session()
    task = await story.task(alice)
    await story.queue(alice, task)
    attempt = await story.start(task, session_uid=alice)
    await story.take(task)
    body = ResponseBody(response={"calls": []}, usage=Usage(input_tokens=7, output_tokens=1))
    for _ in range(2):
        async with story.conn() as conn:
            await runner_calls.put_response(conn, attempt, "pod/1", 0, body)
    await story.finish(attempt, says("Hello"))
    record = await story.load(task)
    assert (record.input_tokens, record.output_tokens) == (17, 6)
