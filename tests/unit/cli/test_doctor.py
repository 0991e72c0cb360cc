"""What is wrong is told, with what to do; what may not be seen is not wrong."""

import json
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
from parley.cli.findings import Verdict
from parley.cli.kinds_check import missing_field
from parley.cli.kube import CRD, DEPLOYMENT, MUTATING_POLICY, STATEFUL_SET, VALIDATING_POLICY, Right
from parley.kube.errors import KubeUnavailable, NotFound
from parley.kube.kinds import AGENT, CONFIG_MAP, EVENT, LEASE, POD, TASK
from parley.resources.crd import build_crd
from parley.resources.kinds import KINDS

from tests.unit.cli.cluster import FakeCluster, condition
from tests.unit.cli.conftest import Run, Said, Talk
from tests.unit.client.scripted import Answer, ScriptedGateway, problem

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
def gateway() -> ScriptedGateway:
    """A gateway that takes the caller's token."""
    return ScriptedGateway(httpx2.Response(200, json={"items": []}))


@pytest.fixture
def parley(cluster: FakeCluster, gateway: ScriptedGateway, talk: Talk) -> Run:
    """Run a command line against this gateway."""
    del cluster

    def parley(*arguments: str) -> Said:
        said = talk(*arguments, answers=gateway.answers)
        gateway.requests += talk.gateways[-1].requests
        return said

    return parley


@pytest.fixture
def healthy(cluster: FakeCluster) -> FakeCluster:
    """An installation with nothing wrong."""
    for kind in KINDS:
        status = {"conditions": [condition("Established", "True", "InitialNamesAccepted")]}
        cluster.put(CRD, f"{kind.plural}.parley.dev", None, spec=build_crd(kind)["spec"], status=status)
    for component, count in (("operator", 2), ("gateway", 1)):
        body = {"spec": {"replicas": count}, "status": {"readyReplicas": count}}
        cluster.put(DEPLOYMENT, f"parley-{component}", SYSTEM, metadata=labels(component), **body)
        ports = [{"name": "http", "containerPort": 8080}]
        status = {"phase": "Running", "conditions": [condition("Ready", "True", "")]}
        pod = {"spec": {"containers": [{"ports": ports}]}, "status": status}
        cluster.put(POD, f"{component}-pod", SYSTEM, metadata=labels(component), **pod)
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
        "API server", "kinds", "operator", "leader", "gateway", "versions", "store", "policies", "pods", "rights",
        "token", "agents", "tasks",
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


AWAY = "The database gave no connection within 5 s."


def test_a_postgres_that_is_away_is_named(healthy: FakeCluster, parley: Run) -> None:
    # Given pods that cannot use it; the kubelet has not looked yet, so all count as ready
    healthy.pods_say["gateway-pod"] = (503, json.dumps({"title": "Not ready", "detail": AWAY}))
    healthy.pods_say["operator-pod"] = (503, f"the store is away: {AWAY}\n")

    said = found(parley, Verdict.WRONG)

    assert said.keys() == {"store"}
    assert (
        f"Postgres cannot be used, says gateway-pod and 1 more: {AWAY} / see whether Postgres runs"
        in said["store"]
    )
    assert "✗ store: " in parley("doctor").out


def test_whatever_a_gateway_says_that_is_not_ready_is_about_postgres(
    healthy: FakeCluster, parley: Run
) -> None:
    healthy.pods_say["gateway-pod"] = (
        503,
        json.dumps({"title": "Not ready", "detail": "connection refused"}),
    )

    assert found(parley, Verdict.WRONG).keys() == {"store"}


def test_an_operator_that_cannot_work_for_another_reason_says_which(
    healthy: FakeCluster, parley: Run
) -> None:
    healthy.pods_say["operator-pod"] = (503, "listing: the API server does not answer\n")

    assert "listing: the API server does not answer" in found(parley, Verdict.WRONG)["operator"]
    assert "Postgres is there" not in found(parley, Verdict.OK)["store"]


def test_who_may_not_ask_the_pods_is_told_what_is_known(healthy: FakeCluster, parley: Run) -> None:
    healthy.forbidden.add(("get", "pods/proxy"))
    assert found(parley, Verdict.OK)["store"] == "id store-1 / "

    pod = healthy.get(POD, SYSTEM, "gateway-pod")
    status = {**pod["status"], "conditions": [condition("Ready", "False", "ContainersNotReady")]}
    healthy.update(POD, "gateway-pod", SYSTEM, status=status)

    said = found(parley, Verdict.NOTE)["store"]
    assert "gateway-pod: not ready, perhaps because Postgres is away" in said
    assert "get pods/proxy" in said


def test_the_charts_own_postgres_is_looked_at_itself(healthy: FakeCluster, parley: Run) -> None:
    healthy.pods_say["gateway-pod"] = NotFound(404, "NotFound", "it is gone by now")
    postgres = {"metadata": labels("postgres"), "spec": {"replicas": 1}}
    healthy.put(STATEFUL_SET, "parley-postgres", SYSTEM, **postgres, status={"replicas": 1})
    assert "Postgres (parley-postgres) is not ready" in found(parley, Verdict.WRONG)["store"]

    healthy.update(STATEFUL_SET, "parley-postgres", SYSTEM, spec={"replicas": 0})
    assert "kubectl scale statefulset/parley-postgres" in found(parley, Verdict.WRONG)["store"]

    healthy.update(STATEFUL_SET, "parley-postgres", SYSTEM, spec={"replicas": 1}, status={"readyReplicas": 1})
    assert "store" not in found(parley, Verdict.WRONG)


@pytest.mark.parametrize(
    ("answer", "verdict", "says"),
    [
        (httpx2.Response(200, json={"items": []}), Verdict.OK, "the gateway takes your kubeconfig's"),
        (problem(403, "you may not"), Verdict.OK, "it lacks the right"),
        (problem(404, "no such namespace"), Verdict.OK, "it lacks the right"),
        (problem(401, "nobody knows it"), Verdict.WRONG, "does not take your kubeconfig's: nobody knows it"),
        (problem(503, "not now"), Verdict.NOTE, "could not be tried at the gateway: Refused: not now"),
        (httpx2.ConnectError("refused"), Verdict.NOTE, "could not be tried at the gateway: http://gateway"),
    ],
)
def test_the_token_is_tried_at_the_gateway(
    healthy: FakeCluster,
    parley: Run,
    gateway: ScriptedGateway,
    answer: Answer,
    verdict: Verdict,
    says: str,
) -> None:
    del healthy
    gateway.answers = [answer]

    assert says in found(parley, verdict)["token"]
    assert len(gateway.requests) == 1, "a gateway that is away is not waited for"


def test_whose_token_it_is_is_said(
    healthy: FakeCluster, parley: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    del healthy
    assert "that of the ServiceAccount shop/bot" in parley("doctor", "--as-service-account", "shop/bot").out
    monkeypatch.setenv("PARLEY_TOKEN", "secret")
    assert "the one given by PARLEY_TOKEN" in found(parley, Verdict.OK)["token"]


def test_versions_that_differ_are_told(healthy: FakeCluster, parley: Run) -> None:
    for component, version in (("operator", "9.0.0"), ("gateway", "9.0.0")):
        metadata = healthy.get(DEPLOYMENT, SYSTEM, f"parley-{component}")["metadata"]
        metadata["labels"]["app.kubernetes.io/version"] = version
        healthy.update(DEPLOYMENT, f"parley-{component}", SYSTEM, metadata=metadata)
    assert (
        "operator 9.0.0, gateway 9.0.0, and this parley is 0.1.0" in found(parley, Verdict.NOTE)["versions"]
    )

    metadata["labels"]["app.kubernetes.io/version"] = "0.1.0"
    healthy.update(DEPLOYMENT, "parley-gateway", SYSTEM, metadata=metadata)
    assert "they differ: operator 9.0.0, gateway 0.1.0" in found(parley, Verdict.WRONG)["versions"]


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
