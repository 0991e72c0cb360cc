"""Rendering in a process that many sessions share."""

from collections.abc import Collection, Mapping

from pydantic import JsonValue

from parley.resources.reasons import Reason
from parley.runner.failure import StepFailure
from parley.templates.evaluator import Evaluator, EvaluatorUnavailableError
from parley.templates.fields import Field, TextField, ValueField
from parley.templates.render import render_text


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
            raise StepFailure(
                Reason.ERROR, f"{next(iter(fields))} cannot be rendered now: {error}"
            ) from error
