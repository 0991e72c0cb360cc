"""Which fields are templates, what their scope holds, and how the results go back."""

from typing import Any

import pytest
from parley.protocol.request import AgentSnapshot, SessionSnapshot, TaskSnapshot
from parley.resources.agent import ModelSpec
from parley.resources.session import SessionUser
from parley.resources.task import ContainerStep, PromptStep, Step
from parley.templates.errors import TemplateError
from parley.templates.fields import (
    TextField,
    ValueField,
    container_fields,
    items_fields,
    kind_fields,
    output_fields,
    prompt_fields,
    rendered_container,
    when_fields,
)
from parley.templates.render import render_text
from parley.templates.scope import task_scope

CONTAINER = ContainerStep.model_validate(
    {
        "image": "i",
        "command": ["run"],
        "args": ["{{ inputs.order }}", "-v"],
        "env": [
            {"name": "A", "value": "{{ inputs.order }}"},
            {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        ],
        "resources": {"limits": {"memory": "1Gi"}},
    }
)


def test_a_containers_templates_are_found_and_put_back() -> None:
    fields = container_fields(CONTAINER, "spec.steps[2]")
    assert fields == {
        "spec.steps[2].container.command[0]": TextField("run"),
        "spec.steps[2].container.args[0]": TextField("{{ inputs.order }}"),
        "spec.steps[2].container.args[1]": TextField("-v"),
        "spec.steps[2].container.env[0].value": TextField("{{ inputs.order }}"),
    }
    values = {
        path: render_text(field.template, {"inputs": {"order": "{{ 7 }}"}}, path)
        for path, field in fields.items()
        if isinstance(field, TextField)
    }
    rendered = rendered_container(CONTAINER, "spec.steps[2]", values)
    assert (rendered.command, rendered.args) == (["run"], ["{{ 7 }}", "-v"])
    assert [(v.name, v.value) for v in rendered.env] == [("A", "{{ 7 }}"), ("KEY", None)]
    assert (rendered.image, rendered.resources) == (CONTAINER.image, CONTAINER.resources)
    # What is stored with the attempt can be read again.
    assert ContainerStep.model_validate(rendered.to_json()) == rendered


def test_a_result_longer_than_its_field_is_refused_by_name() -> None:
    values: dict[str, Any] = dict.fromkeys(container_fields(CONTAINER, "spec.steps[0]"), "x")
    values["spec.steps[0].container.args[1]"] = "x" * 32_769
    with pytest.raises(TemplateError, match=r"^spec\.steps\[0\]\.container\.args\[1\]: .* 32769 characters"):
        rendered_container(CONTAINER, "spec.steps[0]", values)


def test_a_prompts_templates_and_a_tasks_output_are_found() -> None:
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert prompt_fields(PromptStep.model_validate({"text": "t"}), "spec.steps[0]") == {
        "spec.steps[0].prompt.text": TextField("t")
    }
    assert prompt_fields(PromptStep.model_validate({"messages": messages}), "spec.steps[0]") == {
        "spec.steps[0].prompt.messages[0].content": TextField("a"),
        "spec.steps[0].prompt.messages[1].content": TextField("b"),
    }
    assert output_fields({"a": "{{ 1 }}"}) == {"spec.output": ValueField({"a": "{{ 1 }}"})}
    assert output_fields(None) == {}


def test_the_scope_holds_what_the_task_has() -> None:
    task = TaskSnapshot(name="refund", namespace="shop")
    bare = task_scope({"order": "1"}, {"look-up": {"x": 1}, "skipped": None}, task=task)
    assert bare == {
        "inputs": {"order": "1"},
        "steps": {"look_up": {"output": {"x": 1}}, "skipped": {"output": None}},
        "task": {"name": "refund", "namespace": "shop"},
    }
    full = task_scope(
        {},
        {},
        task=task,
        session=SessionSnapshot(
            name="alice",
            user=SessionUser(id="a@b", name="Alice"),
            situation="An order.",
            context={"order": "12345"},
            metadata={"channel": "web"},
        ),
        agent=AgentSnapshot(
            name="support", display_name="Support", model=ModelSpec(provider="OpenAI", name="m")
        ),
    )
    text = "{{ session.user.name }}/{{ session.context.order }}/{{ session.metadata.channel }}"
    assert render_text(text, full, "f") == "Alice/12345/web"
    assert render_text("{{ agent.displayName }}/{{ agent.name }}", full, "f") == "Support/support"
    # A user without an "about" is not a user whose "about" is null.
    assert render_text("{{ session.user.about is defined }}", full, "f") == "false"


def test_every_kind_of_step_lists_its_templates_by_their_fields() -> None:
    def listed(**fields: Any) -> dict[str, Any]:
        step = Step.model_validate({"name": "a", **fields})
        return {path: field.template for path, field in kind_fields(step, "p").items()}

    assert listed(prompt={"text": "t"}) == {"p.prompt.text": "t"}
    assert listed(tool={"name": "t", "arguments": {"a": "{{ 1 }}"}}) == {"p.tool.arguments": {"a": "{{ 1 }}"}}
    assert listed(tool={"name": "t"}) == {}
    assert listed(container={"image": "i", "args": ["x"], "inputFile": [1]}) == {
        "p.container.args[0]": "x",
        "p.container.inputFile": [1],
    }
    assert listed(wait={"question": "q", "timeout": "1h", "onTimeout": 1}) == {
        "p.wait.question": "q",
        "p.wait.onTimeout": 1,
    }
    assert listed(wait={"question": "q"}) == {"p.wait.question": "q"}
    assert listed(sleep={"until": "u"}) == {"p.sleep.until": "u"}
    assert listed(sleep={"duration": "1h"}) == {}
    assert listed(set={"context": {"a": None}}) == {"p.set.context": {"a": None}}
    assert listed(task={"templateRef": {"name": "t"}, "inputs": {"a": 1}}) == {"p.task.inputs": {"a": 1}}
    assert listed(task={"spec": {"message": "{{ not.read }}"}}) == {}
    assert listed(**{"return": {"value": "v"}}) == {"p.return.value": "v"}
    assert listed(fail={"message": "m"}) == {"p.fail.message": "m"}


def test_conditions_and_items_are_listed_apart_from_what_a_step_does() -> None:
    step = Step.model_validate(
        {"name": "a", "when": "w", "forEach": {"items": ["i"]}, "container": {"image": "i"}}
    )
    assert when_fields(step, "p") == {"p.when": ValueField("w")}
    assert items_fields(step, "p") == {"p.forEach.items": ValueField(["i"])}
    assert kind_fields(step, "p") == {}
