"""Values as bad as a container or a model can make them, as the store gives them back: no NUL, no lone surrogate."""

import json

from hypothesis import strategies as st
from pydantic import JsonValue

_WORST = [
    "\x01",
    "\x1b",
    '"',
    "\\",
    "<",
    ">",
    "&",
    "\u2028",
    "\u2029",
    "\x7f",
    "é",
    "€",
    "😀",
    "\u202e",
    "\ufffd",
    "\n",
    "…",
]
_ALPHABETS = [
    st.characters(exclude_categories=["Cs"], exclude_characters="\x00"),
    st.sampled_from(_WORST),
    st.characters(max_codepoint=0x1F, exclude_characters="\x00"),
]


def texts() -> st.SearchStrategy[str]:
    """Short texts of any letters, and long ones of few: what counts is what letters cost, not which they are."""
    short = st.one_of([st.text(alphabet, max_size=40) for alphabet in _ALPHABETS])
    return short | st.builds(lambda text, times: text * times, short, st.sampled_from([1, 7, 100, 1500]))


def json_values() -> st.SearchStrategy[JsonValue]:
    """JSON of any shape, small and large."""
    leaves = (
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts()
    )
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts(), inner, max_size=4),
        max_leaves=8,
    )


def stored_size(value: JsonValue) -> int:
    """Bytes of a value as Go's ``encoding/json`` writes it, which is what the API server stores and sends.

    It escapes ``<``, ``>``, ``&`` and two separators as ``\\uXXXX`` beside what JSON needs.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return sum(6 if char in "<>&\u2028\u2029" else len(char.encode()) for char in text)
