"""What a namespace holds and has held: pods and when they ran, Jobs, attempts as Postgres has them."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from tests.cluster import Cluster
from tests.e2e.conftest import Store
from tests.kstatus import kstatus


class Attempt(NamedTuple):
    """One attempt of a step, or of an item of it (-1: the step has none)."""

    step: str
    item: int
    number: int
    cause: str
    state: str
    reason: str | None
    exit_code: int | None
    created: datetime
    ended: datetime | None


def attempts(store: Store, namespace: str, task: str, step: str | None = None) -> list[Attempt]:
    """All attempts of a task that is there, oldest first."""
    rows = store.rows(
        "SELECT a.step, a.item, a.number, a.cause, a.state, a.reason, a.exit_code, a.created_at, a.ended_at"
        " FROM attempts a JOIN tasks t ON t.uid = a.task_uid"
        " WHERE t.namespace = %s AND t.name = %s AND t.gone_since IS NULL ORDER BY a.id",
        namespace,
        task,
    )
    found = [Attempt(*row) for row in rows]
    return [attempt for attempt in found if step in {None, attempt.step}]


def pods(
    cluster: Cluster, namespace: str, task: str | None = None, step: str | None = None
) -> list[dict[str, Any]]:
    """The pods of the namespace, of a task, or of one of its steps."""
    labels = [f"parley.dev/task={task}"] if task else []
    labels += [f"parley.dev/step={step}"] if step else []
    return cluster.list("pod", namespace, ",".join(labels))


def running(cluster: Cluster, namespace: str, task: str | None = None) -> list[str]:
    """Names of the pods that have a running container."""
    return [
        pod["metadata"]["name"]
        for pod in pods(cluster, namespace, task)
        if any("running" in c["state"] for c in pod["status"].get("containerStatuses", []))
    ]


def says(cluster: Cluster, namespace: str, task: str, words: str) -> bool:
    """Whether a running pod of a task has written something into its log."""
    return any(
        words in cluster.kubectl("logs", "-n", namespace, pod, "--all-containers", check=False)
        for pod in running(cluster, namespace, task)
    )


def wait_kstatus(cluster: Cluster, kind: str, namespace: str, name: str, verdict: str) -> None:
    """Wait until an object that is there reads so to kstatus."""

    def probe() -> bool:
        found = cluster.get(kind, namespace, name)
        return found is not None and kstatus(found).status == verdict

    cluster.wait(f"{kind} {name} is {verdict}", namespace, probe)


def becomes(cluster: Cluster, namespace: str, name: str, phase: str) -> dict[str, Any]:
    """Wait until a session has a phase; returns it."""

    def probe() -> dict[str, Any] | None:
        found = cluster.get("session", namespace, name)
        return found if found and found["status"].get("phase") == phase else None

    return cluster.wait(f"Session {name} is {phase}", namespace, probe)


def stop_containers(cluster: Cluster, namespace: str, task: str) -> None:
    """Have the containers of a task's running pods end by themselves, as SIGTERM makes those of ``LONG_SCRIPT``."""

    def ended() -> bool:
        names = running(cluster, namespace, task)
        for name in names:
            # Again and again: a shell that has just begun does not hear it yet. And the container's end may take the
            # command with it before it can say that it is done.
            cluster.kubectl("exec", "-n", namespace, name, "--", "sh", "-c", "kill -TERM 1", check=False)
        return not names

    cluster.wait(f"the pods of {task} run", namespace, lambda: running(cluster, namespace, task))
    cluster.wait(f"the containers of {task} end", namespace, ended, every=0.5)


def ran(pod: dict[str, Any]) -> tuple[datetime, datetime]:
    """When a pod's first container started and ended."""
    ended = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    return datetime.fromisoformat(ended["startedAt"]), datetime.fromisoformat(ended["finishedAt"])


def most_at_once(attempts: Iterable[Attempt]) -> int:
    """How many of the attempts, all ended, were open at the same moment."""
    marks = [(a.created, 1) for a in attempts] + [(a.ended, -1) for a in attempts if a.ended]
    open_now = most = 0
    for _, change in sorted(marks):
        open_now += change
        most = max(most, open_now)
    return most


def happened(cluster: Cluster, namespace: str, kind: str, name: str) -> list[tuple[str, str]]:
    """The Kubernetes Events of an object: reason and message."""
    events = cluster.list("event", namespace)
    return [
        (e["reason"], e["message"])
        for e in events
        if (e["involvedObject"]["kind"], e["involvedObject"]["name"]) == (kind, name)
    ]
