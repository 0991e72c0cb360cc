"""A turn with tools: what is offered, stored, paused for and said."""

from collections.abc import Callable
from typing import Any

import pytest
from parley.protocol.messages import InputMessage, JournalEntry, ReplyEntry
from parley.protocol.model_keys import tool_secret_variable
from parley.resources.common import SecretKeyRef
from parley.runner.chat import Called, ModelCall, Said

from tests.unit.runner.fake_gateway import FakeGateway, prompt_request
from tests.unit.runner.fake_model import calls, reply
from tests.unit.runner.fake_tools import FakeTools, tool
from tests.unit.runner.turn_story import agent, outcome, run

Make = Callable[..., FakeGateway]
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"kind": {"enum": ["late"]}}, "required": ["kind"]}


async def test_tools_are_offered_called_and_told_of(make_gateway: Make) -> None:
    gateway = make_gateway(prompt_request(agent=agent(tool("look")), inputs={"a": 1}))
    tools = FakeTools({"look": {"found": 1}})

    model = await run(gateway, calls("look"), reply("found it"), tools=tools)

    assert gateway.calls() == ["take", "input", "journal", "journal", "journal", "finish"]
    assert model.offered == [["look"], ["look"]]
    assert model.asked[1][-2:] == [
        Said("user", "echo: hello"),
        Called("", calls("look").calls, ({"found": 1},)),
    ]
    assert set(tools.scopes[0]) >= {"inputs", "session", "agent", "task"}
    assert [(event["type"], event.get("key")) for event in outcome(gateway)["events"]] == [
        ("toolCall", "call/0/0"),
        ("toolResult", "result/0/0"),
        ("message", None),
    ]
    assert outcome(gateway)["usage"] == {"inputTokens": 10, "outputTokens": 3}, "the rest is in the journal"


async def test_an_agent_without_tools_imports_none(make_gateway: Make) -> None:
    tools = FakeTools()

    await run(make_gateway(), reply("hello"), tools=tools)

    assert tools.made == []


async def test_without_a_session_there_is_no_context_to_update(make_gateway: Make) -> None:
    tools = FakeTools()
    with_tools = agent(tool("look"), builtinTools=["update_context"])
    request = prompt_request(agent=with_tools, session=None, history="None")

    model = await run(make_gateway(request), reply("hello"), tools=tools)

    assert model.offered == [["look"]]


async def test_tools_that_are_not_there_fail_the_attempt_and_may_be_back_for_the_next(
    make_gateway: Make,
) -> None:
    gateway = make_gateway(prompt_request(agent=agent(tool("look"))))
    tools = FakeTools(unavailable="the server of tool tickets lists no tool 'search'; it has: create")

    model = await run(gateway, tools=tools)

    failed = outcome(gateway)
    assert (failed["reason"], failed["definite"]) == ("ToolError", False)
    assert failed["message"] == (
        "agent support: the server of tool tickets lists no tool 'search'; it has: create"
    )
    assert model.asked == []
    assert gateway.calls() == ["take", "finish"]


@pytest.mark.parametrize("present", [True, False])
async def test_a_secret_that_this_pod_lacks_is_named(make_gateway: Make, present: bool) -> None:
    headers = [{"name": "Authorization", "valueFrom": {"secretKeyRef": {"name": "orders", "key": "token"}}}]
    secret = {**tool("look"), "http": {"url": "http://shop/x", "headers": headers}}
    gateway = make_gateway(prompt_request(agent=agent(secret)))
    variable = tool_secret_variable(SecretKeyRef(name="orders", key="token"))

    await run(gateway, *([reply("hello")] if present else []), secrets={variable: "s"} if present else {})

    if present:
        assert outcome(gateway)["outcome"] == "Succeeded"
    else:
        assert outcome(gateway)["reason"] == "ToolError"
        assert outcome(gateway)["message"] == (
            "tool look needs key token of Secret orders, and this pod was started without it: the Agent has changed since"
        )


async def test_a_turn_that_waits_is_paused_with_what_was_said_so_far(make_gateway: Make) -> None:
    gateway = make_gateway(prompt_request(agent=agent(tool("look"), tool("pay", approval=True))))

    await run(gateway, calls("look", "pay"))

    assert gateway.outcome is None
    assert gateway.paused is not None
    assert [call.model_dump() for call in gateway.paused.calls] == [
        {"round": 0, "call": 1, "kind": "Approval", "tool": "pay", "arguments": {"n": 1}}
    ]
    assert [event.key for event in gateway.paused.events] == ["call/0/0", "call/0/1", "result/0/0"]
    assert gateway.paused.usage.input_tokens == 0


async def test_a_resumed_turn_sends_all_again_and_the_answer(make_gateway: Make) -> None:
    request = prompt_request(agent=agent(tool("pay", approval=True)))
    response = {"text": "", "calls": [{"id": "c", "name": "pay", "arguments": {"n": 0}}], "model": "m"}
    gateway = make_gateway(
        request,
        input=[InputMessage(role="user", content="pay!")],
        journal=[JournalEntry(round=0, result=response, done=True)],
        replies=[ReplyEntry(round=0, call=0, choice="approve", by="alice")],
    )

    model = await run(gateway, reply("paid"))

    assert gateway.calls() == ["take", "journal", "journal", "finish"]
    assert model.asked == [
        [
            Said("system", "You are support."),
            Said("user", "pay!"),
            Called("", (ModelCall("c", "pay", {"n": 0}),), ("pay done",)),
        ]
    ]
    assert [event.get("key") for event in outcome(gateway)["events"]] == ["call/0/0", "result/0/0", None]


async def test_without_history_a_turn_pauses_without_events(make_gateway: Make) -> None:
    gateway = make_gateway(prompt_request(agent=agent(tool("pay", approval=True)), history="None"))

    await run(gateway, calls("pay"))

    assert gateway.paused is not None
    assert gateway.paused.events == []


async def test_an_item_s_calls_bear_its_place(make_gateway: Make) -> None:
    gateway = make_gateway(prompt_request(agent=agent(tool("pay", approval=True)), item="x", index=3))

    await run(gateway, calls("pay"))

    assert gateway.paused is not None
    content = gateway.paused.events[0].content
    assert isinstance(content, dict)
    assert content["id"] == "reply/3/0/0"


# --- calls that are returned


async def test_calls_that_are_not_run_are_the_output(make_gateway: Make) -> None:
    gateway = make_gateway(prompt_request(agent=agent(tool("look")), autoRunTools=False))
    tools = FakeTools()

    model = await run(gateway, reply("Let me see.", calls=calls("look", "odd").calls), tools=tools)

    assert model.offered == [["look"]]
    assert tools.runs == []
    assert gateway.calls() == ["take", "input", "finish"]
    done = outcome(gateway)
    assert done["output"] == {
        "text": "Let me see.",
        "calls": [{"name": "look", "arguments": {"n": 0}}, {"name": "odd", "arguments": {"n": 1}}],
    }
    assert [(event["type"], event["content"].get("note")) for event in done["events"]] == [
        ("toolCall", None),
        ("toolCall", None),
        ("toolResult", "returned to the caller, not run"),
        ("toolResult", "returned to the caller, not run"),
    ]
    assert done["events"][0]["content"]["text"] == "Let me see."
    assert done["usage"] == {"inputTokens": 10, "outputTokens": 3}


async def test_an_answer_where_calls_are_not_run_has_the_same_form(make_gateway: Make) -> None:
    gateway = make_gateway(prompt_request(agent=agent(tool("look")), autoRunTools=False))

    await run(gateway, reply("hello"))

    assert outcome(gateway)["output"] == {"text": "hello", "calls": []}
    assert outcome(gateway)["events"][-1]["content"] == "hello"


async def test_an_answer_with_a_schema_fits_it_also_where_calls_are_not_run(make_gateway: Make) -> None:
    prompt = {"text": "kind?", "outputSchema": SCHEMA}
    gateway = make_gateway(prompt_request(agent=agent(tool("look")), autoRunTools=False, prompt=prompt))

    await run(gateway, reply('{"kind":"late"}'))

    assert outcome(gateway)["output"] == {"kind": "late"}
