"""Values against JSON Schemas of users: in the guarded child, for a schema can be as hostile as a template."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from parley.templates.evaluator import Evaluator
from parley.templates.fields import ValueField

from tests.unit.templates.test_evaluator import SCOPE

AMOUNT = {
    "type": "object",
    "properties": {"amount": {"type": "integer", "minimum": 1}},
    "required": ["amount"],
}
FOR_EVER = {"type": "string", "pattern": "^(a+)+$"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def evaluator() -> AsyncIterator[Evaluator]:
    async with Evaluator() as made:
        yield made


@pytest.mark.parametrize(
    ("schema", "value", "problem"),
    [
        (AMOUNT, {"amount": 12}, None),
        (AMOUNT, {"amount": 0}, "spec.value.amount: 0 is less than the minimum of 1"),
        (AMOUNT, {}, "spec.value: 'amount' is a required property"),
        (AMOUNT, None, "spec.value: None is not of type 'object'"),
        ({}, None, None),
        ({"items": {"enum": ["a"]}}, ["a", "b"], "spec.value[1]: 'b' is not one of ['a']"),
        ({"$defs": {"n": {"type": "null"}}, "$ref": "#/$defs/n"}, 1, "spec.value: 1 is not of type 'null'"),
        ({"$ref": "https://example.com/s"}, 1, "spec.value: cannot be checked: $ref"),
        ({"$ref": "#"}, 1, "spec.value: is nested too deeply to be checked"),
        (
            FOR_EVER,
            "a" * 50 + "b",
            "spec.value: to check it against its schema takes more than 1 s of CPU time",
        ),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_value_is_held_against_its_schema(
    evaluator: Evaluator, schema: dict[str, Any], value: Any, problem: str | None
) -> None:
    found = await evaluator.check(schema, value, "spec.value")

    assert found == problem or (problem and found and found.startswith(problem))


@pytest.mark.asyncio(loop_scope="module")
async def test_a_complaint_is_bounded_whatever_the_value(evaluator: Evaluator) -> None:
    found = await evaluator.check({"type": "null"}, "x" * 100_000, "spec.value")

    assert found
    assert len(found) < 400


@pytest.mark.asyncio(loop_scope="module")
async def test_templates_are_rendered_after_a_schema_that_ended_the_child(evaluator: Evaluator) -> None:
    stuck, rendered = await asyncio.gather(
        evaluator.check(FOR_EVER, "a" * 50 + "b", "spec.value"),
        evaluator.render({"field": ValueField("{{ inputs.order }}")}, SCOPE),
    )

    assert stuck
    assert "CPU time" in stuck
    assert rendered == {"field": "12345"}
