"""Where a step's templates are rendered: in a thread of its pod; ``guarded`` is for pods that many sessions share."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from pydantic import JsonValue

from parley.runner.daemon_thread import in_daemon_thread
from parley.templates.errors import TemplateError
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


async def _within(render: Callable[[], Rendered], path: str) -> Rendered:
    try:
        # Not wait_for: until Python 3.12 that loses a cancellation which comes just as the work is done.
        async with asyncio.timeout(RENDER_SECONDS):
            return await in_daemon_thread(render)
    except TimeoutError:
        raise TemplateError(path, _TOO_LONG) from None
