"""A step's outputSchema: what the model is shown, and what of its answers is taken."""

import json
from typing import Any

import pytest
from parley.resources.reasons import Reason
from parley.runner.failure import StepFailure
from parley.runner.structured import Mismatch, OutputSchema

PATH = "spec.steps[1].prompt.outputSchema"
KIND: dict[str, Any] = {
    "type": "object",
    "properties": {"kind": {"enum": ["late", "broken"]}},
    "required": ["kind"],
}


@pytest.mark.parametrize(
    "text",
    [
        '{"kind":"late"}',
        ' {"kind": "late"}\n',
        '```json\n{"kind": "late"}\n```',
        '```\n{"kind": "late"}\n```\n',
    ],
)
def test_an_answer_that_fits_is_read_also_from_a_code_fence(text: str) -> None:
    assert OutputSchema(KIND, PATH).read(text) == {"kind": "late"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("late", "it is no JSON"),
        ('{"kind": tru', "it is no JSON"),
        ('{"kind": NaN}', "NaN is no JSON number"),
        ('{"kind":"odd"}', "at $.kind: 'odd' is not one of ['late', 'broken']"),
        ("{}", "at $: 'kind' is a required property"),
        ("[" * 100_000, "nested too deeply"),
        ("", "it is no JSON"),
    ],
)
def test_an_answer_that_does_not_fit_says_what_and_where(text: str, words: str) -> None:
    schema = OutputSchema(KIND, PATH)

    with pytest.raises(Mismatch) as caught:
        schema.read(text)

    assert words in str(caught.value)
    assert words in schema.correction(caught.value)
    assert '"enum": ["late", "broken"]' in schema.correction(caught.value)


def test_a_complaint_is_short_however_long_the_answer() -> None:
    with pytest.raises(Mismatch) as caught:
        OutputSchema(KIND, PATH).read(json.dumps({"kind": "x" * 10_000}))

    assert len(str(caught.value).encode()) <= 512


@pytest.mark.parametrize(
    "schema", [{"enum": ["late", "broken"]}, {"type": "array", "items": {"type": "integer"}}]
)
def test_a_root_that_is_no_object_is_wrapped_for_the_model_and_unwrapped_again(
    schema: dict[str, Any],
) -> None:
    value: Any = "late" if "enum" in schema else [1, 2]
    output = OutputSchema(schema, PATH)

    shown = output.for_model()

    assert shown["type"] == "object"
    assert shown["properties"] == {"value": schema}
    assert output.read(json.dumps({"value": value})) == value
    assert output.read(json.dumps(value)) == value


def test_definitions_stay_at_the_root_where_references_look_for_them() -> None:
    schema: dict[str, Any] = {"$ref": "#/$defs/kind", "$defs": {"kind": {"enum": ["late"]}}}
    output = OutputSchema(schema, PATH)

    assert output.for_model()["$defs"] == schema["$defs"]
    assert output.read('{"value": "late"}') == "late"
    assert OutputSchema(KIND, PATH).for_model() is KIND


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "objekt"}, "is not valid under any of the given schemas"),
        ({"type": "object", "required": [True]}, "True is not of type 'string'"),
        ({"type": "object", "$ref": "#/$defs/none"}, "leads nowhere"),
        ({"type": "object", "$ref": "http://127.0.0.1:9/schema"}, "leads nowhere"),
    ],
)
def test_a_bad_schema_is_the_tasks_fault_and_names_the_field(schema: dict[str, Any], words: str) -> None:
    with pytest.raises(StepFailure) as caught:
        OutputSchema(schema, PATH).read("{}")

    assert caught.value.reason is Reason.INVALID_SPEC
    assert caught.value.definite
    assert caught.value.message.startswith(f"{PATH} is no valid JSON Schema")
    assert words in caught.value.message


def test_what_postgres_cannot_hold_is_replaced() -> None:
    schema = OutputSchema({"type": "object"}, PATH)

    assert schema.read('{"a\\u0000": ["\\ud800", "\\ud83d\\ude00"]}') == {
        "a\ufffd": ["\ufffd", "\N{GRINNING FACE}"]
    }
