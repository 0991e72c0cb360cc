"""Bodies of JSON: how much structure is looked at."""

import json

import pytest
from parley.gateway.access.bodies import MAX_PARTS, check_json
from parley.gateway.access.refusal import Refusal


@pytest.mark.parametrize(
    "raw",
    [
        b"[" + b"{}," * MAX_PARTS + b"{}]",
        b'{"a": "' + b"\\" * 8 + b'", "b": [' + b"1," * MAX_PARTS + b"1]}",
        b'"' + b'\\"' * 1000 + b'"' + b"," * (MAX_PARTS + 1),
    ],
)
def test_many_small_parts_are_refused_before_they_are_built(raw: bytes) -> None:
    with pytest.raises(Refusal) as refused:
        check_json(raw)
    assert (refused.value.problem.status, refused.value.problem.reason) == (400, "InvalidJSON")
    assert "50,000" in (refused.value.problem.detail or "")


def test_a_text_may_hold_what_it_likes() -> None:
    check_json(json.dumps({"content": 'a "table", [1]: {\\},' * MAX_PARTS}).encode())
