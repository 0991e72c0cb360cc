"""What the operator last saw of the cluster: small copies of the objects it watches, by name and by owner.

Filled by watch events and complete lists in any order: of two sights of one object the higher resourceVersion wins,
and an object that was seen deleted never comes back (its uid is remembered).
"""

import sys
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple, cast

from pydantic import JsonValue

from parley.controller.finality import is_final
from parley.engine.pods import JobView, PodView
from parley.kube.client import JsonObject

TASK_LABEL = "parley.dev/task"
TASK_UID_LABEL = "parley.dev/task-uid"
_REMEMBERED_DELETIONS = 20_000


def workload_key(namespace: str, task_uid: str) -> str:
    """What the Jobs and pods of a task are kept by.

    With the namespace: the label that names a task's uid can be forged, but only by those who may make pods there.
    """
    return f"{namespace}/{task_uid}"


class ObjectName(NamedTuple):
    """Where an object lives."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Resource:
    """One of Parley's own objects, without what no reconciler reads."""

    uid: str
    namespace: str
    name: str
    generation: int
    resource_version: str
    created: datetime
    deleting: bool
    spec: Mapping[str, JsonValue]
    status: Mapping[str, JsonValue]

    @property
    def key(self) -> ObjectName:
        """Its namespace and name."""
        return ObjectName(self.namespace, self.name)

    @property
    def workload_key(self) -> str:
        """What its Jobs and pods are kept by."""
        return workload_key(self.namespace, self.uid)

    @classmethod
    def from_object(cls, body: JsonObject) -> "Resource":
        """Read a custom resource as the API server sends it."""
        metadata = cast("Mapping[str, JsonValue]", body["metadata"])
        return cls(
            uid=str(metadata["uid"]),
            namespace=sys.intern(str(metadata["namespace"])),
            name=str(metadata["name"]),
            generation=int(cast("int", metadata.get("generation", 0))),
            resource_version=str(metadata["resourceVersion"]),
            created=datetime.fromisoformat(str(metadata["creationTimestamp"])),
            deleting="deletionTimestamp" in metadata,
            spec=cast("Mapping[str, JsonValue]", body.get("spec") or {}),
            status=cast("Mapping[str, JsonValue]", body.get("status") or {}),
        )


def referred(resource: Resource, field_name: str) -> str | None:
    """Return the name in a reference field of the spec, such as ``sessionRef``."""
    reference = resource.spec.get(field_name)
    return str(reference.get("name")) if isinstance(reference, dict) else None


def reduce_final(task: Resource) -> Resource:
    """Leave of an ended task what is still asked of it: its references, its phase, and of which spec.

    Ended tasks stay until somebody deletes them, each with its inputs and outputs: 10,000 must fit in memory.
    """
    if not is_final(task):
        return task
    references = _references(referred(task, "sessionRef"), referred(task, "agentRef"))
    observed = cast("int | None", task.status.get("observedGeneration"))
    return replace(task, spec=references, status=_end(str(task.status["phase"]), observed))


@lru_cache(maxsize=1024)
def _references(session: str | None, agent: str | None) -> Mapping[str, JsonValue]:
    named = {"sessionRef": session, "agentRef": agent}
    return {key: {"name": name} for key, name in named.items() if name is not None}


@lru_cache(maxsize=256)
def _end(phase: str, observed_generation: int | None) -> Mapping[str, JsonValue]:
    return {"phase": phase, "observedGeneration": observed_generation}


def _whole(resource: Resource) -> Resource:
    return resource


class ResourceCache:
    """All objects of one of Parley's kinds, also by the object that one of their references names.

    Args:
        reference: the field to group by; it must be immutable.
        reduce: makes of an object what is kept of it; it must leave the reference.
    """

    def __init__(self, reference: str | None = None, reduce: Callable[[Resource], Resource] = _whole) -> None:
        self._reference = reference
        self._reduce = reduce
        self._objects: dict[ObjectName, Resource] = {}
        self._names: dict[str, ObjectName] = {}
        self._groups: defaultdict[ObjectName, set[str]] = defaultdict(set)
        self._deleted: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[Resource]:
        return iter(tuple(self._objects.values()))

    def get(self, namespace: str, name: str) -> Resource | None:
        """The object of that name, if there is one."""
        return self._objects.get(ObjectName(namespace, name))

    def by_uid(self, uid: str) -> Resource | None:
        """The object of that uid, if there is one."""
        key = self._names.get(uid)
        return self._objects.get(key) if key else None

    def see(self, seen: Resource) -> bool:
        """Take in a sight of an object; tells whether it is news."""
        known = self._objects.get(seen.key)
        if seen.uid in self._deleted or (known and int(seen.resource_version) <= int(known.resource_version)):
            return False
        if known is not None:
            self._ungroup(known)
            self._names.pop(known.uid, None)
        key = seen.key
        self._objects[key] = self._reduce(seen)
        self._names[seen.uid] = key
        if self._reference and (name := referred(seen, self._reference)):
            self._groups[ObjectName(seen.namespace, name)].add(seen.name)
        return True

    def referring_to(self, namespace: str, name: str) -> list[Resource]:
        """Return the objects whose reference names this one."""
        names = self._groups.get(ObjectName(namespace, name), set())
        return [self._objects[ObjectName(namespace, each)] for each in names]

    def drop(self, gone: Resource) -> None:
        """Forget an object that was seen deleted."""
        self._deleted[gone.uid] = None
        if len(self._deleted) > _REMEMBERED_DELETIONS:
            self._deleted.popitem(last=False)
        known = self._objects.get(gone.key)
        if known and known.uid == gone.uid:
            self._ungroup(known)
            self._names.pop(known.uid, None)
            del self._objects[gone.key]

    def _ungroup(self, resource: Resource) -> None:
        if not self._reference or not (name := referred(resource, self._reference)):
            return
        group = ObjectName(resource.namespace, name)
        self._groups[group].discard(resource.name)
        if not self._groups[group]:
            del self._groups[group]


@dataclass(slots=True)
class TaskWorkload:
    """The Jobs and pods of one task, by Job name."""

    jobs: dict[str, JobView] = field(default_factory=dict[str, JobView])
    pods: dict[str, PodView] = field(default_factory=dict[str, PodView])
    vanished: set[str] = field(default_factory=set[str])
    """Jobs that were seen deleted."""
    gone_pods: set[str] = field(default_factory=set[str])
    """uids of pods that were seen deleted."""


class Workloads:
    """Jobs and pods of all tasks, by ``workload_key``."""

    def __init__(self) -> None:
        self._by_task: defaultdict[str, TaskWorkload] = defaultdict(TaskWorkload)

    def of_task(self, task_key: str) -> TaskWorkload:
        """A copy of what is known now; later sights do not change it."""
        known = self._by_task.get(task_key)
        if known is None:
            return TaskWorkload()
        return TaskWorkload(dict(known.jobs), dict(known.pods), set(known.vanished))

    def all(self) -> dict[str, TaskWorkload]:
        """Copies of everything that is known now, by ``workload_key``."""
        return {key: self.of_task(key) for key in tuple(self._by_task)}

    def see_job(self, task_key: str, job: JobView) -> bool:
        """Take in a Job; tells whether it changed anything."""
        workload = self._by_task[task_key]
        known = workload.jobs.get(job.name)
        if job.name in workload.vanished or (known and job.version < known.version):
            return False
        workload.jobs[job.name] = job
        return known != job

    def drop_job(self, task_key: str, name: str) -> None:
        """A Job was deleted: it must not be made again for the same attempt."""
        workload = self._by_task[task_key]
        workload.jobs.pop(name, None)
        workload.vanished.add(name)

    def see_pod(self, task_key: str, job: str, pod: PodView) -> bool:
        """Take in a pod of a Job; tells whether it changed anything. Parley's Jobs make one pod each."""
        workload = self._by_task[task_key]
        known = workload.pods.get(job)
        if pod.uid in workload.gone_pods or (known and pod.version < known.version):
            return False
        workload.pods[job] = pod
        return known != pod

    def drop_pod(self, task_key: str, job: str, uid: str) -> bool:
        """A pod was deleted. One that was seen ended stays known, so that its outcome can still be committed."""
        workload = self._by_task[task_key]
        workload.gone_pods.add(uid)
        known = workload.pods.get(job)
        if known is None or known.uid != uid or known.exit_code is not None:
            return False
        del workload.pods[job]
        return True

    def forget_task(self, task_key: str) -> None:
        """Drop all that is known of a task that is gone or ended."""
        self._by_task.pop(task_key, None)


@dataclass(slots=True)
class Projection:
    """Everything the operator watches."""

    agents: ResourceCache = field(default_factory=ResourceCache)
    sessions: ResourceCache = field(default_factory=lambda: ResourceCache("agentRef"))
    tasks: ResourceCache = field(default_factory=lambda: ResourceCache("sessionRef", reduce_final))
    workloads: Workloads = field(default_factory=Workloads)
