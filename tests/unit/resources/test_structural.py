"""The converter from pydantic's JSON Schema: what it turns into what, and what it refuses."""

from typing import Annotated, Literal

import pytest
from parley.resources.common import KEEP_DEFAULT
from parley.resources.structural import SchemaError, structural_schema
from pydantic import BaseModel, Field, JsonValue


class Leaf(BaseModel):
    """A leaf."""

    name: str = Field(max_length=10)


class Good(BaseModel):
    """All that the API uses."""

    leaf: Leaf | None = Field(default=None, description="An optional leaf.")
    leaves: Annotated[list[Leaf], Field(max_length=3)] = Field(default_factory=list)
    only: Literal["OpenAI"]
    one_of: Literal["a", "b"] = "a"
    kept: Annotated[str, Field(max_length=3)] = Field(default="x", json_schema_extra={KEEP_DEFAULT: True})
    amount: Annotated[str, Field(max_length=5, pattern="^[0-9]+$")] | int = 1
    positive: Annotated[int, Field(gt=0)]
    free: Annotated[dict[str, JsonValue], Field(max_length=4)]
    words: Annotated[dict[str, Annotated[str, Field(max_length=2)]], Field(max_length=5)]
    anything: JsonValue = None


SCHEMA = structural_schema(Good)["properties"]


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (
            "leaf",
            {
                "description": "An optional leaf.",
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string", "maxLength": 10}},
            },
        ),
        ("only", {"type": "string", "enum": ["OpenAI"]}),
        ("one_of", {"type": "string", "enum": ["a", "b"]}),
        ("kept", {"type": "string", "maxLength": 3, "default": "x"}),
        (
            "amount",
            {
                "x-kubernetes-int-or-string": True,
                "anyOf": [{"type": "integer"}, {"type": "string"}],
                "maxLength": 5,
                "pattern": "^[0-9]+$",
            },
        ),
        ("positive", {"type": "integer", "format": "int64", "minimum": 0, "exclusiveMinimum": True}),
        ("free", {"type": "object", "maxProperties": 4, "x-kubernetes-preserve-unknown-fields": True}),
        (
            "words",
            {
                "type": "object",
                "maxProperties": 5,
                "additionalProperties": {"type": "string", "maxLength": 2},
            },
        ),
        ("anything", {"x-kubernetes-preserve-unknown-fields": True, "nullable": True}),
    ],
)
def test_each_kind_of_field_is_turned_into_its_structural_form(field: str, expected: object) -> None:
    assert isinstance(SCHEMA, dict)
    assert SCHEMA[field] == expected


def test_a_list_is_atomic_unless_it_says_otherwise() -> None:
    assert isinstance(SCHEMA, dict)
    leaves = SCHEMA["leaves"]
    assert isinstance(leaves, dict)
    assert leaves["x-kubernetes-list-type"] == "atomic"


class Float(BaseModel):
    ratio: float


class Unbounded(BaseModel):
    text: str


class UnboundedList(BaseModel):
    items: list[int]


class UnboundedMap(BaseModel):
    free: dict[str, JsonValue]


class Union(BaseModel):
    either: Leaf | bool


class Recursive(BaseModel):
    child: "Recursive | None" = None


class Strange(BaseModel):
    odd: Annotated[int, Field(multiple_of=2)]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Float, r"Float\.ratio: type number"),
        (Unbounded, r"Unbounded\.text: a string needs a maxLength"),
        (UnboundedList, r"UnboundedList\.items: a list needs a maxItems"),
        (UnboundedMap, r"UnboundedMap\.free: a map needs a maxProperties"),
        (Union, r"Union\.either: a union"),
        (Recursive, r"Recursive\.child: Recursive contains itself"),
        (Strange, r"Strange\.odd: a CRD cannot say multipleOf"),
    ],
)
def test_what_the_api_does_not_want_is_refused_by_the_path_of_its_field(
    model: type[BaseModel], words: str
) -> None:
    with pytest.raises(SchemaError, match=words):
        structural_schema(model)
