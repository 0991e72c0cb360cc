"""Another store in the right one's place stops everything, and runs nothing again."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.cluster import ROOT, SYSTEM_NAMESPACE, Cluster, condition, wait_step
from tests.e2e.conftest import LONG_SCRIPT, Store, container, session, task
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
    wait_step(cluster, namespace, "running", "one", "Running")
    cluster.wait("the Session's status", namespace, lambda: session_shows(cluster, namespace, 2))
    before = statuses(cluster, namespace)
    told = mismatch_events(cluster)
    jobs = {j["metadata"]["name"] for j in cluster.list("job", namespace)}

    # When an empty Postgres stands in the place of the right one
    with an_empty_postgres(cluster):
        # Then the operator says so where people look
        cluster.wait(
            "a new StoreMismatch Event",
            SYSTEM_NAMESPACE,
            lambda: mismatch_events(cluster) - told,
            timeout=180,
        )
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
        now = statuses(cluster, namespace)
        assert now.pop("Task/meanwhile") == {"observedGeneration": -1}
        assert now == before

    # And with the right one back all goes on where it was
    assert cluster.wait_task(namespace, "running")["status"]["phase"] == "Succeeded"
    assert cluster.wait_task(namespace, "meanwhile")["status"]["phase"] == "Succeeded"
    cluster.apply(namespace, task("who", sessionRef={"name": "alice"}, message="What is my name?"))
    assert "Alice" in cluster.wait_task(namespace, "who")["status"]["output"]
    check_store(store, namespace)
    all_ready(cluster)


def mismatch_events(cluster: Cluster) -> set[str]:
    """Names of the Events that say that the store is empty."""
    events = cluster.list("event", SYSTEM_NAMESPACE)
    return {
        e["metadata"]["name"] for e in events if e["reason"] == "StoreMismatch" and "empty" in e["message"]
    }


def statuses(cluster: Cluster, namespace: str) -> dict[str, Any]:
    """The status of each Task and Session, by kind and name."""
    objects = cluster.list("task", namespace) + cluster.list("session", namespace)
    return {f"{o['kind']}/{o['metadata']['name']}": o["status"] for o in objects}


def session_shows(cluster: Cluster, namespace: str, events: int) -> bool:
    """Whether the conversation shows its events and no task under way: nothing is left to be written."""
    status = (cluster.get("session", namespace, "alice") or {})["status"]
    return status["events"]["count"] == events and status["tasks"].get("active", 0) == 0


def new_jobs(cluster: Cluster, namespace: str, known: set[str]) -> set[str]:
    """Jobs that were not there before."""
    return {j["metadata"]["name"] for j in cluster.list("job", namespace)} - known


def test_a_new_store_that_is_accepted_runs_nothing_again(cluster: Cluster, namespace: str) -> None:
    """The old store's work stays ended or says that it cannot go on; what is made afterwards runs."""
    # Given a task that has ended, one that runs, and a conversation
    all_ready(cluster)
    steps = [{"name": "one", "container": container(LONG_SCRIPT)}]
    cluster.apply(
        namespace, session("alice"), task("ended", steps=[{"name": "one", "container": container("true")}])
    )
    cluster.apply(namespace, task("hello", sessionRef={"name": "alice"}, message="My name is Alice."))
    cluster.wait_task(namespace, "ended")
    cluster.wait_task(namespace, "hello")
    cluster.apply(namespace, task("running", steps=steps))
    cluster.wait_task(namespace, "running", "Running")
    jobs = {j["metadata"]["name"] for j in cluster.list("job", namespace)}
    old = (cluster.get("configmap", SYSTEM_NAMESPACE, "parley-store") or {})["data"]["id"]

    try:
        with an_empty_postgres(cluster):
            # When a new store is made and a person accepts it
            accept(cluster, migrated_store())
            # Then the task that ran says what happened, and nothing runs again
            running = cluster.wait_task(namespace, "running")
            assert condition(running, "Stalled")["reason"] == "StoreMismatch"
            assert new_jobs(cluster, namespace, jobs) == set()
            # And the conversation takes no turn, while new work runs
            cluster.apply(namespace, task("who", sessionRef={"name": "alice"}, message="What is my name?"))
            cluster.apply(namespace, task("new", steps=[{"name": "one", "container": container("true")}]))
            assert cluster.wait_task(namespace, "new")["status"]["phase"] == "Succeeded"
            who = cluster.wait_task(namespace, "who", "Pending")
            assert condition(who, "Ready")["reason"] == "StoreMismatch"
    finally:
        accept(cluster, old)
    assert cluster.wait_task(namespace, "who")["status"]["phase"] == "Succeeded"
    all_ready(cluster)


def migrated_store() -> str:
    """Migrate the database that is there now, as its owner; returns its id."""
    done = subprocess.run(
        [ROOT / "cluster" / "cluster", "database-url"], capture_output=True, text=True, check=True
    )
    url = done.stdout.strip().replace("://postgres:", "://parley:")
    environment = {**os.environ, "PARLEY_DATABASE_URL": url}
    subprocess.run(
        [Path(sys.executable).with_name("parley-migrate")], env=environment, check=True, timeout=60
    )
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT id::text FROM store").fetchone()
    assert row is not None
    return str(row[0])


def accept(cluster: Cluster, store_id: str) -> None:
    """Confirm, as a person would, that this is the store from now on."""
    patch = f'{{"data":{{"accept":"{store_id}"}}}}'
    cluster.kubectl("patch", "configmap", "parley-store", "-n", SYSTEM_NAMESPACE, "--type=merge", "-p", patch)
