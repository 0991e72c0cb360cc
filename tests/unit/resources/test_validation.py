"""What the operator finds wrong in a spec by itself, and what it lets pass."""

from typing import Any

import pytest
from parley.resources.agent import AgentSpec
from parley.resources.problems import MAX_DEPTH, free_value_problems, join_path
from parley.resources.session import SessionSpec
from parley.resources.steps import STEP_KINDS
from parley.resources.task import TaskSpec
from parley.resources.validation import read_spec, spec_problems

GOOD_SCHEMA = {
    "type": "object",
    "required": ["kind"],
    "properties": {
        "kind": {"enum": ["late", "broken"]},
        # A property may be called like a keyword, and a choice may be a boolean where no type forbids it.
        "required": {"type": "array", "items": {"$ref": "#/$defs/word"}},
        "flag": {"enum": [True, "unknown"]},
    },
    "$defs": {"word": {"type": "string", "pattern": "^[a-z]+$"}},
}


def task(**spec: Any) -> TaskSpec:
    return TaskSpec.model_validate({"agentRef": {"name": "a"}, **spec})


def asking(schema: dict[str, Any]) -> TaskSpec:
    return task(steps=[{"name": "ask", "prompt": {"text": "?", "outputSchema": schema}}])


def found(spec: TaskSpec | AgentSpec | SessionSpec) -> list[str]:
    return [str(problem) for problem in spec_problems(spec)]


def test_good_specs_have_no_problem() -> None:
    agent = AgentSpec.model_validate({"model": {"provider": "OpenAI", "name": "m"}})
    session = SessionSpec.model_validate({"agentRef": {"name": "a"}, "context": {"a": [{"b": True}]}})
    assert [*found(agent), *found(session), *found(asking(GOOD_SCHEMA)), *found(task(message="y"))] == []


@pytest.mark.parametrize(
    ("schema", "path", "words"),
    [
        ({"type": "strng"}, ".type", '"strng" is no type of JSON'),
        ({"type": ["string", "nil"]}, ".type[1]", '"nil" is no type of JSON'),
        ({"properties": ["a"]}, ".properties", "is not of type 'object'"),
        ({"required": ["a", True]}, ".required[1]", "true is no string; quote y, n, yes, no"),
        ({"properties": {"a": {"required": [1]}}}, ".properties.a.required[0]", "1 is no string"),
        ({"type": "string", "enum": ["a", False]}, ".enum[1]", "false is no string, as the type demands"),
        ({"properties": {"true": {}}}, ".properties.true", "the key 'true' was not quoted"),
        ({"pattern": "("}, ".pattern", "is not a 'regex'"),
        ({"minimum": "1"}, ".minimum", "is not of type 'number'"),
        ({"items": {"$ref": "https://example.com/x"}}, ".items.$ref", "is in another document"),
        ({"anyOf": [{"$ref": "#/$defs/missing"}]}, ".anyOf[0].$ref", "does not exist in this schema"),
        ({"$ref": "#/allOf/5", "allOf": [{}]}, ".$ref", "does not exist in this schema"),
        ({"description": "x" * 40_000}, "", "at most 32768 are allowed"),
    ],
)
def test_a_bad_output_schema_is_named_where_it_is_bad(schema: dict[str, Any], path: str, words: str) -> None:
    (problem,) = spec_problems(asking(schema))
    assert problem.path == f"spec.steps[0].prompt.outputSchema{path}"
    assert words in problem.message


@pytest.mark.parametrize("field", ["inputs", "output"])
def test_a_key_that_yaml_took_for_a_boolean_is_named(field: str) -> None:
    # Given what kubectl makes of `{"deep": [{y: 1}]}`
    spec = task(message="hi", **{field: {"deep": [{"true": 1}]}})
    (problem,) = spec_problems(spec)
    assert problem.path == f"spec.{field}.deep[0].true"
    assert problem.message == (
        "the key 'true' was not quoted; quote y, n, yes, no, on, off: YAML reads them as true and false"
    )


def test_a_sessions_free_values_are_checked_too() -> None:
    spec = SessionSpec.model_validate(
        {"agentRef": {"name": "a"}, "context": {"false": 1}, "metadata": {"true": "x"}}
    )
    assert [problem.path for problem in spec_problems(spec)] == ["spec.context.false", "spec.metadata.true"]


def test_nesting_without_end_is_refused_and_hurts_nobody() -> None:
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    (problem,) = free_value_problems(deep, "spec.inputs")
    assert problem.message == f"is nested deeper than {MAX_DEPTH} levels"


def test_rules_that_an_older_api_server_did_not_know_are_checked_again() -> None:
    assert found(task()) == ["spec: a Task has exactly one of message, steps and templateRef"]
    steps = [{"name": "a"}, {"name": "b", "prompt": {}}]
    assert found(task(agentRef={"name": "a"}, steps=steps)) == [
        f"spec.steps[0]: a step has exactly one of {', '.join(STEP_KINDS)}",
        "spec.steps[1].prompt: a prompt has exactly one of text and messages",
    ]


def test_a_spec_of_another_version_is_refused_by_the_path_of_its_field() -> None:
    # Given a Task that a newer operator's API let in
    read = read_spec(TaskSpec, {"steps": [{"name": "a", "dream": {"of": "?"}}]})
    assert isinstance(read, list)
    assert [problem.path for problem in read] == ["spec.steps[0].dream"]
    assert isinstance(read_spec(TaskSpec, {"message": "hi"}), TaskSpec)


def test_a_spec_too_deep_to_read_is_refused_by_its_field() -> None:
    deep: Any = 1
    for _ in range(9000):
        deep = {"a": [deep]}
    read = read_spec(TaskSpec, {"message": "hi", "inputs": {"b": 1, "deep": deep}})
    assert isinstance(read, list)
    assert [str(problem) for problem in read] == ["spec.inputs: is nested deeper than 64 levels"]


def test_paths_are_written_as_kubernetes_writes_them() -> None:
    assert join_path("spec", ("steps", 0, "my-key", "$ref", "a b", "")) == (
        'spec.steps[0].my-key.$ref["a b"][""]'
    )
