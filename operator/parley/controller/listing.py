"""Complete lists: before anything is decided, and every ten minutes as the net under the watches.

Only a complete list can tell that an object is gone which went while nobody watched; only after one may tickets be
given, for an older task might be missing (design 3.2, 5.6).
"""

from collections.abc import Mapping
from typing import cast

from parley.controller.context import GONE_SESSION_KEY, GONE_TASK_KEY, Context
from parley.controller.job_builder import MANAGED_BY_LABEL
from parley.controller.projection import Resource, TaskWorkload
from parley.controller.sights import Sights
from parley.kube.client import FIELD_MANAGER, JsonObject
from parley.kube.kinds import AGENT, JOB, POD, SESSION, TASK, Kind
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
    # Workloads before tasks, so that a task's first plan knows its pods.
    for kind in (POD, JOB):
        known = context.projection.workloads.all()
        listed = await _list(context, kind)
        for body in listed:
            sights.see(kind, body, False)
        _drop_workloads(context, kind, known, {_uid(body) for body in listed})
    for kind in (AGENT, SESSION, TASK):
        known = {resource.uid: resource for resource in sights.cache(kind)}
        for body in await _list(context, kind):
            resource = Resource.from_object(body)
            known.pop(resource.uid, None)
            sights.see_resource(kind, resource)
        for resource in known.values():
            current = await context.kube.get(kind, resource.namespace, resource.name)
            if current is None or Resource.from_object(current).uid != resource.uid:
                sights.drop(kind, resource)
    living = {resource.uid for kind in (SESSION, TASK) for resource in sights.cache(kind)}
    for row in rows:
        if row.uid not in living and _watched(context, row.namespace):
            gone = GONE_TASK_KEY if row.kind == "Task" else GONE_SESSION_KEY
            context.wake(gone, row.namespace, row.uid)


def _drop_workloads(
    context: Context, kind: Kind, known: Mapping[str, TaskWorkload], listed: set[str]
) -> None:
    """Drop what was known before the list and is not in it: its deletion was missed."""
    workloads = context.projection.workloads
    for task_uid, workload in known.items():
        if kind is JOB:
            for job in workload.jobs.values():
                if job.uid not in listed:
                    workloads.drop_job(task_uid, job.name)
        else:
            for name, pod in workload.pods.items():
                if pod.uid not in listed:
                    workloads.drop_pod(task_uid, name, pod.uid)


def _uid(body: JsonObject) -> str:
    return str(cast("JsonObject", body["metadata"])["uid"])


def _watched(context: Context, namespace: str) -> bool:
    return not context.settings.watch_namespaces or namespace in context.settings.watch_namespaces


async def _list(context: Context, kind: Kind) -> list[JsonObject]:
    labels = {MANAGED_BY_LABEL: FIELD_MANAGER} if kind in {JOB, POD} else None
    namespaces = context.settings.watch_namespaces or (None,)
    found: list[JsonObject] = []
    for namespace in namespaces:
        found += (await context.kube.list(kind, namespace=namespace, labels=labels)).items
    return found
