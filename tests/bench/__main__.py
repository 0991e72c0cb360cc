"""Benchmarks against bare Jobs in the same run: ``make bench``, or ``python -m tests.bench [repeats]``.

Figures are ratios of medians: what differs between machines cancels out. Each repeat runs Parley and the bare Jobs
one after the other, so that both meet the same load.
"""

import statistics
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench.measure import create, job_complete, operator_cost, task_succeeded, timed, until
from tests.cluster import ROOT, Cluster

CHAIN = 10
IMAGE = "parley:dev"


def bare_job(name: str) -> dict[str, Any]:
    """A Job that runs ``true``, restricted as Parley's are."""
    container = {
        "name": "step",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["true"],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
    }
    spec = {"backoffLimit": 0, "template": {"spec": pod}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}


def chain_task(name: str, steps: int) -> dict[str, Any]:
    """A Task of container steps that run ``true`` one after the other."""
    container = {"image": IMAGE, "command": ["true"]}
    return {
        "apiVersion": "parley.dev/v1alpha1",
        "kind": "Task",
        "metadata": {"name": name},
        "spec": {"steps": [{"name": f"s{number}", "container": container} for number in range(steps)]},
    }


class Bench:
    """The benchmarks on one cluster, in a namespace of their own."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster = cluster
        self._namespace = namespace

    def jobs(self, count: int) -> None:
        """Run bare Jobs in a chain: each is created when the one before is Complete."""
        for _ in range(count):
            name = f"job-{uuid.uuid4().hex[:8]}"
            version = create(self._cluster, "job", self._namespace, bare_job(name))
            until(self._cluster, "job", self._namespace, name, version, job_complete)

    def task(self, steps: int) -> None:
        """Run one Task to its end."""
        name = f"task-{uuid.uuid4().hex[:8]}"
        version = create(self._cluster, "task", self._namespace, chain_task(name, steps))
        until(self._cluster, "task", self._namespace, name, version, task_succeeded)

    def compare(self, title: str, repeats: int, ours: Callable[[], None], theirs: Callable[[], None]) -> None:
        """Time both in turns and print the ratio of their medians."""
        pairs = [(timed(ours), timed(theirs)) for _ in range(repeats)]
        ours_median, theirs_median = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(
            f"{title}: {ours_median / theirs_median:.2f} of bare Jobs"
            f" ({ours_median:.2f} s against {theirs_median:.2f} s, median of {repeats})",
            flush=True,
        )

    def writes(self, tasks: int) -> None:
        """Count the operator's API writes of one-step tasks, one after the other."""
        before = operator_cost(self._cluster)
        for _ in range(tasks):
            self.task(1)
        after = operator_cost(self._cluster)
        each = (after.writes_without_events - before.writes_without_events) / tasks
        print(f"API writes of the operator per one-step task, without Events: {each:.1f}")
        for key in sorted(after.writes):
            count = (after.writes[key] - before.writes.get(key, 0)) / tasks
            print(f"  {key[0]:8} {key[1]:8} {count:.1f}")
        cpu = (after.cpu_seconds - before.cpu_seconds) / tasks
        print(
            f"operator: {1000 * cpu:.0f} ms of CPU per one-step task, {after.memory_bytes / 2**20:.0f} MiB resident"
        )


def main() -> None:
    """Run all benchmarks and print their figures."""
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    done = subprocess.run(["make", "-s", "kubeconfig"], cwd=ROOT, capture_output=True, text=True, check=True)
    cluster = Cluster(Path(done.stdout.strip()))
    namespace = f"bench-{uuid.uuid4().hex[:6]}"
    cluster.kubectl("create", "namespace", namespace)
    try:
        bench = Bench(cluster, namespace)
        bench.task(1)
        bench.jobs(1)
        bench.compare("one container step", repeats * 2, lambda: bench.task(1), lambda: bench.jobs(1))
        bench.compare(
            f"{CHAIN} container steps in a chain",
            repeats,
            lambda: bench.task(CHAIN),
            lambda: bench.jobs(CHAIN),
        )
        bench.writes(repeats)
    finally:
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")
        cluster.close()


if __name__ == "__main__":
    main()
