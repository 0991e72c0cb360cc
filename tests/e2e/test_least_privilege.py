"""Point 5: step pods run restricted and without an API token; the gateway hears only holders; nobody reads Secrets."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from parley.protocol.messages import NONCE_HEADER, STORE_HEADER, TOKEN_AUDIENCE

from tests.cluster import ROOT, SYSTEM_NAMESPACE, Cluster, condition
from tests.e2e.conftest import LONG_SCRIPT, Store, container, session, task

pytestmark = pytest.mark.cluster

RBAC = "/apis/rbac.authorization.k8s.io/v1"
LOOK_AROUND = (
    'printf \'{"tokens": "%s", "uid": %s, "root": "%s"}\' '
    '"$(find / -name token -not -path "/proc/*" 2> /dev/null)" "$(id -u)" '
    '"$(touch /here 2> /dev/null && echo writable)" > /dev/termination-log'
)
ASK_THE_API = """
import base64, json, os, ssl, urllib.error, urllib.request
directory = "/var/run/secrets/parley.dev"
token = open(f"{directory}/token").read()
payload = token.split(".")[1]
claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
secrets = [os.path.join(at, f) for at, _, files in os.walk("/var/run/secrets") for f in files]
request = urllib.request.Request("https://" + os.environ["KUBERNETES_SERVICE_HOST"] + "/api",
                                 headers={"Authorization": "Bearer " + token})
try:
    status = urllib.request.urlopen(request, context=ssl._create_unverified_context(), timeout=20).status
except urllib.error.HTTPError as error:
    status = error.code
print(json.dumps({"audience": claims["aud"], "status": status, "files": secrets}))
"""


def running_pod(cluster: Cluster, namespace: str, name: str) -> dict[str, Any]:
    """Wait for the running pod of a task's step."""

    def probe() -> dict[str, Any] | None:
        pods = cluster.list("pod", namespace, f"parley.dev/task={name}")
        return next((p for p in pods if any("running" in c["state"] for c in statuses(p))), None)

    return cluster.wait(f"the pod of {name} runs", namespace, probe)


def statuses(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return pod["status"].get("containerStatuses", [])


def cancel(cluster: Cluster, namespace: str, name: str) -> None:
    patch = '{"spec":{"desiredState":"Cancelled"}}'
    cluster.kubectl("patch", "task", name, "-n", namespace, "--type=merge", "-p", patch)


def test_step_pods_run_restricted_and_without_an_api_token(cluster: Cluster, namespace: str) -> None:
    # Given a namespace that lets only restricted pods in
    careless = {
        "metadata": {"name": "careless"},
        "spec": {"containers": [{"name": "c", "image": "parley:dev"}]},
    }
    refused = cluster.request("POST", f"/api/v1/namespaces/{namespace}/pods?dryRun=All", json=careless)
    assert (refused.status_code, "PodSecurity" in refused.text) == (403, True)

    # When a container and a prompt run there
    cluster.apply(
        namespace,
        task("looks", steps=[{"name": "look", "container": container(LOOK_AROUND)}]),
        task("talks", agentRef={"name": "support"}, message="[slow 300s] Hello"),
    )

    # Then the container finds no token, is nobody, and cannot change its image's files
    seen = cluster.wait_task(namespace, "looks")["status"]["output"]
    assert seen == {"tokens": "", "uid": 65532, "root": ""}
    (pod,) = cluster.list("pod", namespace, "parley.dev/task=looks")
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert [sorted(v.keys() - {"name"}) for v in pod["spec"]["volumes"]] == [["emptyDir"]]

    # And the runner has one token, which is good for Parley's gateway and not for the API server
    pod = running_pod(cluster, namespace, "talks")
    assert pod["spec"]["automountServiceAccountToken"] is False
    projected = [v["projected"]["sources"] for v in pod["spec"]["volumes"] if "emptyDir" not in v]
    (((source,),),) = (projected,)
    assert source["serviceAccountToken"]["audience"] == TOKEN_AUDIENCE
    python = ("exec", "-n", namespace, pod["metadata"]["name"], "--", "python3", "-c", ASK_THE_API)
    found = json.loads(cluster.kubectl(*python))
    assert found["audience"] == [TOKEN_AUDIENCE]
    assert found["status"] == 401
    assert [Path(file).name for file in found["files"] if "/..data" not in file and "/..2" not in file] == [
        "token"
    ]
    cancel(cluster, namespace, "talks")


class Gateway:
    """The runner's endpoints as anybody in the cluster can reach them."""

    def __init__(self, url: str, store_id: str) -> None:
        self._url = url
        self._store_id = store_id

    def call(
        self,
        path: str,
        authorization: str | None,
        *,
        nonce: str = "intruder",
        store: str | None = None,
        body: Any = None,
    ) -> httpx2.Response:
        """Call as the bearer of a token."""
        headers = {STORE_HEADER: store or self._store_id, NONCE_HEADER: nonce}
        if authorization is not None:
            headers["Authorization"] = authorization
        return httpx2.post(f"{self._url}/runner/v1/{path}", headers=headers, json=body or {}, timeout=30.0)


@pytest.fixture
def gateway(cluster: Cluster) -> Iterator[Gateway]:
    """The gateway through a port-forward, with the id of its store."""
    config = cluster.get("configmap", SYSTEM_NAMESPACE, "parley-store")
    assert config is not None
    with forwarded(cluster, "service/parley-gateway", 8080) as port:
        yield Gateway(f"http://127.0.0.1:{port}", config["data"]["id"])


@contextmanager
def forwarded(cluster: Cluster, target: str, port: int) -> Iterator[int]:
    """Forward a local port to something of Parley's."""
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    environment["PATH"] = f"{ROOT / 'cluster' / 'bin'}:{environment['PATH']}"
    command = ["kubectl", "port-forward", "-n", SYSTEM_NAMESPACE, target, f":{port}"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("Forwarding from 127.0.0.1:"), line
            yield int(line.removeprefix("Forwarding from 127.0.0.1:").split()[0])
        finally:
            process.terminate()


def bearer(
    cluster: Cluster, namespace: str, pod: dict[str, Any] | None = None, audience: str | None = TOKEN_AUDIENCE
) -> str:
    """A token of the namespace's service account, bound to a pod if one is given; None: for the API server."""
    spec: dict[str, Any] = {"expirationSeconds": 600}
    if audience is not None:
        spec["audiences"] = [audience]
    if pod is not None:
        name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
        spec["boundObjectRef"] = {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid}
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/default/token"
    answer = cluster.request("POST", path, json={"spec": spec})
    assert answer.status_code == 201, answer.text
    return f"Bearer {answer.json()['status']['token']}"


def held_attempt(cluster: Cluster, store: Store, namespace: str, name: str) -> tuple[int, str, str]:
    """Wait until a runner has taken a task's attempt; returns the attempt's id, the pod's uid and the process's nonce."""
    query = (
        "SELECT a.id, a.holder FROM attempts a JOIN tasks t ON t.uid = a.task_uid"
        " WHERE t.namespace = %s AND t.name = %s AND a.state = 'Running'"
    )
    cluster.wait(f"the attempt of {name} is taken", namespace, lambda: store.rows(query, namespace, name))
    ((attempt, holder),) = store.rows(query, namespace, name)
    uid, _, nonce = holder.partition("/")
    return attempt, uid, nonce


def bystander(name: str) -> dict[str, Any]:
    """A pod that meets the restricted profile and belongs to nobody."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "c",
                    "image": "parley:dev",
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["sh", "-c", LONG_SCRIPT],
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                }
            ],
        },
    }


def test_the_gateway_refuses_whoever_does_not_hold_the_attempt(
    cluster: Cluster, namespace: str, store: Store, gateway: Gateway
) -> None:
    # Given an attempt that a runner holds, a container step's pod, another runner's, and a pod of no task
    cluster.apply(
        namespace,
        bystander("bystander"),
        session("alice"),
        task("victim", sessionRef={"name": "alice"}, message="[slow 20s] echo: mine"),
        task("other", agentRef={"name": "support"}, message="[slow 300s] Hello"),
        task("contained", steps=[{"name": "run", "container": container(LONG_SCRIPT)}]),
    )
    other_attempt, _, _ = held_attempt(cluster, store, namespace, "other")
    other = running_pod(cluster, namespace, "other")
    contained = running_pod(cluster, namespace, "contained")
    cluster.wait("the bystander is there", namespace, lambda: cluster.get("pod", namespace, "bystander"))
    nobody = cluster.get("pod", namespace, "bystander")
    attempt, uid, nonce = held_attempt(cluster, store, namespace, "victim")
    pod = running_pod(cluster, namespace, "victim")
    assert pod["metadata"]["uid"] == uid
    finish = f"attempts/{attempt}/finish"
    stolen = {"outcome": "Succeeded", "output": "stolen"}

    # When each of them tries to finish it, or to take what is not theirs
    def status(path: str, authorization: str | None, **fields: Any) -> int:
        return gateway.call(
            path, authorization, body=stolen if path == finish else None, **fields
        ).status_code

    own = bearer(cluster, namespace, pod)
    answers = {
        "no token": status(finish, None),
        "no bearer": status(finish, "Basic eDp5"),
        "a forged token": status(finish, own[:-6] + "AAAAAA"),
        "a token for the API server": status(finish, bearer(cluster, namespace, pod, audience=None)),
        "a token for somebody else": status(finish, bearer(cluster, namespace, pod, audience="vault")),
        "a token of no pod": status(finish, bearer(cluster, namespace)),
        "a pod of no task": status(finish, bearer(cluster, namespace, nobody)),
        "a container's pod": status(finish, bearer(cluster, namespace, contained)),
        "a container's pod that takes its own": status("take", bearer(cluster, namespace, contained)),
        "another task's runner": status(finish, bearer(cluster, namespace, other)),
        "another process in the runner's pod": status(finish, own),
        "the runner with another store": status(finish, own, nonce=nonce, store="another"),
    }

    # Then each is refused: 401 not known, 403 no step's pod, 409 and 410 not yours or closed, 503 not this store's
    assert answers == {
        "no token": 401,
        "no bearer": 401,
        "a forged token": 401,
        "a token for the API server": 401,
        "a token for somebody else": 401,
        "a token of no pod": 403,
        "a pod of no task": 403,
        "a container's pod": 409,
        "a container's pod that takes its own": 410,
        "another task's runner": 409,
        "another process in the runner's pod": 409,
        "the runner with another store": 503,
    }

    # And only the holder itself is heard, until its attempt is closed
    (nonce_of_other,) = store.rows(
        "SELECT split_part(holder, '/', 2) FROM attempts WHERE id = %s", other_attempt
    )
    beat = f"attempts/{other_attempt}/heartbeat"
    holders = bearer(cluster, namespace, other)
    assert status(beat, holders, nonce=nonce_of_other[0]) == 200
    cancel(cluster, namespace, "other")
    closed = "SELECT 1 FROM attempts WHERE id = %s AND state = 'Cancelled'"
    cluster.wait("the attempt is closed", namespace, lambda: store.rows(closed, other_attempt))
    after = {
        "beat": status(beat, holders, nonce=nonce_of_other[0]),
        "finish": gateway.call(
            f"attempts/{other_attempt}/finish", holders, nonce=nonce_of_other[0], body=stolen
        ).status_code,
        "take": status("take", holders, nonce=nonce_of_other[0]),
    }
    # 401 and 403: its pod is gone already.
    assert set(after.values()) <= {401, 403, 410}, after

    # And what was held ended as its holder said
    ended = cluster.wait_task(namespace, "victim")
    assert (ended["status"]["phase"], ended["status"]["output"]) == ("Succeeded", "mine")
    said = store.rows(
        "SELECT content FROM events e JOIN sessions s ON s.uid = e.session_uid WHERE s.namespace = %s",
        namespace,
    )
    assert "stolen" not in str(said)
    cancelled = cluster.wait_task(namespace, "other")
    assert (cancelled["status"]["phase"], cancelled["status"].get("output")) == ("Cancelled", None)
    cancel(cluster, namespace, "contained")


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
        assert not {verb for _, _, verb in rights} & {
            "delete",
            "deletecollection",
            "impersonate",
            "escalate",
            "bind",
        }

        # And the API server itself says no, in every namespace that matters
        for where in (namespace, SYSTEM_NAMESPACE, "kube-system"):
            for group, resource, verb in (
                ("", "secrets", "get"),
                ("", "secrets", "list"),
                ("", "pods", "create"),
                ("", "pods/exec", "create"),
                ("", "pods", "delete"),
                ("", "serviceaccounts/token", "create"),
                ("batch", "jobs", "delete"),
                ("parley.dev", "tasks", "patch"),
                ("parley.dev", "tasks", "update"),
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
        ("parley.dev", "agents", "get"): "an object that a complete list lacks is read once more",
        ("parley.dev", "sessions", "get"): "an object that a complete list lacks is read once more",
        ("parley.dev", "tasks", "get"): "an object that a complete list lacks is read once more",
    },
    "parley-gateway": {},
}


def test_what_parley_may_do_is_what_it_does(cluster: Cluster, namespace: str) -> None:
    log = cluster.kubeconfig.parent / "logs" / "audit.log"
    if not log.is_file():
        pytest.skip("this cluster's API server keeps no audit log")
    # Given work of every kind: a turn, a container that is stopped, a pod that a quota refuses
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "one-pod"},
        "spec": {"hard": {"pods": "1"}},
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
    for entry in audited(log):
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


def audited(log: Path) -> Iterator[dict[str, Any]]:
    """The entries of the API server's audit log; the last line may be half written."""
    with log.open() as lines:
        for line in lines:
            if line.endswith("\n"):
                yield json.loads(line)
