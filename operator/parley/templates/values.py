"""JSON values in and out of templates."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from parley.templates.errors import NotJsonError

if TYPE_CHECKING:
    # At run time pydantic would cost the evaluator's child 30 MiB.
    from pydantic import JsonValue

MAX_RESULT_BYTES = 1024 * 1024
"""Largest result of one template, as JSON or as text."""
MAX_VALUES = 200_000
"""Most values in one result; a list of a million ones would fit the bytes, and not the memory."""
MAX_DEPTH = 200

MAX_INTEGER_BITS = 4096
"""Python refuses to write integers of more than 4300 decimal digits."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How large the result of one template may be; in a pod of its own it may be larger than in the operator."""

    result_bytes: int = MAX_RESULT_BYTES
    values: int = MAX_VALUES

    @property
    def too_large(self) -> str:
        """What is wrong with a larger one."""
        return f"the result is larger than {self.result_bytes // 1024**2} MiB"


LIMITS = Limits()


def compact_json(value: JsonValue) -> str:
    """JSON without spaces, other letters than ASCII as they are."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def as_text(value: object) -> str:
    """How a value looks inside a text: a string as it is, all else as compact JSON.

    Raises:
        NotJsonError: the value is neither.
    """
    if isinstance(value, str):
        return str(value)
    return compact_json(as_json(value))


def as_json(value: object, max_values: int = MAX_VALUES) -> JsonValue:
    """A copy of what an expression yields, as JSON: iterators and tuples become lists.

    Raises:
        NotJsonError: something in it is no JSON, or it is too much.
    """
    return _Copier(max_values).copy(value, 0)


class _Copier:
    def __init__(self, max_values: int) -> None:
        self._max = self._left = max_values

    def copy(self, value: object, depth: int) -> JsonValue:
        self._left -= 1
        if self._left < 0:
            raise NotJsonError(f"the result has more than {self._max} values")
        if depth > MAX_DEPTH:
            raise NotJsonError(f"the result is nested deeper than {MAX_DEPTH} levels")
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return str(value)
        if isinstance(value, int):
            return _integer(value)
        if isinstance(value, float):
            return _float(value)
        if isinstance(value, Mapping):
            items = cast("Mapping[object, object]", value).items()
            return {_key(key): self.copy(child, depth + 1) for key, child in items}
        if isinstance(value, Iterable) and not isinstance(value, (bytes, bytearray)):
            return [self.copy(child, depth + 1) for child in cast("Iterable[object]", value)]
        raise NotJsonError(f"the expression yields {_describe(value)}, which JSON cannot say")


def _integer(value: int) -> int:
    if value.bit_length() > MAX_INTEGER_BITS:
        raise NotJsonError("the expression yields a number of more than 1200 digits")
    return value


def _float(value: float) -> float:
    if not math.isfinite(value):
        raise NotJsonError(f"the expression yields {value}, which JSON cannot say")
    return value


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise NotJsonError(f"the expression yields a mapping with the key {key!r}; keys must be strings")
    return str(key)


def _describe(value: object) -> str:
    if callable(value):
        return "a function; it may miss its parentheses"
    return f"a {type(value).__name__}"
