"""Summing up: what the model is asked, and what the summary says it stands for."""

from collections.abc import Sequence
from typing import Any

import pytest
from parley.protocol.messages import SummaryContent
from parley.resources.reasons import Reason
from parley.runner.chat import Called, ChatMessage, ModelCall, ModelReply, Said
from parley.runner.failure import StepFailure
from parley.runner.limits import Unit
from parley.runner.past import Past
from parley.runner.summary import sum_up, summary_event

from tests.unit.runner.fake_model import reply

CALLED = Called("Let me see.", (ModelCall("c", "find", {"a": 1}),), ({"b": 2},))
UNITS = [
    Unit(Said("user", "My name is Alice."), (1,)),
    Unit(CALLED, (2, 4), counts=False),
    Unit(Said("assistant", "Hello."), (5,)),
]


class Asked:
    def __init__(self, *says: ModelReply) -> None:
        self._says = list(says)
        self.requests: list[list[ChatMessage]] = []

    async def __call__(self, said: Sequence[ChatMessage]) -> ModelReply:
        self.requests.append(list(said))
        return self._says.pop(0)


def text_of(request: list[ChatMessage]) -> str:
    system, said = request
    assert isinstance(system, Said)
    assert isinstance(said, Said)
    assert (system.role, said.role) == ("system", "user")
    return said.text


async def test_the_model_is_shown_all_that_the_summary_stands_for() -> None:
    ask = Asked(reply(" Alice said hello. "))

    summary = await sum_up(ask, Past(), UNITS, 8192, None)

    assert summary == SummaryContent(text="Alice said hello.", ranges=[(1, 2), (4, 5)])
    assert text_of(ask.requests[0]) == (
        "Summarize this conversation.\n\n"
        "What was said:\n"
        "user: My name is Alice.\n"
        "assistant: Let me see.\n"
        '[Note of the system: Tool find was called with {"a":1} and gave {"b":2}]\n'
        "assistant: Hello."
    )
    event = summary_event(summary)
    assert (event.type, event.key) == ("summary", "summary")
    assert event.content == {"text": "Alice said hello.", "ranges": [[1, 2], [4, 5]]}


async def test_a_summary_goes_on_from_the_one_before_and_stands_for_all_of_it() -> None:
    past = Past(summary=SummaryContent(text="Bob left.", ranges=[(1, 7), (9, 9)]), summary_sequence=10)
    ask = Asked(reply("Bob left, Alice came."))

    summary = await sum_up(ask, past, [Unit(Said("user", "I am Alice."), (12,))], 8192, None)

    assert summary.ranges == [(1, 7), (9, 10), (12, 12)]
    assert "The summary of what was said before that:\nBob left.\n" in text_of(ask.requests[0])


async def test_what_is_too_long_for_one_request_is_summed_up_part_by_part() -> None:
    units = [Unit(Said("user", f"{n} " + "x" * 1500), (n,)) for n in range(1, 5)]
    ask = Asked(reply("a"), reply("b"), reply("c"), reply("d"))

    summary = await sum_up(ask, Past(), units, 200, 500)

    assert summary.text == "d"
    assert summary.ranges == [(1, 4)]
    assert [text_of(request).count("user: ") for request in ask.requests] == [1, 1, 1, 1]
    assert "before that:\nc\n" in text_of(ask.requests[3])


async def test_there_are_never_more_than_eight_requests() -> None:
    units = [Unit(Said("user", "x" * 990), (n,)) for n in range(1, 101)]
    ask = Asked(*[reply("s")] * 100)

    await sum_up(ask, Past(), units, 200, 100)

    assert len(ask.requests) == 8
    assert sum(text_of(request).count("user: ") for request in ask.requests) == 100


async def test_a_summary_is_cut_at_its_size() -> None:
    summary = await sum_up(Asked(reply("x" * 1000)), Past(), UNITS, 300, None)

    assert len(summary.text.encode()) == 300


@pytest.mark.parametrize("answer", [reply("  "), reply("no", ending="refused")])
async def test_without_a_summary_the_attempt_fails(answer: Any) -> None:
    with pytest.raises(StepFailure, match="gave no summary") as caught:
        await sum_up(Asked(answer), Past(), UNITS, 8192, None)

    assert caught.value.reason is Reason.MODEL_ERROR
    assert not caught.value.definite
