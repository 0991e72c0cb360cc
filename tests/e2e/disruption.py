"""Break things: find and signal the processes of pods, stop parts of the local cluster, and check what survived."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster import ROOT, SYSTEM_NAMESPACE, Cluster
from tests.e2e.conftest import Store


def component(command: str, name: str) -> None:
    """``stop``, ``start``, ``kill`` or ``restart`` a part of the local cluster."""
    done = subprocess.run(
        [ROOT / "cluster" / "cluster", command, name],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, f"cluster {command} {name}: {done.stdout}"


@contextmanager
def away(name: str) -> Iterator[None]:
    """Keep a part of the local cluster away for the block."""
    component("kill", name)
    try:
        yield
    finally:
        component("start", name)


def processes(cluster: Cluster, namespace: str, pod: str) -> list[int]:
    """Return the pids of a pod's containers on this machine, which is the node."""
    body = cluster.get("pod", namespace, pod)
    statuses = (body or {}).get("status", {}).get("containerStatuses", [])
    ids = [s["containerID"].rpartition("/")[2] for s in statuses if "running" in s["state"]]
    found: list[int] = []
    for cgroup in Path("/proc").glob("[0-9]*/cgroup"):
        try:
            text = cgroup.read_text()
        except OSError:
            # It ended meanwhile.
            continue
        if any(identity in text for identity in ids):
            found.append(int(cgroup.parent.name))
    return found


def send(pids: list[int], number: signal.Signals) -> None:
    """Signal processes; those that have ended are passed over."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def parts(cluster: Cluster, name: str) -> list[str]:
    """Names of the pods of the operator or the gateway that are not on their way out."""
    pods = cluster.list("pod", SYSTEM_NAMESPACE, f"app.kubernetes.io/component={name}")
    return [p["metadata"]["name"] for p in pods if "deletionTimestamp" not in p["metadata"]]


def leader(cluster: Cluster) -> str | None:
    """Name of the operator pod that holds the Lease."""
    lease = cluster.get("lease", SYSTEM_NAMESPACE, "parley-operator") or {}
    holder = lease.get("spec", {}).get("holderIdentity") or ""
    return holder.partition("_")[0] or None


def holder(cluster: Cluster) -> str:
    """Who holds the Lease, process and all; empty when nobody does."""
    lease = cluster.get("lease", SYSTEM_NAMESPACE, "parley-operator") or {}
    return str(lease.get("spec", {}).get("holderIdentity") or "")


def replace_backed_off(cluster: Cluster) -> None:
    """Delete Parley's pods that wait for their restart.

    The kubelet restarts a container that was killed again and again with a growing pause; a new pod starts at once.
    """
    for pod in cluster.list("pod", SYSTEM_NAMESPACE, "app.kubernetes.io/name=parley"):
        states = [s["state"].get("waiting", {}) for s in pod["status"].get("containerStatuses", [])]
        if any(state.get("reason") == "CrashLoopBackOff" for state in states):
            cluster.delete("pod", SYSTEM_NAMESPACE, pod["metadata"]["name"])


def all_ready(cluster: Cluster) -> None:
    """Wait until operator and gateway are whole again."""
    end = time.monotonic() + 180
    while time.monotonic() < end:
        replace_backed_off(cluster)
        deployments = [
            cluster.get("deployment", SYSTEM_NAMESPACE, f"parley-{n}") for n in ("operator", "gateway")
        ]
        if all(
            d and d["status"].get("readyReplicas", 0) == d["spec"]["replicas"] and holder(cluster)
            for d in deployments
        ):
            return
        time.sleep(0.5)
    raise AssertionError(f"operator and gateway did not come back\n{cluster.describe(SYSTEM_NAMESPACE)}")


def check_store(store: Store, namespace: str) -> None:
    """Assert that nothing of a namespace was lost, repeated or left open in the store."""
    repeated = store.rows(
        "SELECT t.name, a.step, count(*) FROM attempts a JOIN tasks t ON t.uid = a.task_uid WHERE t.namespace = %s"
        " AND a.state = 'Succeeded' GROUP BY 1, 2, a.item HAVING count(*) <> 1",
        namespace,
    )
    assert repeated == [], f"steps committed more than once: {repeated}"
    left_open = store.rows(
        "SELECT t.name, a.step, a.state FROM attempts a JOIN tasks t ON t.uid = a.task_uid WHERE t.namespace = %s"
        " AND (a.state IN ('Open', 'Running') OR (a.state = 'Paused' AND NOT EXISTS (SELECT 1 FROM attempts later"
        "      WHERE (later.task_uid, later.step, later.item) = (a.task_uid, a.step, a.item) AND later.number > a.number)))",
        namespace,
    )
    assert left_open == [], f"attempts left open: {left_open}"
    gaps = store.rows(
        "SELECT s.name, count(*), max(e.sequence), min(e.sequence), s.last_sequence FROM events e"
        " JOIN sessions s ON s.uid = e.session_uid WHERE s.namespace = %s GROUP BY s.uid, s.name, s.last_sequence"
        " HAVING count(*) <> max(e.sequence) OR min(e.sequence) <> 1 OR max(e.sequence) <> s.last_sequence",
        namespace,
    )
    assert gaps == [], f"sessions with gaps: {gaps}"
    odd = store.rows(
        "SELECT s.name, e.task, e.step, array_agg(e.role ORDER BY e.sequence) FROM events e"
        " JOIN sessions s ON s.uid = e.session_uid WHERE s.namespace = %s AND e.type = 'message' GROUP BY 1, 2, 3"
        " HAVING array_agg(e.role ORDER BY e.sequence) <> ARRAY['user', 'assistant']",
        namespace,
    )
    assert odd == [], f"turns that are not one question and one answer: {odd}"
