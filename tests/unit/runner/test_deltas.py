"""Answers that are passed on while they are given: at most so often, only where somebody watches, never in the way."""

import asyncio
from collections.abc import Callable
from itertools import repeat
from typing import Any

import pytest
from parley.runner.chat import ModelFailure, ModelReply
from parley.runner.deltas import FIRST_SECONDS, MAX_PIECE, PACE_SECONDS, UNWATCHED_SECONDS, Deltas

from tests.unit.runner.fake_gateway import ATTEMPT, FakeGateway, prompt_request
from tests.unit.runner.fake_model import FakeModel, calls, reply
from tests.unit.runner.step_story import step_of


class Watched(FakeGateway):
    """A gateway behind which somebody watches, or not."""

    watched = True

    def _serve(self, call: str, parts: list[str], body: Any) -> Any:
        return {"wanted": self.watched} if call == "deltas" else super()._serve(call, parts, body)

    @property
    def told(self) -> list[tuple[int, int, str]]:
        return [(body["round"], body["offset"], body["text"]) for body in self.bodies("deltas")]


async def until(ready: Callable[[], bool]) -> None:
    """Let others go on until something is so."""
    async with asyncio.timeout(60):
        for _ in repeat(None):
            if ready():
                return
            await asyncio.sleep(0)


class Paced:
    """Sleeps between pieces until the test says so, and remembers for how long it was to be."""

    def __init__(self, *, begun: bool = True) -> None:
        self.slept: list[float] = []
        self.begun = begun
        """The pause before the first piece is over."""
        self._may_go = asyncio.Semaphore(0)

    async def sleep(self, seconds: float) -> None:
        if self.begun and seconds == FIRST_SECONDS:
            return
        self.slept.append(seconds)
        await self._may_go.acquire()

    async def rests(self, times: int) -> None:
        """Wait until it rests for the so-manieth time."""
        await until(lambda: len(self.slept) >= times)

    def go_on(self) -> None:
        self._may_go.release()


@pytest.fixture
def gateway(make_gateway: Callable[..., FakeGateway]) -> Watched:
    made = make_gateway()
    made.__class__ = Watched
    assert isinstance(made, Watched)
    return made


async def test_an_answer_that_is_whole_at_once_comes_as_the_event_alone(gateway: Watched) -> None:
    pace = Paced(begun=False)
    deltas = Deltas(gateway.client(), ATTEMPT, pace.sleep)
    hears = deltas.hears(0)

    hears("")
    hears("Yes.")
    await pace.rests(1)
    await deltas.close()

    assert pace.slept == [FIRST_SECONDS]
    assert gateway.told == []


async def test_what_comes_between_two_pieces_goes_with_the_next(gateway: Watched) -> None:
    pace = Paced()
    deltas = Deltas(gateway.client(), ATTEMPT, pace.sleep)
    hears = deltas.hears(0)
    hears("")

    hears("Good")
    await pace.rests(1)
    for piece in (" mor", "ning", "."):
        hears(piece)
    pace.go_on()
    await pace.rests(2)
    await deltas.close()

    assert gateway.told == [(0, 0, "Good"), (0, 4, " morning.")]
    assert pace.slept == [PACE_SECONDS, PACE_SECONDS]


async def test_a_long_piece_is_sent_in_parts(gateway: Watched) -> None:
    pace = Paced()
    deltas = Deltas(gateway.client(), ATTEMPT, pace.sleep)
    hears = deltas.hears(2)
    hears("")
    hears("x" * (MAX_PIECE + 1))
    await pace.rests(1)
    pace.go_on()
    await pace.rests(2)
    await deltas.close()

    assert [(number, offset, len(text)) for number, offset, text in gateway.told] == [
        (2, 0, MAX_PIECE),
        (2, MAX_PIECE, 1),
    ]


async def test_where_nobody_watches_little_is_sent_and_who_comes_later_sees_all(gateway: Watched) -> None:
    gateway.watched = False
    pace = Paced()
    deltas = Deltas(gateway.client(), ATTEMPT, pace.sleep)
    hears = deltas.hears(0)
    hears("")
    hears("Good")
    await pace.rests(1)
    hears(" morning.")
    gateway.watched = True
    pace.go_on()
    await pace.rests(2)
    await deltas.close()

    assert pace.slept == [UNWATCHED_SECONDS, PACE_SECONDS]
    assert gateway.told == [(0, 0, "Good"), (0, 0, "Good morning.")]


async def test_an_answer_that_begins_anew_is_sent_from_its_beginning(gateway: Watched) -> None:
    pace = Paced()
    deltas = Deltas(gateway.client(), ATTEMPT, pace.sleep)
    first, second = deltas.hears(0), deltas.hears(1)
    first("")
    first("I thi")
    await pace.rests(1)
    first("")
    first("No.")
    pace.go_on()
    await pace.rests(2)
    second("")
    second("Yes.")
    pace.go_on()
    await pace.rests(3)
    await deltas.close()

    assert gateway.told == [(0, 0, "I thi"), (0, 0, "No."), (1, 0, "Yes.")]


async def test_text_that_no_json_can_hold_is_sent_all_the_same(gateway: Watched) -> None:
    deltas = Deltas(gateway.client(), ATTEMPT, Paced().sleep)
    hears = deltas.hears(0)
    hears("")
    hears("a\ud800b")
    await until(lambda: bool(gateway.told))
    await deltas.close()

    assert gateway.told == [(0, 0, "a\N{REPLACEMENT CHARACTER}b")]


@pytest.mark.parametrize("status", [401, 404, 410, 500, 503, ConnectionError("gone")])
async def test_a_gateway_that_does_not_take_them_never_fails_the_turn(
    gateway: Watched, status: int | Exception
) -> None:
    gateway.fail("deltas", status, times=1000)

    await step_of(gateway, FakeModel(reply("hello"))).run()

    assert gateway.outcome is not None
    assert gateway.outcome["output"] == "hello"


class Speaking(FakeModel):
    """Says its text aloud, and waits until it was heard before it answers."""

    def __init__(self, gateway: Watched, *says: ModelReply | ModelFailure) -> None:
        super().__init__(*says)
        self._gateway = gateway

    async def ask(self, *messages: Any, **more: Any) -> ModelReply:
        before = len(self._gateway.told)
        said = await super().ask(*messages, **more)
        if said.text and more["on_text"] is not None:
            await until(lambda: len(self._gateway.told) > before)
        return said


async def test_each_round_of_a_turn_is_told_with_its_number(gateway: Watched) -> None:
    tool = {"name": "look", "http": {"url": "http://nowhere.invalid/"}, "parameters": {"type": "object"}}
    agent = {"name": "support", "model": {"provider": "OpenAI", "name": "m"}, "tools": [tool]}
    gateway.taken = gateway.taken.model_copy(update={"request": prompt_request(agent=agent)})

    await step_of(gateway, Speaking(gateway, calls("nothing"), reply("found it"))).run()

    assert gateway.outcome is not None
    assert gateway.told == [(1, 0, "found it")]


@pytest.mark.parametrize(
    "changes",
    [{"history": "None"}, {"prompt": {"text": "kind?", "outputSchema": {"type": "object"}}}],
)
async def test_answers_that_are_not_for_people_are_not_streamed(
    gateway: Watched, changes: dict[str, Any]
) -> None:
    gateway.taken = gateway.taken.model_copy(update={"request": prompt_request(**changes)})

    await step_of(gateway, FakeModel(reply("{}"))).run()

    assert gateway.outcome is not None
    assert gateway.told == []
