"""From a committed result to the creation of the next step's Job, while a hundred tasks run.

Both ends are seen by others than the operator: the result's time is that of the transaction in Postgres that
committed it, the Job's is that of the API server's answer in its audit log. One machine, so one clock.
"""

import datetime as dt
import itertools
import json
import statistics
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench.bench import Bench, say
from tests.bench.manifests import bench_task, container_steps
from tests.bench.measure import all_at_once, create, task_succeeded, until_all
from tests.bench.simulated import simulated_nodes

TASKS = 100
STEPS = 5
_RESULTS = (
    "SELECT t.name, a.step, a.job, a.ended_at FROM attempts a JOIN tasks t ON t.uid = a.task_uid"
    " WHERE t.namespace = %s ORDER BY t.name, a.step, a.number"
)


def audited(logs: Path) -> Iterator[dict[str, Any]]:
    """The entries of the API server's audit log, those of the rotated file first."""
    for log in (*sorted(logs.glob("audit-*.log")), logs / "audit.log"):
        with log.open() as lines:
            for line in lines:
                # The last line may be half written.
                if line.endswith("\n"):
                    yield json.loads(line)


def job_creations(logs: Path, namespace: str) -> dict[str, dt.datetime]:
    """When the API server had created each Job of a namespace."""
    made: dict[str, dt.datetime] = {}
    for entry in audited(logs):
        target = entry.get("objectRef") or {}
        key = (entry["verb"], target.get("resource"), target.get("namespace"))
        if key == ("create", "jobs", namespace) and entry["responseStatus"]["code"] == 201:
            made[target["name"]] = dt.datetime.fromisoformat(entry["stageTimestamp"])
    return made


def delays(bench: Bench, namespace: str) -> list[float]:
    """Seconds from each step's committed result to the next step's Job."""
    logs = bench.cluster.kubeconfig.parent / "logs"
    made = job_creations(logs, namespace)
    rows = bench.store.rows(_RESULTS, namespace)
    found: list[float] = []
    for (task, _, _, ended), (next_task, _, job, _) in itertools.pairwise(rows):
        if task == next_task:
            found.append((made[job] - ended).total_seconds())
    return found


def run(bench: Bench) -> None:
    """Print p50 and p99."""
    if not (bench.cluster.kubeconfig.parent / "logs" / "audit.log").is_file():
        say(
            "from a committed result to the next Job: not measured, this cluster's API server keeps no audit log"
        )
        return
    tasks = bench.sized(TASKS, 10)
    with simulated_nodes(bench.cluster), bench.namespace(simulated=True) as namespace:
        all_at_once(
            [
                partial(create, bench.cluster, "task", namespace, bench_task(f"t{n}", container_steps(STEPS)))
                for n in range(tasks)
            ]
        )
        until_all(bench.cluster, "task", namespace, tasks, task_succeeded, give_up=1800)
        found = sorted(delays(bench, namespace))
    assert len(found) == tasks * (STEPS - 1), f"{len(found)} delays of {tasks} tasks"
    p50, p99 = statistics.median(found), statistics.quantiles(found, n=100, method="inclusive")[98]
    say(
        f"from a committed result to the next Job's creation, {tasks} tasks running: p50 {1000 * p50:.0f} ms,"
        f" p99 {1000 * p99:.0f} ms, most {1000 * found[-1]:.0f} ms ({len(found)} of them)"
    )
