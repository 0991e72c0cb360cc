"""The Tasks of Schedules: made once for each slot, cancelled when replaced, removed when there are too many."""

from dataclasses import dataclass
from typing import cast

from pydantic import JsonValue

from parley.controller.context import TASK_KEY, Context
from parley.controller.pod_view import is_controlled_by
from parley.controller.resource import Resource
from parley.controller.sights import Sights
from parley.engine.schedule import ScheduledTask, Slot
from parley.kube.client import JsonObject
from parley.kube.errors import AlreadyExists, Conflict, Forbidden, Invalid, NotFound
from parley.kube.kinds import SCHEDULE, TASK
from parley.resources.reasons import Reason
from parley.store.slots import confirm_slot, take_slot
from parley.store.tasks import end_task, load_task

SCHEDULE_LABEL = "parley.dev/schedule"
SCHEDULED_AT_ANNOTATION = "parley.dev/scheduled-at"


@dataclass(frozen=True, slots=True)
class Made:
    """What became of a slot.

    Attributes:
        new: its Task was made just now; False: it had been dealt with before.
        refused: why the API server takes no such Task.
        for_good: it will not until the Schedule's spec is changed.
    """

    new: bool = False
    refused: str | None = None
    for_good: bool = False


class ScheduledTasks:
    """All safe to repeat, also by the next leader."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def make(self, schedule: Resource, slot: Slot) -> Made:
        """Make the Task of a slot, unless that was done before, ever."""
        context, namespace, name = self._context, schedule.namespace, slot.task_name
        async with context.store() as connection:
            if not await take_slot(connection, context.fence, schedule.uid, slot.id, name):
                return Made()
        new = True
        try:
            created = await context.kube.create(TASK, namespace, _task(schedule, slot))
            context.echoes.wrote(TASK, created)
        except AlreadyExists:
            existing = await context.kube.get(TASK, namespace, name)
            if existing is not None and not is_controlled_by(existing, schedule.uid):
                return Made(refused=f"a Task named {name} exists that is not this Schedule's: delete it")
            new, created = False, existing
        except Invalid as error:
            return Made(refused=f"spec.taskTemplate: {error.message}", for_good=True)
        except Forbidden as error:
            return Made(refused=f"the Task of {slot.id} cannot be made: {error.message}")
        async with context.store() as connection:
            await confirm_slot(connection, context.fence, schedule.uid, slot.id)
        if created is not None:
            # As the watch does it, for which this is no news then.
            Sights(context).see_resource(TASK, Resource.from_object(created))
        return Made(new=new)

    async def cancel(self, schedule: Resource, task: ScheduledTask, slot: Slot) -> bool:
        """End a Task for the sake of a newer one; False while it is so new that it has no row yet.

        Its spec is its user's, and a deletion would hide what became of it: so it is ended as Cancelled in the store.
        Only one that has not begun, because its template is missing, is deleted.
        """
        context = self._context
        async with context.store() as connection:
            await end_task(
                connection,
                context.fence,
                task.uid,
                phase="Cancelled",
                reason=Reason.CANCELLED,
                message=f"replaced by Task {slot.task_name}: Schedule {schedule.name} has concurrencyPolicy Replace",
                close_attempts=Reason.CANCELLED,
            )
            record = await load_task(connection, task.uid)
        if record is None:
            seen = context.projection.tasks.by_uid(task.uid)
            # Shown and not in the store: it waits for its template. Nothing of it has begun, and there is no end to
            # write; left alone it would begin when the template comes.
            shown = seen is not None and seen.status.get("observedGeneration") == seen.generation
            return shown and await self.remove(schedule, task)
        context.wake(TASK_KEY, schedule.namespace, task.name)
        return True

    async def remove(self, schedule: Resource, task: ScheduledTask) -> bool:
        """Delete a Task as it was last seen; False for one that was changed since."""
        context = self._context
        seen = context.projection.tasks.by_uid(task.uid)
        if seen is None:
            return True
        try:
            await context.kube.delete(
                TASK, schedule.namespace, task.name, uid=task.uid, resource_version=seen.resource_version
            )
        except (Conflict, NotFound):
            # A newer sight of it comes with the watch, and wakes the schedule.
            return False
        return True


def _task(schedule: Resource, slot: Slot) -> JsonObject:
    template = cast("dict[str, JsonValue]", schedule.spec["taskTemplate"])
    metadata = cast("dict[str, dict[str, JsonValue]]", template.get("metadata") or {})
    annotations = dict(metadata.get("annotations") or {})
    if slot.at is not None:
        annotations[SCHEDULED_AT_ANNOTATION] = slot.id
    return {
        "metadata": {
            "name": slot.task_name,
            "namespace": schedule.namespace,
            "labels": {**(metadata.get("labels") or {}), SCHEDULE_LABEL: schedule.name},
            "annotations": annotations,
            "ownerReferences": [
                {
                    "apiVersion": SCHEDULE.api_version,
                    "kind": SCHEDULE.kind,
                    "name": schedule.name,
                    "uid": schedule.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": template["spec"],
    }
