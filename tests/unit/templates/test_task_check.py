"""What each template of a flow may use: outputs of what it needs, items where there are some."""

from typing import Any

import pytest
from parley.resources.task import TaskSpec
from parley.resources.task_template import TaskTemplateSpec
from parley.templates.check import template_problems


def problems(*steps: dict[str, Any], **spec: Any) -> list[str]:
    steps = tuple({"name": f"s{index}", **step} for index, step in enumerate(steps))
    return [
        str(problem) for problem in template_problems(TaskSpec.model_validate({"steps": [*steps], **spec}))
    ]


def run(*args: str, **fields: Any) -> dict[str, Any]:
    return {"container": {"image": "i", "args": list(args)}, **fields}


GOOD = [
    [run(), run("{{ steps.s0.output }}")],
    [run(), run(), run("{{ steps.s0.output }}")],
    [run(), run(needs=[]), run("{{ steps.s0.output ~ steps.s1.output }}", needs=["s0", "s1"])],
    [run(), run(when="{{ steps.s0.output.ok }}")],
    [run("{{ item.name ~ index }}", forEach={"items": "{{ inputs.names }}"})],
    [run(forEach={"items": ["{{ inputs.names[0] }}", 2]})],
    [{"container": {"image": "i", "inputFile": {"all": ["{{ inputs.names }}"]}}}],
    [{"wait": {"question": "{{ inputs.names }}?", "timeout": "1h", "onTimeout": "{{ inputs.names[0] }}"}}],
    [{"sleep": {"until": "{{ inputs.names[0] }}"}}],
    [{"task": {"templateRef": {"name": "t"}, "inputs": {"a": "{{ index }}"}}, "forEach": {"items": [1]}}],
    [{"task": {"inputs": {"a": 1}, "spec": {"steps": [{"name": "x", **run("{{ inputs.a }}")}]}}}],
    [{"return": {"value": {"a": ["{{ inputs.names }}"]}}}],
    [{"fail": {"message": "{{ task.name }}"}}],
]


@pytest.mark.parametrize("steps", GOOD)
def test_a_good_flow_has_no_problem(steps: list[dict[str, Any]]) -> None:
    assert problems(*steps, inputs={"names": ["a"]}) == []


def test_the_output_may_use_every_step() -> None:
    assert problems(run(), run(needs=[]), output={"all": "{{ steps.s0.output ~ steps.s1.output }}"}) == []


def test_an_output_that_need_not_be_there_is_refused_with_what_to_do() -> None:
    # Given a step that needs only the second of two branches
    (problem,) = problems(run(), run(needs=[]), run("{{ steps.s0.output }}", needs=["s1"]))
    assert problem == (
        "spec.steps[2].container.args[0]: steps.s0 may not be done yet: add s0 to the needs of this step, or of "
        "one that it needs"
    )


def test_what_asks_first_whether_it_is_there_is_let_in() -> None:
    asking = "{% if steps.s0 is defined %}{{ steps.s0.output }}{% endif %}"
    assert problems(run(), run(needs=[]), run(asking, needs=["s1"])) == []


@pytest.mark.parametrize(
    ("step", "field", "words"),
    [
        (run(when="{{ item }}", forEach={"items": [1]}), "when", "rendered once for the step"),
        (run(forEach={"items": "{{ [item] }}"}), "forEach.items", "rendered once for the step"),
        (run(when="true"), "when", "write exactly one {{ expression }} that yields true or false"),
        (run(when="{{ true }} "), "when", "yields a text"),
        (run(when="{% if true %}true{% endif %}"), "when", "yields a text"),
        (run(forEach={"items": "[1, 2]"}), "forEach.items", "that yields a list"),
        ({"wait": {"question": "{{ item }}"}}, "wait.question", "the step has no forEach"),
        ({"return": {"value": [{"a": "{{ x }}"}]}}, "return.value[0].a", "'x' is not defined"),
    ],
)
def test_a_template_that_cannot_work_is_named_by_its_field(
    step: dict[str, Any], field: str, words: str
) -> None:
    (problem,) = problems(step)
    assert problem.startswith(f"spec.steps[0].{field}: ")
    assert words in problem


def test_a_condition_with_an_error_is_said_once() -> None:
    (problem,) = problems(run(when="{{ 1 + }}"))
    assert problem.startswith("spec.steps[0].when: ")


def template(schema: dict[str, Any] | None, **task: Any) -> list[str]:
    spec = TaskTemplateSpec.model_validate({"inputSchema": schema, "task": task})
    return [str(problem) for problem in template_problems(spec)]


def test_a_task_template_does_not_know_its_inputs_and_session_yet() -> None:
    step = {"name": "a", **run("{{ inputs.any ~ session.name ~ agent.name }}")}
    child = {"name": "b", "task": {"spec": {"steps": [{"name": "x", **run("{{ session.name }}")}]}}}
    assert template(None, steps=[step, child]) == []
    assert template({"type": "object", "properties": {"other": {}}}, steps=[step]) == []


def test_a_schema_that_lets_no_other_inputs_in_names_those_there_are() -> None:
    closed = {"properties": {"order": {}}, "additionalProperties": False}
    step = {"name": "a", **run("{{ inputs.order }}", "{{ inputs.amount }}", "{{ inputs.ordr }}")}
    (problem,) = template(closed, steps=[step], inputs={"amount": 1})
    assert problem.startswith("spec.task.steps[0].container.args[2]: inputs.ordr is not defined")
    assert "order" in problem
