"""A thousand one-step tasks at once against a thousand bare Jobs, on the same simulated nodes.

The control plane has its default flags: its Job controller writes 20 times a second, and that is what bounds both.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.bench.bench import Bench, say
from tests.bench.manifests import bare_job, bench_task, container_steps
from tests.bench.measure import Ended, all_at_once, create, job_complete, task_succeeded, until_all
from tests.bench.simulated import simulated_nodes

AT_ONCE = 1000
_GIVE_UP = 3600.0


def drain(bench: Bench, kind: str, count: int, body: Callable[[int], dict[str, Any]], ended: Ended) -> float:
    """Create all at once; returns how many ended per minute, from the first create to the last end."""
    with bench.namespace(simulated=True) as namespace:
        start = time.monotonic()
        all_at_once([partial(create, bench.cluster, kind, namespace, body(n)) for n in range(count)])
        created = time.monotonic() - start
        ends = until_all(bench.cluster, kind, namespace, count, ended, give_up=_GIVE_UP)
    seconds = ends[-1] - start
    say(f"  {count} {kind}s at once: created in {created:.0f} s, the last ended after {seconds:.0f} s")
    return 60 * count / seconds


def run(bench: Bench) -> None:
    """Print the ratio of the rates."""
    count = bench.sized(AT_ONCE, 10)
    with simulated_nodes(bench.cluster):
        jobs = drain(bench, "job", count, lambda n: bare_job(f"job-{n}"), job_complete)
        tasks = drain(
            bench, "task", count, lambda n: bench_task(f"task-{n}", container_steps(1)), task_succeeded
        )
    say(
        f"{count} one-step tasks at once on simulated nodes: {tasks / jobs:.2f} of bare Jobs' rate"
        f" ({tasks:.0f} against {jobs:.0f} a minute)"
    )
