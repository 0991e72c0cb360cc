"""Another store in the right one's place stops everything, and runs nothing again."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.cluster import SYSTEM_NAMESPACE, Cluster
from tests.e2e.conftest import Store, container, session, task
from tests.e2e.disruption import all_ready, check_store, component, leader

pytestmark = [pytest.mark.cluster, pytest.mark.disruptive]


@contextmanager
def an_empty_postgres(cluster: Cluster) -> Iterator[None]:
    """Put a fresh, empty server in the place of the cluster's Postgres for the block."""
    data = cluster.kubeconfig.parent / "data" / "postgres"
    aside = data.with_name("postgres-aside")
    component("stop", "postgres")
    data.rename(aside)
    try:
        component("start", "postgres")
        yield
    finally:
        component("stop", "postgres")
        subprocess.run(["rm", "-rf", str(data)], check=True)
        aside.rename(data)
        component("start", "postgres")


def test_an_empty_postgres_stops_everything_until_the_right_one_is_back(
    cluster: Cluster, namespace: str, store: Store
) -> None:
    # Given a task that has ended, one that runs, and a conversation
    all_ready(cluster)
    steps = [
        {"name": "one", "container": container("sleep 8; printf 1 > /dev/termination-log")},
        {"name": "two", "container": container("true")},
    ]
    cluster.apply(namespace, session("alice"), task("ended", steps=steps[1:]))
    cluster.apply(namespace, task("hello", sessionRef={"name": "alice"}, message="My name is Alice."))
    cluster.wait_task(namespace, "ended")
    cluster.wait_task(namespace, "hello")
    cluster.apply(namespace, task("running", steps=steps))
    cluster.wait_task(namespace, "running", "Running")
    before = {t["metadata"]["name"]: t["status"] for t in cluster.list("task", namespace)}
    jobs = {j["metadata"]["name"] for j in cluster.list("job", namespace)}

    # When an empty Postgres stands in the place of the right one
    with an_empty_postgres(cluster):
        # Then the operator says so where people look
        cluster.wait("a StoreMismatch Event", SYSTEM_NAMESPACE, lambda: mismatch_events(cluster), timeout=90)
        name = leader(cluster)
        path = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/pods/{name}:8081/proxy"
        assert "parley_store_mismatch 1" in cluster.request("GET", f"{path}/metrics").text
        ready = cluster.request("GET", f"{path}/readyz")
        assert ready.status_code == 503
        assert "store id" in ready.text
        # And nothing runs, again or anew, nor is any status touched
        cluster.apply(namespace, task("meanwhile", steps=steps[1:]))
        with pytest.raises(AssertionError, match="in vain"):
            cluster.wait("a Job", namespace, lambda: new_jobs(cluster, namespace, jobs), timeout=20)
        now = {t["metadata"]["name"]: t["status"] for t in cluster.list("task", namespace)}
        assert now.pop("meanwhile") == {"observedGeneration": -1}
        assert now == before

    # And with the right one back all goes on where it was
    assert cluster.wait_task(namespace, "running")["status"]["phase"] == "Succeeded"
    assert cluster.wait_task(namespace, "meanwhile")["status"]["phase"] == "Succeeded"
    cluster.apply(namespace, task("who", sessionRef={"name": "alice"}, message="What is my name?"))
    assert "Alice" in cluster.wait_task(namespace, "who")["status"]["output"]
    check_store(store, namespace)
    all_ready(cluster)


def mismatch_events(cluster: Cluster) -> list[str]:
    """Messages of the StoreMismatch Events."""
    events = cluster.list("event", SYSTEM_NAMESPACE)
    return [e["message"] for e in events if e["reason"] == "StoreMismatch" and "empty" in e["message"]]


def new_jobs(cluster: Cluster, namespace: str, known: set[str]) -> set[str]:
    """Jobs that were not there before."""
    return {j["metadata"]["name"] for j in cluster.list("job", namespace)} - known
