"""From a committed result to the creation of the next step's Job, while a hundred tasks run.

Both ends are seen by others than the operator: the result's time is that of the transaction in Postgres that
committed it, the Job's is that of the API server's answer in its audit log. One machine, so one clock.
"""

import itertools
from functools import partial

from tests.bench.audit import Audit, is_audited
from tests.bench.bench import Bench, say
from tests.bench.figures import in_words
from tests.bench.manifests import bench_task, container_steps
from tests.bench.measure import all_at_once, create, task_succeeded, until_all
from tests.bench.simulated import simulated_nodes

TASKS = 100
STEPS = 5
_RESULTS = (
    "SELECT t.name, a.step, a.job, a.ended_at FROM attempts a JOIN tasks t ON t.uid = a.task_uid"
    " WHERE t.namespace = %s ORDER BY t.name, a.step, a.number"
)


def delays(bench: Bench, namespace: str) -> tuple[list[float], list[float]]:
    """Seconds from each step's committed result to the next step's Job: while tasks still began, and after."""
    made = Audit(bench.cluster, namespace).job_creations()
    rows = bench.store.rows(_RESULTS, namespace)
    all_run = max(made[job] for _, step, job, _ in rows if step == "s0")
    found: tuple[list[float], list[float]] = ([], [])
    for (task, _, _, ended), (next_task, _, job, _) in itertools.pairwise(rows):
        if task == next_task:
            found[ended > all_run].append((made[job] - ended).total_seconds())
    return found


def run(bench: Bench) -> None:
    """Print p50 and p99."""
    if not is_audited(bench.cluster):
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
        starting, running = delays(bench, namespace)
    assert len(starting + running) == tasks * (STEPS - 1), (
        f"{len(starting + running)} delays of {tasks} tasks"
    )
    say(f"from a committed result to the next Job's creation, {tasks} tasks running: {in_words(running)}")
    if len(starting) > 1:
        say(f"  those before, while the {tasks} were created at once: {in_words(starting)}")
