"""What the model is shown of a conversation."""

import pytest
from parley.protocol.messages import InputMessage, StoredEvent
from parley.runner.chat import Said
from parley.runner.conversation import conversation

from tests.unit.runner.fake_gateway import stored_event

HISTORY = [
    stored_event(1, "user", "one"),
    stored_event(2, "assistant", "two"),
    StoredEvent.model_validate(
        {"type": "state", "content": {"phase": "x"}, "sequence": 3, "time": "2026-01-01T00:00:00Z"}
    ),
    stored_event(4, "user", "three"),
    stored_event(5, "assistant", "four"),
]
OWN = [InputMessage(role="user", content="five")]


def test_system_prompt_then_history_then_this_turns_messages() -> None:
    shown = conversation("be brief", HISTORY, OWN, None)

    assert shown == [
        Said("system", "be brief"),
        Said("user", "one"),
        Said("assistant", "two"),
        Said("user", "three"),
        Said("assistant", "four"),
        Said("user", "five"),
    ]


def test_an_empty_system_prompt_is_left_out() -> None:
    assert conversation(" \n", [], OWN, None) == [Said("user", "five")]


@pytest.mark.parametrize(
    ("window", "texts"),
    [
        (1, ["five"]),
        (2, ["four", "five"]),
        (3, ["three", "four", "five"]),
        (5, ["one", "two", "three", "four", "five"]),
        (99, ["one", "two", "three", "four", "five"]),
    ],
)
def test_a_window_counts_the_newest_messages_this_turns_included(window: int, texts: list[str]) -> None:
    shown = conversation("", HISTORY, OWN, window)

    assert [message.text for message in shown if isinstance(message, Said)] == texts


def test_this_turns_messages_are_shown_whole_even_if_the_window_is_smaller() -> None:
    own = [InputMessage(role="user", content=text) for text in "abc"]

    assert conversation("", HISTORY, own, 2) == [Said("user", "a"), Said("user", "b"), Said("user", "c")]
