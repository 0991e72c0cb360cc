"""What is removed of ended tasks, and when: ``ttlAfterFinished`` after their end.

A Task that Git or Helm owns would be made again when it is deleted, and its work would run again: of such a one only
the Jobs and pods are removed, and its condition ``Pruned`` says so.
"""

from datetime import UTC, datetime, timedelta

from parley.controller.context import TASK_KEY, Context
from parley.controller.finality import is_settled
from parley.controller.projection import TASK_UID_LABEL
from parley.controller.queue import Key
from parley.controller.resource import PRUNED, Resource, read_ttl, referred
from parley.kube.kinds import JOB, TASK
from parley.resources.conditions import Verdict, merge_conditions
from parley.resources.reasons import Reason
from parley.resources.task import TaskStatus
from parley.store.reading import registered_spec


def is_to_prune(task: Resource) -> bool:
    """Whether something of an ended task is to be removed, now or later, or may be: its template may say so."""
    has_ttl = task.ttl is not None or referred(task, "templateRef") is not None
    return has_ttl and is_settled(task) and not task.pruned and not task.deleting


class Pruner:
    """Removes what has had its time."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def prune(self, task: Resource) -> None:
        """Remove a task, or its Jobs, if its time has come; else look again when it does."""
        completed = task.completed
        ttl = task.ttl if task.ttl is not None else await self._ttl_of_template(task)
        if ttl is None or completed is None:
            return
        left = (completed + ttl - datetime.now(UTC)).total_seconds()
        if left > 0:
            self._context.queue.add_after(Key(TASK_KEY, task.namespace, task.name), left)
        elif task.mark is None:
            # Its Jobs and pods go with it: they are its own. An edit since, such as a longer life, is a Conflict.
            await self._context.kube.delete(
                TASK, task.namespace, task.name, uid=task.uid, resource_version=task.resource_version
            )
        else:
            await self._remove_jobs(task)
            await self._say_pruned(task, task.mark)

    async def _ttl_of_template(self, task: Resource) -> timedelta | None:
        """Return what the task's template said of it when it was registered."""
        if referred(task, "templateRef") is None:
            return None
        async with self._context.store() as connection:
            spec = await registered_spec(connection, task.uid)
        return read_ttl(spec or {})

    async def _remove_jobs(self, task: Resource) -> None:
        kube = self._context.kube
        jobs = await kube.list(JOB, namespace=task.namespace, labels={TASK_UID_LABEL: task.uid})
        for body in jobs.items:
            job = Resource.from_object(body)
            if job.owner is not None and job.owner.uid == task.uid:
                await kube.delete(JOB, job.namespace, job.name, uid=job.uid)

    async def _say_pruned(self, task: Resource, mark: str) -> None:
        # The projection keeps of an ended task no more than its phase.
        body = await self._context.kube.get(TASK, task.namespace, task.name)
        if body is None or (seen := Resource.from_object(body)).uid != task.uid:
            return
        status = TaskStatus.model_validate(seen.status)
        message = f"the Jobs are removed; the Task stays, for {mark} says that something else owns it"
        said = merge_conditions(
            status.conditions,
            [Verdict(PRUNED, "True", Reason.PRUNED, message)],
            generation=seen.generation,
            now=datetime.now(UTC),
        )
        others = [condition for condition in status.conditions if condition.type != PRUNED]
        pruned = status.model_copy(update={"conditions": others + said})
        written = await self._context.kube.apply_status(
            TASK, task.namespace, task.name, pruned.to_json(), resource_version=seen.resource_version
        )
        self._context.echoes.wrote(TASK, written)
        self._context.projection.tasks.see(Resource.from_object(written))
