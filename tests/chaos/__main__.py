"""``python -m tests.chaos --minutes 10 --tasks 100 --seed 1``: kill parts at random while tasks run, and count."""

import argparse
import random
import subprocess
import sys
from pathlib import Path

from tests.chaos.storm import Storm
from tests.cluster import ROOT, Cluster
from tests.e2e.conftest import Store, new_namespace, serve
from tests.e2e.disruption import all_ready


def main() -> int:
    """Run one storm on the cluster of ``make up``; 0 if nothing was lost, duplicate or stuck."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long parts are killed (10)")
    parser.add_argument("--tasks", type=int, default=100, help="how many tasks (100)")
    parser.add_argument("--seed", type=int, default=None, help="repeat the run of this seed")
    parser.add_argument(
        "--patience", type=float, default=15, help="minutes until all must have ended after it (15)"
    )
    chosen = parser.parse_args()
    seed = random.SystemRandom().randrange(10_000) if chosen.seed is None else chosen.seed
    shown = subprocess.run(["make", "-s", "kubeconfig"], cwd=ROOT, capture_output=True, text=True, check=True)
    url = subprocess.run(
        [ROOT / "cluster" / "cluster", "database-url"], capture_output=True, text=True, check=True
    )
    cluster, store = Cluster(Path(shown.stdout.strip())), Store(url.stdout.strip())
    serve(cluster, "model", "scripted-model")
    serve(cluster, "tools", "shop", "tickets")
    all_ready(cluster)
    print(f"{chosen.tasks} tasks, {chosen.minutes:g} minutes, seed {seed}", flush=True)
    with new_namespace(cluster, "chaos") as namespace:
        storm = Storm(
            cluster,
            store,
            namespace,
            seconds=chosen.minutes * 60,
            count=chosen.tasks,
            seed=seed,
            say=lambda line: print(line, flush=True),
        )
        verdict = storm.run(patience=chosen.patience * 60)
        print(f"{chosen.tasks} tasks, seed {seed}: {verdict}", flush=True)
        if not verdict.good:
            print(cluster.describe(namespace), file=sys.stderr)
    cluster.close()
    return 0 if verdict.good else 1


if __name__ == "__main__":
    sys.exit(main())
