"""What Parley's accounts may do is what they do: no Secret is read, and no right is granted that is not used."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import SYSTEM_NAMESPACE, Cluster, condition
from tests.e2e.conftest import LONG_SCRIPT, agent, container, reply, schedule, session, task, template
from tests.e2e.test_least_privilege import cancel, running_pod

pytestmark = pytest.mark.cluster

RBAC = "/apis/rbac.authorization.k8s.io/v1"


def accounts(cluster: Cluster) -> list[str]:
    """Names of Parley's own service accounts."""
    answer = cluster.request(
        "GET",
        f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/serviceaccounts",
        params={"labelSelector": "app.kubernetes.io/name=parley"},
    )
    return [account["metadata"]["name"] for account in answer.raise_for_status().json()["items"]]


Right = tuple[str, str, str]
"""API group, resource with its subresource, verb."""
MAY_DELETE = {
    # What ttlAfterFinished and a Schedule's history limits ask for.
    "parley-operator": {("batch", "jobs"), ("parley.dev", "tasks")},
    # What a person asks for over HTTP, who may do so himself.
    "parley-gateway": {("parley.dev", "sessions")},
}


def granted(cluster: Cluster, account: str) -> set[Right]:
    """All rights that the cluster's roles give to one of Parley's accounts."""
    found: set[Right] = set()
    for kind in ("clusterrolebindings", "rolebindings"):
        for binding in cluster.request("GET", f"{RBAC}/{kind}").raise_for_status().json()["items"]:
            subjects = [(s["kind"], s.get("namespace"), s["name"]) for s in binding.get("subjects") or []]
            if ("ServiceAccount", SYSTEM_NAMESPACE, account) not in subjects:
                continue
            role = binding["roleRef"]
            namespace = binding["metadata"].get("namespace")
            where = f"namespaces/{namespace}/roles" if role["kind"] == "Role" else "clusterroles"
            rules = (
                cluster.request("GET", f"{RBAC}/{where}/{role['name']}").raise_for_status().json()["rules"]
            )
            for rule in rules:
                found |= {
                    (group, resource, verb)
                    for group in rule.get("apiGroups", [])
                    for resource in rule.get("resources", [])
                    for verb in rule["verbs"]
                }
    return found


def test_parleys_accounts_may_read_no_secret_and_do_nothing_beyond_their_work(
    cluster: Cluster, namespace: str
) -> None:
    names = accounts(cluster)
    assert {"parley-operator", "parley-gateway"} <= set(names)
    for name in names:
        rights = granted(cluster, name)
        assert not [right for right in rights if "*" in right or right[1].startswith("secrets")], name
        assert not {verb for _, _, verb in rights} & {"deletecollection", "impersonate", "escalate", "bind"}
        deleted = {(group, resource) for group, resource, verb in rights if verb == "delete"}
        assert deleted <= MAY_DELETE.get(name, set()), name

        # And the API server itself says no, in every namespace that matters
        for where in (namespace, SYSTEM_NAMESPACE, "kube-system"):
            for group, resource, verb in (
                ("", "secrets", "get"),
                ("", "secrets", "list"),
                ("", "pods", "create"),
                ("", "pods/exec", "create"),
                ("", "pods", "delete"),
                ("", "serviceaccounts/token", "create"),
                ("parley.dev", "tasks", "patch"),
                ("parley.dev", "tasks", "update"),
                ("parley.dev", "schedules", "update"),
                ("parley.dev", "tasktemplates", "patch"),
                # Nobody approves but people: the one who runs a task must not be able to answer it.
                ("parley.dev", "replies", "create"),
                ("parley.dev", "replies", "update"),
                ("rbac.authorization.k8s.io", "roles", "create"),
            ):
                assert not allowed(cluster, name, where, group, resource, verb), (
                    f"{name} may {verb} {resource} in {where}"
                )
    assert allowed(cluster, "parley-operator", namespace, "batch", "jobs", "create")


def allowed(cluster: Cluster, account: str, namespace: str, group: str, resource: str, verb: str) -> bool:
    """Ask the API server whether an account may do something."""
    resource, _, subresource = resource.partition("/")
    attributes = {
        "namespace": namespace,
        "group": group,
        "resource": resource,
        "subresource": subresource,
        "verb": verb,
    }
    user = f"system:serviceaccount:{SYSTEM_NAMESPACE}:{account}"
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{SYSTEM_NAMESPACE}", "system:authenticated"]
    review = {"spec": {"user": user, "groups": groups, "resourceAttributes": attributes}}
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    return cluster.request("POST", path, json=review).raise_for_status().json()["status"]["allowed"]


RARELY_USED: dict[str, dict[Right, str]] = {
    "parley-operator": {
        ("", "configmaps", "create"): "the first start on a cluster",
        ("", "configmaps", "update"): "a person confirmed another store",
        ("", "nodes", "get"): "a pod that should have ended a minute ago has not",
        ("coordination.k8s.io", "leases", "create"): "the first start on a cluster",
        (
            "apps",
            "deployments",
            "create",
        ): "a server-side apply that makes a Deployment is a patch in the log",
        ("parley.dev", "agents", "get"): "an object that a complete list lacks is read once more",
        ("parley.dev", "sessions", "get"): "an object that a complete list lacks is read once more",
        ("parley.dev", "tasks", "get"): "an object that a complete list lacks is read once more",
        ("parley.dev", "tasktemplates", "get"): "an object that a complete list lacks is read once more",
        ("parley.dev", "schedules", "get"): "an object that a complete list lacks is read once more",
        ("parley.dev", "replies", "get"): "an object that a complete list lacks is read once more",
    },
    "parley-gateway": {
        ("authentication.k8s.io", "users", "impersonate:user-info"): "part of a request that makes a Reply",
        ("authentication.k8s.io", "groups", "impersonate:user-info"): "part of a request that makes a Reply",
        ("authentication.k8s.io", "serviceaccounts", "impersonate:serviceaccount"): "the same for a program",
        ("parley.dev", "replies", "impersonate-on:user-info:create"): "part of a request that makes a Reply",
        ("parley.dev", "replies", "impersonate-on:serviceaccount:create"): "the same for a program",
        ("authorization.k8s.io", "subjectaccessreviews", "create"): "a person asks over HTTP",
        ("parley.dev", "replies", "get"): "a person asks over HTTP",
        **dict.fromkeys(
            (("parley.dev", "sessions", verb) for verb in ("get", "list", "create", "patch", "delete")),
            "a person asks over HTTP",
        ),
        **dict.fromkeys(
            (("parley.dev", "tasks", verb) for verb in ("get", "list", "create")), "a person asks over HTTP"
        ),
    },
}


def work_of_every_kind(cluster: Cluster, namespace: str) -> None:
    """Have Parley use what it may: templates, children, Replies, Schedules, logs, pruning and warm runners."""
    runs: dict[str, object] = {
        "steps": [{"name": "run", "container": container("echo done")}],
        "ttlAfterFinished": "1s",
    }
    at_once = schedule("now", runs)
    at_once["metadata"] = {"name": "now", "annotations": {"parley.dev/run-now": "now"}}
    steps = [
        {"name": "ask", "wait": {"question": "Go on?", "choices": ["yes", "no"]}},
        {"name": "delegate", "task": {"spec": runs}},
    ]
    of_template = task("of-template", templateRef={"name": "work"}, ttlAfterFinished="1s")
    work = template("work", {"steps": runs["steps"]})
    warm = task("warm", agentRef={"name": "warm"}, message="Hello", ttlAfterFinished="1s")
    owned = task("owned", **runs)
    owned["metadata"] = {"name": "owned", "annotations": {"meta.helm.sh/release-name": "shop"}}
    cluster.apply(namespace, agent("warm", runtime={"mode": "Warm"}), warm, owned)
    cluster.apply(namespace, work, of_template, at_once, task("parent", steps=steps))
    waiting = cluster.wait_task(namespace, "parent", "WaitingForInput")["status"]["waiting"]
    cluster.apply(namespace, reply("go-on", "parent", waiting[0]["id"], choice="yes"))
    assert cluster.wait_task(namespace, "parent")["status"]["phase"] == "Succeeded"

    def pruned() -> bool:
        ran = cluster.get("schedule", namespace, "now")
        left = {found["metadata"]["name"] for found in cluster.list("task", namespace)}
        jobs = cluster.list("job", namespace, "parley.dev/task=owned")
        has_run = ran is not None and ran["status"].get("lastRunNow") == "now"
        return has_run and left == {"parent", "owned"} and jobs == []

    cluster.wait_task(namespace, "owned")
    cluster.wait("all but those two went after their ttl, and the owned one's Job", namespace, pruned)


def test_what_parley_may_do_is_what_it_does(cluster: Cluster, namespace: str) -> None:
    logs = cluster.kubeconfig.parent / "logs"
    if not (logs / "audit.log").is_file():
        pytest.skip("this cluster's API server keeps no audit log")
    # Given work of every kind: a child of a template that is pruned, a question that is answered, a run of a Schedule,
    # a turn, a container that is stopped, a pod that a quota refuses
    work_of_every_kind(cluster, namespace)
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "one-pod"},
        # And one for the warm runner, which stays.
        "spec": {"hard": {"pods": "2"}},
    }
    cluster.apply(namespace, session("alice"))
    cluster.apply(namespace, task("talks", sessionRef={"name": "alice"}, message="Hello"))
    assert cluster.wait_task(namespace, "talks")["status"]["phase"] == "Succeeded"
    cluster.apply(namespace, quota)
    path = f"/api/v1/namespaces/{namespace}/resourcequotas/one-pod"
    cluster.wait(
        "the quota counts", namespace, lambda: "used" in cluster.request("GET", path).json().get("status", {})
    )
    cluster.apply(namespace, task("runs", steps=[{"name": "run", "container": container(LONG_SCRIPT)}]))
    running_pod(cluster, namespace, "runs")
    cluster.apply(namespace, task("waits", steps=[{"name": "run", "container": container("true")}]))

    def held() -> bool:
        waits = cluster.get("task", namespace, "waits")
        return waits is not None and condition(waits, "Ready").get("reason") == "QuotaExceeded"

    cluster.wait("the quota is named", namespace, held)
    cancel(cluster, namespace, "runs")
    assert cluster.wait_task(namespace, "waits")["status"]["phase"] == "Succeeded"
    cluster.wait_task(namespace, "runs", "Cancelled")

    # When all that the pods of now have asked of the API server is read
    pods = {
        pod["metadata"]["name"]: pod["spec"]["serviceAccountName"]
        for pod in cluster.list("pod", SYSTEM_NAMESPACE, "app.kubernetes.io/name=parley")
    }
    used: dict[str, set[Right]] = {account: set() for account in RARELY_USED}
    refused: list[str] = []
    for entry in audited(logs):
        (pod,) = entry["user"].get("extra", {}).get("authentication.kubernetes.io/pod-name", [""])
        account = pods.get(pod, "")
        target = entry.get("objectRef")
        if account not in used or target is None:
            continue
        if entry["annotations"].get("authorization.k8s.io/decision") == "forbid":
            refused.append(f"{account}: {entry['verb']} {entry['requestURI']}")
        resource = "/".join(part for part in (target["resource"], target.get("subresource")) if part)
        used[account].add((target.get("apiGroup", ""), resource, entry["verb"]))

    # Then nothing was refused to them, and nothing is granted that they did not use
    assert refused == []
    for account, rare in RARELY_USED.items():
        rights = granted(cluster, account)
        assert rights - used[account] <= rare.keys(), (
            f"{account} never used {rights - used[account] - rare.keys()}"
        )
        assert rare.keys() <= rights, f"{account} is not granted {rare.keys() - rights}"


def audited(logs: Path) -> Iterator[dict[str, Any]]:
    """The entries of the API server's audit logs that may be of Parley's accounts; the last line may be half written."""
    for log in logs.glob("audit*.log"):
        with log.open() as lines:
            for line in lines:
                # Few of the many lines are of Parley's accounts; to read them all takes long.
                if line.endswith("\n") and f"system:serviceaccount:{SYSTEM_NAMESPACE}:" in line:
                    yield json.loads(line)
