"""The examples do what their comments say, and the demo shows it."""

import os
import re
import subprocess

import pytest

from tests.cluster import ROOT, Cluster, condition, step_of

pytestmark = pytest.mark.cluster

KINDS = "agents.parley.dev,sessions.parley.dev,tasks.parley.dev,jobs,configmaps,services,deployments.apps"
VERSIONS = (
    '{range .items[*]}{.kind}/{.metadata.name} {.metadata.uid} {.metadata.generation} {.spec}{"\\n"}{end}'
)


def run_model(cluster: Cluster, namespace: str) -> None:
    """Have the examples' model serve."""
    cluster.kubectl("apply", "-n", namespace, "-k", str(ROOT / "examples" / "model"))
    cluster.kubectl("rollout", "status", "-n", namespace, "deployment/scripted-model", "--timeout=300s")


def demo(cluster: Cluster, namespace: str, seconds: float) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig), "DEMO_NAMESPACE": namespace}
    environment["PATH"] = f"{ROOT / 'cluster' / 'bin'}:{ROOT / '.venv' / 'bin'}:{environment['PATH']}"
    try:
        return subprocess.run(
            ["sh", str(ROOT / "examples" / "demo.sh")],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired as expired:
        said = (expired.stdout or b"").decode()
        pytest.fail(f"the demo, or a process it left, had not ended after {seconds:.0f} s:\n{said}")


@pytest.mark.timeout(1300)
def test_the_demo_runs_the_examples_and_a_second_run_changes_nothing(
    cluster: Cluster, namespace: str
) -> None:
    # When the demo runs
    first = demo(cluster, namespace, 550)
    assert first.returncode == 0, first.stdout

    # Then the second reply of the conversation uses what was said before the first, and the other session knows nothing
    alice = cluster.get("session", namespace, "alice")
    bob = cluster.get("session", namespace, "bob")
    assert alice is not None
    assert bob is not None
    texts = [event["text"] for event in alice["status"]["recentEvents"]]
    assert texts[1:] == ["Nice to meet you, Alice.", "What is my name?", "Your name is Alice."]
    assert [event["text"] for event in bob["status"]["recentEvents"]][-1] == "I do not know your name."

    # And the steps handed their outputs on
    refund = cluster.wait_task(namespace, "refund-12345")
    assert step_of(refund, "classify")["output"] == {"kind": "late", "order": "12345"}
    assert refund["status"]["output"] == {
        "order": "12345",
        "kind": "late",
        "refundPercent": 10,
        "sentence": "10 % of 42.50 go back to the customer.",
    }

    # And one task was held and went on, another was cancelled
    stocktake = cluster.wait_task(namespace, "stocktake")
    assert stocktake["status"]["output"] == 42
    assert "Suspended" in first.stdout
    long_haul = cluster.wait_task(namespace, "long-haul")
    assert condition(long_haul, "Succeeded")["reason"] == "Cancelled"

    # And all of it was shown: the tasks, the conversation from status and from Postgres
    assert re.search(r"^1\talice-1\tuser\tHi, my name is Alice\.", first.stdout, re.MULTILINE)
    assert re.search(r"alice +\| +4 +\| +alice-2 +\| +assistant +\| +\"Your name is Alice\.\"", first.stdout)
    assert re.search(r"refund-12345 .* Succeeded .* 3/3", first.stdout)

    # And somebody chatted through the gateway, with an agent whose runner knew what was said before
    assert re.search(r"^Nice to meet you, Olivia\.$", first.stdout, re.MULTILINE)
    assert re.search(r"^Your name is Olivia\.$", first.stdout, re.MULTILINE)

    # When it runs again, then every object is what it was
    before = cluster.kubectl("get", KINDS, "-n", namespace, "-o", f"jsonpath={VERSIONS}")
    second = demo(cluster, namespace, 300)
    assert second.returncode == 0, second.stdout
    assert cluster.kubectl("get", KINDS, "-n", namespace, "-o", f"jsonpath={VERSIONS}") == before
    assert re.search(r"^4\talice-2\tassistant\tYour name is Alice\.", second.stdout, re.MULTILINE)
    olivia = cluster.get("session", namespace, "olivia")
    assert olivia is not None
    assert olivia["status"]["events"]["messages"] == 4, "each message was said once"

    # And when an example fails, then the demo says which and shows why
    failing = """
        apiVersion: parley.dev/v1alpha1
        kind: Task
        metadata: {name: broken, labels: {app.kubernetes.io/part-of: parley-examples}}
        spec: {steps: [{name: fail, container: {image: "parley:dev", command: [sh, -c, echo no luck; exit 3]}}]}
    """
    cluster.apply(namespace, failing)
    third = demo(cluster, namespace, 300)
    assert third.returncode == 1, third.stdout
    assert "These Tasks failed: broken" in third.stdout
    assert re.search(r"exit code 3.*no luck", third.stdout)


def test_the_examples_end_well_in_any_order(cluster: Cluster, namespace: str) -> None:
    # Given the tasks first, before their sessions
    files = [
        file
        for folder in ("02-steps", "01-conversation")
        for file in (ROOT / "examples" / folder).glob("*.yaml")
    ]
    agents = [file for file in files if file.name == "agent.yaml"]
    assert len(agents) == 2
    for file in sorted(set(files) - set(agents), reverse=True):
        cluster.kubectl("apply", "-n", namespace, "-f", str(file))
    cluster.wait_task(namespace, "refund-12345", "Pending", "Queued", "Running")

    # When the agents come last, after their model, for which a turn would wait a few seconds only
    run_model(cluster, namespace)
    for file in agents:
        cluster.kubectl("apply", "-n", namespace, "-f", str(file))

    # Then all succeed
    for name in ("alice-1", "alice-2", "bob-1", "refund-12345"):
        assert cluster.wait_task(namespace, name)["status"]["phase"] == "Succeeded", cluster.describe(
            namespace
        )
