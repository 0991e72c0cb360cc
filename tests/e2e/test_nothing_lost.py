"""Point 4: kill, freeze and take away parts while tasks run. Each task ends right; each committed step ran once."""

import json
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from tests.cluster import SYSTEM_NAMESPACE, Cluster, condition
from tests.e2e.conftest import Store, container, session, task
from tests.e2e.disruption import (
    all_ready,
    away,
    check_store,
    component,
    holder,
    leader,
    parts,
    processes,
    send,
)
from tests.e2e.shell import Shell

pytestmark = [pytest.mark.cluster, pytest.mark.disruptive]

CHAINS = 2
TURNS = 2


@pytest.fixture(autouse=True)
def whole_again(cluster: Cluster) -> Iterator[None]:
    """Leave the cluster as it was found."""
    all_ready(cluster)
    yield
    all_ready(cluster)


def start_work(cluster: Cluster, namespace: str, seconds: int = 2) -> list[str]:
    """Start chains of containers, and turns of two sessions, that take a few seconds each."""
    steps = [
        {"name": "one", "container": container(f"sleep {seconds}; printf 1 > /dev/termination-log")},
        {
            "name": "two",
            "container": container(f'sleep {seconds}; printf "$0" > /dev/termination-log')
            | {"args": ["{{ steps.one.output + 1 }}"]},
        },
    ]
    chains = [f"chain-{number}" for number in range(CHAINS)]
    turns = [(who, f"{who}-{number}") for who in ("alice", "bob") for number in range(TURNS)]
    cluster.apply(
        namespace,
        session("alice"),
        session("bob"),
        *(task(name, steps=steps) for name in chains),
        *(
            task(name, sessionRef={"name": who}, message=f"[slow {seconds}s] echo: {name}")
            for who, name in turns
        ),
    )
    return chains + [name for _, name in turns]


def check_work(cluster: Cluster, namespace: str, store: Store, names: list[str]) -> None:
    """Everything ended right: in the status, and in the store."""
    ended = {name: cluster.wait_task(namespace, name, timeout=300) for name in names}
    wrong = {name: t["status"] for name, t in ended.items() if t["status"]["phase"] != "Succeeded"}
    assert wrong == {}, cluster.describe(namespace)
    for name, each in ended.items():
        assert each["status"]["output"] == 2 if name.startswith("chain") else name in each["status"]["output"]
    check_store(store, namespace)
    for who in ("alice", "bob"):
        body = cluster.get("session", namespace, who)
        assert body is not None
        assert body["status"]["events"]["count"] == 2 * TURNS


def some_pod_runs(cluster: Cluster, namespace: str, component: str) -> list[str]:
    """Wait until step pods of a kind run; returns their names."""

    def probe() -> list[str]:
        pods = cluster.list("pod", namespace, f"app.kubernetes.io/component={component}")
        return [p["metadata"]["name"] for p in pods if p["status"]["phase"] == "Running"]

    return cluster.wait(f"a {component} pod runs", namespace, probe)


def kill_leader(cluster: Cluster, _namespace: str) -> None:
    name = leader(cluster)
    assert name is not None
    send(processes(cluster, SYSTEM_NAMESPACE, name), signal.SIGKILL)


def kill_operators(cluster: Cluster, _namespace: str) -> None:
    for name in parts(cluster, "operator"):
        send(processes(cluster, SYSTEM_NAMESPACE, name), signal.SIGKILL)


def kill_gateways(cluster: Cluster, _namespace: str) -> None:
    for name in parts(cluster, "gateway"):
        send(processes(cluster, SYSTEM_NAMESPACE, name), signal.SIGKILL)


def kill_runners(cluster: Cluster, namespace: str) -> None:
    for name in some_pod_runs(cluster, namespace, "runner"):
        send(processes(cluster, namespace, name), signal.SIGKILL)


def delete_step_pods(cluster: Cluster, namespace: str) -> None:
    for kind in ("runner", "step"):
        for name in some_pod_runs(cluster, namespace, kind):
            cluster.delete("pod", namespace, name, grace=0)


def restart_postgres(_cluster: Cluster, _namespace: str) -> None:
    component("kill", "postgres")
    component("start", "postgres")


def restart_api_server(_cluster: Cluster, _namespace: str) -> None:
    component("kill", "kube-apiserver")
    component("start", "kube-apiserver")


@pytest.mark.parametrize(
    "disrupt",
    [
        kill_leader,
        kill_operators,
        kill_gateways,
        kill_runners,
        delete_step_pods,
        restart_postgres,
        restart_api_server,
    ],
    ids=lambda function: function.__name__,
)
def test_work_goes_on_after(
    cluster: Cluster, namespace: str, store: Store, disrupt: Callable[[Cluster, str], None]
) -> None:
    # Given work under way
    names = start_work(cluster, namespace)
    some_pod_runs(cluster, namespace, "step")
    some_pod_runs(cluster, namespace, "runner")
    # When something breaks
    disrupt(cluster, namespace)
    # Then all of it ends as if nothing had happened
    check_work(cluster, namespace, store, names)


@pytest.mark.outage
@pytest.mark.timeout(900)
def test_postgres_away_for_three_minutes(cluster: Cluster, namespace: str, store: Store) -> None:
    # Given work under way, and a step whose timeout is shorter than the outage
    names = start_work(cluster, namespace, seconds=5)
    brief = {"name": "brief", "timeout": "60s", "container": container("sleep 20")}
    cluster.apply(namespace, task("brief", steps=[brief]))
    some_pod_runs(cluster, namespace, "runner")
    some_pod_runs(cluster, namespace, "step")
    # When Postgres is away
    with away("postgres"):
        time.sleep(5)
        before = statuses(cluster, namespace)
        # Then who asks what is wrong is told
        cluster.wait("doctor names Postgres", namespace, lambda: names_postgres(Shell(cluster, namespace)))
        time.sleep(170)
        # And nothing is said of tasks meanwhile
        assert statuses(cluster, namespace) == before
    # And all of it ends right, as the deadlines moved with the outage
    check_work(cluster, namespace, store, names)
    assert cluster.wait_task(namespace, "brief")["status"]["phase"] == "Succeeded"


def names_postgres(parley: Shell) -> bool:
    """Whether ``doctor`` says that Postgres cannot be used."""
    found = json.loads(parley("doctor", "-o", "json").out)["items"]
    said = [one["says"] for one in found if (one["check"], one["verdict"]) == ("store", "wrong")]
    return any("Postgres cannot be used" in one for one in said)


def statuses(cluster: Cluster, namespace: str) -> dict[str, object]:
    """The status of every task, by name."""
    return {t["metadata"]["name"]: t["status"] for t in cluster.list("task", namespace)}


@pytest.mark.timed
def test_a_killed_leader_is_followed_within_20_seconds(cluster: Cluster, namespace: str) -> None:
    before = holder(cluster)
    started = time.monotonic()
    kill_leader(cluster, namespace)
    cluster.wait("another process leads", namespace, lambda: holder(cluster) not in {"", before}, timeout=60)
    cluster.apply(namespace, task("after", steps=[{"name": "only", "container": container("true")}]))
    cluster.wait("it acts", namespace, lambda: cluster.list("job", namespace), timeout=60)
    assert time.monotonic() - started < 20


@pytest.mark.timed
def test_a_stopped_leader_is_followed_within_3_seconds(cluster: Cluster, namespace: str) -> None:
    name, before = leader(cluster), holder(cluster)
    assert name is not None
    cluster.apply(namespace, task("before", steps=[{"name": "only", "container": container("sleep 1")}]))
    started = time.monotonic()
    cluster.delete("pod", SYSTEM_NAMESPACE, name)
    cluster.wait(
        "another leads", namespace, lambda: holder(cluster) not in {"", before}, timeout=60, every=0.05
    )
    assert time.monotonic() - started < 3
    assert cluster.wait_task(namespace, "before")["status"]["phase"] == "Succeeded"


def test_a_frozen_leader_writes_nothing_when_it_wakes(cluster: Cluster, namespace: str, store: Store) -> None:
    # Given work under way
    names = start_work(cluster, namespace)
    some_pod_runs(cluster, namespace, "step")
    frozen, before = leader(cluster), holder(cluster)
    assert frozen is not None
    pids = processes(cluster, SYSTEM_NAMESPACE, frozen)
    # When the leader is frozen until another leads and has done some of its work
    send(pids, signal.SIGSTOP)
    try:
        cluster.wait("another leads", namespace, lambda: holder(cluster) not in {"", before}, timeout=60)
        time.sleep(3)
        epochs = store.rows("SELECT max(epoch) FROM leader")
        now = holder(cluster)
    finally:
        send(pids, signal.SIGCONT)
    # Then the one that wakes gives up at once: its process ends, the other goes on leading
    cluster.wait("the frozen process ended", namespace, lambda: not alive(pids), timeout=60)
    assert holder(cluster) == now
    assert store.rows("SELECT max(epoch) FROM leader") == epochs
    check_work(cluster, namespace, store, names)


def alive(pids: list[int]) -> list[int]:
    """Those of the processes that have not ended."""
    from pathlib import Path

    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_work_runs_once_also_where_the_outcome_was_committed_unseen(
    cluster: Cluster, namespace: str, store: Store
) -> None:
    """The step's pods end while no operator runs: the next one commits what they left, and runs none again."""
    steps = [{"name": "only", "container": container("sleep 4; printf 7 > /dev/termination-log")}]
    cluster.apply(namespace, task("unseen", steps=steps))
    some_pod_runs(cluster, namespace, "step")
    cluster.kubectl("scale", "deployment/parley-operator", "-n", SYSTEM_NAMESPACE, "--replicas=0")
    try:
        cluster.wait(
            "its Job is complete",
            namespace,
            lambda: any(
                c["type"] == "Complete" and c["status"] == "True"
                for job in cluster.list("job", namespace)
                for c in job["status"].get("conditions", [])
            ),
        )
    finally:
        cluster.kubectl("scale", "deployment/parley-operator", "-n", SYSTEM_NAMESPACE, "--replicas=2")
    ended = cluster.wait_task(namespace, "unseen")
    assert ended["status"]["output"] == 7
    assert condition(ended, "Succeeded")["status"] == "True"
    assert len(cluster.list("job", namespace)) == 1
    check_store(store, namespace)
