"""From a session's events to what a model can be shown of it."""

from typing import Any

import pytest
from parley.protocol.messages import StoredEvent
from parley.runner.chat import Called, ModelCall, Said
from parley.runner.limits import Unit
from parley.runner.past import LOST_RESULT, Past, Reader, past_of

from tests.unit.runner.fake_gateway import stored_event

ME = Reader("support")
ROOM = Reader("support", several=True)


def call(sequence: int, round_number: int, place: int, tool: str = "look", **more: Any) -> StoredEvent:
    content = {
        "id": f"reply/-1/{round_number}/{place}",
        "round": round_number,
        "call": place,
        "tool": tool,
        "arguments": {"n": place},
        **more.pop("content", {}),
    }
    return stored_event(sequence, None, content, type="toolCall", task="t", step="reply", **more)


def result(sequence: int, round_number: int, place: int, **more: Any) -> StoredEvent:
    content = {
        "id": f"reply/-1/{round_number}/{place}",
        "round": round_number,
        "call": place,
        "tool": "look",
        **(more.pop("content", None) or {"result": f"found {round_number}.{place}"}),
    }
    return stored_event(sequence, None, content, type="toolResult", task="t", step="reply", **more)


def shown(past: Past) -> list[Any]:
    return [unit.message for unit in past.units]


def test_messages_in_their_order_and_what_is_no_part_of_the_talk_left_out() -> None:
    past = past_of(
        [
            stored_event(1, "user", "one"),
            stored_event(2, None, {"state": "Paused"}, type="state"),
            stored_event(3, None, {"choice": "approve"}, type="reply"),
            stored_event(4, "assistant", "two"),
            stored_event(5, "user", None),
        ],
        ME,
    )

    assert past == Past([Unit(Said("user", "one"), (1,)), Unit(Said("assistant", "two"), (4,))])


def test_calls_and_results_of_a_round_belong_together_whatever_came_between() -> None:
    # Given two rounds; the first was paused, so one of its results came late
    past = past_of(
        [
            stored_event(1, "user", "go"),
            call(2, 0, 0, content={"text": "Let me look."}),
            call(3, 0, 1),
            result(4, 0, 1),
            stored_event(5, None, {"choice": "approve"}, type="reply"),
            result(6, 0, 0),
            call(7, 1, 0),
            result(8, 1, 0),
            stored_event(9, "assistant", "done"),
        ],
        ME,
    )

    assert shown(past) == [
        Said("user", "go"),
        Called(
            "Let me look.",
            (ModelCall("call_2", "look", {"n": 0}), ModelCall("call_3", "look", {"n": 1})),
            ("found 0.0", "found 0.1"),
        ),
        Called("", (ModelCall("call_7", "look", {"n": 0}),), ("found 1.0",)),
        Said("assistant", "done"),
    ]
    assert past.units[1].sequences == (2, 3, 6, 4)
    assert [unit.counts for unit in past.units] == [True, False, False, True]


def test_rounds_of_two_turns_are_two_though_they_bear_the_same_ids() -> None:
    past = past_of(
        [
            stored_event(1, "user", "go"),
            call(2, 0, 0),
            result(3, 0, 0),
            stored_event(4, "user", "again"),
            call(5, 0, 0),
            result(6, 0, 0),
        ],
        ME,
    )

    assert [type(message).__name__ for message in shown(past)] == ["Said", "Called", "Said", "Called"]
    assert [unit.sequences for unit in past.units] == [(1,), (2, 3), (4,), (5, 6)]


def test_a_result_that_was_null_is_a_result_a_missing_one_is_an_error() -> None:
    past = past_of([call(1, 0, 0), call(2, 0, 1), result(3, 0, 0, content={"result": None})], ME)

    [called] = shown(past)
    assert called.results == (None, LOST_RESULT)


def test_a_result_without_its_call_is_not_shown() -> None:
    assert past_of([stored_event(1, "user", "go"), result(2, 0, 0)], ME).units == [
        Unit(Said("user", "go"), (1,))
    ]


def test_erased_calls_are_not_shown() -> None:
    erased = stored_event(1, None, None, type="toolCall", task="t", step="reply")

    assert past_of([erased, result(2, 0, 0)], ME).units == []


def test_calls_that_were_returned_to_the_caller_say_so() -> None:
    past = past_of([call(1, 0, 0), result(2, 0, 0, content={"note": "returned to the caller, not run"})], ME)

    [called] = shown(past)
    assert called.results == ({"note": "returned to the caller, not run"},)


def test_to_a_model_without_tools_calls_are_told_in_words() -> None:
    past = past_of([call(1, 0, 0), result(2, 0, 0)], Reader("support", knows_tools=False))

    assert shown(past) == [
        Said("user", '[Note of the system: Tool look was called with {"n":0} and gave found 0.0]')
    ]


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (
            {"state": "TaskEnded", "task": "refund-1", "phase": "Succeeded", "output": {"paid": 7}},
            '[Note of the system: Task refund-1 has ended: Succeeded. Its output: {"paid":7}]',
        ),
        (
            {
                "state": "TaskEnded",
                "task": "refund-1",
                "phase": "Failed",
                "reason": "ExitCode",
                "message": "it broke",
                "output": None,
            },
            "[Note of the system: Task refund-1 has ended: Failed. ExitCode: it broke]",
        ),
    ],
)
def test_the_end_of_a_queued_task_is_told(content: dict[str, Any], note: str) -> None:
    past = past_of([stored_event(4, None, content, type="state")], ME)

    assert past.units == [Unit(Said("user", note), (4,), counts=False)]


def test_the_newest_summary_stands_for_what_it_says() -> None:
    older = stored_event(3, None, {"text": "first", "ranges": [[1, 2]]}, type="summary")
    newer = stored_event(9, None, {"text": "both", "ranges": [[1, 8]]}, type="summary")

    past = past_of([newer, older, stored_event(10, "user", "next")], ME)

    assert past.summary is not None
    assert (past.summary.text, past.summary.ranges, past.summary_sequence) == ("both", [(1, 8)], 9)
    assert shown(past) == [Said("user", "next")]


def test_among_several_everybody_is_named_and_only_this_agent_s_words_are_the_assistant_s() -> None:
    past = past_of(
        [
            stored_event(1, "user", "hi", speaker="Alice"),
            stored_event(2, "assistant", "hello", speaker="support"),
            stored_event(3, "assistant", "paid", speaker="billing"),
            stored_event(4, "user", "and me?", speaker="Bob"),
            stored_event(5, "user", "old", speaker=None),
            stored_event(6, "assistant", "older", speaker=None),
        ],
        ROOM,
    )

    assert shown(past) == [
        Said("user", "Alice: hi"),
        Said("assistant", "hello"),
        Said("user", "billing: paid"),
        Said("user", "Bob: and me?"),
        Said("user", "old"),
        Said("assistant", "older"),
    ]


def test_alone_nobody_is_named() -> None:
    past = past_of([stored_event(1, "user", "hi", speaker="Alice")], ME)

    assert shown(past) == [Said("user", "hi")]


def test_calls_of_another_agent_are_not_shown_but_what_it_said_beside_them_is() -> None:
    past = past_of(
        [
            call(1, 0, 0, speaker="billing", content={"text": "I look it up."}),
            result(2, 0, 0, speaker="billing"),
            call(3, 1, 0, speaker="billing"),
            result(4, 1, 0, speaker="billing"),
            call(5, 2, 0, speaker="support"),
            result(6, 2, 0, speaker="support"),
        ],
        ROOM,
    )

    assert shown(past) == [
        Said("user", "billing: I look it up."),
        Called("", (ModelCall("call_5", "look", {"n": 0}),), ("found 2.0",)),
    ]
