"""Step pods run restricted and without an API token; the gateway hears only holders."""

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

from tests.cluster import ROOT, SYSTEM_NAMESPACE, Cluster
from tests.e2e.conftest import LONG_SCRIPT, Store, agent, container, session, task
from tests.e2e.servers import NUMBER, ask, call, http_tool, shop_calls

pytestmark = pytest.mark.cluster

GATE = http_tool("gate", "gate/{{ arguments.number }}", timeout="90s") | {"parameters": NUMBER}
"""Keeps a turn until the test opens it, for a minute."""
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
    status = urllib.request.urlopen(request, context=ssl._create_unverified_context(), timeout=90).status
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
        return httpx2.post(f"{self._url}/runner/v1/{path}", headers=headers, json=body or {}, timeout=90.0)


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


@pytest.mark.usefixtures("tools")
def test_the_gateway_refuses_whoever_does_not_hold_the_attempt(
    cluster: Cluster, namespace: str, store: Store, gateway: Gateway
) -> None:
    # Given a container step's pod, a runner's, a pod of no task, and then an attempt that another runner holds
    cluster.apply(
        namespace,
        bystander("bystander"),
        agent("patient", tools=[GATE]),
        session("alice", agentRef={"name": "patient"}),
        task("other", agentRef={"name": "support"}, message="[slow 300s] Hello"),
        task("contained", steps=[{"name": "run", "container": container(LONG_SCRIPT)}]),
    )
    other_attempt, _, _ = held_attempt(cluster, store, namespace, "other")
    other = running_pod(cluster, namespace, "other")
    contained = running_pod(cluster, namespace, "contained")
    cluster.wait("the bystander is there", namespace, lambda: cluster.get("pod", namespace, "bystander"))
    nobody = cluster.get("pod", namespace, "bystander")
    gate = str(int(namespace.removeprefix("t-"), 16))
    cluster.apply(
        namespace, task("victim", sessionRef={"name": "alice"}, message=f"mine {call('gate', number=gate)}")
    )
    cluster.wait("the victim waits at the gate", namespace, lambda: shop_calls(cluster, f"/gate/{gate}"))
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

    ask(cluster, "shop", f"open/{gate}")

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
    assert ended["status"]["phase"] == "Succeeded", ended["status"]
    assert gate in ended["status"]["output"]
    said = store.rows(
        "SELECT content FROM events e JOIN sessions s ON s.uid = e.session_uid WHERE s.namespace = %s",
        namespace,
    )
    assert "stolen" not in str(said)
    cancelled = cluster.wait_task(namespace, "other")
    assert (cancelled["status"]["phase"], cancelled["status"].get("output")) == ("Cancelled", None)
    cancel(cluster, namespace, "contained")
