"""Turns among several people and agents, and turns that outgrow their session's limits."""

from collections.abc import Callable
from typing import Any

import pytest
from parley.protocol.messages import InputMessage
from parley.runner.chat import Said

from tests.unit.runner.fake_gateway import FakeGateway, prompt_request, stored_event
from tests.unit.runner.fake_model import calls, reply
from tests.unit.runner.fake_tools import FakeTools, tool
from tests.unit.runner.turn_story import agent, outcome, run

Make = Callable[..., FakeGateway]


async def test_among_several_the_speaker_is_stored_and_shown(make_gateway: Make) -> None:
    history = [
        stored_event(1, "user", "hi", speaker="Bob"),
        stored_event(2, "assistant", "paid", speaker="billing"),
    ]
    request = prompt_request(several=True, speaker="Alice", agent=agent(systemTemplate="brief"))
    gateway = make_gateway(request, history=history)

    model = await run(gateway, reply("hello"))

    assert gateway.bodies("input") == [
        {"messages": [{"role": "user", "content": "echo: hello"}], "speaker": "Alice"}
    ]
    assert model.asked[0][1:] == [
        Said("user", "Bob: hi"),
        Said("user", "billing: paid"),
        Said("user", "Alice: echo: hello"),
    ]
    assert outcome(gateway)["events"][0]["speaker"] == "support"


async def test_messages_of_the_assistant_in_a_prompt_are_this_agents_own(make_gateway: Make) -> None:
    said = [{"role": "assistant", "content": "Ask me."}, {"role": "user", "content": "hi"}]
    request = prompt_request(several=True, speaker="Alice", prompt={"messages": said})

    model = await run(make_gateway(request), reply("hello"))

    assert model.asked[0][1:] == [Said("assistant", "Ask me."), Said("user", "Alice: hi")]


# --- limits

LONG = [stored_event(n, "user" if n % 2 else "assistant", f"message {n}") for n in range(1, 9)]


def limited(**limits: Any) -> Any:
    return prompt_request(agent=agent(systemTemplate="brief"), session={"name": "alice", **limits})


async def test_what_does_not_fit_is_summed_up_and_the_summary_stored_with_the_input(
    make_gateway: Make,
) -> None:
    gateway = make_gateway(limited(contextWindow=5, contextOverflow="Summarize"), history=LONG)

    model = await run(gateway, reply("They counted to six."), reply("nine"))

    [stored] = gateway.bodies("input")
    assert stored["summary"] == {
        "type": "summary",
        "content": {"text": "They counted to six.", "ranges": [[1, 6]]},
        "key": "summary",
    }
    summing, asked = model.asked
    assert "user: message 1\nassistant: message 2\n" in summing[1].text
    assert [message.text for message in asked] == [
        "brief",
        "[Note of the system: What was said before, summed up:\nThey counted to six.]",
        "message 7",
        "message 8",
        "echo: hello",
    ]
    assert outcome(gateway)["usage"] == {"inputTokens": 20, "outputTokens": 6}


async def test_a_later_attempt_sums_up_nothing_again(make_gateway: Make) -> None:
    # Given an attempt that has stored its input, and the summary with it
    summary = stored_event(9, None, {"text": "They counted.", "ranges": [[1, 6]]}, type="summary")
    gateway = make_gateway(
        limited(contextWindow=5, contextOverflow="Summarize"),
        history=[summary, *LONG[6:]],
        input=[InputMessage(role="user", content="echo: hello")],
    )

    model = await run(gateway, reply("nine"))

    assert len(model.asked) == 1
    assert "They counted." in model.asked[0][1].text


async def test_nothing_is_summed_up_for_a_step_without_history(make_gateway: Make) -> None:
    request = limited(contextWindow=1, contextOverflow="Summarize").model_copy(update={"history": "None"})

    model = await run(make_gateway(request), reply("nine"))

    assert len(model.asked) == 1


async def test_a_turn_that_grows_out_of_the_budget_shows_less_of_the_past(make_gateway: Make) -> None:
    request = limited(tokenBudget=40).model_copy(
        update={"agent": prompt_request(agent=agent(tool("look"), systemTemplate="brief")).agent}
    )
    gateway = make_gateway(request, history=LONG)

    model = await run(gateway, calls("look"), reply("ok"), tools=FakeTools({"look": "x" * 40}))

    first, second = ([message.text for message in asked] for asked in model.asked)
    assert (first[1], second[1]) == ("message 1", "message 4")
    assert first[-1] == "echo: hello"


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        ({"tokenBudget": 3}, "tokenBudget"),
        ({"tokenBudget": 3, "contextOverflow": "Summarize"}, "tokenBudget"),
        ({"contextWindow": 3, "contextOverflow": "Fail"}, "contextWindow"),
    ],
)
async def test_a_budget_that_is_exceeded_fails_the_turn_for_good(
    make_gateway: Make, limits: dict[str, Any], named: str
) -> None:
    gateway = make_gateway(limited(**limits), history=LONG)

    model = await run(gateway)

    failed = outcome(gateway)
    assert (failed["reason"], failed["definite"]) == ("BudgetExceeded", True)
    assert named in failed["message"]
    assert model.asked == []
    assert gateway.calls() == ["take", "input", "finish"], "what was said stays said"
