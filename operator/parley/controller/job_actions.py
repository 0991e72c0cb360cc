"""The Jobs of attempts and rounds: made, stopped, and looked at past the watches."""

from collections.abc import Mapping
from datetime import timedelta

from pydantic import JsonValue

from parley.controller.context import Context
from parley.controller.job_builder import JobOwner, Round, build_job
from parley.controller.pod_view import is_controlled_by, key_of_pod, read_job, read_pod
from parley.controller.projection import TASK_UID_LABEL
from parley.controller.task_under_work import TaskUnderWork
from parley.controller.workloads import workload_of
from parley.engine.actions import LookAgain, StopJob
from parley.engine.state import Attempt
from parley.kube.client import JsonObject
from parley.kube.errors import AlreadyExists, Conflict, Forbidden, Invalid
from parley.kube.kinds import JOB, POD
from parley.resources.task import Step
from parley.store import attempts


class JobActions:
    """All safe to repeat: a Job's name says which attempt it is of."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def create(self, attempt: Attempt, limit: timedelta, task: TaskUnderWork) -> None:
        """Make the Job of an open attempt, which may take so long."""
        serves = attempt.runtime == "Task"
        if serves:
            limit = max(each.timeout_or_default() for each in task.steps if each.runs_in_runner)
        body = build_job(
            _owner(task),
            workload_of(
                await self._request(attempt, task),
                self._context.settings,
                self._context.store_id,
                serves=serves,
            ),
            name=attempt.job,
            step=attempt.step,
            number=attempt.number,
            timeout_seconds=int(limit.total_seconds()),
        )
        await self._make(attempt.job, body, task)

    async def create_round(
        self, job: str, round_: tuple[Attempt, ...], step: Step, task: TaskUnderWork
    ) -> None:
        """Make the Indexed Job of a round; ``round_`` has its attempts by index."""
        first = round_[0]
        body = build_job(
            _owner(task),
            workload_of(await self._request(first, task), self._context.settings, self._context.store_id),
            name=job,
            step=first.step,
            number=first.number,
            timeout_seconds=int(step.timeout_or_default().total_seconds()),
            round_=Round(
                items=1 + max(attempt.index for attempt in round_),
                parallelism=step.for_each.parallelism if step.for_each else 1,
            ),
        )
        await self._make(job, body, task)

    async def stop(self, action: StopJob, task: TaskUnderWork) -> None:
        """Suspend a Job: its pods end, and it stays as a tombstone of its name."""
        context, resource = self._context, task.resource
        body = await context.kube.get(JOB, resource.namespace, action.job)
        if body is None:
            context.projection.workloads.drop_job(resource.workload_key, action.job)
            return
        job = read_job(body)
        if not job.ended:
            spec = body.get("spec")
            body["spec"] = {**(spec if isinstance(spec, dict) else {}), "suspend": True}
            try:
                job = read_job(await context.kube.replace(JOB, resource.namespace, body))
            except Conflict:
                # The Job controller wrote it meanwhile; the next round reads it again.
                return
        context.projection.workloads.see_job(resource.workload_key, job)

    async def look_again(self, action: LookAgain, task: TaskUnderWork) -> None:
        """Read the task's pods and one of its Jobs from the API server."""
        kube, resource = self._context.kube, task.resource
        workloads = self._context.projection.workloads
        pods = await kube.list(POD, namespace=resource.namespace, labels={TASK_UID_LABEL: resource.uid})
        for body in pods.items:
            if (key := key_of_pod(body)) is not None:
                workloads.see_pod(resource.workload_key, key, read_pod(body))
        if (body := await kube.get(JOB, resource.namespace, action.job)) is not None:
            workloads.see_job(resource.workload_key, read_job(body))
        task.looked.add(action.job)

    async def _request(self, attempt: Attempt, task: TaskUnderWork) -> Mapping[str, JsonValue]:
        known = task.requests.get(attempt.id)
        if known is not None:
            return known
        async with self._context.store() as connection:
            return await attempts.load_request(connection, attempt.id)

    async def _make(self, name: str, body: JsonObject, task: TaskUnderWork) -> None:
        context, resource = self._context, task.resource
        try:
            created = await context.kube.create(JOB, resource.namespace, body)
            context.echoes.wrote(JOB, created)
        except AlreadyExists:
            existing = await context.kube.get(JOB, resource.namespace, name)
            if existing is None:
                return
            if not is_controlled_by(existing, resource.uid):
                task.refusals[name] = f"a Job named {name} exists that is not this task's: delete it"
                return
            created = existing
        except (Forbidden, Invalid) as error:
            task.refusals[name] = error.message
            return
        context.projection.workloads.see_job(resource.workload_key, read_job(created))


def _owner(task: TaskUnderWork) -> JobOwner:
    resource = task.resource
    return JobOwner(namespace=resource.namespace, name=resource.name, uid=resource.uid)
