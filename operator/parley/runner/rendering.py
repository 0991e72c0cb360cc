"""Where a step's templates are rendered: in a thread of its pod, or in a child of a runner that many sessions share."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Protocol, TypeVar

from pydantic import JsonValue

from parley.resources.reasons import Reason
from parley.runner.daemon_thread import in_daemon_thread
from parley.runner.failure import StepFailure
from parley.templates.errors import TemplateError
from parley.templates.evaluator import Evaluator, EvaluatorUnavailableError
from parley.templates.fields import Field, TextField, ValueField
from parley.templates.render import render_text, render_value

RENDER_SECONDS = 10.0
_TOO_LONG = f"rendering the templates took longer than {RENDER_SECONDS:.0f} s"
Rendered = TypeVar("Rendered")


class Renderer(Protocol):
    """Renders templates."""

    async def texts(self, templates: Mapping[str, str], scope: Mapping[str, JsonValue]) -> dict[str, str]:
        """Render templates to texts, by the paths of their fields.

        Raises:
            TemplateError: one is wrong, or reached a limit.
            StepFailure: Error: they cannot be rendered now.
        """
        ...

    async def value(self, template: JsonValue, scope: Mapping[str, JsonValue], path: str) -> JsonValue:
        """Render the strings of a value.

        Raises:
            TemplateError: one is wrong, or reached a limit.
            StepFailure: Error: they cannot be rendered now.
        """
        ...


class InThread:
    """Renders in a thread: a template may loop, and the runner must still hear a SIGTERM. The pod's end ends it."""

    async def texts(self, templates: Mapping[str, str], scope: Mapping[str, JsonValue]) -> dict[str, str]:
        """See ``Renderer``."""

        def render() -> dict[str, str]:
            return {path: render_text(template, scope, path) for path, template in templates.items()}

        return await _within(render, next(iter(templates), ""))

    async def value(self, template: JsonValue, scope: Mapping[str, JsonValue], path: str) -> JsonValue:
        """See ``Renderer``."""
        return await _within(lambda: render_value(template, scope, path), path)


class InChild:
    """Renders in the evaluator's child: a template may neither stop nor fill a process that other sessions share.

    Args:
        evaluator: renders what people have written.
        known: templates of our own, which are rendered here, at once.
    """

    def __init__(self, evaluator: Evaluator, known: Collection[str] = ()) -> None:
        self._evaluator = evaluator
        self._known = frozenset(known)

    async def texts(self, templates: Mapping[str, str], scope: Mapping[str, JsonValue]) -> dict[str, str]:
        """See ``Renderer``."""
        strange: dict[str, Field] = {
            path: TextField(template)
            for path, template in templates.items()
            if "{" in template and template not in self._known
        }
        rendered = await self._render(strange, scope)
        return {
            path: str(rendered[path]) if path in strange else render_text(template, scope, path)
            for path, template in templates.items()
        }

    async def value(self, template: JsonValue, scope: Mapping[str, JsonValue], path: str) -> JsonValue:
        """See ``Renderer``."""
        return (await self._render({path: ValueField(template)}, scope))[path]

    async def _render(
        self, fields: Mapping[str, Field], scope: Mapping[str, JsonValue]
    ) -> dict[str, JsonValue]:
        try:
            return await self._evaluator.render(fields, scope)
        except EvaluatorUnavailableError as error:
            raise StepFailure(Reason.ERROR, f"{next(iter(fields))} cannot be rendered now: {error}") from error


async def _within(render: Callable[[], Rendered], path: str) -> Rendered:
    try:
        # Not wait_for: until Python 3.12 that loses a cancellation which comes just as the work is done.
        async with asyncio.timeout(RENDER_SECONDS):
            return await in_daemon_thread(render)
    except TimeoutError:
        raise TemplateError(path, _TOO_LONG) from None
