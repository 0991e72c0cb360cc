"""What is found in the templates of tools and of system prompts before anything runs, and what they know."""

from typing import Any

import pytest
from parley.protocol.request import AgentSnapshot, SessionSnapshot, TaskSnapshot
from parley.resources.agent import AgentSpec, ModelSpec
from parley.resources.session import SessionSpec, SessionUser
from parley.resources.tools import ToolSpec
from parley.templates.check import template_problems
from parley.templates.fields import TextField, ValueField
from parley.templates.render import render_text
from parley.templates.scope import SYSTEM_NAMES, TOOL_NAMES, system_scope, task_scope, tool_scope
from parley.templates.tool_fields import tool_fields

NUMBER = {"type": "object", "properties": {"number": {"type": "string"}}}
SESSION = SessionSnapshot(
    name="alice",
    user=SessionUser(id="al", name="Alice"),
    users=[SessionUser(id="al", name="Alice"), SessionUser(id="bo")],
    agents=["support", "writer"],
    situation="An order.",
    context={"order": "12345"},
    metadata={"channel": "web"},
)
AGENT = AgentSnapshot(name="support", model=ModelSpec(provider="OpenAI", name="m"))
KNOWN = "arguments, inputs, session, agent, task"
NO_ITEMS = "item is not defined: a tool is the agent's and knows no task's items: give it values as arguments"
TASK = TaskSnapshot(name="t", namespace="shop")


def agent(**spec: Any) -> AgentSpec:
    return AgentSpec.model_validate({"model": {"provider": "OpenAI", "name": "m"}, **spec})


def problems(tool: dict[str, Any]) -> list[str]:
    return [str(problem) for problem in template_problems(agent(tools=[{"name": "a", **tool}]))]


def http(template: str, **tool: Any) -> dict[str, Any]:
    return {"http": {"url": f"http://h/{template}"}, **tool}


@pytest.mark.parametrize(
    "tool",
    [
        http("{{ arguments.number }}", parameters=NUMBER),
        http("{{ arguments.number.deep[0] }}", parameters=NUMBER),
        http("{{ arguments }}"),
        http("{{ arguments|tojson }}{{ session.user.id }}{{ agent.name }}{{ task.name }}{{ inputs.order }}"),
        http("{{ arguments.x|default('none') }}{% if arguments.y is defined %}{{ arguments.y }}{% endif %}"),
        # What the schema leaves open may be there.
        http("{{ arguments.x }}", parameters={"type": "object", "additionalProperties": {"type": "string"}}),
        http("{{ arguments.x }}", parameters={"type": "object", "allOf": [{"properties": {"x": {}}}]}),
        http("{{ arguments.x }}", parameters={"type": "object", "$ref": "#/$defs/a", "$defs": {"a": {}}}),
        # What it leaves out is its TaskTemplate's to say.
        {"task": {"templateRef": {"name": "t"}, "inputs": {"order": "{{ arguments.number }}"}}},
        {
            "mcp": {
                "url": "http://h/",
                "headers": [{"name": "A", "value": "{{ session.user.id ~ inputs.a }}"}],
            }
        },
        {"container": {"image": "i", "args": ["{{ arguments.number }}"]}, "parameters": NUMBER},
    ],
)
def test_a_good_tool_has_no_problem(tool: dict[str, Any]) -> None:
    assert problems(tool) == []


@pytest.mark.parametrize(
    ("tool", "problem"),
    [
        (
            http("{{ arguments.nr }}", parameters=NUMBER),
            "spec.tools[0].http.url: arguments.nr is not defined; spec.tools[0].parameters.properties has number",
        ),
        (
            http("{% if arguments.a %}{{ task.name }}{% endif %}"),
            "spec.tools[0].http.url: arguments.a is not defined; spec.tools[0].parameters.properties has nothing",
        ),
        (
            {"task": {"templateRef": {"name": "t"}, "inputs": {"a": ["{{ arg.b }}"]}}},
            "spec.tools[0].task.inputs.a[0]: 'arg' is not defined; a template here knows " + KNOWN,
        ),
        (
            {"container": {"image": "i", "env": [{"name": "A", "value": "{{ item }}"}]}},
            "spec.tools[0].container.env[0].value: " + NO_ITEMS,
        ),
        (
            {"http": {"url": "http://h/", "method": "POST", "body": "a\nb\n{{ user.id }}"}},
            "spec.tools[0].http.body: line 3: 'user' is not defined; a template here knows " + KNOWN,
        ),
    ],
)
def test_a_bad_template_of_a_tool_is_named_by_its_field(tool: dict[str, Any], problem: str) -> None:
    assert problems(tool) == [problem]


def test_a_tools_templates_are_listed_by_their_fields() -> None:
    def listed(**tool: Any) -> dict[str, Any]:
        return dict(tool_fields(ToolSpec.model_validate({"name": "a", **tool}), "p"))

    secret = {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    headers = [{"name": "A", "value": "v"}, secret, {"name": "C", "value": "w"}]
    assert listed(http={"url": "http://h/u", "method": "POST", "headers": headers, "body": {"x": "b"}}) == {
        "p.http.url": TextField("http://h/u"),
        "p.http.headers[0].value": TextField("v"),
        "p.http.headers[2].value": TextField("w"),
        "p.http.body": ValueField({"x": "b"}),
    }
    assert listed(mcp={"url": "http://h/u", "headers": headers[:1]}) == {
        "p.mcp.headers[0].value": TextField("v")
    }
    assert listed(container={"image": "i", "command": ["c"], "inputFile": ["f"]}) == {
        "p.container.command[0]": TextField("c"),
        "p.container.inputFile": ValueField(["f"]),
    }
    assert listed(task={"templateRef": {"name": "t"}, "inputs": {"a": "b"}}) == {
        "p.task.inputs": ValueField({"a": "b"})
    }
    assert listed(task={"templateRef": {"name": "t"}}) == {}


def test_a_tool_knows_who_calls_it_and_no_steps() -> None:
    scope = task_scope({"order": "1"}, {"a": 1}, task=TASK, session=SESSION, agent=AGENT) | {"item": 1}
    known = tool_scope(scope, {"number": "2"})
    assert list(known) == list(TOOL_NAMES)
    template = (
        "{{ arguments.number }} {{ inputs.order }} {{ session.user.name }} {{ agent.name }} {{ task.name }}"
    )
    assert render_text(template, known, "f") == "2 1 Alice support t"
    assert list(tool_scope(task_scope({}, {}, task=TASK, agent=AGENT), {})) == [
        name for name in TOOL_NAMES if name != "session"
    ]


def test_a_system_prompt_knows_the_conversation_by_short_names() -> None:
    scope = system_scope(
        task_scope({}, {}, task=TASK, session=SESSION, agent=AGENT), [("get_order", "Looks up.")]
    )
    template = (
        "{{ user.name }}/{{ users|map(attribute='id')|join('+') }}/{{ situation }}/{{ context.order }}/"
        "{{ metadata.channel }}/{% for t in tools %}{{ t.name }}: {{ t.description }}{% endfor %}/"
        "{{ session.agents|join(' and ') }}"
    )
    assert render_text(template, scope, "f") == (
        "Alice/al+bo/An order./12345/web/get_order: Looks up./support and writer"
    )
    assert set(scope) == set(SYSTEM_NAMES) - {"instructions"}


def test_a_system_prompt_without_a_session_finds_the_same_names_empty() -> None:
    scope = system_scope(task_scope({}, {}, task=TASK, agent=AGENT))
    template = (
        "{{ user }}{{ users }}{{ situation }}{{ context }}{{ metadata }}{{ tools }}{{ user.name is defined }}"
    )
    assert render_text(template, scope, "f") == "{}[]{}{}[]false"


ALL = "".join(f"{{{{ {name} }}}}" for name in SYSTEM_NAMES)


def test_system_templates_may_use_all_of_it_and_say_the_line_of_what_they_may_not() -> None:
    assert template_problems(agent(systemTemplate=ALL, instructions="{{ user.name }}{{ tools }}")) == []
    session = {"agentRef": {"name": "a"}, "systemTemplate": ALL}
    assert template_problems(SessionSpec.model_validate(session)) == []
    bad = SessionSpec.model_validate(
        {**session, "systemTemplate": "Hello\n{{ user.name }}\n{{ arguments }}\n"}
    )
    (problem,) = template_problems(bad)
    assert str(problem).startswith("spec.systemTemplate: line 3: 'arguments' is not defined")
    (problem,) = template_problems(agent(instructions="a\n{{ instructions }}"))
    assert str(problem) == (
        "spec.instructions: line 2: instructions is not defined: this is the template of the instructions themselves"
    )
