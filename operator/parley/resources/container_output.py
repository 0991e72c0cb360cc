"""What a container's text says: JSON where it is JSON, else the text."""

import json
from typing import NoReturn

from pydantic import JsonValue

from parley.resources.common import is_deeper_than
from parley.resources.problems import MAX_DEPTH


def read_output(text: str) -> JsonValue:
    """Read what a container wrote as its output; nothing but white space is null."""
    if not text.strip():
        return None
    try:
        value: JsonValue = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return text
    # Stored, it could not be read again: the task would never end.
    return text if is_deeper_than(value, MAX_DEPTH) else value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
