"""What is found in templates by reading them, before anything runs."""

from typing import Any

import pytest
from parley.protocol.request import AgentSnapshot, SessionSnapshot, TaskSnapshot
from parley.resources.agent import AgentSpec, ModelSpec
from parley.resources.session import SessionSpec, SessionUser
from parley.resources.task import TaskSpec
from parley.templates.check import check_template, template_problems
from parley.templates.errors import TemplateError
from parley.templates.scope import FIELDS, system_scope, task_scope
from parley.templates.usage import mentioned_steps


def task(template: str, **spec: Any) -> TaskSpec:
    """A Task of three container steps; the template is an argument of the second."""

    def step(name: str, *args: str) -> dict[str, Any]:
        return {"name": name, "container": {"image": "i", "args": list(args)}}

    steps = [step("look-up"), step("score", "fine", template), step("pay")]
    return TaskSpec.model_validate({"inputs": {"order": "1"}, "steps": steps, **spec})


@pytest.mark.parametrize(
    "template",
    [
        "{{ steps.look_up.output.x }}",
        "{{ steps['look_up'].output }}",
        "{{ inputs.order ~ task.name ~ task.namespace }}",
        "{{ inputs.other|default('x') }}",
        "{% if inputs.other is defined %}{{ inputs.other.deep }}{% endif %}",
        "{{ inputs.a if inputs.order == '2' else 'b' }}",
        "{% for s in steps|items %}{{ s }}{{ loop.index }}{% endfor %}",
        "{% set x = 1 %}{% macro m(y) %}{{ y ~ x }}{% endmacro %}{{ m(2) }}",
        "{% if session is defined %}{{ session.user.name }}{% endif %}",
        "{{ range(3)|list ~ dict(a=1) ~ namespace }}",
        "{% raw %}{{ not read }}{% endraw %}",
        "just a text",
    ],
)
def test_a_good_template_has_no_problem(template: str) -> None:
    assert template_problems(task(template)) == []


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ steps.later.output }}", "steps.later does not exist; the steps above are look_up"),
        ("{{ steps.pay.output }}", "steps.pay has no output yet: only steps written above"),
        ("{{ steps.score.output }}", "steps.score has no output yet"),
        ("{{ steps['look-up'].output }}", "write steps.look_up: in templates the hyphens"),
        ("{{ steps.look_up.result }}", "write steps.look_up.output.result"),
        ("{{ inputs.ordr }}", "inputs.ordr is not defined; spec.inputs has order"),
        ("{{ inputs[inputs.ordr] }}", "inputs.ordr is not defined"),
        ("{{ inputs.ordr if inputs.order else 1 }}{{ inputs.ordr }}", "inputs.ordr is not defined"),
        ("{{ input.order }}", "'input' is not defined; a template here knows inputs, steps, task"),
        ("{{ session.user }}", "session is not defined: the Task has no sessionRef"),
        ("{{ agent.name }}", "agent is not defined: the Task has neither sessionRef nor agentRef"),
        ("{{ item }}", "item is not defined: the step has no forEach"),
        ("{{ order }", "unexpected '}'"),
        ("{% for x in y %}", "Unexpected end of template"),
        ("{{ inputs.order|shout }}", "there is no filter 'shout'"),
        ("{{ inputs.order is loud }}", "there is no test 'loud'"),
        ("{% include 'other' %}", "a template cannot use other templates"),
        ("{% extends 'other' %}", "a template cannot use other templates"),
        ("{% from 'other' import x %}", "a template cannot use other templates"),
        ("first\n\n{{ inputs.ordr }}", "line 3: inputs.ordr is not defined"),
        ("{{" + "(" * 5000 + "1" + ")" * 5000 + "}}", "nested too deeply"),
        ("{{ inputs" + ".a" * 15_000 + " }}", "nested too deeply"),
    ],
)
def test_a_bad_template_is_named_by_its_field(template: str, words: str) -> None:
    (problem,) = template_problems(task(template))
    assert problem.path == "spec.steps[1].container.args[1]"
    assert words in problem.message


def test_every_template_of_a_task_is_read() -> None:
    bad = "{{ nope }}"
    spec = TaskSpec.model_validate(
        {
            "agentRef": {"name": "a"},
            "steps": [
                {
                    "name": "run",
                    "container": {
                        "image": "i",
                        "command": [bad],
                        "args": ["x", bad],
                        "env": [{"name": "A", "value": "x"}, {"name": "B", "value": bad}],
                    },
                },
                {"name": "ask", "prompt": {"text": bad}},
                {
                    "name": "say",
                    "prompt": {
                        "messages": [{"role": "user", "content": "x"}, {"role": "user", "content": bad}]
                    },
                },
            ],
            "output": {"list": [{"deep": bad}]},
        }
    )
    assert [problem.path for problem in template_problems(spec)] == [
        "spec.steps[0].container.command[0]",
        "spec.steps[0].container.args[1]",
        "spec.steps[0].container.env[1].value",
        "spec.steps[1].prompt.text",
        "spec.steps[2].prompt.messages[1].content",
        "spec.output.list[0].deep",
    ]


def test_a_message_is_no_template_and_its_answer_can_be_used() -> None:
    spec = TaskSpec.model_validate(
        {
            "sessionRef": {"name": "s"},
            "message": "{{ what }}",
            "output": {"said": "{{ steps.reply.output ~ session.situation ~ agent.name }}"},
        }
    )
    assert template_problems(spec) == []


def test_templates_of_agents_and_sessions_are_read() -> None:
    agent = AgentSpec.model_validate(
        {
            "model": {"provider": "OpenAI", "name": "m"},
            "instructions": "Serve {{ session.user.name }}.\n{{ inputs.tone",
            "systemTemplate": "{{ nope }}",
        }
    )
    session = SessionSpec.model_validate(
        {"agentRef": {"name": "a"}, "systemTemplate": "{{ instructions|x }}"}
    )
    assert [problem.path for problem in template_problems(agent)] == [
        "spec.instructions",
        "spec.systemTemplate",
    ]
    assert [str(p) for p in template_problems(session)] == ["spec.systemTemplate: there is no filter 'x'"]


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (
            "{{ agent.displayname }}",
            "agent.displayname is not defined; agent has name, displayName, description",
        ),
        (
            "{{ session.user.nickname }}",
            "session.user.nickname is not defined; session.user has id, name, about",
        ),
        (
            "{% if situation %}{{ user['mail'] }}{% endif %}",
            "user.mail is not defined; user has id, name, about",
        ),
        ("{{ task.uid }}", "task.uid is not defined; task has name, namespace"),
        ("Hi\n{{ session.contxt.order }}", "line 2: session.contxt is not defined; session has name, user, "),
    ],
)
@pytest.mark.parametrize("field", ["systemTemplate", "instructions"])
def test_a_field_that_nothing_has_is_found(template: str, words: str, field: str) -> None:
    agent = AgentSpec.model_validate({"model": {"provider": "OpenAI", "name": "m"}, field: template})

    (problem,) = template_problems(agent)

    assert (problem.path, problem.message[: len(words)]) == (f"spec.{field}", words)


@pytest.mark.parametrize(
    "template",
    [
        "{{ agent.displayName or agent.name }}{{ agent.description }}{{ task.name ~ task.namespace }}",
        "{{ session.context.anything.at_all }}{{ session.metadata.key }}{{ session.users[0].name }}",
        "{{ user.id ~ user.about }}{{ session.user.name }}{{ context.order }}{{ session.agents|length }}",
        "{{ agent.mood|default('calm') }}{% if user.mail is defined %}{{ user.mail }}{% endif %}",
        "{% for user in users %}{{ user.anything }}{% endfor %}",
    ],
)
def test_a_field_that_may_be_there_is_no_problem(template: str) -> None:
    session = SessionSpec.model_validate({"agentRef": {"name": "a"}, "systemTemplate": template})

    assert template_problems(session) == []


def test_the_fields_that_are_known_are_those_that_templates_get() -> None:
    person = SessionUser(id="a@x", name="Alice", about="who pays")
    scope: Any = system_scope(
        task_scope(
            {},
            {},
            task=TaskSnapshot(name="t", namespace="n"),
            session=SessionSnapshot(name="s", user=person),
            agent=AgentSnapshot(name="a", model=ModelSpec(provider="OpenAI", name="m")),
        )
    )

    assert {path: set(fields) for path, fields in FIELDS.items()} == {
        ("agent",): set(scope["agent"]),
        ("session",): set(scope["session"]),
        ("session", "user"): set(scope["session"]["user"]),
        ("task",): set(scope["task"]),
        ("user",): set(scope["user"]),
    }


def test_reading_never_evaluates() -> None:
    # Given a template whose constants Jinja2 would compute while compiling it
    assert template_problems(task("{{ 'a' * 10 ** 11 }}{{ 9 ** 9 ** 9 ** 9 }}")) == []
    check_template("{{ 'a' * 10 ** 11 }}", "f")


def test_checking_one_template_names_its_path() -> None:
    with pytest.raises(TemplateError, match=r"^spec\.instructions: unexpected"):
        check_template("{{ }", "spec.instructions")


@pytest.mark.parametrize(
    ("template", "steps"),
    [
        ("{{ steps.a.output }}", {"a"}),
        ("{{ steps['b'].output ~ steps.a.output }}", {"a", "b"}),
        ("{{ steps.elsewhere.output }}", set()),
        ("{{ steps }}", {"a", "b", "c"}),
        ("{{ steps[inputs.which].output }}", {"a", "b", "c"}),
        ("{{ inputs.steps }}", set()),
    ],
)
def test_the_steps_a_template_may_read_are_known(template: str, steps: set[str]) -> None:
    assert mentioned_steps(["text", template], ["a", "b", "c"]) == steps
