"""What is wrong is told, with what to do; what may not be seen is not wrong."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from parley.cli.findings import Verdict
from parley.cli.kinds_check import missing_field
from parley.cli.kube import CRD, DEPLOYMENT, MUTATING_POLICY, VALIDATING_POLICY, Right
from parley.kube.errors import KubeUnavailable
from parley.kube.kinds import AGENT, CONFIG_MAP, EVENT, LEASE, POD, TASK
from parley.resources.crd import build_crd
from parley.resources.kinds import KINDS

from tests.unit.cli.cluster import FakeCluster, condition
from tests.unit.cli.conftest import Run

SYSTEM = "parley-system"


def labels(component: str) -> dict[str, Any]:
    return {
        "labels": {
            "app.kubernetes.io/name": "parley",
            "app.kubernetes.io/component": component,
            "app.kubernetes.io/version": "0.1.0",
        }
    }


@pytest.fixture
def healthy(cluster: FakeCluster) -> FakeCluster:
    """An installation with nothing wrong."""
    for kind in KINDS:
        status = {"conditions": [condition("Established", "True", "InitialNamesAccepted")]}
        cluster.put(CRD, f"{kind.plural}.parley.dev", None, spec=build_crd(kind)["spec"], status=status)
    for component, count in (("operator", 2), ("gateway", 1)):
        body = {"spec": {"replicas": count}, "status": {"readyReplicas": count}}
        cluster.put(DEPLOYMENT, f"parley-{component}", SYSTEM, metadata=labels(component), **body)
        cluster.put(POD, f"{component}-pod", SYSTEM, metadata=labels(component), status={})
    renewed = datetime.now(UTC).isoformat()
    cluster.put(
        LEASE, "parley-operator", SYSTEM, spec={"holderIdentity": "operator-pod_1", "renewTime": renewed}
    )
    cluster.put(CONFIG_MAP, "parley-store", SYSTEM, data={"id": "store-1"})
    for name in ("reply", "clear-history"):
        cluster.put(VALIDATING_POLICY, name, None, metadata=labels(name))
        cluster.put(MUTATING_POLICY, name, None, metadata=labels(name))
    cluster.put(AGENT, "support", status={"conditions": [condition("Ready", "True", "Ready")]})
    return cluster


def found(parley: Run, verdict: Verdict) -> dict[str, str]:
    """The findings of a verdict: by check, what is said and what is to be done."""
    items = json.loads(parley("doctor", "-o", "json").out)["items"]
    chosen = [one for one in items if one["verdict"] == verdict]
    assert all(one.get("do") for one in chosen if verdict is Verdict.WRONG), "each says what to do"
    return {one["check"]: f"{one['says']} / {one.get('do', '')}" for one in chosen}


def test_nothing_is_wrong_with_a_healthy_installation(healthy: FakeCluster, parley: Run) -> None:
    del healthy
    said = parley("doctor")

    assert said.code == 0
    assert said.out.endswith("\nNothing is wrong.\n")
    assert all(line.startswith("✓ ") for line in said.out.splitlines()[:-2])
    checks = {line[2:].split(":")[0] for line in said.out.splitlines()[:-2]}
    assert checks == {
        "API server", "kinds", "operator", "leader", "gateway", "store", "policies", "pods", "rights", "token",
        "agents", "tasks",
    }  # fmt: skip


def test_each_fault_is_told_with_what_to_do(healthy: FakeCluster, parley: Run) -> None:
    healthy.remove(CRD, "tasks.parley.dev", "")
    healthy.update(DEPLOYMENT, "parley-operator", SYSTEM, status={"readyReplicas": 0})
    healthy.update(DEPLOYMENT, "parley-gateway", SYSTEM, spec={"replicas": 0})
    healthy.update(LEASE, "parley-operator", SYSTEM, spec={})
    mismatch = {"regarding": {"name": "parley-store"}, "reason": "StoreMismatch", "note": "another store"}
    healthy.put(EVENT, "e", SYSTEM, **mismatch)
    healthy.remove(VALIDATING_POLICY, "reply", "")
    waiting = {"state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}}
    healthy.update(POD, "operator-pod", SYSTEM, status={"containerStatuses": [waiting]})
    not_ready = condition("Ready", "False", "SecretNotFound", "the Secret openai is missing")
    healthy.update(AGENT, "support", status={"conditions": [not_ready]})

    wrong = found(parley, Verdict.WRONG)

    assert parley("doctor").code == 1
    assert wrong.keys() == {
        "kinds", "operator", "gateway", "leader", "store", "policies", "pods", "agents",
    }  # fmt: skip
    assert "not installed: Task" in wrong["kinds"]
    assert "kubectl logs deployment/parley-operator" in wrong["operator"]
    assert "is scaled to 0" in wrong["gateway"]
    assert "nobody leads" in wrong["leader"]
    assert "another store" in wrong["store"]
    assert "CrashLoopBackOff" in wrong["pods"]
    assert "the Secret openai is missing" in wrong["agents"]


def test_a_leader_that_does_not_renew_is_told_from_a_clock_that_is_wrong(
    healthy: FakeCluster, parley: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = {"holderIdentity": "operator-pod_1", "renewTime": "2020-01-01T00:00:00.000000Z"}
    healthy.update(LEASE, "parley-operator", SYSTEM, spec=old)
    monkeypatch.setattr("parley.cli.installation.time.sleep", lambda _seconds: None)
    assert "does not renew" in found(parley, Verdict.WRONG)["leader"]

    def renew(_seconds: float) -> None:
        moved = {**old, "renewTime": f"2020-01-01T00:00:0{next(seconds)}.000000Z"}
        healthy.update(LEASE, "parley-operator", SYSTEM, spec=moved)

    seconds = iter(range(1, 9))
    monkeypatch.setattr("parley.cli.installation.time.sleep", renew)
    assert "clock" in found(parley, Verdict.NOTE)["leader"]


def test_kinds_of_an_older_version_are_told_by_a_field_they_lack(healthy: FakeCluster, parley: Run) -> None:
    crd = healthy.get(CRD, None, "tasks.parley.dev")
    del crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["timeout"]
    healthy.update(CRD, "tasks.parley.dev", "", spec=crd["spec"])

    assert (
        "Task is of another version: it lacks the field spec.timeout" in found(parley, Verdict.WRONG)["kinds"]
    )


def test_a_schema_is_searched_to_its_depth() -> None:
    wanted = {"properties": {"steps": {"items": {"properties": {"name": {}, "when": {}}}}}}
    older = {"properties": {"steps": {"items": {"properties": {"name": {}}}}}}

    assert missing_field(wanted, older) == "steps[].when"
    assert missing_field(older, wanted) == ""
    assert missing_field({"properties": {"any": {}}}, {"x-kubernetes-preserve-unknown-fields": True}) == ""


def test_what_the_caller_may_not_see_is_not_wrong(healthy: FakeCluster, parley: Run) -> None:
    for plural in ("deployments", "agents", "tasks"):
        healthy.forbidden.add(("list", plural))
    healthy.forbidden.add(("get", "customresourcedefinitions"))

    unseen = found(parley, Verdict.UNSEEN)

    assert parley("doctor").code == 0
    assert unseen.keys() == {"kinds", "installation", "agents", "tasks"}
    assert "--system-namespace" in unseen["installation"]


def test_rights_that_are_lacking_are_named_with_the_role_that_has_them(
    healthy: FakeCluster, parley: Run
) -> None:
    healthy.denied.add(Right("create", "replies"))
    healthy.user_token = None

    notes = found(parley, Verdict.NOTE)

    assert "create replies.parley.dev / " in notes["rights"]
    assert "--clusterrole=parley-approver" in notes["rights"]
    assert "--as-service-account" in notes["token"]


def test_tasks_that_wait_for_what_is_missing_are_named(healthy: FakeCluster, parley: Run) -> None:
    missing = {"phase": "Pending", "conditions": [condition("Succeeded", "Unknown", "AgentNotFound")]}
    healthy.put(TASK, "lost", status=missing)

    assert "AgentNotFound: shop/lost" in found(parley, Verdict.NOTE)["tasks"]


def test_without_an_api_server_that_is_all_there_is_to_tell(cluster: FakeCluster, parley: Run) -> None:
    cluster.away = KubeUnavailable(0, "Unreachable", "the API server does not answer")

    said = parley("doctor")

    assert said.code == 1
    assert said.out.startswith(
        "✗ API server: the API server does not answer\n    do: see whether the cluster is up"
    )


def test_an_older_kubernetes_and_a_missing_installation(cluster: FakeCluster, parley: Run) -> None:
    cluster.server_version = "v1.31.4+k3s1"

    wrong = found(parley, Verdict.WRONG)

    assert "needs Kubernetes 1.32 or later" in wrong["API server"]
    assert "there is no operator of Parley in this cluster" in wrong["installation"]
