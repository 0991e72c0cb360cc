"""One attempt's rounds as a story: what the model says, what the tools give, and what is left behind."""

from collections.abc import Sequence
from typing import Any

import pytest
from parley.protocol.messages import JournalEntry, ReplyEntry, Usage
from parley.protocol.request import AgentSnapshot
from parley.runner.calls import Calls
from parley.runner.chat import ChatMessage, ModelReply, Said
from parley.runner.journal import Journal
from parley.runner.rounds import Paused, Rounds, add
from parley.runner.transcript import Transcript

from tests.unit.runner.fake_gateway import ATTEMPT, FakeGateway
from tests.unit.runner.fake_model import FakeModel
from tests.unit.runner.fake_tools import FakeTools, tool

MODEL = {"provider": "OpenAI", "name": "m"}
LOOK_AND_FIND = (tool("look"), tool("find"))


class Story:
    """One attempt's rounds, with what it leaves."""

    def __init__(
        self,
        gateway: FakeGateway,
        *says: Any,
        tools: FakeTools | None = None,
        agent: Sequence[dict[str, Any]] = LOOK_AND_FIND,
        journal: Sequence[JournalEntry] | None = None,
        replies: Sequence[ReplyEntry] = (),
        limit: int = 8,
        runs_calls: bool = True,
        version: int | None = 0,
    ) -> None:
        self.gateway = gateway
        self.model = FakeModel(*says)
        self.tools = tools or FakeTools()
        snapshot = {"name": "a", "model": MODEL, "tools": list(agent), "builtinTools": ["update_context"]}
        self.tools.made.append(AgentSnapshot.model_validate(snapshot))
        entries = list(gateway.journal.values()) if journal is None else journal
        kept = Journal(gateway.client(), ATTEMPT, entries, replies)
        names = [each["name"] for each in agent]
        carried = Calls(kept, self.tools, names, version, lambda: 60.0)
        self.spent = Usage()
        self.transcript = Transcript("reply", -1, "support")
        self.rounds = Rounds(
            kept, carried if runs_calls else None, self.transcript, self._ask, limit, self._count
        )
        self.messages: list[ChatMessage] = [Said("user", "hi")]

    async def _ask(self, messages: Sequence[ChatMessage]) -> ModelReply:
        return await self.model.ask(messages, schema=None, timeout_seconds=1)

    def _count(self, usage: Usage) -> None:
        self.spent = add(self.spent, usage)

    async def answer(self) -> str:
        return (await self.rounds.answer(self.messages)).text

    async def pause(self) -> list[tuple[int, int, str, str]]:
        with pytest.raises(Paused) as caught:
            await self.answer()
        return [(call.round, call.call, call.kind, call.tool) for call in caught.value.waiting]

    @property
    def events(self) -> list[tuple[str, str | None]]:
        return [(event.type, event.key) for event in self.transcript.events]

    def results(self) -> list[Any]:
        return [body["result"] for body in self.gateway.bodies("journal") if "result" in body]


def approved(call: int = 0, choice: str = "approve", **more: Any) -> ReplyEntry:
    return ReplyEntry.model_validate({"round": 0, "call": call, "choice": choice, "by": "alice", **more})
