"""What the operator last saw of the cluster: small copies of the objects it watches, by name and by owner.

Filled by watch events and complete lists in any order: of two sights of one object the higher resourceVersion wins,
and an object that was seen deleted never comes back (its uid is remembered).
"""

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from parley.controller.resource import ObjectName, Resource, all_referred, reduce_final, referred
from parley.controller.warm_runners import WarmRunners
from parley.engine.pods import JobView, PodView

TASK_LABEL = "parley.dev/task"
TASK_UID_LABEL = "parley.dev/task-uid"
_REMEMBERED_DELETIONS = 20_000


def _whole(resource: Resource) -> Resource:
    return resource


class ResourceCache:
    """All objects of one of Parley's kinds, also by the objects they refer to and by the one that controls them.

    Args:
        references: the fields to find by; they must be immutable.
        reduce: makes of an object what is kept of it; it must leave the references.
    """

    def __init__(self, *references: str, reduce: Callable[[Resource], Resource] = _whole) -> None:
        self._references = references
        self._reduce = reduce
        self._objects: dict[ObjectName, Resource] = {}
        self._names: dict[str, ObjectName] = {}
        self._groups: defaultdict[tuple[str, ObjectName], set[str]] = defaultdict(set)
        self._owned: defaultdict[str, set[str]] = defaultdict(set)
        self._bound: dict[str, dict[str, str]] = {}
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
        for group in self._groups_of(seen):
            self._groups[group].add(seen.name)
        if seen.owner is not None:
            self._owned[seen.owner.uid].add(seen.uid)
        return True

    def referring_to(self, namespace: str, name: str, reference: str | None = None) -> list[Resource]:
        """Return the objects whose reference (by default the first) names this one."""
        group = reference or self._references[0], ObjectName(namespace, name)
        return [self._objects[ObjectName(namespace, each)] for each in self._groups.get(group, ())]

    def owned_by(self, uid: str) -> list[Resource]:
        """Return the objects that the object of this uid controls."""
        return [self._objects[self._names[each]] for each in self._owned.get(uid, ())]

    def refers(self, resource: Resource, reference: str) -> bool:
        """Whether an object has a reference, of its own or from elsewhere."""
        return referred(resource, reference) is not None or reference in self._bound.get(resource.uid, {})

    def bind(self, resource: Resource, reference: str, name: str) -> None:
        """Let an object be found by a reference that it has from elsewhere, as a task from its template."""
        if self.by_uid(resource.uid) is not None and referred(resource, reference) is None:
            self._bound.setdefault(resource.uid, {})[reference] = name
            self._groups[reference, ObjectName(resource.namespace, name)].add(resource.name)

    def drop(self, gone: Resource) -> None:
        """Forget an object that was seen deleted."""
        self._deleted[gone.uid] = None
        if len(self._deleted) > _REMEMBERED_DELETIONS:
            self._deleted.popitem(last=False)
        known = self._objects.get(gone.key)
        if known and known.uid == gone.uid:
            self._ungroup(known)
            self._names.pop(known.uid, None)
            self._bound.pop(known.uid, None)
            del self._objects[gone.key]

    def _groups_of(self, resource: Resource) -> Iterator[tuple[str, ObjectName]]:
        bound = self._bound.get(resource.uid, {})
        for reference in self._references:
            names = all_referred(resource, reference) or ([bound[reference]] if reference in bound else [])
            for name in names:
                yield reference, ObjectName(resource.namespace, name)

    def _ungroup(self, resource: Resource) -> None:
        for group in self._groups_of(resource):
            self._groups[group].discard(resource.name)
            if not self._groups[group]:
                del self._groups[group]
        if resource.owner is not None:
            self._owned[resource.owner.uid].discard(resource.uid)
            if not self._owned[resource.owner.uid]:
                del self._owned[resource.owner.uid]


@dataclass(slots=True)
class TaskWorkload:
    """The Jobs of one task by name, and their pods."""

    jobs: dict[str, JobView] = field(default_factory=dict[str, JobView])
    pods: dict[str, PodView] = field(default_factory=dict[str, PodView])
    """By ``pod_key``: an Indexed Job has several."""
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

    def see_pod(self, task_key: str, pod_key: str, pod: PodView) -> bool:
        """Take in a pod; tells whether it changed anything. Parley's Jobs make one pod each, or one per index."""
        workload = self._by_task[task_key]
        known = workload.pods.get(pod_key)
        if pod.uid in workload.gone_pods or (known and pod.version < known.version):
            return False
        workload.pods[pod_key] = pod
        return known != pod

    def drop_pod(self, task_key: str, pod_key: str, uid: str) -> bool:
        """A pod was deleted. One that was seen ended stays known, so that its outcome can still be committed."""
        workload = self._by_task[task_key]
        workload.gone_pods.add(uid)
        known = workload.pods.get(pod_key)
        if known is None or known.uid != uid or known.gone:
            return False
        if known.exit_code is None:
            del workload.pods[pod_key]
        else:
            workload.pods[pod_key] = replace(known, gone=True)
        return True

    def forget_task(self, task_key: str) -> None:
        """Drop all that is known of a task that is gone or ended."""
        self._by_task.pop(task_key, None)


@dataclass(slots=True)
class Projection:
    """Everything the operator watches."""

    agents: ResourceCache = field(default_factory=ResourceCache)
    sessions: ResourceCache = field(default_factory=lambda: ResourceCache("agentRef"))
    tasks: ResourceCache = field(
        default_factory=lambda: ResourceCache("sessionRef", "agentRef", "templateRef", reduce=reduce_final)
    )
    templates: ResourceCache = field(default_factory=ResourceCache)
    schedules: ResourceCache = field(default_factory=ResourceCache)
    replies: ResourceCache = field(default_factory=lambda: ResourceCache("taskRef"))
    workloads: Workloads = field(default_factory=Workloads)
    runners: WarmRunners = field(default_factory=WarmRunners)
