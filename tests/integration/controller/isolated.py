"""Many sessions of one agent at once: the operator, the gateway, the store and the runner are the real ones.

Each session has a word that its people, its messages and its tools' arguments say, and nobody else. What a model is asked
is kept with all its texts; what it answers has every word that it saw in it, so that one that leaks goes on leaking.
Runners die at any of their calls, before or after the gateway has heard it, and leaders change.
"""

import asyncio
import random
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import httpx2
from fastapi import FastAPI
from parley.gateway.app import create_app
from parley.gateway.settings import GatewaySettings
from parley.kube.client import TokenIdentity
from parley.kube.kinds import POD, REPLY
from parley.protocol.messages import TOKEN_AUDIENCE
from parley.protocol.request import AgentSnapshot
from parley.resources.tools import tool_called
from parley.runner.chat import (
    Called,
    ChatMessage,
    JsonSchema,
    ModelCall,
    ModelReply,
    Said,
    ToolDefinition,
    tokens,
)
from parley.runner.gateway_client import GatewayClient, NotAdmitted, StopRunning
from parley.runner.settings import RunnerSettings
from parley.runner.step import StepRun
from parley.runner.tools.box import Found
from parley.runner.tools.builtin import UPDATE_CONTEXT
from parley.store.identity import store_id
from parley.store.pool import connect
from pydantic import JsonValue

from tests.integration.controller.cluster import NAMESPACE, Cluster, Exit, Run, Script, is_prompt

WORD = re.compile(r"\bword-\d+-[a-z]{6}\b")
SHAPES = ("plain", "note", "context", "pay", "job", "send", "flaky", "two")
_WORD: dict[str, Any] = {"parameters": {"type": "object", "properties": {"word": {"type": "string"}}}}
TOOLS: list[dict[str, Any]] = [
    {"name": "note", **_WORD, "http": {"url": "http://notes/"}},
    {"name": "pay", **_WORD, "http": {"url": "http://bank/"}, "approval": "Required"},
    {"name": "job", **_WORD, "container": {"image": "i", "args": ["{{ arguments.word }}"]}},
    {"name": "send", **_WORD, "task": {"templateRef": {"name": "send"}}},
]
"""The tools of the agent, one of each way of being run."""


ROUNDS = 200
"""After so many rounds of everybody's work something is stuck."""


class Killed(BaseException):
    """The runner's process is no more."""


def calls_of(shape: str, word: str) -> list[tuple[str, JsonValue]]:
    """What a model calls that is asked for something of this shape."""
    said: JsonValue = {"word": word}
    match shape:
        case "context":
            return [("update_context", {"changes": {f"of-{word}": word}})]
        case "two":
            return [("note", said), ("pay", said)]
        case "note" | "pay" | "job" | "send":
            return [(shape, said)]
        case _:
            return []


def texts_of(messages: Sequence[ChatMessage]) -> str:
    """All that a request says."""
    parts = [m.text if isinstance(m, Said) else f"{m.text} {m.calls} {m.results}" for m in messages]
    return "\n".join(parts)


@dataclass
class Model:
    """Answers everybody, and keeps what it was asked."""

    asked: list[str] = field(default_factory=list[str])
    failed: Counter[str] = field(default_factory=Counter[str])

    async def ask(
        self,
        messages: Sequence[ChatMessage],
        *,
        schema: JsonSchema | None,
        tools: Sequence[ToolDefinition] = (),
        timeout_seconds: float,
        on_text: Callable[[str], None] | None = None,
    ) -> ModelReply:
        """Call what the last message asks for, then answer with every word that was seen."""
        del schema, tools, timeout_seconds, on_text
        seen = texts_of(messages)
        self.asked.append(seen)
        await asyncio.sleep(0)
        last = next(m for m in reversed(messages) if isinstance(m, Said) and m.role == "user")
        found = re.search(r"(word-\d+-[a-z]{6}) (\w+) (\d+)", last.text)
        assert found, f"nobody asked for anything: {last.text}"
        word, shape, number = found.groups()
        if shape == "flaky" and self.failed[f"{word}/{number}"] < 1:
            self.failed[f"{word}/{number}"] += 1
            return ModelReply("", tokens(3, 0))
        if not isinstance(messages[-1], Called) and (wanted := calls_of(shape, word)):
            calls = tuple(ModelCall(f"c{n}", name, arguments) for n, (name, arguments) in enumerate(wanted))
            return ModelReply(f"I call for {word}", tokens(3, 2), calls=calls)
        return ModelReply("heard " + " ".join(sorted(set(WORD.findall(seen)))), tokens(3, 2))

    async def close(self) -> None:
        """Nothing is open."""


@dataclass
class Box:
    """The agent's tools, without a network: what they were called with, and within which task's scope."""

    agent: AgentSnapshot
    scope: Mapping[str, JsonValue]
    ran: list[str]

    async def offered(self) -> list[ToolDefinition]:
        """Offer all."""
        return [ToolDefinition(tool.name, "", {"type": "object"}) for tool in self.agent.tools]

    def find(self, name: str) -> Found | None:
        """Find one by its name."""
        if name == UPDATE_CONTEXT.name:
            return Found(None, "Builtin", False)
        tool = tool_called(self.agent.tools, name)
        return Found(tool, cast("Any", tool.kind.capitalize()), tool.needs_approval) if tool else None

    async def check(self, name: str, arguments: JsonValue) -> str | None:
        """Anything fits."""
        del name, arguments

    async def check_result(self, name: str, result: JsonValue) -> str | None:
        """Anything fits."""
        del name, result

    async def run(self, name: str, arguments: JsonValue, *, key: str, timeout_seconds: float) -> JsonValue:
        """Keep what it was called with."""
        del key, timeout_seconds
        self.ran.append(f"{name} {arguments} {self.scope.get('session')} {self.scope.get('inputs')}")
        await asyncio.sleep(0)
        return {"did": arguments}

    async def close(self) -> None:
        """Nothing is open."""


class Doomed(GatewayClient):
    """A runner's client that dies at one of its calls, before the gateway hears it or after."""

    def __init__(self, *given: Any, calls: int | None, heard: bool, dice: random.Random, **more: Any) -> None:
        super().__init__(*given, **more)
        self._calls, self._heard, self._dice = calls, heard, dice

    async def _send(self, method: str, path: str, content: bytes | None) -> httpx2.Response:
        await asyncio.sleep(self._dice.choice((0, 0, 0.002)))
        if self._calls is not None:
            self._calls -= 1
            if self._calls < 0:
                if self._heard:
                    await super()._send(method, path, content)
                raise Killed
        return await super()._send(method, path, content)


@dataclass
class World:
    """Sessions at work. ``deaths`` counts runners that died, ``asked`` and ``ran`` have what models and tools were told."""

    cluster: Cluster
    directory: Path
    dice: random.Random
    deadly: float
    model: Model = field(default_factory=Model)
    ran: list[str] = field(default_factory=list[str])
    deaths: int = 0
    _replied: set[str] = field(default_factory=set[str])
    _app: FastAPI | None = None
    _store: str = ""

    async def open(self) -> None:
        """Make the gateway."""
        self._app = create_app(GatewaySettings(database_url=""), self.cluster.pool, self.cluster.kube)
        async with connect(self.cluster.pool) as connection:
            self._store = await store_id(connection)
        self.cluster.behaviour = container_or_wait

    async def work(self) -> None:
        """Let the operator, the runners and the people work until all tasks have ended."""
        for _ in range(ROUNDS):
            await self.cluster.settle()
            if self.dice.random() < 0.1:
                self.cluster.lead_anew()
            ready = list(self.cluster.running.values())
            self.dice.shuffle(ready)
            await asyncio.gather(*(self._run(run) for run in ready[: self.dice.randrange(4, 60)]))
            await self._reply()
            if not self.cluster.running and all(self._ended(name) for name in self.cluster.tasks()):
                await self.cluster.settle()
                return
        left = [name for name in self.cluster.tasks() if not self._ended(name)]
        raise AssertionError(f"still at work: {[self.cluster.status(name) for name in left[:3]]}")

    def _ended(self, name: str) -> bool:
        return self.cluster.status(name).get("phase") in {"Succeeded", "Failed", "Cancelled"}

    async def _run(self, run: Run) -> None:
        """Run a pod's runner to its end, or to its death."""
        doomed = self.dice.random() < self.deadly
        client = Doomed(
            RunnerSettings("http://gateway", self._store, self._token(run)),
            f"nonce-{self.dice.random()}",
            transport=httpx2.ASGITransport(cast("FastAPI", self._app)),
            calls=self.dice.randrange(8) if doomed else None,
            heard=self.dice.random() < 0.5,
            dice=self.dice,
        )
        code = 0
        try:
            step = StepRun(client, {}, lambda: lambda _spec, _key: self.model, load_tools=lambda: self._box)
            await step.run()
        except Killed:
            self.deaths += 1
            code = 137
        except (StopRunning, NotAdmitted):
            code = 0
        finally:
            await client.close()
        await self.cluster.end(run, Exit(code))

    def _box(self, agent: AgentSnapshot, secrets: Mapping[str, str], scope: Mapping[str, JsonValue]) -> Box:
        del secrets
        return Box(agent, scope, self.ran)

    def _token(self, run: Run) -> Path:
        """The token of a pod, which the API server knows."""
        name = f"{run.job}-{run.index}"
        owner = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "name": run.job,
            "uid": _uid(run.body),
            "controller": True,
        }

        def belongs(body: Any) -> None:
            body["metadata"]["ownerReferences"] = [owner]
            body["metadata"]["annotations"] = {"batch.kubernetes.io/job-completion-index": str(run.index)}

        pod = self.cluster.kube.edit(POD, NAMESPACE, name, belongs)
        self.cluster.kube.identities[name] = TokenIdentity(
            authenticated=True,
            username=f"system:serviceaccount:{NAMESPACE}:default",
            audiences=(TOKEN_AUDIENCE,),
            extra={
                "authentication.kubernetes.io/pod-name": (name,),
                "authentication.kubernetes.io/pod-uid": (_uid(pod),),
            },
        )
        token = self.directory / name
        token.write_text(name)
        return token

    async def _reply(self) -> None:
        """Answer what is asked, in random order, now and then twice."""
        asked = [
            (name, entry)
            for name in self.cluster.tasks()
            for entry in self.cluster.status(name).get("waiting") or []
        ]
        self.dice.shuffle(asked)
        for name, entry in asked[: self.dice.randrange(4, 40)]:
            if entry["id"] in self._replied:
                continue
            self._replied.add(entry["id"])
            (word,) = set(WORD.findall(str(entry))) or {""}
            choice = self.dice.choice(("approve", "approve", "reject"))
            spec = {
                "taskRef": {"name": name},
                "waitID": entry["id"],
                "choice": choice,
                "message": word,
                "by": f"p-{word}",
            }
            await self.cluster.apply(REPLY, f"{name}-{len(self._replied)}", spec)


def container_or_wait(run: Run) -> Exit | Script | None:
    """A container says what it was given; a runner waits until it is run."""
    return None if is_prompt(run.body) else Exit(message=" ".join(run.args))


def _uid(body: Any) -> str:
    return str(body["metadata"]["uid"])
