"""Runtime mode Task: the prompts of a task in one pod, and what becomes of them when that pod is lost."""

import signal
from datetime import timedelta
from itertools import pairwise

import pytest
from parley.runner.serve import IDLE_SECONDS

from tests.cluster import Cluster, condition, desire, step_of, wait_step
from tests.e2e.conftest import Store, agent, gives, session, task
from tests.e2e.disruption import processes, send
from tests.e2e.seen import Attempt, attempts, pods, running

pytestmark = pytest.mark.cluster

ONE_POD = {"mode": "Task"}


def echoes(count: int, text: str = "") -> list[dict[str, object]]:
    """Prompts, each of which adds one to the answer of the one before."""
    first = {"name": "n0", "prompt": {"text": f"echo: {text}0"}}
    rest = [
        {"name": f"n{n}", "prompt": {"text": f"{text}echo: {{{{ steps.n{n - 1}.output | int + 1 }}}}"}}
        for n in range(1, count)
    ]
    return [first, *rest]


def late_prompts(rows: list[Attempt]) -> list[str]:
    """The steps that came so late after the one before that its pod may have ended for want of work."""
    patience = timedelta(seconds=IDLE_SECONDS / 2)
    return [
        then.step for first, then in pairwise(rows) if first.ended and then.created - first.ended > patience
    ]


def test_ten_prompts_run_in_one_pod(cluster: Cluster, namespace: str, store: Store) -> None:
    # Given ten prompts, one after the other, by the task's own word and by its agent's
    cluster.apply(namespace, session("alice"), agent("swift", runtime=ONE_POD))
    cluster.apply(
        namespace,
        task("by-task", sessionRef={"name": "alice"}, runtime=ONE_POD, steps=echoes(10)),
        task("by-agent", agentRef={"name": "swift"}, steps=echoes(3)),
        task("against-agent", agentRef={"name": "swift"}, runtime={"mode": "Job"}, steps=echoes(2)),
    )

    # When they have run, then each mode had its pods
    for name, output in (("by-task", "9"), ("by-agent", "2"), ("against-agent", "1")):
        ended = cluster.wait_task(namespace, name)
        assert (ended["status"]["phase"], ended["status"]["output"]) == ("Succeeded", output), (
            cluster.describe(namespace)
        )
    for name in ("by-task", "by-agent"):
        late = late_prompts(attempts(store, namespace, name))
        assert 1 <= len(pods(cluster, namespace, name)) <= 1 + len(late), late
    assert len(pods(cluster, namespace, "against-agent")) == 2

    # And each step was one attempt, and one turn of the conversation
    assert [(a.step, a.number, a.state) for a in attempts(store, namespace, "by-task")] == [
        (f"n{n}", 1, "Succeeded") for n in range(10)
    ]
    alice = cluster.get("session", namespace, "alice")
    assert alice is not None
    assert alice["status"]["events"]["count"] == 20

    # And the pod ends by itself
    cluster.wait("no pod runs", namespace, lambda: not running(cluster, namespace))


def test_containers_between_have_pods_of_their_own(cluster: Cluster, namespace: str) -> None:
    steps = [
        {"name": "before", "prompt": {"text": "echo: 1"}},
        {"name": "between", "container": gives(2)},
        {"name": "after", "prompt": {"text": "echo: {{ steps.before.output }}{{ steps.between.output }}"}},
    ]
    cluster.apply(namespace, task("mixed", agentRef={"name": "support"}, runtime=ONE_POD, steps=steps))
    assert cluster.wait_task(namespace, "mixed")["status"]["output"] == "12", cluster.describe(namespace)

    # Then the container had a pod of its own, and the prompts had a runner's, or two where it took long
    steps_of = {
        component: [
            pod["metadata"]["labels"].get("parley.dev/step")
            for pod in pods(cluster, namespace)
            if pod["metadata"]["labels"]["app.kubernetes.io/component"] == component
        ]
        for component in ("runner", "step")
    }
    assert steps_of["step"] == ["between"]
    assert 1 <= len(steps_of["runner"]) <= 2, steps_of


def test_a_runner_killed_in_the_middle_loses_nothing(cluster: Cluster, namespace: str, store: Store) -> None:
    # Given prompts in one pod, the third of which takes a while
    steps = echoes(5)
    steps[2]["prompt"] = {"text": "[slow 5s] echo: {{ steps.n1.output | int + 1 }}"}
    cluster.apply(namespace, session("alice"))
    cluster.apply(namespace, task("torn", sessionRef={"name": "alice"}, runtime=ONE_POD, steps=steps))
    wait_step(cluster, namespace, "torn", "n2", "Running")
    [first] = running(cluster, namespace, "torn")

    # When its process is killed
    send(processes(cluster, namespace, first), signal.SIGKILL)

    # Then another pod goes on where it was, and no committed step runs again
    ended = cluster.wait_task(namespace, "torn")
    assert (ended["status"]["phase"], ended["status"]["output"]) == ("Succeeded", "4"), cluster.describe(
        namespace
    )
    # Or two, where it took so long between two prompts that the first had ended.
    others = {pod["metadata"]["name"] for pod in pods(cluster, namespace, "torn")} - {first}
    assert 1 <= len(others) <= 2, others
    rows = attempts(store, namespace, "torn")
    assert [(a.step, a.cause) for a in rows] == [
        ("n0", "First"),
        ("n1", "First"),
        ("n2", "First"),
        ("n2", "Disruption"),
        ("n3", "First"),
        ("n4", "First"),
    ]
    alice = cluster.get("session", namespace, "alice")
    assert alice is not None
    assert alice["status"]["events"]["count"] == 10


def test_retry_timeout_and_cancel_hold_in_this_mode_too(
    cluster: Cluster, namespace: str, store: Store
) -> None:
    # Given a model that fails for one attempt, a prompt that takes too long, and one that is cancelled
    fields = {"agentRef": {"name": "support"}, "runtime": ONE_POD}
    soon = {"limit": 1, "backoff": {"initial": "1s"}}
    cluster.apply(
        namespace,
        task(
            "again",
            **fields,
            steps=[
                {"name": "ask", "retry": soon, "prompt": {"text": f"[fail 503 x5 {namespace}] echo: at last"}}
            ],
        ),
        task(
            "late",
            **fields,
            steps=[{"name": "ask", "timeout": "8s", "prompt": {"text": "[slow 300s] Hello"}}],
        ),
        task("stopped", **fields, steps=[{"name": "ask", "prompt": {"text": "[slow 300s] Hello"}}]),
    )
    wait_step(cluster, namespace, "stopped", "ask", "Running")
    desire(cluster, namespace, "stopped", "Cancelled")

    # Then each ends as in any other mode
    assert cluster.wait_task(namespace, "stopped")["status"]["phase"] == "Cancelled"
    again = cluster.wait_task(namespace, "again")
    assert again["status"]["output"] == "at last", cluster.describe(namespace)
    assert [a.cause for a in attempts(store, namespace, "again")] == ["First", "Retry"]
    late = cluster.wait_task(namespace, "late")
    assert (condition(late, "Succeeded")["reason"], step_of(late, "ask")["phase"]) == (
        "StepTimeout",
        "Failed",
    )
    cluster.wait("all pods end", namespace, lambda: not running(cluster, namespace))
