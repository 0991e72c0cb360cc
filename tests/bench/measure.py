"""What the benchmarks measure: wall time from create to the end, seen through a watch, and what the operator spent."""

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.cluster import PATHS, SYSTEM_NAMESPACE, Cluster

END = 300.0
"""Seconds after which a run is given up."""


def create(cluster: Cluster, kind: str, namespace: str, body: Mapping[str, Any]) -> str:
    """Create an object; returns the resourceVersion to watch from."""
    answer = cluster.request("POST", f"{PATHS[kind]}/namespaces/{namespace}/{kind}s", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["metadata"]["resourceVersion"])


def until(
    cluster: Cluster,
    kind: str,
    namespace: str,
    name: str,
    version: str,
    ended: Callable[[dict[str, Any]], bool],
) -> None:
    """Watch one object until it has ended."""
    params = {"watch": "1", "fieldSelector": f"metadata.name={name}", "resourceVersion": version}
    path = f"{PATHS[kind]}/namespaces/{namespace}/{kind}s"
    with cluster.stream("GET", path, params=params, timeout=END) as answer:
        for line in answer.iter_lines():
            if ended(json.loads(line)["object"]):
                return
    raise AssertionError(f"{kind} {name} did not end within {END:.0f} s")


def job_complete(job: Mapping[str, Any]) -> bool:
    """Whether a Job is Complete; a failed one spoils the run."""
    conditions = {c["type"]: c["status"] for c in job.get("status", {}).get("conditions", [])}
    assert conditions.get("Failed") != "True", job["status"]
    return conditions.get("Complete") == "True"


def task_succeeded(task: Mapping[str, Any]) -> bool:
    """Whether a Task has Succeeded; a failed one spoils the run."""
    phase = task["status"].get("phase")
    assert phase not in {"Failed", "Cancelled"}, task["status"]
    return phase == "Succeeded"


@dataclass(frozen=True, slots=True)
class OperatorCost:
    """What the leader had spent up to one moment."""

    writes: Mapping[tuple[str, str], float]
    cpu_seconds: float
    memory_bytes: float

    @property
    def writes_without_events(self) -> float:
        """All writes but Kubernetes Events and Leases."""
        return sum(count for (_, kind), count in self.writes.items() if kind not in {"Event", "Lease"})


def operator_cost(cluster: Cluster) -> OperatorCost:
    """Read the leader's own metrics."""
    for pod in cluster.list("pod", SYSTEM_NAMESPACE, "app.kubernetes.io/component=operator"):
        name = pod["metadata"]["name"]
        answer = cluster.request(
            "GET", f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/pods/{name}:8081/proxy/metrics"
        )
        if answer.status_code == 200 and re.search(r"^parley_leader 1", answer.text, re.MULTILINE):
            return _read(answer.text)
    raise AssertionError("no operator pod leads")


def _read(text: str) -> OperatorCost:
    writes = {
        (verb, kind): float(count)
        for kind, verb, count in re.findall(
            r'^parley_api_writes_total\{kind="(\w+)",verb="(\w+)"\} (\S+)', text, re.MULTILINE
        )
    }
    values = dict(re.findall(r"^(process_\w+) (\S+)$", text, re.MULTILINE))
    return OperatorCost(
        writes, float(values["process_cpu_seconds_total"]), float(values["process_resident_memory_bytes"])
    )


def timed(run: Callable[[], None]) -> float:
    """Seconds that a run took."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
