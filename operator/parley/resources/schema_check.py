"""Whether a value fits a JSON Schema that passed ``output_schema.schema_problems``: pure, and at the schema's mercy.

A pattern in a schema can take for ever. So the operator never calls this itself: the evaluator's child does.
"""

from collections.abc import Iterator
from typing import cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import (
    ValidationError,
    best_match,  # pyright: ignore[reportUnknownVariableType] - its key function is untyped
)
from pydantic import JsonValue
from referencing.exceptions import Unresolvable
from referencing.jsonschema import EMPTY_REGISTRY

from parley.resources.common import shorten
from parley.resources.output_schema import Schema
from parley.resources.problems import Problem, join_path

_MAX_COMPLAINT_BYTES = 300


def value_problem(schema: Schema, value: JsonValue, path: str) -> Problem | None:
    """Return the worst that is wrong with a value, None where it fits. ``path`` is the value's own."""
    # An explicit registry: the default one would fetch a $ref from the network.
    validator = Draft202012Validator(schema, registry=EMPTY_REGISTRY)
    try:
        errors = validator.iter_errors(value)  # pyright: ignore[reportUnknownMemberType]
        error = cast("ValidationError | None", best_match(errors))
    except Unresolvable as reference:
        return Problem(path, f"cannot be checked: $ref {reference.ref!r} of its schema leads nowhere")
    except RecursionError:
        return Problem(path, "is nested too deeply to be checked")
    if error is None:
        return None
    parts = tuple(cast("Iterator[str | int]", error.absolute_path))
    return Problem(join_path(path, parts), shorten(error.message, _MAX_COMPLAINT_BYTES))
