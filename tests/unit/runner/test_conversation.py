"""What the model is shown of a conversation, within the session's limits."""

from typing import Any

import pytest
from parley.protocol.messages import StoredEvent, SummaryContent
from parley.resources.reasons import Reason
from parley.runner.chat import Called, ChatMessage, ModelCall, Said
from parley.runner.conversation import Conversation, Limits
from parley.runner.failure import StepFailure
from parley.runner.past import Past, Reader, past_of

from tests.unit.runner.fake_gateway import stored_event

HISTORY = [
    stored_event(1, "user", "one"),
    stored_event(2, "assistant", "two"),
    stored_event(3, None, {"phase": "x"}, type="state"),
    stored_event(4, "user", "three"),
    stored_event(5, "assistant", "four"),
]
OWN: list[ChatMessage] = [Said("user", "five")]
CALLED = Called("", (ModelCall("c", "find", {}),), ("x" * 40,))


def talk(
    system: str = "", history: list[StoredEvent] | None = None, own: int = 1, **limits: Any
) -> Conversation:
    past = past_of(HISTORY if history is None else history, Reader("support"))
    return Conversation(system, past, own, Limits(session="alice", **limits))


def texts(shown: list[ChatMessage]) -> list[str]:
    return [message.text for message in shown]


def test_system_prompt_then_history_then_this_turns_messages() -> None:
    assert talk("be brief").shown([*OWN, CALLED]) == [
        Said("system", "be brief"),
        Said("user", "one"),
        Said("assistant", "two"),
        Said("user", "three"),
        Said("assistant", "four"),
        Said("user", "five"),
        CALLED,
    ]


def test_an_empty_system_prompt_is_left_out() -> None:
    assert talk(" \n", []).shown(OWN) == [Said("user", "five")]


@pytest.mark.parametrize(
    ("window", "shown"),
    [
        (1, ["five"]),
        (2, ["four", "five"]),
        (3, ["three", "four", "five"]),
        (5, ["one", "two", "three", "four", "five"]),
        (99, ["one", "two", "three", "four", "five"]),
    ],
)
def test_a_window_counts_the_newest_messages_this_turns_included(window: int, shown: list[str]) -> None:
    assert texts(talk(window=window).shown(OWN)) == shown


def test_what_this_turn_says_while_it_runs_does_not_move_the_window() -> None:
    assert texts(talk(window=3).shown([*OWN, CALLED, CALLED])) == ["three", "four", "five", "", ""]


def test_this_turns_messages_are_shown_whole_even_if_the_window_is_smaller() -> None:
    own: list[ChatMessage] = [Said("user", text) for text in "abc"]

    assert talk(own=3, window=2).shown(own) == own


def test_within_a_budget_the_oldest_are_left_out_and_more_as_the_turn_grows() -> None:
    # one 1, two 1, three 2, four 1, five 1
    limited = talk(budget=5)

    assert texts(limited.shown(OWN)) == ["two", "three", "four", "five"]
    assert texts(limited.shown([*OWN, Said("assistant", "xxxx")])) == ["three", "four", "five", "xxxx"]


def test_system_prompt_and_tools_count_as_well() -> None:
    past = past_of(HISTORY, Reader("support"))

    assert texts(Conversation("xxxx", past, 1, Limits(budget=6)).shown(OWN))[1:] == [
        "two",
        "three",
        "four",
        "five",
    ]
    assert texts(Conversation("", past, 1, Limits(budget=6), tools_tokens=4).shown(OWN)) == ["four", "five"]


@pytest.mark.parametrize("overflow", ["Truncate", "Summarize", "Fail"])
def test_a_turn_that_alone_is_over_the_budget_fails_for_good(overflow: Any) -> None:
    with pytest.raises(StepFailure) as caught:
        talk("x" * 40, budget=10, overflow=overflow).shown(OWN)

    assert caught.value.reason is Reason.BUDGET_EXCEEDED
    assert caught.value.definite
    assert caught.value.message == (
        "session alice allows 10 tokens in one request (spec.limits.tokenBudget), and the system prompt, the tools and "
        "this turn alone need about 11"
    )


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"window": 4}, "4 messages (contextWindow)"),
        ({"budget": 5}, "5 tokens (tokenBudget)"),
        ({"window": 9, "budget": 5}, "9 messages (contextWindow) and 5 tokens (tokenBudget)"),
    ],
)
def test_where_nothing_may_be_left_out_the_turn_fails_for_good(limits: dict[str, Any], said: str) -> None:
    assert len(talk(window=5, budget=6, overflow="Fail").shown(OWN)) == 5
    with pytest.raises(StepFailure, match="contextOverflow is Fail") as caught:
        talk(overflow="Fail", **limits).shown(OWN)

    assert caught.value.reason is Reason.BUDGET_EXCEEDED
    assert caught.value.definite
    assert said in caught.value.message


def test_what_has_no_room_is_summed_up_and_more_so_that_the_next_message_has_room() -> None:
    full = talk(window=4, overflow="Summarize")
    has_room = talk(window=5, overflow="Summarize")

    assert [unit.sequences for unit in full.to_sum_up(OWN)] == [(1,), (2,), (4,)]
    assert has_room.to_sum_up(OWN) == []
    assert talk(window=4).to_sum_up(OWN) == []


def test_a_budget_leaves_room_for_the_summary() -> None:
    long = [stored_event(n, "user", "x" * 400) for n in range(1, 21)]
    limited = talk(history=long, budget=1000, overflow="Summarize")

    # A quarter of the budget for the summary, half of the rest for what follows it: 374 tokens, three messages.
    assert len(limited.to_sum_up(OWN)) == 17


def test_a_summary_stands_where_the_messages_were() -> None:
    full = talk("be brief", window=4, overflow="Summarize")
    summary = SummaryContent(text="They counted.", ranges=[(1, 4)])

    shorter = full.with_summary(summary, 3)

    assert shorter.shown(OWN) == [
        Said("system", "be brief"),
        Said("user", "[Note of the system: What was said before, summed up:\nThey counted.]"),
        Said("assistant", "four"),
        Said("user", "five"),
    ]
    assert shorter.to_sum_up(OWN) == []


def test_a_stored_summary_is_shown_before_what_it_does_not_stand_for() -> None:
    past = Past(
        past_of(HISTORY[3:], Reader("support")).units, SummaryContent(text="Counted.", ranges=[(1, 3)])
    )

    shown = texts(Conversation("", past, 1).shown(OWN))

    assert shown == [
        "[Note of the system: What was said before, summed up:\nCounted.]",
        "three",
        "four",
        "five",
    ]
