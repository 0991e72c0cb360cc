"""Point 3, truth: in every state kstatus (Flux, Argo CD, ``kubectl wait``) gets the right answer."""

from typing import Any

import pytest

from tests.cluster import (
    GROUP,
    SYSTEM_NAMESPACE,
    Cluster,
    Refused,
    condition,
    desire,
    step_of,
    wait_condition,
)
from tests.e2e.conftest import LONG_SCRIPT, agent, container, session, task
from tests.e2e.disruption import all_ready
from tests.e2e.recording import recorded
from tests.e2e.seen import wait_kstatus
from tests.kstatus import kstatus

pytestmark = pytest.mark.cluster

QUICK = [{"name": "only", "container": container("true")}]
LONG_STEP = [{"name": "slow", "container": container(LONG_SCRIPT)}]


def verdict(cluster: Cluster, kind: str, namespace: str, name: str) -> str:
    found = cluster.get(kind, namespace, name)
    assert found is not None
    return kstatus(found).status


def wait_reason(cluster: Cluster, namespace: str, name: str, reason: str) -> dict[str, Any]:
    """Wait until a task in progress says why it is where it is."""

    def probe() -> dict[str, Any] | None:
        found = cluster.get("task", namespace, name)
        return found if found and condition(found, "Ready").get("reason") == reason else None

    return cluster.wait(f"Task {name} says {reason}", namespace, probe)


def test_a_new_object_is_in_progress_before_the_operator_has_seen_it(
    cluster: Cluster, namespace: str
) -> None:
    for manifest in (agent("new"), session("new"), task("new", steps=QUICK)):
        # When an object is made, then the very answer, which no operator can have touched, is no success yet
        kind = str(manifest["kind"]).lower()
        made = cluster.request("POST", f"{GROUP}/namespaces/{namespace}/{kind}s", json=manifest)
        made.raise_for_status()
        assert made.json()["status"] == {"observedGeneration": -1}
        assert kstatus(made.json()).status == "InProgress"


def test_each_way_a_task_can_end_reads_right_from_its_first_moment(cluster: Cluster, namespace: str) -> None:
    # Given watchers of a task that succeeds, one that fails, one that is cancelled, one that was never valid
    bad = [{"name": "say", "container": container("true") | {"args": ["{{ nobody }}"]}}]
    with recorded(cluster, "task", namespace) as seen:
        cluster.apply(
            namespace,
            task("good", steps=QUICK),
            task("bad", steps=[{"name": "only", "container": container("exit 3")}]),
            task("invalid", steps=bad),
            task("stopped", steps=LONG_STEP),
        )
        # When they run to their ends
        wait_reason(cluster, namespace, "stopped", "Running")
        desire(cluster, namespace, "stopped", "Cancelled")
        ended = {name: cluster.wait_task(namespace, name) for name in ("good", "bad", "invalid", "stopped")}

    # Then each watcher saw InProgress in every version but the last, and was told right in that
    assert {name: seen.verdicts(name) for name in ended} == {
        "good": ["InProgress", "Current"],
        "bad": ["InProgress", "Failed"],
        "invalid": ["InProgress", "Failed"],
        "stopped": ["InProgress", "Current"],
    }
    phases = {name: [body["status"].get("phase") for body in seen.of(name)] for name in ended}
    assert phases["good"][0] is None
    assert "Running" in phases["good"]

    # And waiting for Succeeded is no less right: True, or False for good
    assert {name: condition(body, "Succeeded")["status"] for name, body in ended.items()} == {
        "good": "True",
        "bad": "False",
        "invalid": "False",
        "stopped": "False",
    }
    assert condition(ended["stopped"], "Succeeded")["reason"] == "Cancelled"
    assert condition(ended["bad"], "Stalled")["reason"] == "ExitCode"
    for body in ended.values():
        assert body["status"]["observedGeneration"] == body["metadata"]["generation"]
        assert condition(body, "Reconciling") == {}


def test_a_task_in_progress_says_so_wherever_it_waits(cluster: Cluster, namespace: str) -> None:
    # Given tasks that wait for an agent, for a session, for their turn, for a pod, for a person
    cluster.apply(namespace, session("alice"), session("orphan", agentRef={"name": "nobody"}))
    cluster.apply(
        namespace,
        task("agentless", agentRef={"name": "nobody"}, message="Hello"),
        task("sessionless", sessionRef={"name": "nobody"}, message="Hello"),
        task("orphaned", sessionRef={"name": "orphan"}, message="Hello"),
        task("talking", sessionRef={"name": "alice"}, message="[slow 300s] Hello"),
        task("running", steps=LONG_STEP),
        task("suspended", steps=LONG_STEP, desiredState="Suspended"),
    )
    wait_reason(cluster, namespace, "talking", "Running")
    cluster.apply(namespace, task("waiting", sessionRef={"name": "alice"}, message="Hello"))

    # When each is where it stays
    expected = {
        "agentless": ("Pending", "AgentNotFound"),
        "sessionless": ("Pending", "SessionNotFound"),
        "orphaned": ("Pending", "AgentNotFound"),
        "talking": ("Running", "Running"),
        "running": ("Running", "Running"),
        "suspended": ("Suspended", "Suspended"),
        "waiting": ("Queued", "SessionBusy"),
    }
    found = {name: wait_reason(cluster, namespace, name, reason) for name, (_, reason) in expected.items()}

    # Then kstatus reads InProgress, and the sentence names what it waits for
    assert {name: body["status"]["phase"] for name, body in found.items()} == {
        name: phase for name, (phase, _) in expected.items()
    }
    for name, body in found.items():
        assert kstatus(body).status == "InProgress", (name, body["status"])
        assert condition(body, "Succeeded")["status"] == "Unknown", name
    assert "Agent nobody does not exist" in condition(found["agentless"], "Ready")["message"]
    assert "Session nobody does not exist" in condition(found["sessionless"], "Ready")["message"]
    assert "step slow" in condition(found["running"], "Ready")["message"]
    assert "spec.desiredState" in condition(found["suspended"], "Ready")["message"]
    assert "session" in condition(found["waiting"], "Ready")["message"]

    # And so do the objects they refer to: the session without an agent waits, the others can be used
    wait_kstatus(cluster, "session", namespace, "alice", "Current")
    wait_kstatus(cluster, "agent", namespace, "support", "Current")
    orphan = wait_condition(cluster, "session", namespace, "orphan", "Ready", reason="AgentNotFound")
    assert kstatus(orphan).status == "InProgress"
    assert orphan["status"]["phase"] == "Pending"

    # And a task that runs is at once in progress again when it is told something new
    desire(cluster, namespace, "running", "Cancelled")
    assert cluster.wait_task(namespace, "running")["status"]["phase"] == "Cancelled"
    desire(cluster, namespace, "talking", "Cancelled")
    assert verdict(cluster, "task", namespace, "running") == "Current"
    # The turn that was cancelled lets the next one go.
    assert cluster.wait_task(namespace, "waiting")["status"]["output"] == "You said: Hello"


def test_agents_and_sessions_that_cannot_be_used_say_why_and_recover(
    cluster: Cluster, namespace: str
) -> None:
    # Given an agent and a session with a template that is none
    cluster.apply(
        namespace, agent("broken", instructions="{% for %}"), session("broken", systemTemplate="{{ a| }}")
    )

    def stalled(kind: str) -> dict[str, Any] | None:
        found = cluster.get(kind, namespace, "broken")
        return found if found and condition(found, "Stalled").get("status") == "True" else None

    for kind, field in (("agent", "spec.instructions"), ("session", "spec.systemTemplate")):
        found = cluster.wait(f"the {kind} is stalled", namespace, lambda kind=kind: stalled(kind))
        assert kstatus(found).status == "Failed"
        assert condition(found, "Stalled")["reason"] == "InvalidSpec"
        assert field in condition(found, "Stalled")["message"]

    # When they are mended, then they can be used
    cluster.apply(namespace, agent("broken"), session("broken"))
    for kind in ("agent", "session"):
        cluster.kubectl("wait", "-n", namespace, f"{kind}/broken", "--for=condition=Ready", "--timeout=240s")
        assert verdict(cluster, kind, namespace, "broken") == "Current"


@pytest.mark.disruptive
def test_while_the_operator_is_down_nothing_looks_done(cluster: Cluster, namespace: str) -> None:
    # Given a session that is Ready, a suspended task, and no operator
    all_ready(cluster)
    cluster.apply(namespace, session("alice"), task("old", steps=QUICK, desiredState="Suspended"))
    cluster.kubectl("wait", "-n", namespace, "session/alice", "--for=condition=Ready", "--timeout=240s")
    cluster.wait_task(namespace, "old", "Suspended")
    scale_operator(cluster, 0)
    try:
        # When objects are made and changed
        cluster.apply(namespace, agent("new"), session("new", agentRef={"name": "new"}))
        cluster.apply(namespace, task("new", sessionRef={"name": "new"}, message="Hello"))
        cluster.apply(namespace, session("alice", situation="Another one."))
        desire(cluster, namespace, "old", "Running")

        # Then all of them read InProgress, and nobody's wait ends
        for kind, name in (
            ("agent", "new"),
            ("session", "new"),
            ("task", "new"),
            ("session", "alice"),
            ("task", "old"),
        ):
            assert verdict(cluster, kind, namespace, name) == "InProgress", f"{kind}/{name}"
        with pytest.raises(Refused, match="timed out"):
            cluster.kubectl("wait", "-n", namespace, "task/new", "--for=condition=Succeeded", "--timeout=1s")
    finally:
        scale_operator(cluster, 2)
        all_ready(cluster)

    # And with the operator back they come to their ends
    assert cluster.wait_task(namespace, "new")["status"]["phase"] == "Succeeded"
    ended = cluster.wait_task(namespace, "old")
    assert step_of(ended, "only")["phase"] == "Succeeded"
    for kind, name in (
        ("agent", "new"),
        ("session", "new"),
        ("task", "new"),
        ("session", "alice"),
        ("task", "old"),
    ):
        wait_kstatus(cluster, kind, namespace, name, "Current")


def scale_operator(cluster: Cluster, replicas: int) -> None:
    """Have so many operator pods."""
    cluster.kubectl("scale", "deployment/parley-operator", "-n", SYSTEM_NAMESPACE, f"--replicas={replicas}")
    labels = "app.kubernetes.io/name=parley,app.kubernetes.io/component=operator"
    cluster.wait(
        f"{replicas} operators",
        SYSTEM_NAMESPACE,
        lambda: len(cluster.list("pod", SYSTEM_NAMESPACE, labels)) == replicas,
    )
