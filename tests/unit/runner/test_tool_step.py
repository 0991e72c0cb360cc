"""A tool step: one call without a model, which pauses and resumes like a turn's, and fails where a model would be told."""

from collections.abc import Callable
from typing import Any

import pytest
from parley.protocol.messages import JournalEntry, ReplyEntry
from parley.runner.gateway_client import StopRunning

from tests.unit.runner.fake_gateway import FakeGateway, tool_request
from tests.unit.runner.fake_tools import FakeTools, Run, problem, tool
from tests.unit.runner.turn_story import agent, outcome, run

Make = Callable[..., FakeGateway]
TOOLS = (
    tool("look"),
    tool("tickets", "Mcp"),
    tool("pay", approval=True),
    tool("build", "Container"),
    tool("queue", "Task"),
)


def calling(name: str, arguments: dict[str, Any] | None = None, **more: Any) -> Any:
    return tool_request(
        name, arguments or {"n": 1}, agent=agent(*TOOLS, builtinTools=["update_context"]), **more
    )


def journaled(name: str, **call: Any) -> list[JournalEntry]:
    response = {"text": "", "calls": [{"id": "call_0", "name": name, "arguments": {"n": 1}}], "model": ""}
    entries = [JournalEntry(round=0, result=response, done=True)]
    return [*entries, JournalEntry(round=0, call=0, **call)] if call else entries


async def fails(gateway: FakeGateway, tools: FakeTools | None = None) -> tuple[str, bool, str]:
    await run(gateway, tools=tools)
    failed = outcome(gateway)
    assert failed["outcome"] == "Failed"
    return failed["reason"], failed["definite"], failed["message"]


async def test_a_call_is_journaled_run_and_its_result_the_output(make_gateway: Make) -> None:
    request = calling("look", {"n": "{{ inputs.n }}", "who": "for {{ steps.ask.output }}"}, inputs={"n": 7})
    gateway = make_gateway(request, outputs={"ask": "Ann"})
    tools = FakeTools({"look": {"found": [1]}})

    model = await run(gateway, tools=tools)

    assert gateway.calls() == ["take", "journal", "journal", "journal", "finish"]
    response, begun, result = gateway.bodies("journal")
    assert response["response"]["calls"] == [
        {"id": "call_0", "name": "look", "arguments": {"n": 7, "who": "for Ann"}}
    ]
    assert (begun, result) == ({"begun": {"tool": "look"}}, {"result": {"found": [1]}})
    assert tools.runs == [Run("look", {"n": 7, "who": "for Ann"}, "key-(0, 0)")]
    done = outcome(gateway)
    assert (done["outcome"], done["output"], done["events"]) == ("Succeeded", {"found": [1]}, [])
    assert model.asked == []


async def test_a_later_attempt_makes_the_call_that_the_first_one_rendered(make_gateway: Make) -> None:
    gateway = make_gateway(calling("look", {"n": "{{ inputs.gone }}"}), journal=journaled("look"))
    tools = FakeTools()

    await run(gateway, tools=tools)

    assert gateway.calls() == ["take", "journal", "journal", "finish"]
    assert tools.runs == [Run("look", {"n": 1}, "key-(0, 0)")]


async def test_a_result_that_is_journaled_is_the_output_whatever_it_says(make_gateway: Make) -> None:
    entries = journaled("look", result={"error": "says the server"}, done=True)
    gateway = make_gateway(calling("look"), journal=entries)
    tools = FakeTools()

    await run(gateway, tools=tools)

    assert (tools.runs, gateway.calls()) == ([], ["take", "finish"])
    assert outcome(gateway)["output"] == {"error": "says the server"}


async def test_a_failed_call_fails_the_attempt_and_a_retry_makes_it_again_with_the_same_key(
    make_gateway: Make,
) -> None:
    gateway = make_gateway(calling("look"))
    tools = FakeTools({"look": problem("tool look answered 500: oh")})
    assert await fails(gateway, tools) == (
        "ToolError",
        False,
        "spec.steps[0].tool: tool look answered 500: oh",
    )

    again = make_gateway(calling("look"), journal=list(gateway.journal.values()))
    repeated = FakeTools()
    await run(again, tools=repeated)

    assert [run.key for run in repeated.runs] == [run.key for run in tools.runs]
    assert outcome(again)["output"] == "look done"


@pytest.mark.parametrize(
    ("request_", "tools", "message"),
    [
        (
            calling("odd"),
            FakeTools(),
            "agent support has no tool called 'odd'; it has look, tickets_<its tool>, pay, build, queue, update_context",
        ),
        (calling("look"), FakeTools(wrong={"look": "number is missing"}), "number is missing"),
    ],
)
async def test_a_call_that_cannot_be_made_fails_for_good(
    make_gateway: Make, request_: Any, tools: FakeTools, message: str
) -> None:
    assert await fails(make_gateway(request_), tools) == (
        "ToolError",
        True,
        f"spec.steps[0].tool: {message}",
    )
    assert tools.runs == []


async def test_arguments_that_cannot_be_rendered_name_their_place(make_gateway: Make) -> None:
    reason, definite, message = await fails(make_gateway(calling("look", {"to": ["{{ inputs.gone }}"]})))

    assert (reason, definite) == ("TemplateError", True)
    assert message.startswith("spec.steps[0].tool.arguments.to[0]: inputs.gone is not defined")


async def test_an_item_is_known_to_the_arguments(make_gateway: Make) -> None:
    gateway = make_gateway(calling("look", {"to": "{{ item }}", "n": "{{ index }}"}, item="ann", index=2))
    tools = FakeTools()

    await run(gateway, tools=tools)

    assert tools.runs[0].arguments == {"to": "ann", "n": 2}


async def test_only_the_tool_that_is_called_is_opened(make_gateway: Make) -> None:
    tools = FakeTools()

    await run(make_gateway(calling("look")), tools=tools)
    await run(make_gateway(calling("tickets_create")), tools=tools)

    assert [[each.name for each in made.tools] for made in tools.made] == [["look"], ["tickets"]]
    assert tools.asked == 0, "what a model would be offered is nobody's concern here"


async def test_a_server_of_tools_that_is_away_may_be_back_for_the_next_attempt(make_gateway: Make) -> None:
    away = "tool tickets: its server does not answer"

    assert await fails(
        make_gateway(calling("tickets_create")), FakeTools(wrong={"tickets_create": away})
    ) == (
        "ToolError",
        False,
        f"spec.steps[0].tool: {away}",
    )


# --- what waits


@pytest.mark.parametrize(("name", "kind"), [("pay", "Approval"), ("build", "Container"), ("queue", "Task")])
async def test_what_must_wait_pauses_the_attempt(make_gateway: Make, name: str, kind: str) -> None:
    gateway = make_gateway(calling(name))
    tools = FakeTools()

    await run(gateway, tools=tools)

    assert gateway.paused is not None
    assert [call.model_dump() for call in gateway.paused.calls] == [
        {"round": 0, "call": 0, "kind": kind, "tool": name, "arguments": {"n": 1}}
    ]
    assert (gateway.paused.events, tools.runs) == ([], [])
    assert gateway.journal[0, -1].done


async def test_an_approved_call_runs(make_gateway: Make) -> None:
    approval = ReplyEntry(round=0, call=0, choice="approve", by="alice")
    gateway = make_gateway(calling("pay"), journal=journaled("pay"), replies=[approval])

    await run(gateway)

    assert outcome(gateway)["output"] == "pay done"


async def test_a_rejected_call_fails_the_step_for_good(make_gateway: Make) -> None:
    rejected = ReplyEntry(round=0, call=0, choice="reject", by="alice", message="too much")
    gateway = make_gateway(calling("pay"), journal=journaled("pay"), replies=[rejected])
    tools = FakeTools()

    assert await fails(gateway, tools) == (
        "Rejected",
        True,
        "the call of tool pay was rejected by alice: too much",
    )
    assert tools.runs == []


@pytest.mark.parametrize(
    ("name", "result", "wrong", "message"),
    [
        ("build", {"built": 1}, {}, None),
        ("queue", {"task": "refund-1"}, {}, None),
        ("build", {"error": "exit code 3"}, {}, "exit code 3"),
        ("queue", {"error": "no such template"}, {}, "no such template"),
        ("build", {"built": "no"}, {"build": "it is no number"}, "it is no number"),
    ],
)
async def test_what_a_job_or_a_task_left(
    make_gateway: Make, name: str, result: Any, wrong: dict[str, str], message: str | None
) -> None:
    gateway = make_gateway(calling(name), journal=journaled(name, result=result, done=True))
    tools = FakeTools(wrong_results=wrong)

    if message is None:
        await run(gateway, tools=tools)
        assert outcome(gateway)["output"] == result
    else:
        assert await fails(gateway, tools) == ("ToolError", True, f"spec.steps[0].tool: {message}")


# --- the context


async def test_the_context_is_changed_whatever_others_have_written(make_gateway: Make) -> None:
    gateway = make_gateway(calling("update_context", {"changes": {"a": "{{ inputs.a }}"}}, inputs={"a": 1}))
    gateway.context_version = 9

    await run(gateway)

    assert gateway.bodies("journal")[-1] == {"changes": {"a": 1}}
    assert outcome(gateway)["output"] == {"context": {"a": 1}, "version": 10}


async def test_a_context_that_cannot_be_changed_fails_the_step(make_gateway: Make) -> None:
    result = {"error": "too large", "context": {}, "version": 3}
    entries = journaled("update_context", result=result, done=True)
    gateway = make_gateway(calling("update_context", {"changes": {"a": 1}}), journal=entries)

    assert await fails(gateway) == ("ToolError", True, "spec.steps[0].tool: too large")


async def test_told_to_stop_it_writes_nothing_more(make_gateway: Make) -> None:
    gateway = make_gateway(calling("look"))
    gateway.fail("journal", 410, stop=True, reason="Cancelled")

    with pytest.raises(StopRunning):
        await run(gateway)

    assert gateway.calls() == ["take", "journal"]
