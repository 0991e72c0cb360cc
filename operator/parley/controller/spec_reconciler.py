"""Agents and TaskTemplates: Ready as soon as their spec is sound. What they refer to may be made later.

Secrets are not read: a pod that lacks one says so.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Generic, TypeVar

from pydantic import JsonValue

from parley.controller.context import Context
from parley.controller.projection import ResourceCache
from parley.controller.queue import Key
from parley.controller.resource import Resource
from parley.kube.kinds import Kind
from parley.resources.agent import AgentSpec, AgentStatus
from parley.resources.conditions import invalid, is_ready, merge_conditions
from parley.resources.reasons import Reason
from parley.resources.task_template import TaskTemplateSpec, TaskTemplateStatus
from parley.store.errors import StoreUnavailable

COUNT_SECONDS = 10.0
"""Seconds between two writes that tell of nothing but counts, and between two looks at them while they may change."""

_TOLD_AT_ONCE = ("observedGeneration", "conditions", "warm")

SpecT = TypeVar("SpecT", AgentSpec, TaskTemplateSpec)
StatusT = TypeVar("StatusT", AgentStatus, TaskTemplateStatus)
Counts = Mapping[str, object]
Counter = Callable[[Resource], Awaitable[Counts]]
"""Returns fields of the status that are counted."""


class SpecReconciler(Generic[SpecT, StatusT]):
    """Reconciles objects of one kind by name.

    Args:
        context: the leadership's.
        kind: of the objects, and its key in the queue.
        cache: where they are.
        models: of their spec and status.
        ready: what is said of a sound one.
        counter: what is counted beside; its counts may be 10 s old.
    """

    def __init__(
        self,
        context: Context,
        kind: tuple[Kind, str],
        cache: ResourceCache,
        models: tuple[type[SpecT], type[StatusT]],
        ready: str,
        counter: Counter | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._context = context
        self._kind, self._key = kind
        self._cache = cache
        self._spec, self._status = models
        self._ready = ready
        self._counter = counter
        self._clock = clock
        self._written: dict[str, float] = {}

    async def reconcile(self, namespace: str, name: str) -> None:
        """Write the object's status if it is not what it should be."""
        found = self._cache.get(namespace, name)
        if found is None or found.deleting:
            return
        problems = (await self._context.specs.read(self._spec, found)).problems
        verdicts = invalid(Reason.INVALID_SPEC, "; ".join(problems)) if problems else is_ready(self._ready)
        previous = self._status.model_validate(found.status)
        conditions = merge_conditions(
            previous.conditions, verdicts, generation=found.generation, now=datetime.now(UTC)
        )
        judged = {"observed_generation": found.generation, "conditions": conditions}
        try:
            counts = await self._count(found)
        except StoreUnavailable:
            # Whether it can be used is known all the same; what was counted comes later.
            await self._write(found, previous.model_copy(update=judged).to_json())
            raise
        await self._write(found, self._status().model_copy(update=judged | dict(counts)).to_json())

    async def _count(self, found: Resource) -> Counts:
        return {} if self._counter is None else await self._counter(found)

    async def _write(self, found: Resource, status: dict[str, JsonValue]) -> None:
        if status == found.status:
            return
        rest = self._rest(found, status)
        if rest > 0:
            self._context.queue.add_after(Key(self._key, found.namespace, found.name), rest)
            return
        with self._context.echoes.writing(found.uid, status):
            written = await self._context.kube.apply_status(
                self._kind, found.namespace, found.name, status, resource_version=found.resource_version
            )
        self._note(found.uid)
        self._context.echoes.wrote(self._kind, written)
        self._cache.see(Resource.from_object(written))

    def _rest(self, found: Resource, status: Mapping[str, JsonValue]) -> float:
        """Return the seconds until a status should be written; 0: at once, for it tells of more than counts."""
        if any(status.get(field) != found.status.get(field) for field in _TOLD_AT_ONCE):
            return 0.0
        return self._written.get(found.uid, float("-inf")) + COUNT_SECONDS - self._clock()

    def _note(self, uid: str) -> None:
        now = self._clock()
        self._written = {each: at for each, at in self._written.items() if now < at + COUNT_SECONDS}
        if self._counter is not None:
            self._written[uid] = now
