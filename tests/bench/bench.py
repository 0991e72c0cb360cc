"""What every benchmark is given: the cluster, namespaces of its own, and how to run a Job or a Task to its end."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.bench.manifests import bare_job, bench_task
from tests.bench.measure import create, job_complete, task_succeeded, until
from tests.bench.simulated import MARK
from tests.cluster import Cluster
from tests.e2e.conftest import Store, agent


def say(line: str) -> None:
    """Print a figure at once: a run takes half an hour."""
    print(line, flush=True)


@dataclass(frozen=True, slots=True)
class Bench:
    """A cluster, its store, and how large the runs are: 1.0 is what the documented figures were measured with."""

    cluster: Cluster
    store: Store
    scale: float

    def sized(self, full: int, least: int = 1) -> int:
        """How many, at this scale."""
        return max(least, round(full * self.scale))

    @contextmanager
    def namespace(self, *, simulated: bool = False) -> Iterator[str]:
        """A namespace with the agent ``support``, gone when its benchmark is over; its pods may be simulated."""
        name = f"bench-{uuid.uuid4().hex[:6]}"
        labels = {MARK: "true"} if simulated else {}
        self.cluster.apply(
            name, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        )
        try:
            self.cluster.apply(name, agent())
            yield name
        finally:
            # What is left over would weigh on the next benchmark.
            self.cluster.kubectl("delete", "namespace", name, "--timeout=900s", timeout=960)

    def run_jobs(self, namespace: str, count: int) -> None:
        """Run bare Jobs in a chain: each is created when the one before is Complete."""
        for _ in range(count):
            name = f"job-{uuid.uuid4().hex[:8]}"
            version = create(self.cluster, "job", namespace, bare_job(name))
            until(self.cluster, "job", namespace, name, version, job_complete)

    def run_task(self, namespace: str, steps: Sequence[dict[str, Any]], **spec: object) -> str:
        """Run one Task to its end; returns its name."""
        name = f"task-{uuid.uuid4().hex[:8]}"
        version = create(self.cluster, "task", namespace, bench_task(name, steps, **spec))
        until(self.cluster, "task", namespace, name, version, task_succeeded)
        return name
