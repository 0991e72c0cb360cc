"""The short form of the storm. ``python -m tests.chaos`` is the long one."""

import pytest

from tests.chaos.killing import KILLS
from tests.chaos.storm import Storm
from tests.cluster import Cluster
from tests.e2e.conftest import Store
from tests.e2e.disruption import all_ready, check_store

SEED = 7
"""Its storm has every kind of kill."""


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
