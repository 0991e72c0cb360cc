"""The gateway with its own account's rights at the real API server: whose tokens are, what RBAC says, who signs a Reply."""

import asyncio
import secrets
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from parley.gateway.app import create_app
from parley.gateway.settings import GatewaySettings
from parley.kube.client_live import LiveKube
from parley.kube.errors import Forbidden
from parley.kube.kinds import REPLY, SESSION, TASK
from parley.kube.people import Person
from parley.store import sessions
from parley.store.leader import raise_epoch
from parley.store.pool import Pool, connect, open_pool

from tests.cluster import ROOT, SYSTEM_NAMESPACE, Cluster
from tests.integration.gateway.people import SPEC, problem
from tests.integration.gateway.test_access import CLOSED, ROUTES
from tests.integration.store.story import Story

pytestmark = [pytest.mark.cluster, pytest.mark.storeless]

RIGHTS = sorted({right for right, *_ in ROUTES} | {"create replies"})
APPROVAL = {"taskRef": {"name": "one"}, "waitID": "none", "choice": "approve"}


def account_of(right: str) -> str:
    return right.replace(" ", "-").replace("/", "-")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    told = subprocess.run(
        [ROOT / "cluster/cluster", "kubeconfig"], capture_output=True, text=True, check=True
    )
    made = Cluster(Path(told.stdout.strip()))
    yield made
    made.close()


def role(name: str, *rights: str, only: list[str] | None = None) -> list[dict[str, Any]]:
    """A Role with these rights on Parley's resources, bound to the service account of that name."""
    rules: list[dict[str, Any]] = []
    for right in rights:
        verb, resource = right.split()
        rule: dict[str, Any] = {"apiGroups": ["parley.dev"], "resources": [resource], "verbs": [verb]}
        rules.append(rule | ({"resourceNames": only} if only and verb == "act-for" else {}))
    rbac = "rbac.authorization.k8s.io"
    reference = {"apiGroup": rbac, "kind": "Role", "name": name}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}},
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": {"name": name}, "rules": rules},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": name},
            "roleRef": reference,
            "subjects": [
                {"kind": "ServiceAccount", "name": name},
                {"kind": "Group", "apiGroup": rbac, "name": f"{name}s"},
            ],
        },
    ]


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace with one account for each right, and some people."""
    name = f"gateway-{secrets.token_hex(3)}"
    cluster.kubectl("create", "namespace", name)
    own = [f"{verb} sessions/own" for verb in ("get", "list", "create", "patch", "delete")]
    alice = username(name, "alice")
    manifests = [
        *(manifest for right in RIGHTS for manifest in role(account_of(right), right)),
        *role("reader", "get sessions", "list sessions"),
        *role("alice", *own),
        *role("backend", *own, "act-for users", only=[alice]),
        *role("approver", "create replies"),
        *role("nobody", "list agents"),
    ]
    for manifest in manifests:
        for subject in manifest.get("subjects", []):
            if subject["kind"] == "ServiceAccount":
                subject["namespace"] = name
    cluster.apply(name, *manifests)

    def known() -> bool:
        words = ("auth", "can-i", "list", "agents.parley.dev", "-n", name, "--as", username(name, "nobody"))
        return cluster.kubectl(*words, check=False).startswith("yes")

    # The last one made: the API server's authorizer has heard of all before it.
    cluster.wait("RBAC knows the roles", name, known)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


def username(namespace: str, account: str) -> str:
    return f"system:serviceaccount:{namespace}:{account}"


def token(cluster: Cluster, namespace: str, account: str, *audiences: str) -> str:
    spec = {"audiences": list(audiences)} if audiences else {}
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    answer = cluster.request("POST", path, json=body).raise_for_status()
    return str(answer.json()["status"]["token"])


@dataclass
class Front:
    """The gateway, as those of the namespace meet it."""

    cluster: Cluster
    namespace: str
    http: httpx2.AsyncClient
    kube: LiveKube
    story: Story

    async def ask(self, account: str, method: str, path: str, **options: Any) -> httpx2.Response:
        bearer = token(self.cluster, self.namespace, account)
        headers = {"Authorization": f"Bearer {bearer}", **options.pop("headers", {})}
        return await self.http.request(
            method, f"/v1/namespaces/{self.namespace}{path}", headers=headers, timeout=60, **options
        )

    async def session(self, name: str, **spec: Any) -> None:
        """Make a Session, and let the store know it: the cluster's operator has a store of its own."""
        body: Any = {"metadata": {"name": name}, "spec": {**SPEC, **spec}}
        made: Any = await self.kube.create(SESSION, self.namespace, body)
        async with self.story.conn() as conn:
            await sessions.register_session(
                conn,
                self.story.fence,
                uid=made["metadata"]["uid"],
                cluster=self.story.fence.cluster,
                namespace=self.namespace,
                name=name,
            )


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    async with open_pool(database, size=4) as opened:
        yield opened


@pytest.fixture
async def story(pool: Pool) -> Story:
    async with connect(pool) as conn:
        return Story(pool, await raise_epoch(conn, secrets.token_hex(8), "parley", "operator-0"))


@pytest.fixture
async def front(
    cluster: Cluster,
    namespace: str,
    pool: Pool,
    story: Story,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Front]:
    """A gateway in this process that has the rights of the installed one's account, and no other."""
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    config["users"] = [
        {
            "name": config["users"][0]["name"],
            "user": {"token": token(cluster, SYSTEM_NAMESPACE, "parley-gateway")},
        }
    ]
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    async with await LiveKube.open() as kube:
        app = create_app(GatewaySettings(database_url=""), pool, kube)
        transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as http:
            yield Front(cluster, namespace, http, kube, story)
    for name in ("first", "his"):
        cluster.kubectl("delete", "sessions.parley.dev", name, "-n", namespace, "--ignore-not-found")


async def test_each_right_opens_its_own_routes_and_no_other(front: Front) -> None:
    await front.session("first")
    task: Any = {"metadata": {"name": "one"}, "spec": {"sessionRef": {"name": "first"}, "message": "Hello"}}
    await front.kube.create(TASK, front.namespace, task)
    for right, method, path, body in ROUTES:
        # Given the account that has this right only, then others that have none, and one that may read Sessions only
        for account, statuses in ((account_of(right), {200, 201, 202}), ("nobody", {404}), ("reader", {403})):
            if account == "reader" and right in {"get sessions", "list sessions"}:
                continue
            # Last of all: then it is gone.
            if right == "delete sessions" and account == account_of(right):
                continue
            answer = await front.ask(account, method, path, json=body)
            assert answer.status_code in statuses, (account, method, path, answer.text)
    for _, method, path, body in CLOSED:
        for account, status in (("nobody", 404), ("reader", 403)):
            answer = await front.ask(account, method, path, json=body)
            assert answer.status_code == status, (account, method, path, answer.text)
    gone = await front.ask("delete-sessions", "DELETE", "/sessions/first")
    assert gone.status_code == 202, gone.text
    await asyncio.to_thread(
        front.cluster.wait,
        "first is gone",
        front.namespace,
        lambda: not front.cluster.get("session", front.namespace, "first"),
    )
    front.cluster.kubectl("delete", "tasks.parley.dev", "one", "-n", front.namespace, "--ignore-not-found")


async def test_tokens_are_the_api_servers_and_not_those_of_step_pods(front: Front) -> None:
    path = f"/v1/namespaces/{front.namespace}/sessions"

    async def status_for(bearer: str) -> int:
        answer = await front.http.get(path, headers={"Authorization": f"Bearer {bearer}"})
        return answer.status_code

    good = token(front.cluster, front.namespace, "reader")
    assert await status_for(good) == 200
    assert await status_for(token(front.cluster, front.namespace, "reader", "parley")) == 401
    assert await status_for(token(front.cluster, front.namespace, "reader", "elsewhere")) == 401
    assert await status_for(good[:-4] + "AAAA") == 401


async def test_ones_own_sessions_and_those_of_a_backends_users(front: Front) -> None:
    alice = username(front.namespace, "alice")
    await front.session("first", user={"id": alice})
    await front.session("his", user={"id": "bob"})

    listed = (await front.ask("alice", "GET", "/sessions")).json()["items"]
    assert [one["metadata"]["name"] for one in listed] == ["first"]
    assert (await front.ask("alice", "GET", "/sessions/his")).status_code == 404
    acting = {"Parley-User": alice}
    assert (await front.ask("backend", "GET", "/sessions/first", headers=acting)).status_code == 200
    assert (
        await front.ask("backend", "GET", "/sessions/his", headers={"Parley-User": "bob"})
    ).status_code == 404
    assert (await front.ask("backend", "GET", "/sessions/first")).status_code == 404
    # With kubectl the right gives nothing.
    words = ("auth", "can-i", "get", "sessions.parley.dev/first", "-n", front.namespace, "--as", alice)
    assert front.cluster.kubectl(*words, check=False).startswith("no")


async def test_a_session_is_what_the_api_server_lets_it_be(front: Front) -> None:
    creator = "create-sessions"
    nobody = await front.ask(creator, "POST", "/sessions", json={"name": "first", "spec": {}})
    assert problem(nobody)[:2] == (422, "Invalid")
    assert "exactly one of agentRef and agents" in nobody.json()["detail"]
    made = await front.ask(
        creator, "POST", "/sessions", json={"name": "first", "spec": SPEC, "labels": {"a": "b"}}
    )
    assert (made.status_code, made.json()["metadata"]["labels"]) == (201, {"a": "b"})

    patch = "patch-sessions"
    changed = await front.ask(
        patch, "PATCH", "/sessions/first", json={"desiredState": "Ended", "labels": {"a": None}}
    )
    assert (changed.json()["spec"]["desiredState"], changed.json()["metadata"].get("labels", {})) == (
        "Ended",
        {},
    )
    back = await front.ask(patch, "PATCH", "/sessions/first", json={"desiredState": "Active"})
    assert problem(back)[:2] == (422, "Invalid")
    assert "Ended is final" in back.json()["detail"]
    stale = {"situation": "x", "resourceVersion": made.json()["metadata"]["resourceVersion"]}
    assert problem(await front.ask(patch, "PATCH", "/sessions/first", json=stale))[:2] == (409, "Conflict")


async def test_lists_go_page_by_page(front: Front) -> None:
    await front.session("first", metadata={"channel": "web"})
    await front.session("his", metadata={"channel": "mail"})
    first = (await front.ask("reader", "GET", "/sessions?limit=1")).json()
    following = await front.ask("reader", "GET", f"/sessions?limit=1&pageToken={first['nextPageToken']}")
    names = [one["metadata"]["name"] for one in (*first["items"], *following.json()["items"])]
    assert names == ["first", "his"]
    mail = (await front.ask("reader", "GET", "/sessions?metadata=channel%3Dmail")).json()["items"]
    assert [one["metadata"]["name"] for one in mail] == ["his"]
    for selector in ("!!", "a=b=c", "a in b"):
        answer = await front.ask("reader", "GET", "/sessions", params={"labelSelector": selector})
        assert problem(answer) == (400, "BadRequest", "labelSelector"), selector


async def test_a_reply_bears_the_name_of_who_asked_for_it(front: Front) -> None:
    said = await front.ask("approver", "POST", "/replies", json=APPROVAL, headers={"Idempotency-Key": "k"})
    assert said.status_code == 201, said.text
    stored: Any = await front.kube.get(REPLY, front.namespace, said.json()["name"])
    assert stored["spec"]["by"] == username(front.namespace, "approver")
    repeat = await front.ask("approver", "POST", "/replies", json=APPROVAL, headers={"Idempotency-Key": "k"})
    assert (repeat.status_code, repeat.json()["name"]) == (200, said.json()["name"])
    assert (await front.ask("reader", "POST", "/replies", json=APPROVAL)).status_code == 403


async def test_people_reply_by_the_rights_of_their_groups(front: Front) -> None:
    body: Any = {"metadata": {"name": "marias"}, "spec": APPROVAL}
    maria = Person("maria@company.com", groups=("approvers", "system:authenticated"))
    made: Any = await front.kube.create(REPLY, front.namespace, body, as_user=maria)
    assert made["spec"]["by"] == "maria@company.com"
    with pytest.raises(Forbidden, match=r"maria@company\.com"):
        await front.kube.create(REPLY, front.namespace, body, as_user=Person("maria@company.com"))


async def test_the_gateway_acts_in_nobodys_name_but_for_replies(front: Front) -> None:
    maria = Person("maria@company.com", groups=("approvers",))
    body: Any = {"metadata": {"name": "x"}, "spec": {"agentRef": {"name": "a"}, "message": "Hello"}}
    with pytest.raises(Forbidden, match="impersonate"):
        await front.kube.create(TASK, front.namespace, body, as_user=maria)
    masters = Person("admin", groups=("system:masters",))
    with pytest.raises(Forbidden, match="admin"):
        await front.kube.create(
            REPLY, front.namespace, {"metadata": {"name": "x"}, "spec": APPROVAL}, as_user=masters
        )  # type: ignore[arg-type]
