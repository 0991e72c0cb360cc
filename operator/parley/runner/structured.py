"""Structured output: the schema a model is shown, the check of its answer, the complaint if it is wrong."""

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, cast

import jsonschema
from jsonschema.exceptions import SchemaError, ValidationError, relevance
from jsonschema.validators import validator_for
from pydantic import JsonValue
from referencing.exceptions import Unresolvable
from referencing.jsonschema import EMPTY_REGISTRY

from parley.resources.common import shorten
from parley.resources.reasons import Reason
from parley.runner.chat import ChatMessage, JsonSchema, Said
from parley.runner.failure import StepFailure
from parley.runner.text import storable

MAX_CORRECTIONS = 2
"""How often a model may correct an answer that does not fit."""
_WRAPPER = "value"
_FENCE = re.compile(r"\A\s*```(?:json)?\s*\n(.*)\n\s*```\s*\Z", re.DOTALL)
_MAX_COMPLAINT_BYTES = 512
_MAX_SCHEMA_BYTES = 8192


class Mismatch(Exception):
    """The answer is no JSON, or JSON that does not fit; the text says what and where."""


class OutputSchema:
    """A step's ``outputSchema``.

    Args:
        schema: as it stands in the Task.
        path: of the field in the Task, for messages.

    Raises:
        StepFailure: InvalidSpec, definite, if it is no JSON Schema.
    """

    def __init__(self, schema: JsonSchema, path: str) -> None:
        self._schema = schema
        self._path = path
        validator = cast("Any", validator_for(schema, default=jsonschema.Draft202012Validator))
        try:
            validator.check_schema(schema)
        except SchemaError as error:
            self._invalid(f"{error.json_path}: {error.message}", error)
        # An explicit registry: the default one would fetch a $ref from the network.
        self._validator = validator(schema, registry=EMPTY_REGISTRY)
        self._wrapped = schema.get("type") != "object"

    def for_model(self) -> JsonSchema:
        """The schema to send. The API wants an object at the root, so any other value is wrapped in one."""
        if not self._wrapped:
            return self._schema
        inner = {key: value for key, value in self._schema.items() if key not in {"$defs", "definitions"}}
        outer: JsonSchema = {
            "type": "object",
            "properties": {_WRAPPER: inner},
            "required": [_WRAPPER],
            "additionalProperties": False,
        }
        # References such as #/$defs/x are resolved from the root, so definitions must stay there.
        outer.update({key: self._schema[key] for key in ("$defs", "definitions") if key in self._schema})
        return outer

    def read(self, text: str) -> JsonValue:
        """Read a model's answer.

        Raises:
            Mismatch: it does not fit; the model may be told.
            StepFailure: InvalidSpec, definite, if a ``$ref`` of the schema leads nowhere.
        """
        value = self._parse(text)
        try:
            errors = cast("list[ValidationError]", list(self._validator.iter_errors(value)))
        except Unresolvable as reference:
            self._invalid(f"$ref {reference.ref!r} leads nowhere", reference)
        except RecursionError:
            raise Mismatch("it is nested too deeply to be checked") from None
        if errors:
            error = max(errors, key=relevance)
            raise Mismatch(shorten(f"at {error.json_path}: {error.message}", _MAX_COMPLAINT_BYTES))
        return value

    async def obtain(
        self, answer: Callable[[], Awaitable[str]], messages: list[ChatMessage], model: Callable[[], str]
    ) -> JsonValue:
        """Get an answer that fits; one that does not goes back to the model with what is wrong, twice.

        Args:
            answer: asks the model with ``messages`` as they then are.
            messages: the conversation; wrong answers and complaints are appended.
            model: names the model that answered last, for the failure's message.

        Raises:
            StepFailure: SchemaMismatch if no answer fits.
        """
        for correction in range(MAX_CORRECTIONS + 1):
            text = await answer()
            try:
                return self.read(text)
            except Mismatch as mismatch:
                if correction == MAX_CORRECTIONS:
                    raise self.failure(mismatch, model()) from mismatch
                messages += [Said("assistant", text), Said("user", self.correction(mismatch))]
        raise AssertionError("the last correction returns or raises")

    def correction(self, mismatch: Mismatch) -> str:
        """What to tell a model whose answer does not fit."""
        schema = shorten(json.dumps(self.for_model(), ensure_ascii=False), _MAX_SCHEMA_BYTES)
        return (
            f"That answer does not fit the JSON Schema it must fit: {mismatch}.\n"
            f"Answer again, with the corrected JSON and nothing else. The schema:\n{schema}"
        )

    def failure(self, mismatch: Mismatch, model: str) -> StepFailure:
        """The outcome when the model did not mend its answer."""
        return StepFailure(
            Reason.SCHEMA_MISMATCH,
            f"model {model} gave {MAX_CORRECTIONS + 1} answers that do not fit {self._path}; the last one "
            f"{mismatch}",
        )

    def _parse(self, text: str) -> JsonValue:
        fenced = _FENCE.match(text)
        try:
            value = storable(json.loads(fenced[1] if fenced else text, parse_constant=_no_constant))
        except RecursionError:
            raise Mismatch("it is nested too deeply to be read") from None
        except ValueError as error:
            raise Mismatch(f"it is no JSON: {error}") from None
        if self._wrapped and isinstance(value, dict) and set(value) == {_WRAPPER}:
            return value[_WRAPPER]
        return value

    def _invalid(self, why: str, cause: Exception) -> NoReturn:
        raise StepFailure(
            Reason.INVALID_SPEC, f"{self._path} is no valid JSON Schema: {why}", definite=True
        ) from cause


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
