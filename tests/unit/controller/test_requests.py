"""What an attempt is asked for: a prompt's request, a container's, a child's, and the pod or object made of it."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from parley.controller.child_requests import child_spec
from parley.controller.container_requests import MAX_ARGUMENTS_BYTES
from parley.controller.pod_builder import ContainerWorkload, RunnerWorkload
from parley.controller.requests import build_request, build_round
from parley.controller.settings import Settings
from parley.controller.workloads import workload_of
from parley.protocol.request import ContainerRequest, PromptRequest
from parley.resources.agent import MAX_TEMPLATE
from parley.resources.common import SecretKeyRef
from parley.templates.errors import TemplateError
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
LOOK = {"name": "look-up", "container": {"image": "i"}}


@pytest.fixture
async def evaluator() -> AsyncIterator[Evaluator]:
    async with Evaluator() as opened:
        yield opened


async def build(
    evaluator: Evaluator, step: dict[str, Any], stored: Values | None = None, *, item: int = -1, **task: Any
) -> dict[str, Any]:
    """The request of a step that comes after one called look-up."""
    made = under_work(LOOK, {"name": "next", **step}, **task)
    return await build_request(evaluator, made, 1, made.steps[1], stored or Values(), item=item)


async def test_a_prompt_carries_its_templates_and_names_the_outputs_they_read(evaluator: Evaluator) -> None:
    stored = Values({"look-up": "x" * 100_000})

    request = await build(evaluator, {"prompt": {"text": "{{ steps.look_up.output }}"}}, stored)

    prompt = PromptRequest.model_validate(request)
    assert prompt.prompt.text == "{{ steps.look_up.output }}"
    assert prompt.needs_outputs == ["look-up"]
    assert (prompt.path, prompt.index, prompt.history) == ("spec.steps[1].prompt", None, "None")
    # The gateway hands outputs over: large ones are not copied into each attempt.
    assert stored.asked == []


async def test_a_session_is_as_set_steps_have_left_it(evaluator: Evaluator) -> None:
    step = {"prompt": {"text": "hi"}}
    session = {"context": {"plan": "gold"}}

    fresh = await build(evaluator, step, session=session)
    changed = await build(evaluator, step, Values(context={"plan": "free", "seen": 1}), session=session)

    assert PromptRequest.model_validate(fresh).history == "Session"
    assert fresh["session"]["context"] == {"plan": "gold"}
    assert changed["session"]["context"] == {"plan": "free", "seen": 1}


async def test_a_round_has_a_request_for_each_item_and_repeats_no_list(evaluator: Evaluator) -> None:
    # Given a fan-out over a long list of the inputs, of which items 0 and 2 are to be run
    names = ["Ann", "Bob", "Eve"]
    made = under_work(
        {
            "name": "greet",
            "forEach": {"items": "{{ inputs.names }}"},
            "prompt": {"text": "{{ inputs.word }} {{ item }}"},
        },
        inputs={"names": names, "word": "Hello"},
        session={},
    )

    first, second = await build_round(made, 0, made.steps[0], Values(items=names), [0, 2])

    assert [(each["index"], each["item"]) for each in (first, second)] == [(0, "Ann"), (2, "Eve")]
    assert first["inputs"] == {"word": "Hello"}
    # A conversation has one turn at a time: items take none.
    assert PromptRequest.model_validate(second).history == "None"
    one = await build_request(evaluator, made, 0, made.steps[0], Values(items=names), item=2)
    assert (one["index"], one["item"]) == (2, "Eve")


async def test_a_round_whose_templates_read_all_inputs_gets_all() -> None:
    made = under_work(
        {"name": "greet", "forEach": {"items": [1]}, "prompt": {"text": "{{ inputs | tojson }}"}},
        inputs={"a": 1, "b": 2},
    )

    (request,) = await build_round(made, 0, made.steps[0], Values(items=[1]), [0])

    assert request["inputs"] == {"a": 1, "b": 2}


async def test_a_container_is_rendered_for_its_item(evaluator: Evaluator) -> None:
    step = {
        "forEach": {"items": ["a", "b"]},
        "container": {
            "image": "i",
            "args": ["{{ index }}", "{{ item }}", "{{ steps.look_up.output.n }}"],
            "env": [{"name": "WHO", "value": "{{ item }}"}],
        },
    }

    request = await build(evaluator, step, Values({"look-up": {"n": 7}}, ["a", "b"]), item=1)

    assert request["container"]["args"] == ["1", "b", "7"]
    assert request["container"]["env"] == [{"name": "WHO", "value": "b"}]
    assert request["index"] == 1
    workload = workload_of(request, SETTINGS, "s-1")
    assert isinstance(workload, ContainerWorkload)
    assert (workload.args, workload.input_file, workload.output_file) == (["1", "b", "7"], False, False)


async def test_an_input_file_is_left_to_the_pod_and_outputs_to_the_gateway(evaluator: Evaluator) -> None:
    template = {"all": "{{ steps.look_up.output }}", "who": "{{ item }}", "in": "{{ inputs.x }}"}
    step = {
        "forEach": {"items": ["a", "b"]},
        "container": {"image": "i", "inputFile": template, "outputFrom": "File"},
    }
    stored = Values({"look-up": "x" * 5_000_000}, ["a", "b"])

    request = await build(evaluator, step, stored, item=1, inputs={"x": 1})

    file = ContainerRequest.model_validate(request).input_file
    assert file is not None
    assert (file.path, file.template) == ("spec.steps[1].container.inputFile", template)
    assert file.steps == {"look_up": "look-up"}
    assert file.scope["item"] == "b"
    assert file.scope["inputs"] == {"x": 1}
    assert "steps" not in file.scope
    assert "inputFile" not in request["container"]
    assert stored.asked == []
    assert len(json.dumps(request)) < 10_000
    workload = workload_of(request, SETTINGS, "s-1")
    assert isinstance(workload, ContainerWorkload)
    assert (workload.input_file, workload.output_file) == (True, True)
    assert workload.gateway is not None
    assert (workload.gateway.image, workload.gateway.store_id) == ("parley:1", "s-1")


async def test_what_no_process_can_be_given_points_to_the_input_file(evaluator: Evaluator) -> None:
    async def why(size: int, count: int) -> TemplateError:
        args = ["{{ steps.look_up.output }}"] * count
        with pytest.raises(TemplateError, match=r"container\.inputFile") as raised:
            await build(
                evaluator, {"container": {"image": "i", "args": args}}, Values({"look-up": "x" * size})
            )
        return raised.value

    one, together = await why(MAX_TEMPLATE + 1, 1), await why(30_000, 18)

    assert one.path == "spec.steps[1].container.args[0]"
    assert f"at most {MAX_TEMPLATE} fit here" in one.message
    assert together.path == "spec.steps[1].container"
    assert f"540000 bytes; at most {MAX_ARGUMENTS_BYTES}" in together.message


async def test_a_child_gets_rendered_inputs_and_keeps_its_own_templates(evaluator: Evaluator) -> None:
    child = {
        "steps": [{"name": "a", "prompt": {"text": "{{ inputs.order }}"}}],
        "inputs": {"order": "?", "n": 1},
    }
    step = {"task": {"spec": child, "inputs": {"order": "{{ steps.look_up.output }}"}}}

    request = await build(evaluator, step, Values({"look-up": "12345"}))

    spec = child_spec(request)
    assert spec["inputs"] == {"order": "12345", "n": 1}
    assert spec["steps"] == child["steps"]
    assert spec["agentRef"] == {"name": "support"}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (None, {"sessionRef": {"name": "alice"}}),
        ({"steps": []}, {"sessionRef": {"name": "alice"}}),
        ({"agentRef": {"name": "clerk"}}, {}),
        ({"sessionRef": {"name": "bob"}}, {}),
    ],
)
async def test_a_child_has_its_parents_session_only_where_nobody_names_another(
    evaluator: Evaluator, template: dict[str, Any] | None, expected: dict[str, Any]
) -> None:
    request = await build(evaluator, {"task": {"templateRef": {"name": "refund"}}}, session={})

    assert child_spec(request, template) == {"templateRef": {"name": "refund"}, **expected}


async def test_a_childs_own_agent_stands(evaluator: Evaluator) -> None:
    spec = {"agentRef": {"name": "clerk"}, "message": "hi"}

    assert child_spec(await build(evaluator, {"task": {"spec": spec}}, session={})) == spec


async def test_the_runner_gets_the_agents_key_by_reference_and_may_stay(evaluator: Evaluator) -> None:
    model = {"provider": "OpenAI", "name": "m", "apiKeySecretRef": {"name": "openai", "key": "k"}}
    request = await build(evaluator, {"prompt": {"text": "hi"}}, model=model)

    workload = workload_of(request, SETTINGS, "s-1", serves=True)

    assert isinstance(workload, RunnerWorkload)
    assert ([*workload.api_keys], workload.stays) == (
        [SecretKeyRef(name="openai", key="k")],
        "with its task",
    )


async def test_each_fallbacks_key_goes_by_reference_too_and_a_shared_one_once(evaluator: Evaluator) -> None:
    shared, other = {"name": "openai", "key": "k"}, {"name": "anthropic", "key": "k"}
    model = {
        "provider": "OpenAI",
        "name": "m",
        "apiKeySecretRef": shared,
        "fallbacks": [
            {"provider": "Anthropic", "name": "c", "apiKeySecretRef": other},
            {"provider": "OpenAI", "name": "n", "apiKeySecretRef": shared},
            {"provider": "OpenAI", "name": "o", "baseURL": "http://here/v1"},
        ],
    }
    request = await build(evaluator, {"prompt": {"text": "hi"}}, model=model)

    workload = workload_of(request, SETTINGS, "s-1")

    assert isinstance(workload, RunnerWorkload)
    assert [reference.to_json() for reference in workload.api_keys] == [shared, other]


async def test_a_models_fields_of_another_version_are_ignored_and_unset_ones_not_sent(
    evaluator: Evaluator,
) -> None:
    request = await build(evaluator, {"prompt": {"text": "hi"}}, model={"provider": "OpenAI", "name": "m"})
    assert request["agent"]["model"] == {"provider": "OpenAI", "name": "m"}

    request["agent"]["model"] = {
        "provider": "OpenAI",
        "name": "m",
        "topP": "0.5",
        "novel": 1,
        "fallbacks": [{"provider": "OpenAI", "name": "n", "novel": 2}],
    }

    model = PromptRequest.model_validate(request).agent.model
    assert (model.top_p, [fallback.name for fallback in model.in_order]) == ("0.5", ["m", "n"])
