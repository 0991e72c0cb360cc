"""A thousand items of one step: containers on simulated nodes. What is stored must be whole, what is shown small.

The control plane's Job controller writes 20 times a second, as in ``burst``; that bounds it.
"""

import json
import time

from tests.bench.bench import Bench, say
from tests.bench.simulated import simulated_nodes

ITEMS = 1000
PARALLELISM = 100
_MOST_BYTES = 64 * 1024


def run(bench: Bench) -> None:
    """Print how many items ended a minute, and the size of the status."""
    count = bench.sized(ITEMS, 10)
    step = {
        "name": "each",
        "forEach": {"items": list(range(count)), "parallelism": PARALLELISM},
        "container": {"image": "parley:dev", "command": ["true"], "args": ["{{ item }}"]},
    }
    with simulated_nodes(bench.cluster), bench.namespace(simulated=True) as namespace:
        start = time.monotonic()
        name = bench.run_task(namespace, [step])
        seconds = time.monotonic() - start
        [(ended, items, open_at_once)] = bench.store.rows(
            "WITH a AS (SELECT a.* FROM attempts a JOIN tasks t ON t.uid = a.task_uid"
            " WHERE t.namespace = %s AND t.name = %s AND a.state = 'Succeeded')"
            " SELECT count(*), count(DISTINCT item), (SELECT max(c) FROM (SELECT count(*) AS c FROM a x JOIN a y"
            " ON y.created_at <= x.created_at AND y.ended_at > x.created_at GROUP BY x.id) n) FROM a",
            namespace,
            name,
        )
        task = bench.cluster.get("task", namespace, name)
        assert task is not None
        size = len(json.dumps(task["status"]))
    assert (ended, items) == (count, count), f"{ended} attempts of {items} items"
    assert open_at_once <= PARALLELISM, f"{open_at_once} were open at once"
    assert size <= _MOST_BYTES, f"the status has {size} bytes"
    say(
        f"{count} items of one step on simulated nodes: {60 * count / seconds:.0f} a minute, at most"
        f" {open_at_once} at once; the status has {size / 1024:.1f} KiB"
    )
