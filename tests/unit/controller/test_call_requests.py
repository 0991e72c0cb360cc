"""What is made for a tool call that waits: rendered from the request of the attempt that was paused."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from parley.controller.call_requests import Asked, call_request, queued_inputs, queued_spec, read_call
from parley.controller.pod_builder import ContainerWorkload, build_pod_spec
from parley.controller.requests import build_request
from parley.controller.workloads import workload_of
from parley.engine.state import Wait
from parley.protocol.request import ContainerRequest
from parley.resources.tools import TaskTool
from parley.templates.errors import TemplateError
from parley.templates.evaluator import Evaluator

from tests.unit.controller.test_tool_requests import SETTINGS
from tests.unit.controller.under_work import Values, under_work

SCORE: dict[str, Any] = {
    "name": "score",
    "container": {
        "image": "score:1",
        "command": ["score"],
        "args": ["{{ arguments.number }}", "{{ session.user.name }}", "{{ inputs.region }}"],
        "env": [{"name": "LEVEL", "value": "{{ session.context.plan }}"}],
        "inputFile": {"all": "{{ arguments }}"},
        "outputFrom": "File",
        "timeout": "5m",
    },
}
GIVEN = {"number": "7 {{ inputs.secret }} $(HOME)"}
WAIT = Wait(
    id="5d4b2a34-0000-4000-8000-000000000001",
    step="answer",
    item=-1,
    kind="Container",
    question="",
    choices=(),
    since=datetime(2026, 1, 1, tzinfo=UTC),
    deadline=None,
    state="Open",
    call="score",
    timeout=timedelta(minutes=5),
    output_file=True,
)


@pytest.fixture
async def evaluator() -> AsyncIterator[Evaluator]:
    async with Evaluator() as opened:
        yield opened


async def paused(evaluator: Evaluator, *tools: dict[str, Any], arguments: Any = GIVEN) -> Asked:
    """The call, and the request of the attempt that asked for it."""
    made = under_work(
        {"name": "answer", "prompt": {"text": "hi"}},
        session={"user": {"id": "a@x", "name": "Alice"}, "context": {"plan": "gold"}},
        agent={"tools": list(tools)},
        inputs={"region": "eu", "secret": "s3"},
    )
    return Asked(await build_request(evaluator, made, 0, made.steps[0], Values()), arguments)


async def test_a_containers_call_is_rendered_with_its_arguments(evaluator: Evaluator) -> None:
    raw = await call_request(evaluator, await paused(evaluator, SCORE), WAIT, "answer--0123456789ab")

    request = ContainerRequest.model_validate(raw)
    assert request.step == "answer--0123456789ab"
    # What a model gives is a value: never a template again.
    assert request.container["args"] == ["7 {{ inputs.secret }} $(HOME)", "Alice", "eu"]
    assert request.container["env"] == [{"name": "LEVEL", "value": "gold"}]
    assert request.input_file is not None
    assert request.input_file.path == "Agent support: spec.tools[0].container.inputFile"
    assert request.input_file.scope["arguments"] == {"number": "7 {{ inputs.secret }} $(HOME)"}
    assert request.input_file.steps == {}


async def test_each_attempt_of_a_call_bears_the_same_key(evaluator: Evaluator) -> None:
    raw = await call_request(evaluator, await paused(evaluator, SCORE), WAIT, "answer--0123456789ab")

    workload = workload_of(raw, SETTINGS, "store")

    assert isinstance(workload, ContainerWorkload)
    assert (workload.input_file, workload.output_file) == (True, True)
    (container,) = build_pod_spec(workload)["containers"]  # type: ignore[misc]
    variables = {each["name"]: each["value"] for each in container["env"]}
    assert variables == {"LEVEL": "gold", "PARLEY_IDEMPOTENCY_KEY": WAIT.id}
    # Kubernetes expands nothing of it either.
    assert container["args"][0] == "7 {{ inputs.secret }} $$(HOME)"


async def test_a_step_of_its_own_has_no_key(evaluator: Evaluator) -> None:
    made = under_work({"name": "run", "container": {"image": "i"}})
    raw = await build_request(evaluator, made, 0, made.steps[0], Values())

    workload = workload_of(raw, SETTINGS, "store")

    assert isinstance(workload, ContainerWorkload)
    assert list(workload.env) == []


async def test_a_template_of_a_tool_that_fails_names_the_agents_field(evaluator: Evaluator) -> None:
    tool = {"name": "score", "container": {"image": "i", "args": ["{{ arguments.amount }}"]}}

    with pytest.raises(TemplateError) as caught:
        await call_request(evaluator, await paused(evaluator, tool), WAIT, "answer--0123456789ab")

    assert str(caught.value).startswith("Agent support: spec.tools[0].container.args[0]")


async def test_a_tool_knows_nothing_of_the_tasks_steps(evaluator: Evaluator) -> None:
    call = read_call(await paused(evaluator, SCORE), WAIT)

    assert set(call.scope) == {"arguments", "inputs", "session", "agent", "task"}


async def test_a_task_gets_the_arguments_unless_the_tool_says_otherwise(evaluator: Evaluator) -> None:
    plain: dict[str, Any] = {"templateRef": {"name": "report"}}
    said: dict[str, Any] = {**plain, "inputs": {"nr": "{{ arguments.number }}", "who": "{{ session.name }}"}}
    waits = Wait(
        **{
            name: getattr(WAIT, name)
            for name in ("id", "step", "item", "question", "choices", "since", "deadline", "state")
        },
        kind="Task",
        call="report",
    )

    async def inputs(tool: dict[str, Any]) -> dict[str, Any]:
        call = read_call(
            await paused(evaluator, {"name": "report", "task": tool}, arguments={"number": 7}), waits
        )
        assert call.tool.task is not None
        return await queued_inputs(evaluator, call, call.tool.task)

    assert await inputs(plain) == {"number": 7}
    assert await inputs(said) == {"nr": 7, "who": "alice"}


@pytest.mark.parametrize(
    ("template_task", "company"),
    [
        ({"steps": []}, {"sessionRef": {"name": "alice"}, "user": "a@x"}),
        ({"agentRef": {"name": "writer"}}, {}),
        ({"sessionRef": {"name": "reports"}}, {}),
    ],
)
def test_a_queued_task_keeps_its_callers_company_unless_its_template_names_another(
    template_task: dict[str, Any], company: dict[str, Any]
) -> None:
    tool = TaskTool.model_validate({"templateRef": {"name": "report"}})
    callers: dict[str, Any] = {"sessionRef": {"name": "alice"}, "user": "a@x"}

    spec = queued_spec(tool, {"n": 1}, callers, template_task)

    assert spec == {"templateRef": {"name": "report"}, "inputs": {"n": 1}, **company}
