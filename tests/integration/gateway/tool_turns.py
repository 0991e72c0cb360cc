"""Turns with tools, through the runner, the gateway and the store as they are; the leader's part is the test's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2
from parley.protocol.request import AgentSnapshot
from parley.runner.chat import Called, ChatMessage, ModelCall, ModelReply
from parley.runner.gateway_client import GatewayClient
from parley.runner.settings import RunnerSettings
from parley.runner.step import MakeModel, StepRun
from parley.runner.tool_opening import MakeTools, OpenTools
from parley.runner.tools.box import ToolBox
from parley.runner.tools.mcp_listing import Listings
from parley.store.records import WaitRecord

from tests.integration.gateway.running import Shop
from tests.integration.store import calling
from tests.unit.gateway.steps import StepInCluster, add_step
from tests.unit.runner.fake_gateway import tool_request
from tests.unit.runner.fake_model import reply
from tests.unit.runner.tools.boxes import network

MODEL = {"provider": "OpenAI", "name": "m"}


class Killed(BaseException):
    """The pod is gone: nothing of the runner's own may catch this."""


@dataclass
class Life:
    """Counts requests and answers of a turn's attempts, and kills one of them at a moment."""

    kill_at: int = 0
    moments: int = 0

    def moment(self) -> None:
        self.moments += 1
        if self.moments == self.kill_at:
            raise Killed


class Transport(httpx2.AsyncBaseTransport):
    """The network between runner and gateway, which may break off before or after a request has arrived."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._inner = httpx2.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self._life.moment()
        response = await self._inner.handle_async_request(request)
        await response.aread()
        self._life.moment()
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


@dataclass
class Rounds:
    """A model that asks for calls round by round: names with their arguments."""

    rounds: Sequence[Sequence[tuple[str, Any]]]
    asked: list[list[ChatMessage]] = field(default_factory=list[list[ChatMessage]])
    summed_up: int = 0

    async def ask(self, messages: Sequence[ChatMessage], **_: Any) -> ModelReply:
        self.asked.append(list(messages))
        if messages[-1].text.startswith("Summarize"):
            self.summed_up += 1
            return reply(f"In short, {self.summed_up}.")
        last = max((place for place, each in enumerate(messages) if not isinstance(each, Called)), default=0)
        number = len(messages) - 1 - last
        if number >= len(self.rounds):
            return reply("done")
        calls = [ModelCall(f"m{place}", *call) for place, call in enumerate(self.rounds[number])]
        return reply(calls=tuple(calls))

    async def close(self) -> None:
        """Nothing is open."""


@dataclass
class ToolTurn:
    """One turn over all its attempts."""

    shop: Shop
    agent: dict[str, Any]
    model: Rounds
    session: str
    task: str
    kill_at: int = 0
    attempts: list[int] = field(default_factory=list[int])
    waits: list[WaitRecord] = field(default_factory=list[WaitRecord])
    request: dict[str, Any] = field(default_factory=dict[str, Any])
    choices: dict[str, str] = field(default_factory=dict[str, str])
    """What a person replies, by tool; approve by default."""

    def __post_init__(self) -> None:
        self.life = Life(self.kill_at)

    async def play(self) -> None:
        """Run attempts, and answer what waits between them, until the step has an output or has failed."""
        story = self.shop.story
        cause, close = "First", None
        while True:
            assert len(self.attempts) < 20, "the turn never ends"
            number = len(self.attempts) + 1
            attempt = await story.start(
                self.task,
                number=number,
                cause=cause,
                close=close,
                session_uid=self.session,
                request=self.shop.request("go", agent=self.agent, **self.request),
            )
            step = await add_step(self.shop.kube, job=f"{self.task}-reply-{number}", task_uid=self.task)
            self.attempts.append(attempt)
            await self.attempt(step)
            state = await self.shop.state_of(attempt)
            if state in {"Succeeded", "Failed"}:
                return
            cause, close = "Resume", None
            if state == "Paused":
                await self._answer()
            else:
                cause, close = "Disruption", story.close(attempt)

    async def attempt(self, step: StepInCluster) -> None:
        """Run one attempt in this process, as far as it comes."""
        token = self.shop.directory / f"token-of-{step.pod}"
        token.write_text(step.token)
        settings = RunnerSettings(self.shop.gateway_url, self.shop.store, token)
        client = GatewayClient(settings, "nonce", transport=Transport(self.life))

        def load() -> MakeModel:
            return lambda _spec, _key: self.model

        try:
            await StepRun(client, {}, load, load_tools=loopback_tools).run()
        except Killed:
            pass
        finally:
            await client.close()

    async def _answer(self) -> None:
        story = self.shop.story
        found = sorted((await story.load(self.task)).waits, key=lambda wait: wait.kind)
        assert found, "it waits for nothing"
        self.waits += found
        for wait in found:
            tool = str(wait.body["tool"])
            if wait.kind == "Approval":
                verdict = await calling.reply(
                    story, self.task, wait.id, self.choices.get(tool, "approve"), message="as I please"
                )
                assert verdict.accepted, verdict
            elif wait.kind == "Container":
                ran = await calling.run_container(story, self.task, wait.id)
                assert await calling.answer(story, wait.id, ran)
            else:
                assert await calling.queue(story, wait.id, "report-1") is True
                assert await calling.queued_now(story, wait.id)

    async def transcript(self) -> list[tuple[str, str | None, Any]]:
        """The session's events: type, key's part of the id, and content without times."""
        rows = await self.shop.story.sql(
            "SELECT type, role, speaker, content FROM events WHERE session_uid = %s ORDER BY sequence",
            self.session,
        )
        return [(kind, role or speaker, content) for kind, role, speaker, content in rows]

    @property
    def waited(self) -> list[tuple[str, str]]:
        """What waited: kind and tool."""
        return [(wait.kind, str(wait.body["tool"])) for wait in self.waits]


def loopback_tools() -> MakeTools:
    """Tools as they are, but that they reach the test's own servers."""

    def make(agent: AgentSnapshot, secrets: Mapping[str, str], scope: Mapping[str, Any]) -> OpenTools:
        return ToolBox(agent, secrets, scope, network=network(), listings=Listings())

    return make


def agent_with(*tools: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": "support", "model": MODEL, "tools": list(tools), "builtinTools": ["update_context"]}


async def begin_turn(
    shop: Shop, agent: dict[str, Any], rounds: Sequence[Sequence[tuple[str, Any]]], **more: Any
) -> ToolTurn:
    """Make a session with a turn of it that is granted next."""
    session = await shop.story.session()
    task = await shop.story.task(session)
    await shop.story.queue(session, task)
    return ToolTurn(shop, agent, Rounds(rounds), session, task, **more)


def tool_step(shop: Shop, task: str, name: str, arguments: dict[str, Any], agent: dict[str, Any]) -> Any:
    """The request of a tool step."""
    names = {"name": shop.story.names[task], "namespace": "default"}
    request = tool_request(name, arguments, agent=agent, step="reply", task=names, session=None)
    return request.model_dump(mode="json", by_alias=True)
