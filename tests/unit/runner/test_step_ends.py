"""How an attempt ends that the model does not end: at its deadline, or as the gateway says."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from parley.runner.chat import ChatMessage, ModelReply
from parley.runner.gateway_client import NotAdmitted, Rejected, StopRunning
from parley.runner.step import DEADLINE_GRACE

from tests.unit.runner.fake_gateway import FakeGateway
from tests.unit.runner.fake_model import FakeModel, calls, reply
from tests.unit.runner.step_story import outcome, run, step_of


async def test_a_deadline_that_has_passed(make_gateway: Callable[..., FakeGateway]) -> None:
    gateway = make_gateway(deadline=datetime.now(UTC) - timedelta(minutes=1))

    model = await run(gateway, reply("too late"))

    assert outcome(gateway)["reason"] == "StepTimeout"
    assert model.asked == []


class SlowModel(FakeModel):
    """Answers when the test lets it."""

    def __init__(self) -> None:
        super().__init__(reply("worth the wait"))
        self.may_answer = asyncio.Event()

    async def ask(self, messages: Sequence[ChatMessage], **more: Any) -> ModelReply:
        await self.may_answer.wait()
        return await super().ask(messages, **more)


async def test_a_deadline_that_has_moved_is_waited_for(gateway: FakeGateway) -> None:
    # Given a model that thinks until the deadline is over, which has moved while the store was away
    model = SlowModel()
    near = datetime.now(UTC) - DEADLINE_GRACE + timedelta(seconds=1)
    gateway.taken = gateway.taken.model_copy(update={"deadline": near})
    takes = 0

    def on_request(call: str) -> None:
        nonlocal takes
        takes += call == "take"
        if takes == 2:
            gateway.taken = gateway.taken.model_copy(
                update={"deadline": datetime.now(UTC) + timedelta(hours=1)}
            )
            model.may_answer.set()

    gateway.on_request = on_request

    await step_of(gateway, model).run()

    # Then the runner has asked for it and gone on
    assert takes == 2
    assert outcome(gateway)["outcome"] == "Succeeded"
    assert outcome(gateway)["output"] == "worth the wait"


async def test_a_model_that_is_slower_than_the_deadline(gateway: FakeGateway) -> None:
    model = SlowModel()
    near = datetime.now(UTC) - DEADLINE_GRACE + timedelta(seconds=1)
    gateway.taken = gateway.taken.model_copy(update={"deadline": near})

    await step_of(gateway, model).run()

    assert gateway.calls()[-2:] == ["take", "finish"]
    assert outcome(gateway)["reason"] == "StepTimeout"


async def test_an_attempt_that_was_closed_at_its_deadline_is_left_alone(gateway: FakeGateway) -> None:
    gateway.taken = gateway.taken.model_copy(update={"deadline": datetime.now(UTC) - timedelta(minutes=1)})
    gateway.on_request = lambda _: (
        gateway.fail("take", 410, reason="TimedOut") if gateway.requests[1:] else None
    )

    with pytest.raises(StopRunning):
        await step_of(gateway, SlowModel()).run()

    assert gateway.outcome is None


@pytest.mark.parametrize(
    ("call", "status", "reason"),
    [("input", 413, "ResultTooLarge"), ("input", 422, "Error"), ("journal", 413, "ResultTooLarge")],
)
async def test_a_call_that_is_refused_for_its_form_fails_for_good(
    gateway: FakeGateway, call: str, status: int, reason: str
) -> None:
    gateway.fail(call, status, detail="too much")

    await run(gateway, calls("look"))

    assert (outcome(gateway)["reason"], outcome(gateway)["definite"]) == (reason, True)
    assert "too much" in outcome(gateway)["message"]


@pytest.mark.parametrize(("status", "reason"), [(413, "ResultTooLarge"), (400, "Error"), (422, "Error")])
async def test_an_outcome_that_is_refused_for_its_form_is_a_failure(
    gateway: FakeGateway, status: int, reason: str
) -> None:
    gateway.fail("finish", status, detail="the output has 2 MiB")

    await run(gateway, reply("hello"))

    success, failure = gateway.bodies("finish")
    assert success["outcome"] == "Succeeded"
    assert (failure["outcome"], failure["reason"], failure["definite"]) == ("Failed", reason, True)
    assert "the output has 2 MiB" in failure["message"]
    assert failure["usage"] == success["usage"]


async def test_the_outcome_is_repeated_as_it_is_until_the_gateway_takes_it(gateway: FakeGateway) -> None:
    gateway.fail("finish", httpx2.ConnectError("refused"), times=50)
    gateway.fail("finish", 503, times=50)

    model = await run(gateway, reply("hello"))

    bodies = gateway.bodies("finish")
    assert len(bodies) == 101
    assert all(body == bodies[0] for body in bodies)
    assert len(model.asked) == 1


@pytest.mark.parametrize("call", ["take", "input", "journal", "finish"])
@pytest.mark.parametrize("status", [409, 410])
async def test_told_to_stop_it_writes_nothing_more(gateway: FakeGateway, call: str, status: int) -> None:
    gateway.fail(call, status, stop=True, reason="Cancelled")

    with pytest.raises(StopRunning):
        await run(gateway, calls("look"), reply("done"))

    assert gateway.outcome is None
    assert gateway.calls()[-1] == call


@pytest.mark.parametrize("call", ["take", "input", "journal", "finish"])
async def test_not_admitted_it_writes_nothing_more(gateway: FakeGateway, call: str) -> None:
    gateway.fail(call, 403, times=1000)

    with pytest.raises(NotAdmitted):
        await run(gateway, calls("look"), reply("done"))

    assert gateway.outcome is None
    assert gateway.calls()[-1] == call


async def test_a_failure_that_the_gateway_does_not_take_either(gateway: FakeGateway) -> None:
    gateway.fail("finish", 422, times=2)

    with pytest.raises(Rejected):
        await run(gateway, reply("hello"))
