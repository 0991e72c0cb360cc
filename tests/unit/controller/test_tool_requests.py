"""What a runner is told of tools, and which secrets its pod is given for them."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from parley.controller.pod_builder import RunnerWorkload, build_pod_spec
from parley.controller.requests import build_request, build_round
from parley.controller.settings import Settings
from parley.controller.workloads import workload_of
from parley.protocol.model_keys import model_key_variable, tool_secret_variable
from parley.protocol.request import PromptRequest, ToolRequest
from parley.resources.common import SecretKeyRef
from parley.templates.evaluator import Evaluator

from tests.unit.controller.under_work import Values, under_work

SETTINGS = Settings(
    database_url="",
    namespace="parley-system",
    identity="operator-0",
    install="parley",
    runner_image="parley:1",
    gateway_url="http://gateway",
    watch_namespaces=(),
    http_port=8081,
    workers=1,
)


def secret_header(name: str) -> dict[str, Any]:
    return {"name": "Authorization", "valueFrom": {"secretKeyRef": {"name": name, "key": "token"}}}


ORDERS: dict[str, Any] = {
    "name": "get_order",
    "http": {"url": "http://orders/{{ arguments.number }}", "headers": [secret_header("orders")]},
}
TICKETS: dict[str, Any] = {
    "name": "tickets",
    "mcp": {"url": "http://tickets/mcp", "headers": [secret_header("tickets")]},
}
REPORT: dict[str, Any] = {"name": "report", "task": {"templateRef": {"name": "long-report"}}}
MODEL = {
    "provider": "OpenAI",
    "name": "m",
    "apiKeySecretRef": {"name": "openai", "key": "api-key"},
}
PROMPT: dict[str, Any] = {"name": "answer", "prompt": {"text": "hi"}}
CALL: dict[str, Any] = {
    "name": "look-up",
    "tool": {"name": "get_order", "arguments": {"number": "{{ inputs.order }}"}},
}


@pytest.fixture
async def evaluator() -> AsyncIterator[Evaluator]:
    async with Evaluator() as opened:
        yield opened


async def prompt_request(evaluator: Evaluator, **task: Any) -> PromptRequest:
    step = task.pop("step", PROMPT)
    made = under_work(step, **task)
    return PromptRequest.model_validate(await build_request(evaluator, made, 0, made.steps[0], Values()))


def variables(workload: Any) -> dict[str, dict[str, str]]:
    """The runner's variables that come from Secrets."""
    (container,) = build_pod_spec(workload)["containers"]  # type: ignore[misc]
    return {
        each["name"]: each["valueFrom"]["secretKeyRef"] for each in container["env"] if "valueFrom" in each
    }


async def test_a_prompt_is_told_of_its_agents_tools(evaluator: Evaluator) -> None:
    agent = {
        "tools": [ORDERS, TICKETS],
        "builtinTools": ["update_context"],
        "limits": {"maxToolRounds": 3},
    }

    request = await prompt_request(evaluator, agent=agent)

    assert [tool.name for tool in request.agent.tools] == ["get_order", "tickets"]
    assert (request.agent.builtin_tools, request.agent.max_tool_rounds) == (["update_context"], 3)
    assert request.auto_run_tools


async def test_a_task_tool_takes_what_its_template_takes(evaluator: Evaluator) -> None:
    schema = {"type": "object", "required": ["city"]}
    made = under_work(PROMPT, agent={"tools": [REPORT]})
    made.template_schemas = {"long-report": schema}

    request = await build_request(evaluator, made, 0, made.steps[0], Values())

    assert request["agent"]["tools"][0]["parameters"] == schema

    # What the Agent says itself counts for more.
    own = {"type": "object", "required": ["town"]}
    made = under_work(PROMPT, agent={"tools": [{**REPORT, "parameters": own}]})
    made.template_schemas = {"long-report": schema}
    request = await build_request(evaluator, made, 0, made.steps[0], Values())
    assert request["agent"]["tools"][0]["parameters"] == own


@pytest.mark.parametrize(
    ("session", "prompt", "runs"),
    [
        (None, None, True),
        (False, None, False),
        (False, True, True),
        (True, False, False),
        (None, False, False),
    ],
)
async def test_whether_calls_are_run_is_said_by_the_prompt_then_by_the_session(
    evaluator: Evaluator, session: bool | None, prompt: bool | None, runs: bool
) -> None:
    fields: dict[str, Any] = {} if session is None else {"autoRunTools": session}
    said: dict[str, Any] = {} if prompt is None else {"autoRunTools": prompt}
    step = {"name": "answer", "prompt": {"text": "hi", **said}}

    request = await prompt_request(evaluator, step=step, session=fields)

    assert request.auto_run_tools is runs


async def test_of_several_people_the_one_who_speaks_is_named(evaluator: Evaluator) -> None:
    people = [{"id": "a@x", "name": "Alice"}, {"id": "b@x"}]
    made = under_work(PROMPT, session={"users": people})
    made.speaker = made.session_spec.people[1] if made.session_spec else None

    request = PromptRequest.model_validate(
        await build_request(evaluator, made, 0, made.steps[0], Values(context={"n": 1}, version=4))
    )

    assert (request.speaker, request.several) == ("b@x", True)
    assert request.session is not None
    assert request.session.user is not None
    assert request.session.user.id == "b@x"
    assert [person.id for person in request.session.users] == ["a@x", "b@x"]
    assert (request.session.context, request.session.context_version) == ({"n": 1}, 4)


async def test_one_person_and_one_agent_need_no_names(evaluator: Evaluator) -> None:
    request = await prompt_request(evaluator, session={"user": {"id": "a@x", "name": "Alice"}})

    assert (request.speaker, request.several) == ("Alice", False)


async def test_a_tool_step_carries_its_arguments_as_templates(evaluator: Evaluator) -> None:
    made = under_work(
        {"name": "find", "container": {"image": "i"}},
        {
            "name": "look-up",
            "tool": {"name": "get_order", "arguments": {"number": "{{ steps.find.output }}"}},
        },
        agent={"tools": [ORDERS]},
        inputs={"order": "7"},
    )

    raw = await build_request(evaluator, made, 1, made.steps[1], Values({"find": "x" * 10_000}))

    request = ToolRequest.model_validate(raw)
    assert (request.tool.name, request.path) == ("get_order", "spec.steps[1].tool")
    assert request.tool.arguments == {"number": "{{ steps.find.output }}"}
    assert request.needs_outputs == ["find"]
    assert request.inputs == {"order": "7"}


async def test_a_round_of_calls_repeats_no_list_but_what_tools_read() -> None:
    # Given items from the inputs, and an agent whose tool reads another input in its url
    tool = {"name": "mail", "http": {"url": "http://mail/{{ inputs.region }}"}}
    step = {
        "name": "notify",
        "forEach": {"items": "{{ inputs.watchers }}"},
        "tool": {"name": "mail", "arguments": {"to": "{{ item }}"}},
    }
    made = under_work(step, agent={"tools": [tool]}, inputs={"watchers": ["a", "b"], "region": "eu"})

    first, second = await build_round(made, 0, made.steps[0], Values(items=["a", "b"]), [0, 1])

    assert (first["item"], first["index"], second["item"], second["index"]) == ("a", 0, "b", 1)
    assert first["inputs"] == {"region": "eu"}
    assert first["kind"] == "Tool"


async def test_a_prompts_pod_has_the_secrets_of_all_tools_by_reference_only(evaluator: Evaluator) -> None:
    request = await prompt_request(evaluator, agent={"tools": [ORDERS, TICKETS]}, model=MODEL)

    workload = workload_of(request.model_dump(mode="json", by_alias=True), SETTINGS, "store")

    assert variables(workload) == {
        model_key_variable(SecretKeyRef(name="openai", key="api-key")): {"name": "openai", "key": "api-key"},
        tool_secret_variable(SecretKeyRef(name="orders", key="token")): {"name": "orders", "key": "token"},
        tool_secret_variable(SecretKeyRef(name="tickets", key="token")): {"name": "tickets", "key": "token"},
    }


async def test_a_tool_steps_pod_has_that_tools_secret_alone(evaluator: Evaluator) -> None:
    made = under_work(CALL, agent={"tools": [ORDERS, TICKETS]}, model=MODEL, inputs={"order": 1})
    raw = await build_request(evaluator, made, 0, made.steps[0], Values())

    alone = workload_of(raw, SETTINGS, "store")
    serving = workload_of(raw, SETTINGS, "store", serves=True)

    assert isinstance(alone, RunnerWorkload)
    assert [reference.name for reference in alone.tool_secrets] == ["orders"]
    assert alone.api_keys == []
    # A runner that stays with its task takes the prompts as well.
    assert [*variables(serving).values()] == [
        {"name": "openai", "key": "api-key"},
        {"name": "orders", "key": "token"},
        {"name": "tickets", "key": "token"},
    ]


async def test_two_tools_with_one_secret_mount_it_once(evaluator: Evaluator) -> None:
    other = {**json.loads(json.dumps(ORDERS)), "name": "cancel_order"}
    request = await prompt_request(evaluator, agent={"tools": [ORDERS, other]})

    workload = workload_of(request.model_dump(mode="json", by_alias=True), SETTINGS, "store")

    assert len(variables(workload)) == 1
