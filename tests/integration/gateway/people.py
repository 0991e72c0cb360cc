"""People and programs at a gateway: who they are, what RBAC lets them do, and the Sessions they mean."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import httpx2
from parley.gateway.app import create_app
from parley.gateway.settings import GatewaySettings
from parley.kube.client import TokenIdentity
from parley.kube.kinds import SESSION, TASK
from parley.kube.people import AccessQuestion
from parley.store import sessions
from parley.store.pool import Pool

from tests.fake_kube import FakeKube
from tests.integration.store.story import Story

NAMESPACE = "shop"
SPEC = {"agentRef": {"name": "support"}}
EVERYTHING = (
    *(f"{verb} sessions" for verb in ("get", "list", "create", "patch", "delete")),
    *("get sessions/context", "patch sessions/context", "get sessions/events", "get sessions/export"),
    *("create sessions/messages", "create sessions/import", "get tasks", "list tasks", "create replies"),
)
OWN = tuple(f"{verb} sessions/own" for verb in ("get", "list", "create", "patch", "delete"))


@dataclass
class Desk:
    """A gateway, its store, and an API server that knows these people."""

    kube: FakeKube
    story: Story
    http: httpx2.AsyncClient
    rights: dict[str, set[str]] = field(default_factory=dict)

    def person(self, username: str, *rights: str, groups: tuple[str, ...] = ()) -> str:
        """Let somebody have rights in the namespace, such as ``get sessions/events``; returns a token."""
        self.rights[username] = set(rights)
        token = f"token-of-{username}"
        self.kube.identities[token] = TokenIdentity(
            authenticated=True,
            username=username,
            uid=f"uid-of-{username}",
            groups=(*groups, "system:authenticated"),
            audiences=("https://kubernetes.default.svc",),
        )
        return token

    def allows(self, question: AccessQuestion) -> bool:
        """Answer as RBAC would. ``act-for users/alice`` is the right for one user, ``act-for users`` for all."""
        resource = (
            f"{question.resource}/{question.subresource}" if question.subresource else question.resource
        )
        granted = self.rights.get(question.person.username, set())
        wanted = {f"{question.verb} {resource}", f"{question.verb} {resource}/{question.name}"}
        return question.namespace == NAMESPACE and bool(granted & wanted)

    async def session(self, name: str, *, registered: bool = True, **changes: Any) -> str:
        """Make a Session, and let the operator take it in; returns its uid."""
        spec = {"agentRef": {"name": "support"}, **changes.pop("spec", {})}
        body: dict[str, Any] = {"metadata": {"name": name, **changes}, "spec": spec}
        made = await self.kube.create(SESSION, NAMESPACE, body)
        uid = str(cast("dict[str, Any]", made["metadata"])["uid"])
        if registered:
            async with self.story.conn() as conn:
                await sessions.register_session(
                    conn,
                    self.story.fence,
                    uid=uid,
                    cluster=self.story.fence.cluster,
                    namespace=NAMESPACE,
                    name=name,
                )
        self.story.names[uid] = name
        return uid

    async def ask(
        self,
        token: str,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str | bytes] | None = None,
        **options: Any,
    ) -> httpx2.Response:
        """Send a request below the namespace's path."""
        given = {"Authorization": f"Bearer {token}", **(headers or {})}
        return await self.http.request(
            method, f"/v1/namespaces/{NAMESPACE}{path}", headers=given, timeout=60, **options
        )


@asynccontextmanager
async def open_desk(pool: Pool, kube: FakeKube, story: Story, **settings: Any) -> AsyncIterator[Desk]:
    """Put a gateway before a store, without a network between."""
    app = create_app(GatewaySettings(database_url="", **settings), pool, kube)
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as http:
        desk = Desk(kube, story, http)
        kube.allowed = desk.allows
        yield desk


def problem(answer: Any) -> tuple[int, str | None, str | None]:
    """(status, reason, field) of a refusal; every one is problem+json and says what to do."""
    assert answer.headers["Content-Type"] == "application/problem+json", answer.text
    body = answer.json()
    assert body["status"] == answer.status_code, body
    assert body.get("detail"), body
    return answer.status_code, body.get("reason"), body.get("field")


def waiting_task(name: str, session: str, *questions: str) -> Any:
    entries = [
        {
            "id": f"wait-{name}-{index}",
            "step": "ask",
            "kind": "Approval",
            "call": "refund",
            "arguments": '{"amount":1}',
            "question": question,
            "choices": ["approve", "reject"],
            "since": "2027-01-31T09:00:00Z",
        }
        for index, question in enumerate(questions)
    ]
    spec = {"sessionRef": {"name": session}, "message": "Hello"}
    return {"metadata": {"name": name}, "spec": spec, "status": {"phase": "Running", "waiting": entries}}


async def add_task(desk: Desk, task: Any) -> None:
    await desk.kube.create(TASK, NAMESPACE, task)
    desk.kube.objects[TASK.kind, NAMESPACE, task["metadata"]["name"]]["status"] = task["status"]
