"""Check an outputSchema: is it JSON Schema (2020-12), and does it say what its author meant?"""

import json
from collections.abc import Iterator, Mapping
from typing import TypeAlias, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import (
    ValidationError,
    best_match,  # pyright: ignore[reportUnknownVariableType] - its key function is untyped
)
from pydantic import JsonValue

from parley.resources.common import shorten
from parley.resources.problems import QUOTE, Problem, free_value_problems, join_path

MAX_SCHEMA_BYTES = 32_768
"""Largest outputSchema, as compact JSON: models take no larger ones, and checking takes 2 ms a kilobyte."""

Schema: TypeAlias = dict[str, JsonValue]
Parts: TypeAlias = tuple[str | int, ...]

_OF_SCHEMAS = ("properties", "patternProperties", "$defs", "dependentSchemas")
_LISTS_OF_SCHEMAS = ("allOf", "anyOf", "oneOf", "prefixItems")
_SCHEMAS = (
    *("items", "contains", "additionalProperties", "propertyNames", "unevaluatedItems"),
    *("unevaluatedProperties", "not", "if", "then", "else", "contentSchema"),
)
_TYPES = "array, boolean, integer, null, number, object or string"


def schema_problems(schema: Schema, path: str) -> list[Problem]:
    """What is wrong in a JSON Schema; empty for a good one."""
    # Depth first: all that follows recurses, json.dumps too.
    if problems := list(free_value_problems(schema, path)):
        return problems
    if (size := len(json.dumps(schema, separators=(",", ":")).encode(errors="replace"))) > MAX_SCHEMA_BYTES:
        return [Problem(path, f"is {size} bytes large; at most {MAX_SCHEMA_BYTES} are allowed")]
    if problems := list(_unquoted_words(schema, path)):
        return problems
    metaschema = Draft202012Validator(
        cast("Mapping[str, JsonValue]", Draft202012Validator.META_SCHEMA),
        format_checker=Draft202012Validator.FORMAT_CHECKER,
    )
    errors = metaschema.iter_errors(schema)  # pyright: ignore[reportUnknownMemberType]
    error = cast("ValidationError | None", best_match(errors))
    if error is not None:
        return [_schema_problem(error, path)]
    return list(_reference_problems(schema, path))


def _schema_problem(error: ValidationError, path: str) -> Problem:
    parts = tuple(cast("Iterator[str | int]", error.absolute_path))
    if "type" in parts[-2:] and error.validator in {"anyOf", "enum", "type"}:
        message = f"{json.dumps(error.instance)[:64]} is no type of JSON: use {_TYPES}"
    else:
        message = shorten(error.message, 200)
    return Problem(join_path(path, parts), f"{message} (JSON Schema 2020-12)")


def _unquoted_words(schema: Schema, path: str) -> Iterator[Problem]:
    """Booleans where JSON Schema has strings: YAML made them of yes and no."""
    for parts, node in _subschemas(schema):
        required = node.get("required")
        for index, name in enumerate(required if isinstance(required, list) else ()):
            if not isinstance(name, str):
                yield Problem(
                    join_path(path, (*parts, "required", index)), f"{json.dumps(name)} is no string; {QUOTE}"
                )
        choices = node.get("enum")
        if node.get("type") == "string" and isinstance(choices, list):
            for index, choice in enumerate(choices):
                if isinstance(choice, bool):
                    yield Problem(
                        join_path(path, (*parts, "enum", index)),
                        f"{json.dumps(choice)} is no string, as the type demands; {QUOTE}",
                    )


def _reference_problems(schema: Schema, path: str) -> Iterator[Problem]:
    for parts, node in _subschemas(schema):
        reference = node.get("$ref")
        if not isinstance(reference, str):
            continue
        where = join_path(path, (*parts, "$ref"))
        if not reference.startswith("#"):
            yield Problem(
                where, f"{reference!r} is in another document; put it under $defs and refer to it there"
            )
        elif reference.startswith("#/") and not _resolves(schema, reference):
            yield Problem(where, f"{reference!r} does not exist in this schema")


def _resolves(schema: Schema, reference: str) -> bool:
    node: JsonValue = schema
    for part in reference.removeprefix("#/").split("/"):
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(node, dict) and key in node:
            node = node[key]
        elif isinstance(node, list) and key.isdecimal() and int(key) < len(node):
            node = node[int(key)]
        else:
            return False
    return True


def _subschemas(schema: Schema) -> Iterator[tuple[Parts, Schema]]:
    """Every schema in a schema, itself first, with its path; what has the wrong shape is left out."""
    pending: list[tuple[Parts, JsonValue]] = [((), schema)]
    while pending:
        parts, node = pending.pop()
        if not isinstance(node, dict):
            continue
        yield parts, node
        for key in _OF_SCHEMAS:
            if isinstance(named := node.get(key), dict):
                pending += [((*parts, key, name), child) for name, child in named.items()]
        for key in _LISTS_OF_SCHEMAS:
            if isinstance(listed := node.get(key), list):
                pending += [((*parts, key, index), child) for index, child in enumerate(listed)]
        pending += [((*parts, key), node[key]) for key in _SCHEMAS if key in node]
