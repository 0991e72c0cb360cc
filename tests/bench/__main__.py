"""Benchmarks, each printed as a figure or a ratio of one run: ``make bench``, or ``python -m tests.bench [name …]``.

Nothing here is a test: a figure that moves is looked at by a person. What is compared runs in turns, on one cluster,
so that what differs between machines cancels out.
"""

import argparse
import signal
import subprocess
import sys
from pathlib import Path

from tests.bench import burst, chains, chat, items, latency, modes, rest, warm, writes
from tests.bench.bench import Bench, say
from tests.cluster import ROOT, SYSTEM_NAMESPACE, Cluster
from tests.e2e.conftest import Store

BENCHMARKS = {
    "chains": chains.run,
    "modes": modes.run,
    "writes": writes.run,
    "latency": latency.run,
    "burst": burst.run,
    "items": items.run,
    "rest": rest.run,
    "chat": chat.run,
    "warm": warm.run,
}


def output(*command: str) -> str:
    """What a command of the repository prints."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def main() -> None:
    """Run the benchmarks that were named, or all of them, and print their figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="name", help=f"of {', '.join(BENCHMARKS)}; by default all"
    )
    parser.add_argument(
        "--scale", type=float, default=1.0, help="size of the runs; 0.02 tries them all quickly"
    )
    chosen = parser.parse_args()
    # Told to end, it takes away what it has made, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))
    unknown = set(chosen.names) - BENCHMARKS.keys()
    if unknown:
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}")
    cluster = Cluster(Path(output("make", "-s", "kubeconfig")))
    cluster.kubectl("apply", "-n", SYSTEM_NAMESPACE, "-k", str(ROOT / "examples" / "model"))
    cluster.kubectl(
        "rollout", "status", "-n", SYSTEM_NAMESPACE, "deployment/scripted-model", "--timeout=120s"
    )
    try:
        bench = Bench(cluster, Store(output("cluster/cluster", "database-url")), chosen.scale)
        for name, run in BENCHMARKS.items():
            if not chosen.names or name in chosen.names:
                say(f"# {name}")
                run(bench)
    finally:
        cluster.close()


if __name__ == "__main__":
    main()
