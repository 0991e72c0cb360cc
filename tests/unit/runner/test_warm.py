"""A runner with several slots: whatever turns meet in it, none of them sees or says anything of another."""

import asyncio
import json
import logging
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from parley.protocol.messages import InputMessage
from parley.runner import warm
from parley.runner.chat import ChatMessage, ModelCall, ModelFailure, ModelReply
from parley.runner.gateway_client import GatewayClient, Rejected
from parley.runner.log import JsonFormatter
from parley.runner.settings import RunnerSettings
from parley.runner.step import MakeModel
from parley.runner.warm import Warm
from parley.templates.evaluator import Evaluator
from parley.templates.fields import Field
from parley.templates.render import render_text

from tests.unit.runner.fake_gateway import FakeGateway, prompt_request, stored_event
from tests.unit.runner.fake_model import reply

MARK = re.compile(r"mark-\d+-")
"""Stands in everything that belongs to one turn."""


@dataclass(frozen=True)
class Story:
    """One turn: how many rounds of calls it takes, how its model ends it, and how long each answer takes."""

    rounds: int = 0
    ends: str = "answers"
    pause: int = 0
    posted: bool = False
    templates: bool = False


STORIES = st.lists(
    st.builds(
        Story,
        rounds=st.integers(0, 2),
        ends=st.sampled_from(["answers", "fails", "stops", "breaks"]),
        pause=st.integers(0, 6),
        posted=st.booleans(),
        templates=st.booleans(),
    ),
    min_size=2,
    max_size=12,
)


class Turn(FakeGateway):
    """What the gateway knows of one turn."""

    def __init__(self, number: int, story: Story, token: Path) -> None:
        self.mark = f"mark-{number}-"
        self.story = story
        braces = "{{ task.name }}" if story.templates else ""
        request = prompt_request(
            task={"name": f"task-{self.mark}", "namespace": "shop"},
            prompt={"text": f"I am {self.mark}"},
            literal=True,
            agent={
                "name": "support",
                "instructions": f"Be kind.{braces}",
                "model": {"provider": "OpenAI", "name": "m"},
            },
            session={
                "name": f"session-{self.mark}",
                "situation": f"It is about {self.mark}",
                "context": {"of": self.mark},
                "user": {"id": f"user-{self.mark}"},
                "users": [{"id": f"user-{self.mark}"}],
            },
        )
        past = [
            stored_event(1, "user", f"before {self.mark}"),
            stored_event(2, "assistant", f"yes {self.mark}"),
        ]
        said = [InputMessage(role="user", content=f"I am {self.mark}")] if story.posted else None
        super().__init__(request, token_file=token, history=past, input=said)
        self.taken = self.taken.model_copy(update={"attempt": number})
        self.holder: str | None = None
        self.deltas: list[Any] = []

    def serve(self, call: str, parts: list[str], body: Any) -> Any:
        if call == "heartbeat":
            return {}
        if call == "deltas":
            self.deltas.append(body)
            return {"wanted": True}
        return self._serve(call, [parts[0], "7", *parts[2:]], body)


class Pool:
    """A gateway with a pool of attempts, given to whoever asks."""

    def __init__(self, stories: Sequence[Story], token: Path) -> None:
        token.write_text("the-token")
        self.turns = {number: Turn(number, story, token) for number, story in enumerate(stories, 1)}
        self.open = deque(self.turns)
        self.settings = RunnerSettings("http://gateway", "store-1", token)
        self.asked: list[dict[str, Any]] = []
        self.drained = asyncio.Event()
        self.left = {turn.mark for turn in self.turns.values()}

    def client(self) -> GatewayClient:
        async def sleep(_seconds: float) -> None:
            await asyncio.sleep(0)

        return GatewayClient(
            self.settings, "unused", sleep=sleep, transport=httpx2.MockTransport(self._answer)
        )

    async def _answer(self, request: httpx2.Request) -> httpx2.Response:
        holder = request.headers["Parley-Nonce"]
        parts = request.url.path.removeprefix("/runner/v1/").split("/")
        body = json.loads(request.content) if request.content else None
        await asyncio.sleep(0)
        if parts[0] == "take":
            return await self._take(holder, body)
        turn = self.turns[int(parts[1])]
        assert turn.holder == holder, "only its holder writes to an attempt"
        assert set(MARK.findall(request.content.decode())) <= {turn.mark}
        if parts[2] == "finish" and turn.story.ends == "stops":
            return self._over(turn, httpx2.Response(410, json={"title": "x", "status": 410, "stop": True}))
        if parts[2] == "finish" and turn.story.ends == "breaks":
            return self._over(turn, httpx2.Response(422, json={"title": "x", "status": 422}))
        answer = turn.serve(parts[2], parts, body)
        response = httpx2.Response(200, content=json.dumps(answer))
        return self._over(turn, response) if parts[2] == "finish" else response

    def _over(self, turn: Turn, response: httpx2.Response) -> httpx2.Response:
        self.left.discard(turn.mark)
        if not self.left:
            self.drained.set()
        return response

    async def _take(self, holder: str, body: Any) -> httpx2.Response:
        self.asked.append(body)
        own = [turn for turn in self.turns.values() if turn.holder == holder and turn.mark in self.left]
        if not own and not self.open:
            # A real one would wait.
            await asyncio.sleep(0.001)
            return httpx2.Response(204)
        turn = own[0] if own else self.turns[self.open.popleft()]
        turn.holder = holder
        return httpx2.Response(200, content=turn.taken.model_dump_json(by_alias=True))


@dataclass
class Listener:
    """A model of all turns at once. It sees whose words it is shown, and answers in kind."""

    pool: Pool
    made: int = 0
    under_way: int = 0
    most: int = 0
    rounds: dict[str, int] = field(default_factory=dict[str, int])

    async def ask(self, messages: Sequence[ChatMessage], **more: Any) -> ModelReply:
        [mark] = set(MARK.findall(str(messages)))
        turn = next(turn for turn in self.pool.turns.values() if turn.mark == mark)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        for _ in range(turn.story.pause):
            await asyncio.sleep(0)
        self.under_way -= 1
        done = self.rounds[mark] = self.rounds.get(mark, -1) + 1
        if done < turn.story.rounds:
            return reply(calls=(ModelCall("c", f"look-{mark}", {"of": mark}),))
        if turn.story.ends == "fails":
            raise ModelFailure(f"is tired of {mark}", retryable=False)
        more["on_text"](f"hello {mark}")
        return reply(f"hello {mark}")

    async def close(self) -> None:
        """Nothing is open."""


@contextmanager
def log_lines() -> Iterator[list[dict[str, Any]]]:
    """What the runner logs, as it would be written."""
    lines: list[dict[str, Any]] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(json.loads(JsonFormatter().format(record)))

    logger, handler = logging.getLogger("parley.runner"), Collect()
    before = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


class Quick(Evaluator):
    """Renders here: a process for each example would take a second."""

    async def __aenter__(self) -> "Quick":
        return self

    async def render(self, fields: Mapping[str, Field], scope: Mapping[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(0)
        return {path: render_text(str(field.template), scope, path) for path, field in fields.items()}


async def serve(pool: Pool, slots: int, evaluator: Evaluator | None = None) -> Listener:
    """Let a warm runner take all there is, then tell it to end."""
    model = Listener(pool)

    def load() -> MakeModel:
        def make(_spec: Any, _key: str | None) -> Listener:
            model.made += 1
            return model

        return make

    runner = Warm(pool.client(), {}, slots, load, lambda _: asyncio.sleep(3600), evaluator or Quick())
    running = asyncio.create_task(runner.run())
    try:
        async with asyncio.timeout(120):
            await pool.drained.wait()
            runner.wind_down()
            await running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return model


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "FAULT_SECONDS", 0)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stories=STORIES, slots=st.integers(1, 6))
def test_turns_that_meet_in_one_process_know_nothing_of_each_other(
    tmp_path: Path, stories: list[Story], slots: int
) -> None:
    async def run() -> tuple[Pool, Listener]:
        pool = Pool(stories, tmp_path / "token")
        return pool, await serve(pool, slots)

    with log_lines() as lines:
        pool, model = asyncio.run(run())

    # Each turn has the outcome of its own story; what is said in it and of it is its own (see ``Pool`` and ``Listener``)
    for turn in pool.turns.values():
        assert model.rounds[turn.mark] == turn.story.rounds
        if turn.story.ends in {"answers", "fails"}:
            assert turn.outcome is not None
            assert turn.outcome["outcome"] == ("Succeeded" if turn.story.ends == "answers" else "Failed")
            assert turn.mark in str(turn.outcome)
        assert all(delta["text"] == f"hello {turn.mark}" for delta in turn.deltas)
    assert model.most <= slots
    assert model.made == 1
    # A line about one attempt names no other, and every word of a turn is in a line about it
    for line in lines:
        marks = set(MARK.findall(json.dumps(line)))
        assert len(marks) <= 1, line
        if "attempt" in line and marks:
            assert marks == {f"mark-{line['attempt']}-"}, line


@pytest.fixture
def token(tmp_path: Path) -> Path:
    return tmp_path / "token"


async def test_a_holder_whose_commit_is_refused_comes_back_as_another(token: Path) -> None:
    pool = Pool([Story(ends="breaks"), Story()], token)

    await serve(pool, 1)

    first, second = pool.turns.values()
    assert second.outcome is not None
    assert first.holder != second.holder


async def test_a_pod_that_lacks_a_secret_ends_and_leaves_the_attempt_to_another(token: Path) -> None:
    pool = Pool([Story()], token)
    header = {"name": "X", "valueFrom": {"secretKeyRef": {"name": "orders", "key": "token"}}}
    tools = [{"name": "look", "http": {"url": "http://shop/", "headers": [header]}}]
    turn = pool.turns[1]
    agent = {"name": "support", "model": {"provider": "OpenAI", "name": "m"}, "tools": tools}
    turn.taken = turn.taken.model_copy(update={"request": prompt_request(agent=agent)})

    async with asyncio.timeout(60):
        await Warm(pool.client(), {}, 2, list, evaluator=Quick()).run()  # type: ignore[arg-type]

    assert turn.holder is not None
    assert turn.outcome is None


async def test_a_gateway_that_does_not_understand_it_ends_the_process_with_an_error(token: Path) -> None:
    pool = Pool([], token)
    transport = httpx2.MockTransport(lambda _: httpx2.Response(400, json={"title": "what", "status": 400}))
    client = GatewayClient(pool.settings, "unused", transport=transport)

    with pytest.raises(Rejected):
        await Warm(client, {}, 3, list, evaluator=Quick()).run()  # type: ignore[arg-type]


async def test_nothing_is_taken_before_what_a_turn_needs_is_there(token: Path) -> None:
    pool = Pool([Story()], token)
    started = asyncio.Event()

    class Starting(Quick):
        async def __aenter__(self) -> "Starting":
            await started.wait()
            return self

    serving = asyncio.create_task(serve(pool, 2, Starting()))
    # Long enough for all slots to have asked.
    await asyncio.sleep(0.2)
    asked_early = list(pool.asked)
    started.set()
    await serving

    assert asked_early == []
    assert pool.turns[1].outcome is not None
    assert pool.turns[1].outcome["outcome"] == "Succeeded"


async def test_templates_of_people_are_rendered_apart(token: Path) -> None:
    pool = Pool([Story(templates=True) for _ in range(4)], token)

    await serve(pool, 4, Evaluator())

    assert [turn.outcome and turn.outcome["outcome"] for turn in pool.turns.values()] == ["Succeeded"] * 4


async def test_a_template_that_never_ends_fails_its_own_turn_and_no_other(token: Path) -> None:
    pool = Pool([Story(), Story()], token)
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    first = pool.turns[1]
    agent = first.taken.request.agent.model_copy(update={"instructions": endless})
    first.taken = first.taken.model_copy(
        update={"request": first.taken.request.model_copy(update={"agent": agent})}
    )

    await serve(pool, 2, Evaluator(cpu_seconds=0.2))

    assert first.outcome is not None
    assert (first.outcome["outcome"], first.outcome["reason"]) == ("Failed", "TemplateError")
    assert pool.turns[2].outcome is not None
    assert pool.turns[2].outcome["outcome"] == "Succeeded"
