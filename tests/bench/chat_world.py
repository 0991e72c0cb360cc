"""What the chatting people need: sessions, rights, two gateways; and what is looked at when they are done."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2

from tests.bench.chat_people import Turn
from tests.cluster import SYSTEM_NAMESPACE, Cluster
from tests.e2e.conftest import agent, session
from tests.e2e.disruption import processes
from tests.e2e.servers import ask

MODEL_SECONDS = 0.3
_GATEWAY = "app.kubernetes.io/component=gateway"
_WARM = "app.kubernetes.io/component=runner"
_RIGHTS = [
    {"apiGroups": ["parley.dev"], "resources": ["users"], "verbs": ["act-for"]},
    {"apiGroups": ["parley.dev"], "resources": ["sessions/own"], "verbs": ["get", "create"]},
]
"""Of a backend that knows its users by itself."""


@dataclass(frozen=True, slots=True)
class Victim:
    """A pod whose processes are to be killed."""

    what: str
    pod: str
    pids: list[int]


class ChatWorld:
    """An agent with warm runners, a session a person, a backend that acts for them, and a second gateway meanwhile."""

    def __init__(self, cluster: Cluster, namespace: str, count: int) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.sessions = [f"chat-{number:03}" for number in range(count)]
        self.token = ""

    def __enter__(self) -> Self:
        cluster, namespace = self.cluster, self.namespace
        warm = {"mode": "Warm", "warm": {"replicas": 2, "concurrency": 50, "idleTimeout": "10m"}}
        cluster.apply(namespace, agent("chatter", runtime=warm))
        cluster.apply(
            namespace,
            *(session(name, agentRef={"name": "chatter"}, user={"id": name}) for name in self.sessions),
        )
        cluster.apply(
            namespace,
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "people"}},
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "Role",
                "metadata": {"name": "chat"},
                "rules": _RIGHTS,
            },
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": {"name": "chat"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "chat"},
                "subjects": [{"kind": "ServiceAccount", "name": "people", "namespace": namespace}],
            },
        )
        self.token = cluster.kubectl("create", "token", "people", "-n", namespace, "--duration=2h").strip()
        self._scale(2)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._scale(1)

    def _scale(self, replicas: int) -> None:
        where = ("-n", SYSTEM_NAMESPACE, "deployment/parley-gateway")
        self.cluster.kubectl("scale", *where, f"--replicas={replicas}")
        self.cluster.kubectl("rollout", "status", *where, "--timeout=120s")

    def gateway_urls(self) -> list[str]:
        """Each gateway by its pod's address, as a load balancer would know it."""

        def ready() -> list[str]:
            return [f"http://{pod['status']['podIP']}:8080" for pod in self._gateways()]

        return self.cluster.wait("a gateway is ready", SYSTEM_NAMESPACE, ready)

    def _gateways(self) -> list[dict[str, Any]]:
        return [pod for pod in self.cluster.list("pod", SYSTEM_NAMESPACE, _GATEWAY) if _is_ready(pod)]

    def _runners(self) -> list[dict[str, Any]]:
        return [pod for pod in self.cluster.list("pod", self.namespace, _WARM) if _is_ready(pod)]

    def find_victims(self) -> list[Victim]:
        """Who is to be killed: a gateway and a runner."""
        found: list[Victim] = []
        for what, namespace, pods in (
            ("gateway", SYSTEM_NAMESPACE, self._gateways()),
            ("runner", self.namespace, self._runners()),
        ):
            name = str(pods[0]["metadata"]["name"])
            found.append(Victim(what, name, processes(self.cluster, namespace, name)))
        return found

    def memory(self) -> dict[str, float]:
        """Resident MiB of each gateway and each runner, by pod."""
        found: dict[str, float] = {}
        for namespace, pods in ((SYSTEM_NAMESPACE, self._gateways()), (self.namespace, self._runners())):
            for pod in pods:
                name = pod["metadata"]["name"]
                found[name] = sum(_resident(pid) for pid in processes(self.cluster, namespace, name))
        return found

    def model_times(self) -> dict[str, float]:
        """When the model was first asked each message, by the monotonic clock that all processes here share."""
        listing = ask(self.cluster, "model", "/requests", contains=f"of {self.namespace}", limit="2000")
        found: dict[str, float] = {}
        for entry in listing["requests"]:
            message = str(entry["request"]["messages"][-1]["content"])
            found.setdefault(message, float(entry["seconds"]))
        return found

    def posted_times(self) -> dict[str, float]:
        """When each message was in its session, by the same clock: its event has Postgres's time, of this machine."""
        ahead = time.time() - time.monotonic()
        return {
            str(event["content"]): datetime.fromisoformat(event["time"]).timestamp() - ahead
            for name in self.sessions
            for event in self._events(name)
            if event["type"] == "message" and event["role"] == "user"
        }

    def problems_of(self, name: str, turns: Sequence[Turn]) -> list[str]:
        """What is wrong with a session's transcript: it has each message once, its answer after it, and no other."""
        expected = [
            line
            for turn in turns
            if turn.session == name
            for line in (turn.message, turn.message.partition("echo: ")[2])
        ]
        events = self._events(name)
        said = [str(event["content"]) for event in events if event["type"] == "message"]
        said = [text for text in said if "warm up" not in text]
        sequences = [event["sequence"] for event in events]
        found: list[str] = []
        if said != expected:
            found.append(
                f"{name}: {len(said)} messages, {len(expected)} expected: {said[-4:]} {expected[-4:]}"
            )
        if sequences != list(range(1, len(sequences) + 1)):
            found.append(f"{name}: sequences {sequences}")
        found += [
            f"{name}: answered {t.answer!r}" for t in turns if t.session == name and name not in t.answer
        ]
        return found

    def _events(self, name: str) -> list[dict[str, Any]]:
        url = f"{self.gateway_urls()[0]}/v1/namespaces/{self.namespace}/sessions/{name}/events?limit=500"
        answer = httpx2.get(
            url, headers={"Authorization": f"Bearer {self.token}", "Parley-User": name}, trust_env=False
        )
        assert answer.status_code == 200, answer.text
        return json.loads(answer.text)["items"]


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = {c["type"]: c["status"] for c in pod["status"].get("conditions", [])}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


def _resident(pid: int) -> float:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith("VmRSS")), 0.0)
