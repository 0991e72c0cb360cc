"""A flaky model is asked again, for a while."""

import math

import pytest
from parley.protocol.messages import FinishBody
from parley.resources.reasons import Reason
from parley.runner.chat import ModelFailure, ModelReply
from parley.runner.failure import StepFailure
from parley.runner.patience import MAX_TRIES, MAX_WAITED_SECONDS, ask_patiently

from tests.unit.runner.fake_model import reply

MODEL = "gpt at models.example"


def busy(retry_after: float | None = None, status: int = 503) -> ModelFailure:
    return ModelFailure(
        f"answered {status}: busy",
        status=status,
        retryable=True,
        rate_limited=status == 429,
        retry_after=retry_after,
    )


class Flaky:
    def __init__(self, *failures: ModelFailure) -> None:
        self._failures = list(failures)
        self.waits: list[float] = []

    async def ask(self) -> ModelReply:
        if self._failures:
            raise self._failures.pop(0)
        return reply("at last")

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    async def run(self, remaining: float = 3600.0) -> ModelReply:
        return await ask_patiently(self.ask, model=MODEL, remaining=lambda: remaining, sleep=self.sleep)


async def test_it_is_asked_again_with_growing_waits() -> None:
    flaky = Flaky(busy(), busy(), busy(), busy())

    assert (await flaky.run()).text == "at last"
    assert len(flaky.waits) == MAX_TRIES - 1
    for number, wait in enumerate(flaky.waits):
        assert 0.25 * 2**number <= wait <= 0.5 * 2**number


async def test_the_servers_retry_after_is_honoured() -> None:
    flaky = Flaky(busy(retry_after=7.0), busy(retry_after=0.001))

    await flaky.run()

    assert flaky.waits[0] == 7.0
    assert flaky.waits[1] >= 0.5


@pytest.mark.parametrize(
    ("asked", "told"), [(1e300, 86_400), (math.inf, 86_400), (math.nan, None), (-5.0, 0), (90.5, 91)]
)
async def test_whatever_a_server_asks_for_the_outcome_can_be_stored(asked: float, told: int | None) -> None:
    with pytest.raises(StepFailure) as failed:
        await Flaky(*[busy(retry_after=asked, status=429)] * MAX_TRIES).run()

    body = FinishBody(outcome="Failed", retry_after=failed.value.retry_after)
    assert body.retry_after == told


@pytest.mark.parametrize(("status", "reason"), [(503, Reason.MODEL_ERROR), (429, Reason.MODEL_RATE_LIMITED)])
async def test_it_fails_after_the_last_try_with_a_sentence(status: int, reason: Reason) -> None:
    flaky = Flaky(*[busy(status=status)] * MAX_TRIES)

    with pytest.raises(StepFailure) as caught:
        await flaky.run()

    assert caught.value.reason is reason
    assert caught.value.message == f"model {MODEL} answered {status}: busy ({MAX_TRIES} tries)"
    assert not caught.value.definite


async def test_it_does_not_wait_longer_in_all_than_a_minute_but_tells_the_wish() -> None:
    flaky = Flaky(busy(retry_after=40.0, status=429), busy(retry_after=30.2, status=429))

    with pytest.raises(StepFailure) as caught:
        await flaky.run()

    assert flaky.waits == [40.0]
    assert caught.value.reason is Reason.MODEL_RATE_LIMITED
    assert caught.value.retry_after == 31
    assert sum(flaky.waits) <= MAX_WAITED_SECONDS


async def test_it_does_not_wait_past_the_attempts_deadline() -> None:
    flaky = Flaky(busy(retry_after=10.0))

    with pytest.raises(StepFailure):
        await flaky.run(remaining=9.0)

    assert flaky.waits == []


async def test_a_definite_failure_is_not_repeated() -> None:
    flaky = Flaky(ModelFailure("answered 401: no such key", status=401, retryable=False))

    with pytest.raises(StepFailure) as caught:
        await flaky.run()

    assert flaky.waits == []
    assert caught.value.reason is Reason.MODEL_ERROR
    assert caught.value.definite
    assert caught.value.message == f"model {MODEL} answered 401: no such key"


async def test_a_quota_that_is_used_up_is_no_rate_limit() -> None:
    quota = ModelFailure("answered 429: insufficient quota", status=429, retryable=False, rate_limited=True)

    with pytest.raises(StepFailure) as caught:
        await Flaky(quota).run()

    assert caught.value.reason is Reason.MODEL_ERROR
    assert caught.value.definite
