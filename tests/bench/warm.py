"""One-step tasks in runtime mode Warm, with a model that answers at once: how many a minute, and what each costs."""

import time
from dataclasses import dataclass
from functools import partial

from tests.bench.bench import Bench, say
from tests.bench.cpu import say_spent, spent
from tests.bench.figures import in_words
from tests.bench.manifests import bench_task, prompt_steps
from tests.bench.measure import all_at_once, create, task_succeeded, until_all
from tests.e2e.conftest import agent

TASKS = 1_000
_WARM_UP = 20
_SLOTS = 20
_GIVE_UP = 600.0


@dataclass(frozen=True, slots=True)
class _Load:
    """Tasks of an agent with a warm runner."""

    bench: Bench
    namespace: str

    def run(self, count: int) -> tuple[float, list[float]]:
        """Create tasks as fast as that goes; returns the seconds until all have ended, and when each did."""
        cluster, namespace = self.bench.cluster, self.namespace
        mark = f"{time.monotonic_ns():x}"
        before = sum(1 for each in cluster.list("task", namespace) if task_succeeded(each))
        tasks = [
            bench_task(f"w-{mark}-{number}", prompt_steps(1), agentRef={"name": "warm"})
            for number in range(count)
        ]
        start = time.monotonic()
        all_at_once([partial(create, cluster, "task", namespace, body) for body in tasks])
        ended = until_all(cluster, "task", namespace, before + count, task_succeeded, give_up=_GIVE_UP)
        return ended[-1] - start, [at - start for at in ended[-count:]]


def run(bench: Bench) -> None:
    """Print how many tasks a minute there were, how long each waited in the store, and what the parts spent on it."""
    with bench.namespace() as namespace:
        runtime = {"mode": "Warm", "warm": {"concurrency": _SLOTS, "idleTimeout": "10m"}}
        bench.cluster.apply(namespace, agent("warm", runtime=runtime))
        load = _Load(bench, namespace)
        load.run(_WARM_UP)
        count, before = bench.sized(TASKS, 50), spent(bench.cluster, namespace)
        seconds, _ = load.run(count)
        after = spent(bench.cluster, namespace)
        say(
            f"{count} one-step tasks, runtime mode Warm: {60 * count / seconds:.0f} a minute ({seconds:.1f} s)"
        )
        say_spent(before, after, count, "task")
        for what, delays in _delays(bench, namespace).items():
            say(f"  {what}: {in_words(delays)}")


def _delays(bench: Bench, namespace: str) -> dict[str, list[float]]:
    """How long the attempts took, on the store's clock."""
    rows = bench.store.rows(
        "SELECT extract(epoch FROM a.created_at - t.created_at)::float8,"
        " extract(epoch FROM a.taken_at - a.created_at)::float8,"
        " extract(epoch FROM a.ended_at - a.taken_at)::float8,"
        " extract(epoch FROM t.ended_at - a.ended_at)::float8"
        " FROM attempts a JOIN tasks t ON t.uid = a.task_uid"
        " WHERE t.namespace = %s AND t.name LIKE 'w-%%' AND a.state = 'Succeeded'",
        namespace,
    )
    names = (
        "from the Task's creation, in whole seconds, to its attempt",
        "from there to a runner's taking it",
        "from there to its result",
        "from there to the end of the Task",
    )
    return {name: [float(row[index]) for row in rows] for index, name in enumerate(names)}
