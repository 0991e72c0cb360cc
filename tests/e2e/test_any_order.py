"""Point 3: manifests in any order end well; what a task refers to may go and come back."""

from itertools import permutations

import pytest

from tests.cluster import Cluster, condition, wait_step_phase
from tests.e2e.conftest import Store, agent, container, session, task
from tests.e2e.seen import wait_kstatus
from tests.kstatus import kstatus

pytestmark = pytest.mark.cluster

MISSING = {"agent": "AgentNotFound", "session": "SessionNotFound"}


def manifests(number: int) -> dict[str, dict[str, object]]:
    """An agent, a session of it and a task in that, apart from all others."""
    return {
        "agent": agent(f"agent-{number}"),
        "session": session(f"session-{number}", agentRef={"name": f"agent-{number}"}),
        "task": task(f"task-{number}", sessionRef={"name": f"session-{number}"}, message=f"echo: {number}"),
    }


def wait_reason(cluster: Cluster, kind: str, namespace: str, name: str, reason: str) -> None:
    def probe() -> bool:
        found = cluster.get(kind, namespace, name)
        return found is not None and condition(found, "Ready").get("reason") == reason

    cluster.wait(f"{kind} {name} says {reason}", namespace, probe)


def test_agent_session_and_task_in_every_order(cluster: Cluster, namespace: str) -> None:
    orders = list(permutations(("agent", "session", "task")))
    sets = [manifests(number) for number in range(len(orders))]

    # When each set's first manifests are applied, what refers to something that is not there says so and waits
    for position in range(2):
        cluster.apply(namespace, *(sets[n][order[position]] for n, order in enumerate(orders)))
        for number, order in enumerate(orders):
            there = order[: position + 1]
            if "task" in there:
                missing = "session" if "session" not in there else "agent"
                wait_reason(cluster, "task", namespace, f"task-{number}", MISSING[missing])
                waiting = cluster.get("task", namespace, f"task-{number}")
                assert waiting is not None
                assert kstatus(waiting).status == "InProgress"
                assert (
                    f"{missing.title()} {missing}-{number} does not exist"
                    in condition(waiting, "Ready")["message"]
                )
            if "session" in there and "agent" not in there:
                wait_reason(cluster, "session", namespace, f"session-{number}", "AgentNotFound")

    # When the last are applied
    cluster.apply(namespace, *(sets[n][order[2]] for n, order in enumerate(orders)))

    # Then all end alike
    for number in range(len(orders)):
        ended = cluster.wait_task(namespace, f"task-{number}")
        assert (ended["status"]["phase"], ended["status"]["output"]) == ("Succeeded", str(number)), ended[
            "status"
        ]
        for kind in ("agent", "session"):
            wait_kstatus(cluster, kind, namespace, f"{kind}-{number}", "Current")


def test_an_agent_may_go_and_come_back(cluster: Cluster, namespace: str) -> None:
    # Given a session whose agent is deleted
    cluster.apply(namespace, session("alice"))
    wait_reason(cluster, "session", namespace, "alice", "Ready")
    cluster.delete("agent", namespace, "support")
    wait_reason(cluster, "session", namespace, "alice", "AgentNotFound")

    # When somebody speaks, then the task waits, and goes on once the agent is there again
    cluster.apply(namespace, task("hello", sessionRef={"name": "alice"}, message="echo: hello"))
    wait_reason(cluster, "task", namespace, "hello", "AgentNotFound")
    cluster.apply(namespace, agent())
    assert cluster.wait_task(namespace, "hello")["status"]["output"] == "hello"
    wait_reason(cluster, "session", namespace, "alice", "Ready")


def test_a_session_binds_at_the_first_step_and_takes_its_running_tasks_with_it(
    cluster: Cluster, namespace: str, store: Store
) -> None:
    # Given a turn that runs, one that waits for it, and a task between two steps of its own
    cluster.apply(namespace, session("alice"))
    cluster.apply(namespace, task("talking", sessionRef={"name": "alice"}, message="[slow 300s] Hello"))
    wait_reason(cluster, "task", namespace, "talking", "Running")
    steps = [
        {"name": "first", "container": container("true")},
        {"name": "then", "prompt": {"text": "Hello"}},
    ]
    cluster.apply(
        namespace,
        task("waiting", sessionRef={"name": "alice"}, message="What is my name?"),
        task("between", sessionRef={"name": "alice"}, steps=steps),
    )
    wait_reason(cluster, "task", namespace, "waiting", "SessionBusy")
    wait_step_phase(cluster, namespace, "between", "first", "Succeeded")
    old = cluster.get("session", namespace, "alice")
    assert old is not None

    # When the session is deleted and made again under the same name
    cluster.delete("session", namespace, "alice")
    for name in ("talking", "between"):
        ended = cluster.wait_task(namespace, name)

        # Then what had begun in it failed with it
        assert ended["status"]["phase"] == "Failed"
        assert condition(ended, "Succeeded")["reason"] == "SessionDeleted", ended["status"]
        assert kstatus(ended).status == "Failed"
    wait_reason(cluster, "task", namespace, "waiting", "SessionNotFound")
    cluster.apply(namespace, session("alice"))

    # And what had not begun belongs to the new one, which knows nothing of the old
    ended = cluster.wait_task(namespace, "waiting")
    assert (ended["status"]["phase"], ended["status"]["output"]) == ("Succeeded", "I do not know your name.")
    new = cluster.get("session", namespace, "alice")
    assert new is not None
    assert new["status"]["events"]["count"] == 2
    assert new["status"]["tasks"] == {"active": 0, "waiting": 0, "succeeded": 1, "failed": 0}
    (gone,) = store.rows("SELECT gone_since IS NOT NULL FROM sessions WHERE uid = %s", old["metadata"]["uid"])
    assert gone[0]

    # And the turn that ran left no pod behind
    cluster.wait(
        "its pod is gone or has ended",
        namespace,
        lambda: all(
            pod["status"]["phase"] in {"Succeeded", "Failed"}
            for pod in cluster.list("pod", namespace, "parley.dev/task=talking")
        ),
    )
