"""Cancel, suspend, resume and delete in every state; what is pruned when; and how many tasks run at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest

from tests.cluster import SYSTEM_NAMESPACE, Cluster, condition, desire, step_of, wait_step
from tests.e2e.conftest import LONG_SCRIPT, Store, agent, container, gives, reply, session, task
from tests.e2e.disruption import all_ready
from tests.e2e.seen import attempts, pods, running, says, stop_containers
from tests.kstatus import kstatus

pytestmark = pytest.mark.cluster

LONG_STEP = {"name": "slow", "container": container(LONG_SCRIPT)}
AFTER = {"name": "after", "container": container("true")}
RETRY = {"limit": 1, "backoff": {"initial": "1h", "max": "1h"}}
STATES = {
    "pending": "AgentNotFound",
    "queued": "SessionBusy",
    "limited": "ConcurrencyLimited",
    "running": "Running",
    "talking": "Running",
    "abreast": "Running",
    "items": "Running",
    "waiting": "WaitingForInput",
    "sleeping": "Sleeping",
    "retrying": "Retrying",
    "child": "Running",
    "suspended": "Suspended",
}
"""A task for each state in which one can be, with the reason it gives."""


def in_every_state(cluster: Cluster, namespace: str) -> None:
    """Make a task for each state, and wait until each is in it."""
    talk = {"sessionRef": {"name": "alice"}, "message": "[slow 300s] Hello"}
    cluster.apply(
        namespace,
        session("alice"),
        agent("narrow", limits={"maxConcurrentTasks": 1}),
        task(
            "pending",
            agentRef={"name": "nobody"},
            steps=[{"name": "ask", "prompt": {"text": "Hello"}}, AFTER],
        ),
        task("talking", **talk),
        task("narrow", agentRef={"name": "narrow"}, steps=[LONG_STEP]),
        task("running", steps=[LONG_STEP, AFTER]),
        task("abreast", steps=[LONG_STEP, {**LONG_STEP, "name": "too", "needs": []}, AFTER]),
        task("items", steps=[{**LONG_STEP, "forEach": {"items": [1, 2, 3], "parallelism": 2}}, AFTER]),
        task("waiting", steps=[{"name": "ask", "wait": {"question": "Well?"}}, AFTER]),
        task("sleeping", steps=[{"name": "nap", "sleep": {"duration": "1h"}}, AFTER]),
        task("retrying", steps=[{"name": "try", "retry": RETRY, "container": container("exit 3")}, AFTER]),
        task("child", steps=[{"name": "run", "task": {"spec": {"steps": [LONG_STEP, AFTER]}}}, AFTER]),
        task("suspended", steps=[LONG_STEP], desiredState="Suspended"),
    )
    wait_reason(cluster, namespace, "talking", "Running")
    wait_reason(cluster, namespace, "narrow", "Running")
    cluster.apply(
        namespace,
        task("queued", sessionRef={"name": "alice"}, message="Hello"),
        task("limited", agentRef={"name": "narrow"}, steps=[LONG_STEP, AFTER]),
    )
    for name, reason in STATES.items():
        wait_reason(cluster, namespace, name, reason)
    # What the child is at counts as well.
    [child] = [t for t in cluster.list("task", namespace) if t["status"].get("parent") == "child"]
    wait_reason(cluster, namespace, child["metadata"]["name"], "Running")


def wait_reason(cluster: Cluster, namespace: str, name: str, reason: str) -> dict[str, Any]:
    """Wait until a task, or one of its steps, gives a reason for where it is."""

    def probe() -> dict[str, Any] | None:
        body = cluster.get("task", namespace, name)
        if body is None:
            return None
        given = {
            condition(body, "Ready").get("reason"),
            *(s.get("reason") for s in body["status"].get("steps", [])),
        }
        return body if reason in given else None

    return cluster.wait(f"Task {name} says {reason}", namespace, probe)


def everything(store: Store, namespace: str) -> int:
    """How many attempts there ever were in a namespace."""
    query = "SELECT count(*) FROM attempts a JOIN tasks t ON t.uid = a.task_uid WHERE t.namespace = %s"
    [(count,)] = store.rows(query, namespace)
    return count


def test_cancel_in_every_state(cluster: Cluster, namespace: str, store: Store) -> None:
    # Given a task in every state
    in_every_state(cluster, namespace)
    begun = everything(store, namespace)

    # When all of them are cancelled, the one that others wait for last
    names = [*(name for name in STATES if name != "talking"), "narrow", "talking"]
    for name in names:
        desire(cluster, namespace, name, "Cancelled")

    # Then all of them are, and that is as it should be
    for name in names:
        body = cluster.wait_task(namespace, name)
        assert body["status"]["phase"] == "Cancelled", body["status"]
        assert condition(body, "Succeeded")["reason"] == "Cancelled"
        assert kstatus(body).status == "Current"
        assert {step["phase"] for step in body["status"]["steps"]} <= {
            "Cancelled",
            "Skipped",
            "Succeeded",
            "Failed",
        }

    # And their pods end within their grace period, and nothing starts after
    cluster.wait("all pods end", namespace, lambda: not running(cluster, namespace))
    assert everything(store, namespace) == begun
    steps = {job["metadata"]["labels"]["parley.dev/step"] for job in cluster.list("job", namespace)}
    assert "after" not in steps


def test_suspend_and_resume_in_every_state(cluster: Cluster, namespace: str, store: Store) -> None:
    # Given a task in every state
    in_every_state(cluster, namespace)
    begun = everything(store, namespace)

    # When all of them are suspended
    for name in STATES:
        desire(cluster, namespace, name, "Suspended")

    # Then what ran goes on, and everything else says that it is suspended
    on = {"running", "talking", "abreast", "items", "child"}
    for name in STATES:
        if name in on:
            continue
        body = cluster.wait_task(namespace, name, "Suspended")
        assert condition(body, "Ready")["reason"] == "Suspended"
        assert kstatus(body).status == "InProgress"

    # And when the running steps end, the next ones do not begin
    stop_containers(cluster, namespace, "running")
    assert cluster.wait_task(namespace, "running")["status"]["phase"] == "Failed"
    assert everything(store, namespace) == begun

    # When they may go on, then each is back where it was
    for name, reason in STATES.items():
        if name not in {"running", "suspended"}:
            desire(cluster, namespace, name, "Running")
            wait_reason(cluster, namespace, name, reason)
    assert everything(store, namespace) == begun

    # And those that wait for a person or a place get there
    waiting = cluster.wait_task(namespace, "waiting", "WaitingForInput")["status"]["waiting"][0]
    cluster.apply(namespace, reply("well", "waiting", waiting["id"], value="Yes"))
    assert cluster.wait_task(namespace, "waiting")["status"]["phase"] == "Succeeded"
    desire(cluster, namespace, "talking", "Cancelled")
    assert cluster.wait_task(namespace, "queued")["status"]["phase"] == "Succeeded"


def test_delete_in_every_state(cluster: Cluster, namespace: str, store: Store) -> None:
    in_every_state(cluster, namespace)
    cluster.kubectl("delete", "tasks.parley.dev", "--all", "-n", namespace)
    cluster.wait("all pods go", namespace, lambda: pods(cluster, namespace) == [])
    cluster.wait("all Jobs go", namespace, lambda: cluster.list("job", namespace) == [])
    cluster.wait(
        "all attempts are closed",
        namespace,
        lambda: (
            store.rows(
                "SELECT count(*) FROM attempts a JOIN tasks t ON t.uid = a.task_uid"
                " WHERE t.namespace = %s AND a.state IN ('Open', 'Running')",
                namespace,
            )
            == [(0,)]
        ),
    )


MARKS: dict[str, dict[str, dict[str, str]]] = {
    "helm": {"annotations": {"meta.helm.sh/release-name": "shop"}},
    "flux": {"labels": {"kustomize.toolkit.fluxcd.io/name": "shop"}},
    "flux-helm": {"labels": {"helm.toolkit.fluxcd.io/name": "shop"}},
    "argo": {"annotations": {"argocd.argoproj.io/tracking-id": "shop:parley.dev/Task:default/argo"}},
    "argo-label": {"labels": {"app.kubernetes.io/instance": "shop"}},
}


def test_what_has_ended_is_removed_after_its_time(cluster: Cluster, namespace: str, store: Store) -> None:
    # Given tasks that end, which nobody owns, which Git or Helm own, which are kept, and one that fails
    steps = [{"name": "only", "container": container("echo seven; printf 7 > /dev/termination-log; sleep 1")}]
    owned = [
        {**body, "metadata": {**body["metadata"], **marks}}
        for name, marks in MARKS.items()
        for body in [task(name, steps=steps, ttlAfterFinished="2s")]
    ]
    cluster.apply(
        namespace,
        task("free", steps=steps, ttlAfterFinished="2s"),
        task("failed", steps=[{"name": "only", "container": container("exit 3")}], ttlAfterFinished="2s"),
        task("kept", steps=steps),
        *owned,
    )

    # Then those that nobody owns go, with their Jobs and pods
    for name in ("free", "failed"):
        cluster.wait(
            f"{name} is removed", namespace, lambda name=name: cluster.get("task", namespace, name) is None
        )
        cluster.wait(
            f"the pods of {name} go", namespace, lambda name=name: pods(cluster, namespace, name) == []
        )

    # And those that Git or Helm own stay, say so, and have lost only their Jobs
    for name in MARKS:
        body = cluster.wait(
            f"{name} is pruned",
            namespace,
            lambda name=name: [
                t
                for t in [cluster.get("task", namespace, name)]
                if t and condition(t, "Pruned").get("status") == "True"
            ],
        )[0]
        assert (body["status"]["phase"], body["status"]["output"]) == ("Succeeded", 7)
        assert kstatus(body).status == "Current"
        cluster.wait(
            f"the pods of {name} go", namespace, lambda name=name: pods(cluster, namespace, name) == []
        )
        cluster.wait(
            f"the Jobs of {name} go",
            namespace,
            lambda name=name: cluster.list("job", namespace, f"parley.dev/task={name}") == [],
        )
        assert len(attempts(store, namespace, name)) == 1

    # And one without a time keeps everything, until it is given one
    kept = cluster.wait_task(namespace, "kept")
    assert condition(kept, "Pruned") == {}
    assert len(pods(cluster, namespace, "kept")) == 1
    patch = '{"spec":{"ttlAfterFinished":"1s"}}'
    cluster.kubectl("patch", "task", "kept", "-n", namespace, "--type=merge", "-p", patch)
    cluster.wait("it is removed as well", namespace, lambda: cluster.get("task", namespace, "kept") is None)

    # And what they did is still in Postgres
    rows = store.rows(
        "SELECT t.name, o.value, a.log FROM outputs o JOIN tasks t ON t.uid = o.task_uid"
        " JOIN attempts a ON a.task_uid = t.uid WHERE t.namespace = %s",
        namespace,
    )
    assert {name: value for name, value, _ in rows} == dict.fromkeys(("free", "kept", *MARKS), 7)
    # A log that cannot be read in time is left out, on a busy machine now and then.
    assert {log.strip() for _, _, log in rows if log} == {"seven"}


def test_an_agent_runs_so_many_tasks_at_a_time_in_fair_order(
    cluster: Cluster, namespace: str, store: Store
) -> None:
    # Given an agent that runs one task at a time, and tasks that wait and sleep between their steps
    cluster.apply(namespace, agent("narrow", limits={"maxConcurrentTasks": 1}))
    fields = {"agentRef": {"name": "narrow"}}
    rest = [
        {"name": "ask", "wait": {"question": "Go on?", "choices": ["yes", "no"]}},
        {"name": "end", "container": gives("done")},
    ]
    nap = [{"name": "nap", "sleep": {"duration": "1h"}}]
    cluster.apply(namespace, task("a", **fields, steps=[LONG_STEP]))
    wait_reason(cluster, namespace, "a", "Running")
    cluster.apply(namespace, task("b", **fields, steps=[{"name": "begin", "container": gives(1)}, *rest]))
    wait_reason(cluster, namespace, "b", "ConcurrencyLimited")
    cluster.apply(namespace, task("c", **fields, steps=[{"name": "begin", "container": gives(1)}, *nap]))
    wait_reason(cluster, namespace, "c", "ConcurrencyLimited")
    cluster.apply(namespace, task("d", **fields, steps=[{"name": "begin", "container": gives(1)}]))

    # Then the others say where they stand
    last = wait_reason(cluster, namespace, "d", "ConcurrencyLimited")
    assert last["status"]["phase"] == "Queued"
    assert "3" in condition(last, "Ready")["message"]
    assert "narrow" in condition(last, "Ready")["message"]

    # When the first is cancelled, then they have their turns by age; who waits or sleeps makes room
    desire(cluster, namespace, "a", "Cancelled")
    assert cluster.wait_task(namespace, "d")["status"]["phase"] == "Succeeded"
    asked = wait_step(cluster, namespace, "b", "ask", "WaitingForInput")
    wait_step(cluster, namespace, "c", "nap", "Sleeping")
    order = store.rows(
        "SELECT t.name FROM attempts a JOIN tasks t ON t.uid = a.task_uid"
        " WHERE t.namespace = %s AND a.step = 'begin' ORDER BY a.id",
        namespace,
    )
    assert [name for (name,) in order] == ["b", "c", "d"]
    spans = [attempts(store, namespace, name, "begin")[0] for name in ("b", "c", "d")]
    assert all(first.ended and first.ended <= then.created for first, then in pairwise(spans))

    # And who was answered goes on when there is room
    cluster.apply(namespace, reply("yes", "b", asked["status"]["waiting"][0]["id"], choice="yes"))
    assert cluster.wait_task(namespace, "b")["status"]["output"] == "done"


@contextmanager
def limited(cluster: Cluster, limit: int) -> Iterator[None]:
    """Let only so many tasks of each namespace run at a time while the block runs."""
    name = "PARLEY_MAX_TASKS_PER_NAMESPACE"
    change = ("set", "env", "deployment/parley-operator", "-n", SYSTEM_NAMESPACE)
    shown = cluster.kubectl(*change, "--list")
    before = next(
        (line.partition("=")[2] for line in shown.splitlines() if line.startswith(f"{name}=")), None
    )
    rolled = ("rollout", "status", "deployment/parley-operator", "-n", SYSTEM_NAMESPACE, "--timeout=300s")
    try:
        cluster.kubectl(*change, f"{name}={limit}")
        cluster.kubectl(*rolled)
        yield
    finally:
        cluster.kubectl(*change, f"{name}-" if before is None else f"{name}={before}")
        cluster.kubectl(*rolled)
        all_ready(cluster)


@pytest.mark.disruptive
def test_a_namespace_runs_so_many_tasks_at_a_time(cluster: Cluster, namespace: str) -> None:
    with limited(cluster, 1):
        cluster.apply(namespace, task("a", steps=[LONG_STEP]))
        wait_reason(cluster, namespace, "a", "Running")
        cluster.apply(namespace, task("b", steps=[{"name": "only", "container": gives(1)}]))
        held = wait_reason(cluster, namespace, "b", "ConcurrencyLimited")
        assert "namespace" in condition(held, "Ready")["message"]
        desire(cluster, namespace, "a", "Cancelled")
        assert cluster.wait_task(namespace, "b")["status"]["output"] == 1


def test_the_pods_of_a_cancelled_task_get_their_grace(cluster: Cluster, namespace: str) -> None:
    # Given a container that writes down that it was asked to stop
    script = (
        "trap 'sleep 2; printf bye > /dev/termination-log; exit 0' TERM; echo listening; sleep 300 & wait"
    )
    cluster.apply(namespace, task("polite", steps=[{"name": "slow", "container": container(script)}]))
    # A container runs before its shell has read a line: a signal before the trap would go unheard.
    cluster.wait("its shell listens", namespace, lambda: says(cluster, namespace, "polite", "listening"))
    desire(cluster, namespace, "polite", "Cancelled")
    body = cluster.wait_task(namespace, "polite")
    assert step_of(body, "slow")["phase"] == "Cancelled"
    cluster.wait("its pod ends", namespace, lambda: not running(cluster, namespace, "polite"))
    # Then it had the time, and what it said changes nothing
    [pod] = pods(cluster, namespace, "polite") or [None]
    if pod is not None:
        assert pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"] == "bye"
    after = cluster.get("task", namespace, "polite")
    assert after is not None
    assert after["status"]["phase"] == "Cancelled"
