"""What a turn is shown of those before it: summaries stand for what they say, and nothing is torn apart."""

from typing import Any

import pytest
from parley.protocol.messages import EventDraft, FinishBody, InputAnswer, InputBody, InputMessage, TakeAnswer
from parley.store import history, runner_calls
from parley.store.errors import NotAllowed
from pydantic import JsonValue

from tests.integration.store import calling
from tests.integration.store.calling import call_event, result_event
from tests.integration.store.story import Story, prompt_request, says


def summary(text: str, *ranges: list[int]) -> EventDraft:
    listed: list[JsonValue] = [list(each) for each in ranges]
    return EventDraft(type="summary", content={"text": text, "ranges": listed})


async def say(story: Story, attempt: int, text: str, holder: str = "pod/1", **more: Any) -> InputAnswer:
    body = InputBody(messages=[InputMessage(role="user", content=text)], **more)
    async with story.conn() as conn:
        return await runner_calls.record_input(conn, attempt, holder, body)


async def begin(story: Story, session: str, **snapshot: JsonValue) -> tuple[str, int, TakeAnswer]:
    """Begin a turn; return its task, its attempt and what its runner was given."""
    task = await story.task(session)
    await story.queue(session, task)
    request = prompt_request(story.names[task], "reply")
    request = request | {"session": request["session"] | snapshot}
    attempt = await story.start(task, session_uid=session, request=request)
    return task, attempt, await story.take(task)


async def shown(story: Story, session: str, **snapshot: JsonValue) -> list[tuple[str, Any]]:
    """Return the types and contents that the next turn is shown, and end it without a word."""
    task, _, taken = await begin(story, session, **snapshot)
    await story.end(task, "Cancelled")
    return [(event.type, event.content) for event in taken.history]


async def erase(story: Story, session: str, *sequences: int) -> None:
    await story.sql(
        "UPDATE events SET content = 'null' WHERE session_uid = %s AND sequence = ANY(%s::bigint[])",
        session, list(sequences),
    )  # fmt: skip


async def calls(story: Story, session: str) -> None:
    """A turn with a call: sequences 1 to 4 of a new session."""
    _, attempt, _ = await begin(story, session)
    await story.say(attempt, "Where is it?")
    events = [call_event("get_order"), result_event("get_order", "lost"), *says("Lost.").events]
    await story.finish(attempt, FinishBody(outcome="Succeeded", output="Lost.", events=events))


async def test_a_summary_stands_for_what_it_says(story: Story) -> None:
    alice = await story.session()
    for text in ("one", "two"):
        await story.converse(alice, text, text.upper())
    _, attempt, taken = await begin(story, alice, contextOverflow="Summarize")
    assert [event.sequence for event in taken.history] == [1, 2, 3, 4]
    # When the turn sums the first exchange up
    await say(story, attempt, "three", summary=summary("They said one.", [1, 2]))
    await story.finish(attempt, says("THREE"))
    assert [event[2] for event in await story.events(alice)][4:] == [
        {"text": "They said one.", "ranges": [[1, 2]]}, "three", "THREE",
    ]  # fmt: skip
    # Then later turns are shown the summary first, and the originals are still there
    said = await shown(story, alice)
    assert said == [
        ("summary", {"text": "They said one.", "ranges": [[1, 2]]}),
        ("message", "two"), ("message", "TWO"), ("message", "three"), ("message", "THREE"),
    ]  # fmt: skip
    assert len(await story.events(alice)) == 7


async def test_only_the_newest_summary_counts(story: Story) -> None:
    alice = await story.session()
    await story.converse(alice, "one", "ONE")
    for nth, ranges in enumerate(([[1, 2]], [[1, 2], [4, 5]])):
        _, attempt, _ = await begin(story, alice)
        await say(story, attempt, f"more {nth}", summary=summary(f"summary {nth}", *ranges))
        await story.finish(attempt, says(f"answer {nth}"))
    assert [content if kind == "message" else content["text"] for kind, content in await shown(story, alice)] == [
        "summary 1", "more 1", "answer 1",
    ]  # fmt: skip


async def test_a_turn_that_goes_on_has_its_own_summary(story: Story) -> None:
    """Else every retry and resume would ask the model for one again."""
    alice = await story.session()
    await story.converse(alice, "one", "ONE")
    task, attempt, _ = await begin(story, alice)
    first = await say(story, attempt, "two", summary=summary("They said one.", [1, 2]))
    await story.start(
        task, number=2, cause="Disruption", session_uid=alice, close=story.close(attempt),
        request=prompt_request(story.names[task], "reply"),
    )  # fmt: skip
    taken = await story.take(task, number=2, holder="pod/2")
    assert [event.type for event in taken.history] == ["summary"]
    again = await say(story, taken.attempt, "TWO", "pod/2", summary=summary("Something else", [1, 1]))
    assert again == first, "the first one stands"
    assert len(await calling.said(story, alice, "summary")) == 1


@pytest.mark.parametrize(
    "draft",
    [
        EventDraft(type="summary", content={"text": "x"}),
        EventDraft(type="summary", content={"text": "x", "ranges": [[1]]}),
        EventDraft(type="summary", content={"text": "x", "ranges": [["a", "b"]]}),
        EventDraft(type="summary", content="x"),
        EventDraft(type="message", content={"text": "x", "ranges": [[1, 2]]}),
    ],
)
async def test_what_no_later_turn_could_read_is_refused(story: Story, draft: EventDraft) -> None:
    alice = await story.session()
    _, attempt, _ = await begin(story, alice)
    with pytest.raises(NotAllowed):
        await say(story, attempt, "Hi", summary=draft)
    assert await story.events(alice) == []
    await say(story, attempt, "Hi")


async def test_the_window_is_for_those_who_truncate(story: Story) -> None:
    alice = await story.session()
    for text in ("one", "two"):
        await story.converse(alice, text, text.upper())
    for overflow, count in ((None, 2), ("Truncate", 2), ("Summarize", 4), ("Fail", 4)):
        snapshot: dict[str, JsonValue] = {"contextWindow": 2} | (
            {"contextOverflow": overflow} if overflow else {}
        )
        assert len(await shown(story, alice, **snapshot)) == count, overflow


async def test_a_summary_stands_beside_the_window(story: Story) -> None:
    alice = await story.session()
    for text in ("one", "two", "three"):
        await story.converse(alice, text, text.upper())
    _, attempt, _ = await begin(story, alice)
    await say(story, attempt, "four", summary=summary("one", [1, 2]))
    await story.finish(attempt, says("FOUR"))
    assert [kind for kind, _ in await shown(story, alice, contextWindow=2)] == [
        "summary",
        "message",
        "message",
    ]


async def test_erased_contents_are_not_shown(story: Story) -> None:
    alice = await story.session()
    await story.converse(alice, "secret", "SECRET")
    await story.converse(alice, "two", "TWO")
    await erase(story, alice, 1, 2)
    assert await shown(story, alice) == [("message", "two"), ("message", "TWO")]


@pytest.mark.parametrize("sequence", [2, 3])
async def test_an_erased_half_takes_the_other_with_it(story: Story, sequence: int) -> None:
    alice = await story.session()
    await calls(story, alice)
    await erase(story, alice, sequence)
    assert [kind for kind, _ in await shown(story, alice)] == ["message", "message"]


async def test_a_range_through_a_pair_takes_all_of_it(story: Story) -> None:
    alice = await story.session()
    await calls(story, alice)
    _, attempt, _ = await begin(story, alice)
    await say(story, attempt, "more", summary=summary("half", [1, 2]))
    await story.finish(attempt, says("MORE"))
    assert [kind for kind, _ in await shown(story, alice)] == ["summary", "message", "message", "message"]


async def test_calls_of_different_turns_are_not_taken_for_each_others(story: Story) -> None:
    """Ids of calls are unique in their turn only."""
    alice = await story.session()
    await calls(story, alice)
    await calls(story, alice)
    await erase(story, alice, 2, 7)
    assert [kind for kind, _ in await shown(story, alice)] == ["message"] * 4


async def test_an_erased_summary_stands_for_nothing(story: Story) -> None:
    alice = await story.session()
    await story.converse(alice, "one", "ONE")
    _, attempt, _ = await begin(story, alice)
    await say(story, attempt, "two", summary=summary("one", [1, 2]))
    await story.finish(attempt, says("TWO"))
    await erase(story, alice, 1, 2, 3)
    assert await shown(story, alice) == [("message", "two"), ("message", "TWO")]


async def test_lifecycle_states_are_not_shown(story: Story) -> None:
    alice = await story.session()
    await story.converse(alice, "one", "ONE")
    await story.sql(
        "INSERT INTO events (session_uid, sequence, id, type, content, ticket)"
        " VALUES (%s, 3, gen_random_uuid(), 'state', '{\"state\": \"Dormant\"}', 1)",
        alice,
    )
    await story.sql("UPDATE sessions SET last_sequence = 3 WHERE uid = %s", alice)
    assert [kind for kind, _ in await shown(story, alice)] == ["message", "message"]


async def test_a_state_alone_is_shown_and_within_the_bounds(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await story.session()
    await story.converse(alice, "one", "ONE")
    content = '{"state": "TaskEnded", "task": "report-1"}'
    await story.sql(
        "INSERT INTO events (session_uid, sequence, id, type, content, ticket)"
        " VALUES (%s, 3, gen_random_uuid(), 'state', %s, 1)",
        alice, content,
    )  # fmt: skip
    await story.sql("UPDATE sessions SET last_sequence = 3 WHERE uid = %s", alice)
    await erase(story, alice, 1, 2)
    assert [kind for kind, _ in await shown(story, alice)] == ["state"]
    monkeypatch.setattr(history, "MAX_HISTORY_BYTES", 10)
    assert await shown(story, alice) == []


async def test_who_said_it_is_kept(story: Story) -> None:
    alice = await story.session()
    _, attempt, _ = await begin(story, alice)
    body = InputBody(
        messages=[InputMessage(role="user", content="Hi"), InputMessage(role="assistant", content="Hm")],
        speaker="Alice\x00",
    )
    async with story.conn() as conn:
        await runner_calls.record_input(conn, attempt, "pod/1", body)
    answer = EventDraft(type="message", role="assistant", content="Hello", speaker="support")
    await story.finish(attempt, FinishBody(outcome="Succeeded", output="Hello", events=[answer]))
    _, _, taken = await begin(story, alice)
    assert [(e.role, e.speaker, e.attempt, e.item) for e in taken.history] == [
        ("user", "Alice\ufffd", 1, -1), ("assistant", None, 1, -1), ("assistant", "support", 1, -1),
    ]  # fmt: skip


async def test_a_key_is_used_once_in_a_step(story: Story) -> None:
    alice = await story.session()
    _, attempt, _ = await begin(story, alice)
    await story.say(attempt, "Hi")
    twice = [
        call_event("get_order"),
        call_event("get_order"),
        result_event("get_order", 1),
        *says("x").events,
    ]
    done = await story.finish(attempt, FinishBody(outcome="Succeeded", output="x", events=twice))
    assert (done.first_sequence, done.last_sequence) == (2, 4)
    _, attempt, _ = await begin(story, alice)
    await story.say(attempt, "Again")
    await story.finish(attempt, FinishBody(outcome="Succeeded", output="x", events=twice))
    kinds = await story.sql("SELECT type FROM events WHERE session_uid = %s ORDER BY sequence", alice)
    assert [kind for (kind,) in kinds] == ["message", "toolCall", "toolResult", "message"] * 2
    rows = await story.sql("SELECT last_sequence, messages FROM sessions WHERE uid = %s", alice)
    assert rows == [(8, 4)]
