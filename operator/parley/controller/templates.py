"""What a Task with a ``templateRef`` runs: its template's task, as it was when the Task was registered."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

from pydantic import JsonValue

from parley.controller.context import Context
from parley.controller.resource import Resource, referred
from parley.engine.state import Hold
from parley.kube.kinds import TASK
from parley.resources.reasons import Reason
from parley.resources.task import TaskSpec
from parley.resources.task_template import TaskTemplateSpec, resolve_template
from parley.resources.validation import read_spec
from parley.store.reading import registered_spec

_REMEMBERED = 2_000
# What may be changed of a Task at any time, and what a snapshot has no more.
_OWN = ("desiredState", "ttlAfterFinished")


@dataclass(frozen=True, slots=True)
class Resolved:
    """A Task as it is run.

    Attributes:
        spec: without a templateRef; what is registered.
        problems: what is wrong with the Task itself: its inputs.
    """

    spec: Mapping[str, JsonValue]
    problems: tuple[str, ...] = ()


class TemplateResolver:
    """Lays tasks over their templates, until they are registered; from then on the snapshot counts."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._snapshots: OrderedDict[str, Mapping[str, JsonValue]] = OrderedDict()

    async def resolve(self, task: Resource) -> Resolved | Hold:
        """Return what a task runs, or what it waits for: its template, or a sound one.

        Raises:
            StoreUnavailable: it is not known whether the task is registered.
        """
        snapshot = self._snapshots.get(task.uid)
        if snapshot is None:
            async with self._context.store() as connection:
                snapshot = await registered_spec(connection, task.uid)
        # One that was registered as it is was never fit to run: it is about to be refused, or was cancelled.
        if snapshot is not None and "templateRef" not in snapshot:
            self._remember(task.uid, snapshot)
            own = {key: value for key in _OWN if (value := task.spec.get(key)) is not None}
            return Resolved({**snapshot, **own})
        # What was read of this generation was read with another version of the template.
        self._context.specs.forget(task)
        return await self._with_template(task)

    def forget(self, task: Resource) -> None:
        """Drop what is remembered of a task that has ended."""
        self._snapshots.pop(task.uid, None)

    def _remember(self, uid: str, snapshot: Mapping[str, JsonValue]) -> None:
        self._snapshots[uid] = snapshot
        if len(self._snapshots) > _REMEMBERED:
            self._snapshots.popitem(last=False)

    async def _with_template(self, task: Resource) -> Resolved | Hold:
        name = referred(task, "templateRef") or ""
        template = self._context.projection.templates.get(task.namespace, name)
        if template is None:
            return Hold(Reason.TEMPLATE_NOT_FOUND, f"TaskTemplate {name} does not exist in this namespace")
        reading = await self._context.specs.read(TaskTemplateSpec, template)
        if reading.spec is None or reading.problems:
            return Hold(Reason.INVALID_SPEC, f"TaskTemplate {name}: {'; '.join(reading.problems)}")
        own = read_spec(TaskSpec, task.spec)
        if isinstance(own, list):
            return Resolved(task.spec, tuple(str(problem) for problem in own))
        resolved = resolve_template(own, reading.spec)
        if reading.spec.input_schema is not None:
            inputs = cast("JsonValue", resolved.inputs)
            problem = await self._context.evaluator.check(reading.spec.input_schema, inputs, "spec.inputs")
            if problem is not None:
                return Resolved(task.spec, (problem,))
        inherits = resolved.session_ref is None and resolved.agent_ref is None
        return Resolved({**resolved.to_json(), **(await self._inherited(task) if inherits else {})})

    async def _inherited(self, task: Resource) -> dict[str, JsonValue]:
        """Return the session or agent of the Task whose child this is, if it is one."""
        if task.owner is None or task.owner.kind != TASK.kind:
            return {}
        async with self._context.store() as connection:
            parent = await registered_spec(connection, task.owner.uid) or {}
        return {each: parent[each] for each in ("sessionRef", "agentRef", "user") if parent.get(each)}


def as_resolved(task: Resource, spec: Mapping[str, JsonValue]) -> Resource:
    """Return the task as if it had been written out without its template."""
    return replace(task, spec=spec)
