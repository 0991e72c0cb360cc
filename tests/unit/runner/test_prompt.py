"""What a prompt step tells the model: rendered templates, and the system prompt."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from parley.protocol.messages import InputMessage
from parley.protocol.request import PromptRequest
from parley.resources.reasons import Reason
from parley.runner.chat import ToolDefinition
from parley.runner.failure import StepFailure
from parley.runner.prompt import Prompt, render_prompt, step_scope
from parley.runner.rendering import InThread

from tests.unit.runner.fake_gateway import prompt_request

MODEL = {"provider": "OpenAI", "name": "m"}
AGENT: dict[str, Any] = {"name": "support", "displayName": "Support", "model": MODEL}

LOOK = ToolDefinition("look", "Looks things up.", {"type": "object"})


def rendered(
    request: PromptRequest,
    outputs: Mapping[str, Any],
    stored: list[InputMessage] | None,
    tools: Sequence[ToolDefinition] = (),
) -> Prompt:
    return asyncio.run(render_prompt(request, step_scope(request, outputs), stored, tools, InThread()))


def test_text_is_rendered_with_inputs_and_outputs() -> None:
    request = prompt_request(
        prompt={"text": "Order {{ inputs.order }} is {{ steps.look_up.output.kind }}: {{ inputs.items }}"},
        inputs={"order": "12345", "items": [1, 2]},
    )

    prompt = rendered(request, {"look-up": {"kind": "late"}}, None)

    assert prompt.messages == [InputMessage(role="user", content="Order 12345 is late: [1,2]")]


def test_an_item_is_known_where_there_is_one_also_if_it_is_null() -> None:
    text = {"text": "{{ index }}: {{ item }}"}

    def said(**changes: Any) -> str:
        return rendered(prompt_request(prompt=text, **changes), {}, None).messages[0].content

    assert said(item={"to": "ann"}, index=0) == '0: {"to":"ann"}'
    assert said(item=None, index=7) == "7: null"
    with pytest.raises(StepFailure, match="'index' is not defined"):
        said()


def test_the_output_of_a_skipped_step_is_null() -> None:
    request = prompt_request(
        prompt={"text": "{{ steps.look_up.output }} {{ steps.skipped.output }}"},
        needsOutputs=["look-up", "skipped"],
    )

    assert rendered(request, {"look-up": 1}, None).messages[0].content == "1 null"


def test_messages_keep_their_roles_and_order() -> None:
    said = [{"role": "user", "content": "Hi {{ inputs.name }}"}, {"role": "assistant", "content": "Hello"}]

    prompt = rendered(prompt_request(prompt={"messages": said}, inputs={"name": "Al"}), {}, None)

    assert [(m.role, m.content) for m in prompt.messages] == [("user", "Hi Al"), ("assistant", "Hello")]


def test_a_persons_message_is_never_a_template() -> None:
    request = prompt_request(prompt={"text": "{{ inputs.secret }} {% raw"}, literal=True, path="spec.message")

    assert rendered(request, {}, None).messages[0].content == "{{ inputs.secret }} {% raw"


def test_values_are_never_templates() -> None:
    request = prompt_request(
        prompt={"text": "{{ inputs.evil }}"},
        inputs={"evil": "{{ agent.name }}"},
        session={"name": "alice", "situation": "{{ 1/0 }}"},
    )

    prompt = rendered(request, {}, None)

    assert prompt.messages[0].content == "{{ agent.name }}"
    assert "The situation: {{ 1/0 }}" in prompt.system


def test_what_an_earlier_attempt_stored_is_not_rendered_again() -> None:
    stored = [InputMessage(role="user", content="as it was")]

    prompt = rendered(prompt_request(prompt={"text": "{{ inputs.gone }}"}), {}, stored)

    assert prompt.messages == stored


def test_the_built_in_system_prompt_tells_all_there_is() -> None:
    request = prompt_request(
        agent=AGENT
        | {"description": "Answers customers.", "instructions": "Be brief, {{ session.user.name }} waits."},
        session={
            "name": "alice",
            "user": {"id": "alice@company.com", "name": "Alice", "about": "Customer since 2019"},
            "situation": "Alice asks about order 12345.",
            "context": {"order": "12345"},
        },
    )

    assert rendered(request, {}, None).system == (
        "You are Support. Answers customers.\n\n"
        "Be brief, Alice waits.\n\n"
        "You talk with Alice (alice@company.com).\n\n"
        "About the person you talk with: Customer since 2019\n\n"
        "The situation: Alice asks about order 12345.\n\n"
        'What is known, as JSON: {"order":"12345"}'
    )


@pytest.mark.parametrize(
    ("changes", "system"),
    [
        ({"agent": {"name": "support", "model": MODEL}, "session": None}, "You are support."),
        ({"agent": AGENT, "session": {"name": "s"}}, "You are Support."),
        (
            {"agent": AGENT, "session": {"name": "s", "user": {"id": "a@b"}}},
            "You are Support.\n\nYou talk with a@b.",
        ),
    ],
)
def test_the_built_in_system_prompt_leaves_out_what_is_not_there(
    changes: dict[str, Any], system: str
) -> None:
    assert rendered(prompt_request(**changes), {}, None).system == system


def test_the_sessions_system_template_wins_over_the_agents() -> None:
    agent = AGENT | {"systemTemplate": "agent's: {{ agent.displayName }}"}
    session = {"name": "alice", "systemTemplate": "session's: {{ session.name }}, {{ instructions }}"}

    of_agent = rendered(prompt_request(agent=agent), {}, None)
    of_session = rendered(prompt_request(agent=agent | {"instructions": "brief"}, session=session), {}, None)

    assert of_agent.system == "agent's: Support"
    assert of_session.system == "session's: alice, brief"


def test_a_system_template_knows_people_situation_context_metadata_and_tools_by_short_names() -> None:
    template = (
        "{{ user.name }}|{{ users | map(attribute='id') | join(',') }}|{{ situation }}|{{ context.order }}|"
        "{{ metadata.channel }}|{% for tool in tools %}{{ tool.name }}: {{ tool.description }}{% endfor %}"
    )
    session = {
        "name": "alice",
        "user": {"id": "a", "name": "Alice"},
        "users": [{"id": "a", "name": "Alice"}, {"id": "b"}],
        "situation": "late",
        "context": {"order": 7},
        "metadata": {"channel": "web"},
    }

    for changes in (
        {"agent": AGENT | {"systemTemplate": template}, "session": session},
        {"agent": AGENT, "session": session | {"systemTemplate": template}},
        {
            "agent": AGENT | {"instructions": template, "systemTemplate": "{{ instructions }}"},
            "session": session,
        },
    ):
        assert rendered(prompt_request(**changes), {}, None, [LOOK]).system == (
            "Alice|a,b|late|7|web|look: Looks things up."
        )


def test_without_a_session_a_system_template_finds_the_short_names_empty() -> None:
    template = "{{ user }}{{ users }}{{ situation }}{{ context }}{{ metadata }}{{ tools }}"
    request = prompt_request(agent=AGENT | {"systemTemplate": template}, session=None)

    assert rendered(request, {}, None).system == "{}[]{}{}[]"


def test_the_built_in_system_prompt_names_all_people_and_the_other_agents() -> None:
    session = {
        "name": "room",
        "user": {"id": "a", "name": "Alice"},
        "users": [{"id": "a", "name": "Alice", "about": "Customer since 2019"}, {"id": "b"}],
        "agents": ["support", "billing"],
    }

    assert rendered(prompt_request(agent=AGENT, session=session), {}, None).system == (
        "You are Support.\n\n"
        "You talk with several people:\n"
        "- Alice (a): Customer since 2019\n"
        "- b\n\n"
        "Other agents take part as well: billing.\n\n"
        "A message that begins with a name and a colon was said by whoever bears the name. Do not begin yours so."
    )


def test_an_error_in_a_template_of_several_lines_names_the_line() -> None:
    request = prompt_request(agent=AGENT | {"systemTemplate": "You are\nvery\n{{ nope }}"})

    with pytest.raises(StepFailure, match="line 3"):
        rendered(request, {}, None)


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"prompt": {"text": "{{ inputs.nope }}"}}, "spec.steps[0].prompt.text: inputs.nope"),
        (
            {
                "prompt": {
                    "messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "{{ nope }}"}]
                }
            },
            "spec.steps[0].prompt.messages[1].content: 'nope'",
        ),
        ({"agent": AGENT | {"instructions": "{{ nope }}"}}, "agent support: spec.instructions: 'nope'"),
        ({"agent": AGENT | {"systemTemplate": "{{ nope }}"}}, "agent support: spec.systemTemplate: 'nope'"),
        (
            {"session": {"name": "alice", "systemTemplate": "{{ nope }}"}},
            "session alice: spec.systemTemplate: 'nope'",
        ),
    ],
)
def test_an_error_names_the_field(changes: dict[str, Any], path: str) -> None:
    with pytest.raises(StepFailure) as caught:
        rendered(prompt_request(**changes), {}, None)

    assert caught.value.reason is Reason.TEMPLATE_ERROR
    assert caught.value.definite
    assert caught.value.message.startswith(f"{path} is not defined")


def test_what_postgres_cannot_hold_is_replaced() -> None:
    request = prompt_request(prompt={"text": "a\0b"}, literal=True)

    assert rendered(request, {}, None).messages[0].content == "a\ufffdb"
