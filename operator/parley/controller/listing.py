"""Complete lists: before anything is decided, and every ten minutes as the net under the watches.

Only a complete list can tell that an object is gone which went while nobody watched; only after one may tickets be
given, for an older task might be missing.
"""

from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from typing import cast

from parley.controller.context import AGENT_KEY, GONE_SESSION_KEY, GONE_TASK_KEY, WARM_KEY, Context
from parley.controller.finality import is_final
from parley.controller.job_builder import MANAGED_BY_LABEL
from parley.controller.resource import Resource
from parley.controller.sights import Sights
from parley.kube.client import FIELD_MANAGER, JsonObject
from parley.kube.kinds import AGENT, DEPLOYMENT, JOB, POD, REPLY, SCHEDULE, SESSION, TASK, TASK_TEMPLATE, Kind
from parley.store.tasks import list_open


async def take_in_everything(context: Context, sights: Sights) -> None:
    """List all kinds, then close what the store holds open though its object is gone.

    Raises:
        KubeError: a list could not be completed; what was seen until then stands.
        StoreUnavailable: the rows could not be read.
    """
    async with context.store() as connection:
        # Rows first: a row of an object that is made between the two reads is then not taken for gone.
        rows = await list_open(connection, context.cluster)
    # Ended tasks before workloads, so that the Jobs and pods of most are never kept; open ones after them, so that a
    # task's first plan knows its pods.
    open_tasks, gone_tasks = await _read_tasks(context, sights)
    for kind in (POD, JOB, DEPLOYMENT):
        known = {uid for _, _, uid in (*_workloads(context, kind), *_warm(context, kind))}
        gone = await _list(context, kind, known, lambda body, kind=kind: sights.see(kind, body, False))
        _drop_workloads(context, kind, gone)
    for kind in (AGENT, SESSION, TASK_TEMPLATE, SCHEDULE, REPLY):
        known = {resource.uid for resource in sights.cache(kind)}
        gone = await _list(
            context,
            kind,
            known,
            lambda body, kind=kind: sights.see_resource(kind, Resource.from_object(body)),
        )
        await _drop_gone(context, sights, kind, gone)
    for task in open_tasks:
        sights.see_resource(TASK, task)
    await _drop_gone(context, sights, TASK, gone_tasks)
    for task in context.projection.tasks:
        if is_final(task):
            # A watch may have brought its pods before it was known to have ended.
            context.projection.workloads.forget_task(task.workload_key)
    living = {resource.uid for kind in (SESSION, TASK) for resource in sights.cache(kind)}
    for row in rows:
        if row.uid not in living and context.settings.watches(row.namespace):
            gone = GONE_TASK_KEY if row.kind == "Task" else GONE_SESSION_KEY
            context.wake(gone, row.namespace, row.uid)


async def _read_tasks(context: Context, sights: Sights) -> tuple[list[Resource], set[str]]:
    """Take in the ended tasks; return the open ones, and the uids of those that seem gone."""
    open_tasks: dict[str, Resource] = {}

    def take(body: JsonObject) -> None:
        task = Resource.from_object(body)
        if is_final(task):
            sights.see_resource(TASK, task)
        else:
            open_tasks[task.uid] = task

    gone = await _list(context, TASK, {task.uid for task in sights.cache(TASK)}, take)
    return [task for uid, task in open_tasks.items() if uid not in gone], gone


async def _list(
    context: Context, kind: Kind, known: AbstractSet[str], take: Callable[[JsonObject], None]
) -> set[str]:
    """Hand over every object of a kind; return the uids, of those known before, that the complete list lacks.

    Pages are read one by one: all pods of 10,000 tasks do not fit in memory.
    """
    known, listed = set(known), set[str]()
    for namespace in context.settings.watch_namespaces or (None,):
        here: set[str] = set()
        labels = {MANAGED_BY_LABEL: FIELD_MANAGER} if kind in {JOB, POD, DEPLOYMENT} else None
        async for page in context.kube.pages(kind, namespace=namespace, labels=labels):
            if page.first:
                # What a list said that then expired was handed over, and may be gone in this one.
                known |= here
                here = set()
            for body in page.items:
                here.add(_uid(body))
                take(body)
        listed |= here
    return known - listed


async def _drop_gone(context: Context, sights: Sights, kind: Kind, uids: AbstractSet[str]) -> None:
    """Drop objects that a complete list lacks, unless the list was the older: each is asked for by name."""
    for resource in sights.cache(kind):
        if resource.uid in uids:
            current = await context.kube.get(kind, resource.namespace, resource.name)
            if current is None or Resource.from_object(current).uid != resource.uid:
                sights.drop(kind, resource)


def _drop_workloads(context: Context, kind: Kind, uids: AbstractSet[str]) -> None:
    """Drop Jobs, pods or Deployments that a complete list lacks: their deletion was missed."""
    workloads = context.projection.workloads
    for task_uid, job, uid in [*_workloads(context, kind)]:
        if uid not in uids:
            continue
        if kind is JOB:
            workloads.drop_job(task_uid, job)
        else:
            workloads.drop_pod(task_uid, job, uid)
    runners = context.projection.runners
    for namespace, agent_uid, uid in [*_warm(context, kind)]:
        if uid not in uids:
            continue
        if kind is DEPLOYMENT:
            if runners.drop_deployment(namespace, agent_uid, uid):
                _wake_agent(context, agent_uid)
        else:
            runners.drop_pod(namespace, agent_uid, uid)


def _wake_agent(context: Context, uid: str) -> None:
    """Let an agent have its runners again, if it needs any, and show how they stand."""
    agent = context.projection.agents.by_uid(uid)
    if agent is not None:
        context.wake(WARM_KEY, agent.namespace, agent.name)
        context.wake(AGENT_KEY, agent.namespace, agent.name)


def _workloads(context: Context, kind: Kind) -> Iterator[tuple[str, str, str]]:
    """Each known Job or pod of a task: the task's uid, the Job's name, its own uid."""
    if kind is DEPLOYMENT:
        return
    for task_uid, workload in context.projection.workloads.all().items():
        for job, view in (workload.jobs if kind is JOB else workload.pods).items():
            yield task_uid, job, view.uid


def _warm(context: Context, kind: Kind) -> Iterator[tuple[str, str, str]]:
    """Each known Deployment or pod of warm runners: the namespace, the agent's uid, its own uid."""
    runners = context.projection.runners
    if kind is not JOB:
        yield from runners.all_deployments() if kind is DEPLOYMENT else runners.all_pods()


def _uid(body: JsonObject) -> str:
    return str(cast("JsonObject", body["metadata"])["uid"])
