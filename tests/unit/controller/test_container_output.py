"""What a container's termination message becomes: anybody may write anything there."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parley.resources.container_output import read_output
from parley.resources.task import TaskStatus
from parley.store.rows import encode
from pydantic import JsonValue, TypeAdapter

STORED = TypeAdapter[dict[str, JsonValue]](dict[str, JsonValue])


@pytest.mark.parametrize(
    ("message", "output"),
    [
        ('{"kind": "late", "n": 1}', {"kind": "late", "n": 1}),
        ("[1, 2]", [1, 2]),
        ("12345", 12345),
        ('"12345"', "12345"),
        ("true", True),
        ("null", None),
        ("  \n", None),
        ("", None),
        ("just a word", "just a word"),
        ("{'python': 'no JSON'}", "{'python': 'no JSON'}"),
        ('{"cut at 4096 by', '{"cut at 4096 by'),
        ("NaN", "NaN"),
        ("[-Infinity]", "[-Infinity]"),
        ("1" * 5000, "1" * 5000),
    ],
)
def test_json_is_read_and_all_else_is_text(message: str, output: JsonValue) -> None:
    assert read_output(message) == output


def test_ordinary_nesting_stays_json() -> None:
    assert read_output("[" * 60 + "]" * 60) != "[" * 60 + "]" * 60


@settings(max_examples=50, deadline=None)
@given(
    message=st.one_of(
        st.text(max_size=200),
        st.integers(0, 2000).map(lambda depth: "[" * depth + "]" * depth),
        st.integers(0, 700).map(lambda depth: '{"a":' * depth + "1" + "}" * depth),
        st.sampled_from(
            ["1e999", '"\\ud800"', '{"\\u0000": "\\ud800\\u0000"}', "[1e400, -1e400]", "-0", "1E5"]
        ),
    )
)
def test_whatever_a_container_says_can_be_stored_read_and_shown(message: str) -> None:
    stored = encode({"step": read_output(message)})

    read = STORED.validate_json(stored)

    assert TaskStatus(output=read["step"]).to_json() is not None
    json.dumps(read, allow_nan=False).encode()
