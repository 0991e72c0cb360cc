"""Point 2: a chain of container and prompt steps, timeouts, cancel, suspend; what kubectl prints and waits for."""

import time

import pytest

from tests.cluster import Cluster, condition, step_of
from tests.e2e.conftest import LONG_SCRIPT, container, session, task
from tests.e2e.seen import stop_containers

pytestmark = pytest.mark.cluster


def test_outputs_go_from_a_container_through_a_prompt_into_a_container(
    cluster: Cluster, namespace: str
) -> None:
    # Given a container whose JSON feeds a prompt's template, and a prompt whose object feeds a container's argument
    steps = [
        {
            "name": "look-up",
            "container": container('printf \'{"order": "%s", "amount": 12}\' "$0" > /dev/termination-log')
            | {"args": ["{{ inputs.order }}"]},
        },
        {
            "name": "classify",
            "prompt": {
                "text": "Order {{ steps.look_up.output.order }} is broken. Classify it.",
                "outputSchema": {
                    "type": "object",
                    "properties": {"kind": {"enum": ["late", "broken"]}},
                    "required": ["kind"],
                },
            },
        },
        {
            "name": "file",
            "container": container('printf "%s" "$KIND:$0" > /dev/termination-log')
            | {
                "args": ["{{ steps.classify.output.kind }}"],
                "env": [{"name": "KIND", "value": "{{ steps.classify.output }}"}],
            },
        },
    ]
    output = {"amount": "{{ steps.look_up.output.amount }}", "text": "{{ steps.file.output }} done"}
    cluster.apply(
        namespace,
        task("chain", agentRef={"name": "support"}, inputs={"order": "7"}, steps=steps, output=output),
    )

    # When it has ended
    ended = cluster.wait_task(namespace, "chain")

    # Then each value came through as what it is
    assert ended["status"]["phase"] == "Succeeded", cluster.describe(namespace)
    assert step_of(ended, "look-up")["output"] == {"order": "7", "amount": 12}
    assert step_of(ended, "classify")["output"] == {"kind": "broken"}
    assert ended["status"]["output"] == {"amount": 12, "text": '{"kind":"broken"}:broken done'}
    assert ended["status"]["progress"] == "3/3"


def test_kubectl_prints_and_waits(cluster: Cluster, namespace: str) -> None:
    cluster.apply(namespace, session("alice"))
    cluster.apply(
        namespace,
        task("quick", steps=[{"name": "only", "container": container("true")}]),
        task("talk", sessionRef={"name": "alice"}, message="Hello"),
    )
    cluster.kubectl(
        "wait", "-n", namespace, "--for=condition=Succeeded", "tasks/quick", "tasks/talk", "--timeout=240s"
    )
    table = cluster.kubectl("get", "tasks", "-n", namespace).splitlines()
    assert table[0].split()[:1] == ["NAME"]
    assert {"PHASE", "PROGRESS", "AGE"} <= set(table[0].split())
    talk = next(line for line in table if line.startswith("talk"))
    assert "alice" in talk or "support" in talk
    assert "Succeeded" in talk
    assert "1/1" in talk


def test_a_step_that_takes_too_long_is_stopped(cluster: Cluster, namespace: str) -> None:
    step = {"name": "slow", "timeout": "5s", "container": container(LONG_SCRIPT)}
    cluster.apply(namespace, task("late", steps=[step, {"name": "after", "container": container("true")}]))
    ended = cluster.wait_task(namespace, "late")
    assert ended["status"]["phase"] == "Failed"
    assert step_of(ended, "slow")["reason"] == "StepTimeout"
    assert "5s" in step_of(ended, "slow")["message"]
    assert step_of(ended, "after")["attempt"] == 0
    assert condition(ended, "Stalled")["status"] == "True"
    cluster.wait("its pod ends", namespace, lambda: not running_pods(cluster, namespace, "late"))


def test_a_task_that_takes_too_long_is_stopped(cluster: Cluster, namespace: str) -> None:
    cluster.apply(
        namespace, task("late", timeout="5s", steps=[{"name": "slow", "container": container(LONG_SCRIPT)}])
    )
    ended = cluster.wait_task(namespace, "late")
    assert ended["status"]["phase"] == "Failed"
    assert condition(ended, "Succeeded")["reason"] == "TaskTimeout"
    cluster.wait("its pod ends", namespace, lambda: not running_pods(cluster, namespace, "late"))


def test_cancelled_ends_the_pod_and_starts_nothing_more(cluster: Cluster, namespace: str) -> None:
    steps = [
        {"name": "slow", "container": container(LONG_SCRIPT)},
        {"name": "after", "container": container("true")},
    ]
    cluster.apply(namespace, task("stop-me", steps=steps))
    cluster.wait("its pod runs", namespace, lambda: running_pods(cluster, namespace, "stop-me"))
    patch = '{"spec":{"desiredState":"Cancelled"}}'
    cluster.kubectl("patch", "task", "stop-me", "-n", namespace, "--type=merge", "-p", patch)
    ended = cluster.wait_task(namespace, "stop-me")
    assert ended["status"]["phase"] == "Cancelled"
    assert condition(ended, "Ready")["status"] == "True"
    assert condition(ended, "Succeeded") | {"status": "False", "reason": "Cancelled"} == condition(
        ended, "Succeeded"
    )
    cluster.wait("its pod ends", namespace, lambda: not running_pods(cluster, namespace, "stop-me"))
    jobs = cluster.list("job", namespace, "parley.dev/task=stop-me")
    assert [job["metadata"]["labels"]["parley.dev/step"] for job in jobs] == ["slow"]


def test_suspended_lets_the_running_step_finish_and_starts_none_until_resumed(
    cluster: Cluster, namespace: str
) -> None:
    # Given a task whose first step runs until it is told to end
    until_told = "trap 'printf 1 > /dev/termination-log; exit 0' TERM; sleep 300 & wait"
    steps = [
        {"name": "first", "container": container(until_told)},
        {"name": "second", "container": container("true")},
    ]
    cluster.apply(namespace, task("pause", steps=steps))
    cluster.wait("its pod runs", namespace, lambda: running_pods(cluster, namespace, "pause"))

    # When it is suspended
    patch = ("patch", "task", "pause", "-n", namespace, "--type=merge", "-p")
    cluster.kubectl(*patch, '{"spec":{"desiredState":"Suspended"}}')

    def seen() -> bool:
        body = cluster.get("task", namespace, "pause")
        return body is not None and body["status"]["observedGeneration"] == body["metadata"]["generation"]

    cluster.wait("the operator knows", namespace, seen)
    assert running_pods(cluster, namespace, "pause") != []
    stop_containers(cluster, namespace, "pause")
    suspended = cluster.wait_task(namespace, "pause", "Suspended")

    # Then the first step has finished, as the pod was let run, the second does not start
    assert step_of(suspended, "first")["output"] == 1
    time.sleep(2)
    assert len(cluster.list("job", namespace, "parley.dev/task=pause")) == 1

    # And it goes on where it was
    cluster.kubectl(*patch, '{"spec":{"desiredState":"Running"}}')
    assert cluster.wait_task(namespace, "pause")["status"]["phase"] == "Succeeded"


def running_pods(cluster: Cluster, namespace: str, name: str) -> list[str]:
    """Names of the task's pods that have a running container."""
    return [
        pod["metadata"]["name"]
        for pod in cluster.list("pod", namespace, f"parley.dev/task={name}")
        if any("running" in c["state"] for c in pod["status"].get("containerStatuses", []))
    ]
