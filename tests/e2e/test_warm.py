"""Runtime mode Warm: an agent's runners take what it is asked, end when it is idle, and lose nothing on the way."""

import signal
from typing import Any

import pytest

from tests.cluster import Cluster, wait_step
from tests.e2e.conftest import Store, agent, reply, say, session, task
from tests.e2e.disruption import check_store, processes, send
from tests.e2e.seen import attempts
from tests.e2e.servers import call, refund
from tests.e2e.test_tool_approval import GUARDED, asked, paid
from tests.e2e.test_waiting import accepted

pytestmark = pytest.mark.cluster

POOL = "parley.dev/pool"
LONG_IDLE = {"mode": "Warm"}
SHORT_IDLE = {"mode": "Warm", "warm": {"idleTimeout": "10s"}}


def ask(name: str, text: str, to: str = "warm", **fields: object) -> dict[str, object]:
    """A Task of one prompt step."""
    step = {"name": "ask", "prompt": {"text": text}}
    return task(name, agentRef={"name": to}, steps=[step], **fields)


def deployments(cluster: Cluster, namespace: str) -> list[dict[str, Any]]:
    return cluster.list("deployment", namespace, "parley.dev/runtime=warm")


def runners(cluster: Cluster, namespace: str) -> list[dict[str, Any]]:
    return cluster.list("pod", namespace, "parley.dev/runtime=warm")


def shown(cluster: Cluster, namespace: str, name: str = "warm") -> dict[str, int]:
    """What the Agent's status says of its runners."""
    found = cluster.get("agent", namespace, name)
    return (found or {}).get("status", {}).get("warm", {})


def wait_taken(cluster: Cluster, namespace: str, store: Store, *names: str) -> None:
    """Wait until runners have the tasks' attempts."""

    def probe() -> bool:
        return all([a.state for a in attempts(store, namespace, name)][-1:] == ["Running"] for name in names)

    cluster.wait(f"runners have {', '.join(names)}", namespace, probe)


def wait_replicas(cluster: Cluster, namespace: str, replicas: int, ready: int) -> None:
    cluster.wait(
        f"{replicas} runners, {ready} ready",
        namespace,
        lambda: shown(cluster, namespace) == {"replicas": replicas, "ready": ready},
    )


def succeeds(cluster: Cluster, namespace: str, name: str, output: str) -> None:
    ended = cluster.wait_task(namespace, name)
    status = ended["status"]
    assert (status["phase"], status.get("output")) == ("Succeeded", output), cluster.describe(namespace)


def test_ten_tasks_share_a_runner_that_ends_when_idle_and_comes_back(
    cluster: Cluster, namespace: str, store: Store
) -> None:
    # Given an agent that keeps no runner before it is asked anything
    cluster.apply(namespace, agent("warm", runtime=SHORT_IDLE))
    cluster.wait("the agent is seen", namespace, lambda: shown(cluster, namespace) == {})
    assert deployments(cluster, namespace) == []

    # When it is asked ten things, then one runner answers them, without a Job
    cluster.apply(namespace, *(ask(f"t{n}", f"echo: {n}") for n in range(10)))
    for n in range(10):
        succeeds(cluster, namespace, f"t{n}", str(n))
    assert cluster.list("job", namespace) == []
    assert [a.number for n in range(10) for a in attempts(store, namespace, f"t{n}")] == [1] * 10
    [made] = deployments(cluster, namespace)
    assert made["metadata"]["ownerReferences"][0]["name"] == "warm"

    # Then it ends
    wait_replicas(cluster, namespace, 0, 0)
    cluster.wait("no runner is left", namespace, lambda: not runners(cluster, namespace))

    # And comes back for the next
    cluster.apply(namespace, ask("late", "echo: late"))
    succeeds(cluster, namespace, "late", "late")
    assert [d["metadata"]["uid"] for d in deployments(cluster, namespace)] == [made["metadata"]["uid"]]


def test_a_killed_runners_turn_is_taken_over(cluster: Cluster, namespace: str, store: Store) -> None:
    # Given turns of two conversations in one runner
    cluster.apply(namespace, agent("warm", runtime=LONG_IDLE))
    for name in ("alice", "bob"):
        cluster.apply(namespace, session(name, agentRef={"name": "warm"}))
        cluster.apply(namespace, say(f"hi-{name}", name, f"[slow 20s] echo: hello {name}"))
    wait_taken(cluster, namespace, store, "hi-alice", "hi-bob")
    [pod] = runners(cluster, namespace)

    # When its process is killed in the middle
    send(processes(cluster, namespace, pod["metadata"]["name"]), signal.SIGKILL)

    # Then both end all the same, after one disruption each, said once
    for name in ("alice", "bob"):
        succeeds(cluster, namespace, f"hi-{name}", f"hello {name}")
        assert [(a.cause, a.state) for a in attempts(store, namespace, f"hi-{name}")] == [
            ("First", "Lost"),
            ("Disruption", "Succeeded"),
        ]
    check_store(store, namespace)


def test_a_change_of_the_agent_loses_no_turn(cluster: Cluster, namespace: str, store: Store) -> None:
    # Given an agent with a runner
    cluster.apply(namespace, agent("warm", runtime=LONG_IDLE))
    cluster.apply(namespace, ask("first", "echo: first"))
    succeeds(cluster, namespace, "first", "first")
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "shop"},
        "stringData": {"token": "shop-token"},
    }
    cluster.apply(namespace, secret)
    header = {
        "name": "Authorization",
        "valueFrom": {"secretKeyRef": {"name": "shop", "key": "token"}},
    }
    tool = {
        "name": "look",
        "description": "Look it up.",
        "parameters": {"type": "object"},
        "http": {"url": "http://shop/", "headers": [header]},
    }
    resources = {"requests": {"cpu": "50m", "memory": "96Mi"}, "limits": {"memory": "600Mi"}}
    changes: dict[str, dict[str, Any]] = {
        "words": {"instructions": "Be long."},
        "secret": {"instructions": "Be long.", "tools": [tool]},
        "pods": {
            "instructions": "Be long.",
            "tools": [tool],
            "runtime": {**LONG_IDLE, "pod": {"resources": resources}},
        },
    }
    pools = [deployments(cluster, namespace)[0]["metadata"]["labels"][POOL]]

    # When it changes again and again while turns are under way
    for name, spec in changes.items():
        cluster.apply(namespace, session(f"s-{name}", agentRef={"name": "warm"}))
        cluster.apply(namespace, say(f"before-{name}", f"s-{name}", f"[slow 20s] echo: before {name}"))
        wait_taken(cluster, namespace, store, f"before-{name}")
        cluster.apply(namespace, agent("warm", **{"runtime": LONG_IDLE, **spec}))
        cluster.apply(namespace, ask(f"after-{name}", f"echo: after {name}"))
        succeeds(cluster, namespace, f"after-{name}", f"after {name}")
        pools.append(deployments(cluster, namespace)[0]["metadata"]["labels"][POOL])

    # Then each turn ended in the attempt in which it had begun
    for name in changes:
        succeeds(cluster, namespace, f"before-{name}", f"before {name}")
        assert [a.state for a in attempts(store, namespace, f"before-{name}")] == ["Succeeded"]
    # And what its runners are given decided which runners
    assert pools[0] == pools[1]
    assert len(set(pools[1:])) == 3
    cluster.wait(
        "runners of other pools have ended",
        namespace,
        lambda: {pod["metadata"]["labels"][POOL] for pod in runners(cluster, namespace)} == {pools[-1]},
    )
    [pod] = runners(cluster, namespace)
    assert pod["spec"]["containers"][0]["resources"]["limits"] == {"memory": "600Mi"}
    check_store(store, namespace)


@pytest.mark.usefixtures("tools")
def test_an_approved_call_runs_in_a_runner_that_came_back(
    cluster: Cluster, namespace: str, store: Store
) -> None:
    # Given a turn that asks a person before it pays
    cluster.apply(namespace, agent("warm", runtime=SHORT_IDLE, tools=[refund(**GUARDED)]))
    cluster.apply(namespace, session("frank", agentRef={"name": "warm"}))
    order = f"{namespace}-warm"
    cluster.apply(namespace, say("pay", "frank", call("refund", order=order, amount=1)))
    [entry] = asked(cluster, namespace, "pay")

    # When nobody answers for a while, then no runner waits with it
    wait_replicas(cluster, namespace, 0, 0)
    assert paid(cluster, order) == 0

    # When somebody does, then it is paid, once
    cluster.apply(namespace, reply("yes", "pay", entry["id"], choice="approve"))
    accepted(cluster, namespace, "yes")
    assert cluster.wait_task(namespace, "pay")["status"]["phase"] == "Succeeded", cluster.describe(namespace)
    assert paid(cluster, order) == 1
    assert [(a.cause, a.state) for a in attempts(store, namespace, "pay")] == [
        ("First", "Paused"),
        ("Resume", "Succeeded"),
    ]
    assert cluster.list("job", namespace) == []


def test_a_deleted_agents_runners_go_and_its_tasks_wait(
    cluster: Cluster, namespace: str, store: Store
) -> None:
    # Given an agent with a runner, and a task that waits for a person
    cluster.apply(namespace, agent("warm", runtime=LONG_IDLE))
    steps = [
        {"name": "ask", "prompt": {"text": "echo: asked"}},
        {"name": "wait", "wait": {"question": "Go on?", "choices": ["yes", "no"]}},
        {"name": "then", "prompt": {"text": "echo: went on"}},
    ]
    cluster.apply(namespace, task("t", agentRef={"name": "warm"}, steps=steps))
    [entry] = asked(cluster, namespace, "t")

    # When the agent is deleted, then so are its runners, and the task says what it waits for
    cluster.delete("agent", namespace, "warm")
    cluster.wait("its runners go", namespace, lambda: not deployments(cluster, namespace))
    cluster.wait("their pods go", namespace, lambda: not runners(cluster, namespace))
    cluster.apply(namespace, reply("yes", "t", entry["id"], choice="yes"))
    wait_step(cluster, namespace, "t", "then", "AgentNotFound")

    # And with another agent of that name it goes on, in runners of that one's
    cluster.apply(namespace, agent("warm", runtime=LONG_IDLE))
    succeeds(cluster, namespace, "t", "went on")
    assert [a.state for a in attempts(store, namespace, "t")] == ["Succeeded"] * 2


def test_what_keeps_a_runner_from_starting_is_told(cluster: Cluster, namespace: str) -> None:
    # Given an agent whose model's key is in a Secret that is not there
    model = {
        **agent()["spec"]["model"],  # type: ignore[index]
        "apiKeySecretRef": {"name": "later", "key": "key"},
    }
    cluster.apply(namespace, agent("warm", runtime=LONG_IDLE, model=model))
    cluster.apply(namespace, ask("t", "echo: found"))
    wait_step(cluster, namespace, "t", "ask", "SecretNotFound")

    # When it is made, then the runner starts and the task goes on
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "later"}, "stringData": {"key": "k"}}
    cluster.apply(namespace, secret)
    succeeds(cluster, namespace, "t", "found")


def test_a_frozen_runner_is_started_again(cluster: Cluster, namespace: str, store: Store) -> None:
    # Given an agent's only runner, frozen in the middle of a turn: it neither goes on nor ends
    cluster.apply(namespace, agent("warm", runtime=LONG_IDLE))
    cluster.apply(namespace, ask("t", "[slow 30s] echo: thawed"))
    wait_taken(cluster, namespace, store, "t")
    [pod] = runners(cluster, namespace)
    send(processes(cluster, namespace, pod["metadata"]["name"]), signal.SIGSTOP)

    # Then the kubelet starts it again, and the turn goes on there
    ended = cluster.wait_task(namespace, "t", timeout=480)
    assert (ended["status"]["phase"], ended["status"].get("output")) == ("Succeeded", "thawed")
    # It had asked for more when it froze, and may have been given that too.
    *lost, last = [a.state for a in attempts(store, namespace, "t")]
    assert (set(lost), last) == ({"Lost"}, "Succeeded")
    [same] = runners(cluster, namespace)
    assert same["metadata"]["uid"] == pod["metadata"]["uid"]
    assert same["status"]["containerStatuses"][0]["restartCount"] >= 1
