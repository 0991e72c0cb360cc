"""Whenever an attempt is killed, and however often: those after it finish the turn as if nothing had happened.

The turn asks for calls of all kinds in several rounds. Attempts are killed before and after requests to the gateway,
before and after the model answers and tools run; people, Jobs and Tasks answer what waits in between.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from parley.protocol.messages import EventDraft, JournalEntry, ReplyEntry
from parley.runner.chat import Called, ChatMessage, ModelCall, ModelReply
from parley.runner.step import MakeModel, StepRun

from tests.unit.runner.fake_gateway import FakeGateway, prompt_request
from tests.unit.runner.fake_model import reply
from tests.unit.runner.fake_tools import FakeTools, Run, problem, tool

APPROVED = {"pay", "risky"}
"""These a person approves; ``refuse`` nobody does."""
TOOLS = [
    tool("look"),
    tool("broken"),
    tool("pay", approval=True),
    tool("refuse", approval=True),
    tool("build", "Container"),
    tool("risky", "Container", approval=True),
    tool("queue", "Task"),
]
NAMES = [*(str(each["name"]) for each in TOOLS), "odd", "update_context"]
MAX_ATTEMPTS = 60


class Killed(BaseException):
    """The pod is gone: nothing of the runner's own may catch this."""


@dataclass
class Life:
    """Counts what happens to a turn over all its attempts, and kills it where the test says."""

    kills: frozenset[int]
    moments: int = 0

    def moment(self) -> None:
        self.moments += 1
        if self.moments in self.kills:
            raise Killed


class KillableGateway(FakeGateway):
    """A gateway whose caller may die before its request arrives, or before the answer does."""

    life: Life

    async def _answer(self, request: httpx2.Request) -> httpx2.Response:
        self.life.moment()
        answer = await super()._answer(request)
        self.life.moment()
        return answer


class KillableTools(FakeTools):
    life: Life

    async def run(self, name: str, arguments: Any, *, key: str, timeout_seconds: float) -> Any:
        self.life.moment()
        result = await super().run(name, arguments, key=key, timeout_seconds=timeout_seconds)
        self.life.moment()
        return result


class RoundsOfCalls:
    """A model that asks for the test's calls, round by round; which round it is it sees from what it is shown."""

    def __init__(self, rounds: Sequence[Sequence[str]], life: Life, journaled: Callable[[int], bool]) -> None:
        self._rounds = rounds
        self._life = life
        self._journaled = journaled
        self.asked_again: list[int] = []
        self.seen: dict[int, list[ChatMessage]] = {}

    async def ask(self, messages: Sequence[ChatMessage], **_: Any) -> ModelReply:
        self._life.moment()
        number = sum(isinstance(message, Called) for message in messages)
        if self._journaled(number):
            self.asked_again.append(number)
        assert self.seen.setdefault(number, list(messages)) == list(messages), (
            "another past for the same round"
        )
        self._life.moment()
        if number >= len(self._rounds):
            return reply("done")
        named = enumerate(self._rounds[number])
        return reply(
            f"round {number}",
            calls=tuple(
                ModelCall(f"model_{number}_{place}", name, {"changes": {f"k{number}": place}, "n": place})
                for place, name in named
            ),
        )

    async def close(self) -> None:
        """Nothing is open."""


@dataclass
class Turn:
    """One turn of a session over all its attempts, with the store's side of it."""

    rounds: Sequence[Sequence[str]]
    kills: frozenset[int]
    token_file: Path
    events: dict[str, EventDraft] = field(default_factory=dict[str, EventDraft])
    replies: list[ReplyEntry] = field(default_factory=list[ReplyEntry])
    waited: list[tuple[int, int, str]] = field(default_factory=list[tuple[int, int, str]])
    attempts: int = 0

    def play(self) -> "Turn":
        asyncio.run(self._play())
        return self

    async def _play(self) -> None:
        self.life = life = Life(self.kills)
        agent = {"name": "support", "model": {"provider": "OpenAI", "name": "m"}, "tools": TOOLS}
        request = prompt_request(agent=agent | {"builtinTools": ["update_context"], "maxToolRounds": 9})
        store = KillableGateway(request, token_file=self.token_file)
        store.life = life
        self.model = RoundsOfCalls(self.rounds, life, lambda number: (number, -1) in store.journal)
        self.tools = KillableTools({"broken": problem("tool broken answered 500: oh")})
        self.tools.life = life
        self.store = store
        while store.outcome is None:
            self.attempts += 1
            assert self.attempts < MAX_ATTEMPTS, "the turn never ends"
            await self._attempt()

    async def _attempt(self) -> None:
        store = self.store
        store.paused = None
        store.taken = store.taken.model_copy(
            update={
                "number": self.attempts,
                "journal": [
                    entry for entry in store.journal.values() if entry.done or entry.begun is not None
                ],
                "replies": list(self.replies),
                "input": store.input,
            }
        )

        def load() -> MakeModel:
            return lambda _spec, _key: self.model

        with contextlib.suppress(Killed):
            await StepRun(store.client(), {}, load, load_tools=self.tools.load).run()
        if store.paused is not None:
            self._append(store.paused.events)
            for call in store.paused.calls:
                self._answer(call.round, call.call, call.kind, call.tool)
        if store.outcome is not None:
            self._append([EventDraft.model_validate(event) for event in store.outcome["events"]])

    def _append(self, drafts: Sequence[EventDraft]) -> None:
        for place, draft in enumerate(drafts):
            self.events.setdefault(draft.key or f"position {place}", draft)

    def _answer(self, number: int, place: int, kind: str, name: str) -> None:
        self.waited.append((number, place, kind))
        if kind == "Approval":
            choice = "approve" if name in APPROVED else "reject"
            self.replies.append(ReplyEntry(round=number, call=place, choice=choice, by="alice"))
        else:
            result = {"task": f"t-{number}-{place}"} if kind == "Task" else {"built": place}
            self.store.journal[number, place] = JournalEntry(
                round=number, call=place, result=result, done=True
            )

    @property
    def keys(self) -> dict[tuple[int, str], set[str]]:
        """Idempotency keys with which each call ran: of round and arguments."""
        found: dict[tuple[int, str], set[str]] = {}
        for run in self.tools.runs:
            found.setdefault(_place(run), set()).add(run.key)
        return found


def _place(run: Run) -> tuple[int, str]:
    [(number, place)] = run.arguments["changes"].items()
    return int(number.removeprefix("k")), f"{run.name}/{place}"


ROUNDS = st.lists(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4), max_size=3)
KILLS = st.frozensets(st.integers(1, 80), max_size=6)


@given(ROUNDS, KILLS)
@example([["look", "pay", "build", "odd"], ["risky", "queue", "refuse", "broken"]], frozenset({9}))
@example([["update_context", "look"], ["update_context"]], frozenset(range(5, 60, 7)))
@settings(
    deadline=None,
    max_examples=80,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_kills_change_nothing_of_a_turn(
    tmp_path: Path, rounds: list[list[str]], kills: frozenset[int]
) -> None:
    undisturbed = Turn(rounds, frozenset(), tmp_path / "token").play()
    killed = Turn(rounds, kills, tmp_path / "token").play()

    # The transcript is the same, in the same order.
    assert list(killed.events.items()) == list(undisturbed.events.items())
    assert killed.store.outcome is not None
    assert undisturbed.store.outcome is not None
    assert killed.store.outcome["output"] == undisturbed.store.outcome["output"] == "done"
    # No round that is journaled is asked for again, and what the model is shown is the same each time.
    assert killed.model.asked_again == []
    assert killed.model.seen == undisturbed.model.seen
    # No call runs under another key, and none that would not have run.
    assert killed.keys == undisturbed.keys
    assert all(len(keys) == 1 for keys in killed.keys.values())
    # A call runs again only if it was killed before its result was journaled.
    assert len(killed.tools.runs) <= len(undisturbed.tools.runs) + len(kills)
    # Nobody is asked twice for the same.
    assert sorted(set(killed.waited)) == sorted(undisturbed.waited)
    assert killed.store.context == undisturbed.store.context


def test_the_story_without_kills_is_as_it_should_be(tmp_path: Path) -> None:
    turn = Turn([["look", "pay", "build"], ["refuse", "risky"]], frozenset(), tmp_path / "token").play()

    assert [run.name for run in turn.tools.runs] == ["look", "pay"]
    assert turn.waited == [(0, 1, "Approval"), (0, 2, "Container"), (1, 0, "Approval"), (1, 1, "Approval"), (1, 1, "Container")]  # fmt: skip
    assert turn.attempts == 4
    results = {key: event.content for key, event in turn.events.items() if event.type == "toolResult"}
    assert {key: content["result"] for key, content in results.items() if isinstance(content, dict)} == {
        "result/0/0": "look done",
        "result/0/1": "pay done",
        "result/0/2": {"built": 2},
        "result/1/0": {"error": "rejected by alice"},
        "result/1/1": {"built": 1},
    }
