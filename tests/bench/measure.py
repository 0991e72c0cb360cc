"""What the benchmarks measure: wall time from create to the end, seen through a watch, and what the operator spent."""

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx2

from tests.cluster import SYSTEM_NAMESPACE, Cluster, collection

SILENCE = 90.0
"""Seconds without any news of a task after which its run is given up."""
_AT_ONCE = 8
"""Requests of one client under way at a time."""

Ended = Callable[[Mapping[str, Any]], bool]


def create(cluster: Cluster, kind: str, namespace: str, body: Mapping[str, Any]) -> str:
    """Create an object; returns the resourceVersion to watch from."""
    answer = cluster.request("POST", collection(kind, namespace), json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["metadata"]["resourceVersion"])


def all_at_once(calls: Sequence[Callable[[], object]]) -> None:
    """Make many requests as fast as a few connections can."""
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        for done in [threads.submit(call) for call in calls]:
            done.result()


def until(cluster: Cluster, kind: str, namespace: str, name: str, version: str, ended: Ended) -> None:
    """Watch one object until it has ended."""
    params = {"watch": "1", "fieldSelector": f"metadata.name={name}", "resourceVersion": version}
    last: object = "nothing"
    try:
        with cluster.stream("GET", collection(kind, namespace), params=params, timeout=SILENCE) as answer:
            for line in answer.iter_lines():
                seen = json.loads(line)["object"]
                if ended(seen):
                    return
                last = seen.get("status")
    except httpx2.TimeoutException:
        pass
    raise AssertionError(f"{kind} {name}: nothing new for {SILENCE:.0f} s; last seen: {last}")


def until_all(
    cluster: Cluster, kind: str, namespace: str, count: int, ended: Ended, *, give_up: float
) -> list[float]:
    """Watch a namespace until ``count`` objects have ended; returns when each did, by the monotonic clock."""
    at: dict[str, float] = {}
    deadline = time.monotonic() + give_up
    while time.monotonic() < deadline:
        try:
            params = {"watch": "1", "resourceVersion": "0", "timeoutSeconds": "600"}
            with cluster.stream("GET", collection(kind, namespace), params=params, timeout=30.0) as answer:
                for line in answer.iter_lines():
                    event = json.loads(line)
                    if event["type"] in {"ADDED", "MODIFIED"} and ended(event["object"]):
                        at.setdefault(event["object"]["metadata"]["name"], time.monotonic())
                    if len(at) >= count:
                        return sorted(at.values())
        except httpx2.TimeoutException:
            # Nothing for a while; the watch begins anew with all there is.
            continue
    raise AssertionError(f"{len(at)} of {count} {kind}s ended within {give_up:.0f} s")


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

    pod: str
    cpu_seconds: float
    memory_bytes: float


def operator_cost(cluster: Cluster) -> OperatorCost:
    """Read the leader's own metrics."""
    for pod in cluster.list("pod", SYSTEM_NAMESPACE, "app.kubernetes.io/component=operator"):
        name = pod["metadata"]["name"]
        answer = cluster.request(
            "GET", f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/pods/{name}:8081/proxy/metrics"
        )
        if answer.status_code == 200 and re.search(r"^parley_leader 1", answer.text, re.MULTILINE):
            return _read(name, answer.text)
    raise AssertionError("no operator pod leads")


def _read(pod: str, text: str) -> OperatorCost:
    values = dict(re.findall(r"^(process_\w+) (\S+)$", text, re.MULTILINE))
    cpu, memory = values["process_cpu_seconds_total"], values["process_resident_memory_bytes"]
    return OperatorCost(pod, float(cpu), float(memory))


def timed(run: Callable[[], object]) -> float:
    """Seconds that a run took."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
