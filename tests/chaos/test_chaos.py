"""The short form of the storm. ``python -m tests.chaos`` is the long one."""

import random

import pytest

from tests.chaos.killing import KILLS
from tests.chaos.shapes import SHAPES, mixed
from tests.chaos.storm import Storm
from tests.cluster import Cluster
from tests.e2e.conftest import Store
from tests.e2e.disruption import all_ready, check_store

SEED = 7
"""Its storm has every kind of kill."""


def test_a_storm_of_a_seed_is_the_same_each_time() -> None:
    assert mixed(24, random.Random(SEED)) == mixed(24, random.Random(SEED))
    shapes = {work.name.rpartition("-")[0] for work in mixed(24, random.Random(SEED))}
    assert shapes == {shape.__name__ for shape in SHAPES}


@pytest.mark.cluster
@pytest.mark.disruptive
@pytest.mark.usefixtures("tools")
@pytest.mark.timeout(600)
def test_nothing_is_lost_duplicate_or_stuck(cluster: Cluster, namespace: str, store: Store) -> None:
    # Given tasks of all shapes, while operator, gateway, pods and Postgres are killed at random
    all_ready(cluster)
    storm = Storm(cluster, store, namespace, seconds=60, count=24, seed=SEED, pause=(4.0, 8.0))
    assert {kill for _, kill in storm.plan} == set(KILLS)
    # When all have ended
    verdict = storm.run(patience=300)
    # Then nothing is lost, duplicate or stuck
    print(verdict)
    assert verdict.good, f"{verdict}\n{cluster.describe(namespace)}"
    check_store(store, namespace)
