"""A runner that stays with its task: what it takes, when it stops, and that a lease never cuts a commit short."""

import asyncio
from collections import deque
from pathlib import Path
from typing import Any

import pytest
from parley.protocol.messages import TakeAnswer
from parley.runner import process
from parley.runner.chat import ModelReply
from parley.runner.process import run_to_end
from parley.runner.serve import IDLE_SECONDS, Serving
from parley.runner.step import MakeModel

from tests.unit.runner.fake_gateway import FakeGateway, prompt_request
from tests.unit.runner.fake_model import FakeModel, calls, reply
from tests.unit.runner.fake_tools import tool


class FakeTask(FakeGateway):
    """A gateway with several attempts of one task, given in turn."""

    def __init__(self, token_file: Path, *attempts: int) -> None:
        super().__init__(prompt_request(history="None"), token_file=token_file)
        self.waiting = deque(attempts)
        self.held: int | None = None
        self.outcomes: dict[int, Any] = {}
        self.on_pause: Any = None

    def _serve(self, call: str, parts: list[str], body: Any) -> Any:
        if call == "take":
            if self.held is None and self.waiting:
                self.held = self.waiting.popleft()
            if self.held is None:
                return None
            taken: TakeAnswer = self.taken.model_copy(update={"attempt": self.held})
            return taken.model_dump(mode="json", by_alias=True)
        assert parts[1] == str(self.held), f"{call} of an attempt that is not held"
        if call == "heartbeat":
            return {}
        if call == "journal":
            return super()._journal(parts, body)
        assert call in {"finish", "pause"}
        self.outcomes[int(parts[1])] = body
        self.held = None
        self.journal.clear()
        return self.on_pause if call == "pause" else {}


class Thinking(FakeModel):
    """A model that answers only when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.may_answer = asyncio.Event()

    async def ask(self, *_: object, **__: object) -> ModelReply:
        await self.may_answer.wait()
        return reply("at last")


class Heart:
    """Beats when the test says so."""

    def __init__(self) -> None:
        self.beats = asyncio.Semaphore(0)

    async def sleep(self, _seconds: float) -> None:
        await self.beats.acquire()


def serving(gateway: FakeGateway, model: FakeModel, heart: Heart | None = None) -> Serving:
    def load() -> MakeModel:
        return lambda _spec, _key: model

    return Serving(gateway.client(), {}, load, (heart or Heart()).sleep)


@pytest.fixture
def token(tmp_path: Path) -> Path:
    return tmp_path / "token"


async def asked(gateway: FakeGateway, call: str, times: int = 1) -> None:
    """Wait until a call was made so many times."""
    seen = asyncio.Event()

    def look(_call: str) -> None:
        if gateway.calls().count(call) >= times:
            seen.set()

    before, gateway.on_request = gateway.on_request, lambda made: (before(made), look(made))[1]
    look("")
    async with asyncio.timeout(60):
        await seen.wait()
    gateway.on_request = before


async def test_it_takes_one_attempt_after_the_other_until_none_is_ready(token: Path) -> None:
    gateway = FakeTask(token, 7, 8, 9)

    await serving(gateway, FakeModel(reply("a"), reply("b"), reply(""))).run()

    assert {number: each["outcome"] for number, each in gateway.outcomes.items()} == {
        7: "Succeeded",
        8: "Succeeded",
        9: "Failed",
    }
    assert gateway.bodies("take") == [{"wait": IDLE_SECONDS}] * 4


async def test_a_pause_is_an_outcome_and_the_next_attempt_is_taken(token: Path) -> None:
    gateway = FakeTask(token, 7, 8)
    pay = {**tool("pay", approval=True), "parameters": {"type": "object"}}
    agent = {"name": "support", "model": {"provider": "OpenAI", "name": "m"}, "tools": [pay]}
    request = prompt_request(history="None", agent=agent)
    gateway.taken = gateway.taken.model_copy(update={"request": request})
    gateway.on_pause = {"waits": ["w"]}

    await serving(gateway, FakeModel(calls("pay"), reply("paid"))).run()

    assert gateway.outcomes[7]["calls"][0]["kind"] == "Approval"
    assert gateway.outcomes[8]["output"] == "paid"


async def test_a_runner_that_lacks_a_secret_of_a_later_attempt_leaves_it_to_another_pod(token: Path) -> None:
    gateway = FakeTask(token, 7, 8)
    changed: Any = {"secretKeyRef": {"name": "orders", "key": "token"}}
    header = {"name": "Authorization", "valueFrom": changed}
    look = {"name": "look", "http": {"url": "http://shop/", "headers": [header]}}
    agent = {"name": "support", "model": {"provider": "OpenAI", "name": "m"}, "tools": [look]}

    def change_the_agent(call: str) -> None:
        if call == "finish":
            request = prompt_request(history="None", agent=agent)
            gateway.taken = gateway.taken.model_copy(update={"request": request})

    gateway.on_request = change_the_agent
    await serving(gateway, FakeModel(reply("a"))).run()

    assert list(gateway.outcomes) == [7]
    assert gateway.held == 8, "it ends with the attempt in its hands"


async def test_a_heartbeat_that_says_stop_ends_the_attempt_and_not_the_runner(token: Path) -> None:
    # Given a model that does not answer
    gateway, model, heart = FakeTask(token, 7, 8), Thinking(), Heart()
    running = asyncio.create_task(serving(gateway, model, heart).run())
    await asked(gateway, "take")

    # When the leader closes the attempt
    gateway.fail("heartbeat", 410, stop=True)
    gateway.held = None
    heart.beats.release()
    await asked(gateway, "take", times=2)
    model.may_answer.set()
    await running

    # Then nothing is committed for it, and the next one is run
    assert gateway.outcomes.keys() == {8}


async def test_a_lease_that_ends_while_an_outcome_is_committed_does_not_stop_the_commit(token: Path) -> None:
    gateway, heart = FakeTask(token, 7), Heart()
    gateway.fail("finish", 503, times=3)
    gateway.fail("heartbeat", 410, stop=True)
    gateway.on_request = lambda call: heart.beats.release() if call == "finish" else None

    await serving(gateway, FakeModel(reply("kept")), heart).run()

    assert gateway.outcomes[7]["output"] == "kept"


async def test_an_attempt_that_was_closed_before_its_end_writes_nothing(token: Path) -> None:
    gateway = FakeTask(token, 7, 8)
    gateway.fail("finish", 410, stop=True)

    def close_first(call: str) -> None:
        if call == "finish" and gateway.held == 7:
            gateway.held = None

    gateway.on_request = close_first
    await serving(gateway, FakeModel(reply("lost"), reply("kept"))).run()

    assert {number: each["output"] for number, each in gateway.outcomes.items()} == {8: "kept"}


async def test_a_task_that_has_ended_ends_the_process_with_0(token: Path) -> None:
    gateway = FakeTask(token, 7)
    gateway.fail("take", 410, stop=True)

    assert await run_to_end(serving(gateway, FakeModel())) == 0
    assert gateway.outcomes == {}


async def test_a_refused_token_ends_the_process_with_1(token: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "TERMINATION_LOG", token.with_name("termination-log"))
    gateway = FakeTask(token, 7)
    gateway.fail("take", 401, times=1000)

    assert await run_to_end(serving(gateway, FakeModel())) == 1


async def test_told_to_wind_down_it_ends_after_the_attempt_under_way(token: Path) -> None:
    gateway, model = FakeTask(token, 7, 8), Thinking()
    runner = serving(gateway, model)
    running = asyncio.create_task(runner.run())
    await asked(gateway, "take")

    runner.wind_down()
    model.may_answer.set()
    await running

    assert gateway.outcomes.keys() == {7}


async def test_cancelled_from_outside_it_ends_at_once(token: Path) -> None:
    gateway = FakeTask(token, 7)
    running = asyncio.create_task(serving(gateway, Thinking()).run())
    await asked(gateway, "take")

    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running
    assert gateway.outcomes == {}
