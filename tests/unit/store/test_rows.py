"""JSON for Postgres: what cannot be stored is replaced, what is too large is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley.protocol.messages import MAX_OUTPUT_BYTES
from parley.store.errors import ResultTooLarge
from parley.store.rows import MAX_LEVELS, encode, encode_limited
from pydantic import JsonValue, TypeAdapter

scalars = (
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False)
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


@given(values)
def test_what_postgres_can_hold_comes_back_as_it_was(value: object) -> None:
    text = json.dumps(value)
    if "\\u0000" not in text:
        assert json.loads(encode(value)) == value  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("a\x00b", '"a\ufffdb"'),
        ("\ud83d", '"\ufffd"'),
        ("\ude00\ud83d", '"\ufffd\ufffd"'),
        ("\U0001f600", '"\U0001f600"'),
        ({"k\x00": [float("inf"), float("-inf"), float("nan"), 1.0]}, '{"k\ufffd":[null,null,null,1.0]}'),
        ({"b": 1, "a": 2}, '{"b":1,"a":2}'),
        ("ä", '"ä"'),
    ],
)
def test_what_it_cannot_hold_is_replaced(value: object, stored: str) -> None:
    assert encode(value) == stored  # type: ignore[arg-type]


def test_the_limit_counts_bytes() -> None:
    fits = "ä" * ((MAX_OUTPUT_BYTES - 2) // 2)
    assert len(encode_limited(fits, "The output").encode()) == MAX_OUTPUT_BYTES
    with pytest.raises(
        ResultTooLarge, match=r"^The output is 1,048,577 bytes as JSON; at most 1,048,576 are stored\.$"
    ):
        encode_limited(fits + "x", "The output")


def nested(levels: int) -> JsonValue:
    value: JsonValue = 1
    for _ in range(levels):
        value = [value]
    return value


def test_what_could_not_be_read_again_is_refused() -> None:
    """A model's answer may be any JSON; stored and never readable, its task would never end."""
    rows = TypeAdapter[dict[str, dict[str, JsonValue]]](dict[str, dict[str, JsonValue]])
    deepest = nested(MAX_LEVELS)

    stored = encode_limited(deepest, "The output")

    assert rows.validate_json(f'{{"outputs":{{"step":{stored}}}}}') == {"outputs": {"step": deepest}}
    with pytest.raises(ResultTooLarge, match=r"^The output is nested deeper than 128 levels\.$"):
        encode_limited(nested(MAX_LEVELS + 1), "The output")
