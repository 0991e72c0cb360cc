"""What the simulated operator knows without asking: the operator's own projection of Jobs and pods, and its spec."""

from dataclasses import dataclass, field
from datetime import datetime

from parley.controller.projection import TaskWorkload, Workloads
from parley.resources.task import TaskSpec

from tests.unit.engine.sim_cluster import Sight, SimCluster

UID = "task-uid"


@dataclass
class Memory:
    """A restart drops it and lists anew."""

    spec: TaskSpec
    workloads: Workloads = field(default_factory=Workloads)
    planned: bool = False
    ready: tuple[str, ...] = ()
    wants_slot: bool = False
    slot: bool = False
    """A concurrency slot was granted."""
    limited: bool = False
    """There are slots at all."""
    wake_at: datetime | None = None
    dirty: bool = True
    """The key is queued."""

    def workload(self) -> TaskWorkload:
        return self.workloads.of_task(UID)

    def hear(self, name: str, sight: Sight) -> None:
        """Take in what a watch brought, as ``controller.sights`` does."""
        workloads = self.workloads
        if sight.job is not None:
            changed = workloads.see_job(UID, sight.job)
            if sight.deleted:
                workloads.drop_job(UID, name)
                changed = True
        else:
            assert sight.pod is not None
            changed = workloads.see_pod(UID, name, sight.pod)
            if sight.deleted:
                changed = workloads.drop_pod(UID, name, sight.pod.uid) or changed
        self.dirty = self.dirty or changed

    def look(self, cluster: SimCluster, job: str) -> None:
        """Read one Job and all pods of the task, past the watches."""
        for key, pod in cluster.pods.items():
            self.workloads.see_pod(UID, key, pod)
        if job in cluster.jobs:
            self.workloads.see_job(UID, cluster.jobs[job])

    def list_all(self, cluster: SimCluster, spec: TaskSpec) -> None:
        """A complete list, as ``controller.listing`` takes it in; every key is queued."""
        known = self.workload()
        for key, pod in cluster.pods.items():
            self.workloads.see_pod(UID, key, pod)
        for job in cluster.jobs.values():
            self.workloads.see_job(UID, job)
        for name in known.jobs.keys() - cluster.jobs.keys():
            self.workloads.drop_job(UID, name)
        for key in known.pods.keys() - cluster.pods.keys():
            self.workloads.drop_pod(UID, key, known.pods[key].uid)
        self.spec, self.dirty = spec, True
