"""Holding a value against a JSON Schema that somebody else has written: an Agent's author, or an MCP server."""

import asyncio
import importlib
from collections.abc import Mapping

from pydantic import JsonValue

from parley.runner.daemon_thread import in_daemon_thread
from parley.templates.evaluator import Evaluator, EvaluatorUnavailableError

CHECK_SECONDS = 60.0
"""By the clock, on a node that may be overloaded: 10 s were not enough there for what takes milliseconds elsewhere."""
_REGULAR_EXPRESSIONS = frozenset({"pattern", "patternProperties"})


class SchemaChecks:
    """Checks values. Close it at the end.

    A regular expression that takes for ever would stop all threads of this process, so a schema that has one is used
    in the evaluator's child, which is started for the first of them; all others in a thread.
    """

    def __init__(self) -> None:
        self._evaluator: Evaluator | None = None

    async def problem(self, schema: Mapping[str, JsonValue], value: JsonValue, path: str) -> str | None:
        """Say what is wrong with a value, beginning with its path; None where it fits.

        Raises:
            UnusableSchema: it cannot be told: no value can be held against this schema.
        """
        if _has_regular_expression(schema):
            return await self._in_child(schema, value, path)
        # What it costs to import says nothing about the schema.
        await in_daemon_thread(_load)
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                return await in_daemon_thread(lambda: _problem(schema, value, path))
        except TimeoutError:
            return f"{path}: checking it against its schema took longer than {CHECK_SECONDS:.0f} s"

    async def close(self) -> None:
        """End the child."""
        if self._evaluator is not None:
            evaluator, self._evaluator = self._evaluator, None
            await evaluator.__aexit__(None, None, None)

    async def _in_child(self, schema: Mapping[str, JsonValue], value: JsonValue, path: str) -> str | None:
        if self._evaluator is None:
            self._evaluator = Evaluator()
        try:
            return await self._evaluator.check(schema, value, path)
        except EvaluatorUnavailableError as error:
            raise UnusableSchema(str(error)) from error


class UnusableSchema(Exception):
    """A schema against which no value can be held; the text says why."""


def _load() -> None:
    # Takes a fifth as long to import as all the rest of a runner, and many agents have no tools.
    importlib.import_module("parley.resources.schema_check")


def _problem(schema: Mapping[str, JsonValue], value: JsonValue, path: str) -> str | None:
    from parley.resources.schema_check import value_problem  # noqa: PLC0415

    try:
        problem = value_problem(dict(schema), value, path)
    except Exception as error:  # the library raises what it likes on a schema of a wrong shape
        raise UnusableSchema(f"{type(error).__name__}: {error}") from error
    return None if problem is None else str(problem)


def _has_regular_expression(schema: Mapping[str, JsonValue]) -> bool:
    pending: list[JsonValue] = [dict(schema)]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            if not _REGULAR_EXPRESSIONS.isdisjoint(node):
                return True
            pending += node.values()
        elif isinstance(node, list):
            pending += node
    return False
