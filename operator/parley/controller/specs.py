"""Read and check specs: once per generation, and away from the event loop, for the largest take seconds."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from parley.controller.resource import Resource
from parley.resources.agent import AgentSpec
from parley.resources.reply import ReplySpec
from parley.resources.schedule import ScheduleSpec
from parley.resources.session import SessionSpec
from parley.resources.task import TaskSpec
from parley.resources.task_template import TaskTemplateSpec
from parley.resources.validation import read_spec, spec_problems
from parley.templates.check import template_problems

SpecT = TypeVar("SpecT", AgentSpec, SessionSpec, TaskSpec, TaskTemplateSpec, ScheduleSpec, ReplySpec)
_REMEMBERED = 2_000


@dataclass(frozen=True, slots=True)
class Reading(Generic[SpecT]):
    """A spec and what is wrong with it.

    Attributes:
        spec: None if it cannot even be read: it is nested without end, or of another version of the API.
        problems: sentences that begin with the path of a field; empty for a good one.
    """

    spec: SpecT | None
    problems: tuple[str, ...]


class SpecReader:
    """Reads specs, and remembers the newest readings."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, int], object] = OrderedDict()

    async def read(self, model: type[SpecT], resource: Resource) -> Reading[SpecT]:
        """Return an object's spec, checked."""
        key = resource.uid, resource.generation
        known = cast("Reading[SpecT] | None", self._known.get(key))
        if known is None:
            known = self._known[key] = await asyncio.to_thread(_check, model, resource)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return known

    def forget(self, resource: Resource) -> None:
        """Drop the reading of an object that has ended."""
        self._known.pop((resource.uid, resource.generation), None)


def _check(model: type[SpecT], resource: Resource) -> Reading[SpecT]:
    spec = read_spec(model, resource.spec)
    if isinstance(spec, list):
        return Reading(None, tuple(str(problem) for problem in spec))
    problems = [*spec_problems(spec), *template_problems(spec)]
    return Reading(spec, tuple(str(problem) for problem in problems))
