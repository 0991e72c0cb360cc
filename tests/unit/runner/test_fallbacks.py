"""An agent's models in order: the next one is asked when one fails, and it is known who answered."""

from collections.abc import Callable
from typing import Any

import pytest
from parley.protocol.messages import FinishBody
from parley.protocol.model_keys import model_key_variable
from parley.resources.agent import ModelEndpoint, ModelSpec
from parley.resources.common import SecretKeyRef
from parley.resources.reasons import Reason
from parley.runner.chat import ModelFailure, ModelReply, Said
from parley.runner.failure import MAX_MESSAGE_BYTES, StepFailure
from parley.runner.fallbacks import LONGEST_REQUEST_SECONDS, MakeModel, ModelChain, in_thread
from parley.runner.patience import MAX_TRIES
from parley.runner.step import StepRun

from tests.unit.engine.builders import attempt, ended, prompt, rows, task
from tests.unit.engine.statuses import show
from tests.unit.runner.fake_gateway import FakeGateway, prompt_request
from tests.unit.runner.fake_model import FakeModel, calls, reply

SPEC: dict[str, Any] = {
    "provider": "OpenAI",
    "name": "first",
    "baseURL": "http://one/v1",
    "fallbacks": [
        {"provider": "Anthropic", "name": "second", "maxOutputTokens": 10},
        {"provider": "Google", "name": "third", "baseURL": "http://three"},
    ],
}
FIRST, SECOND, THIRD = "first at one", "second at api.anthropic.com", "third at three"
GONE = ModelFailure("answered 404: no such model", status=404, retryable=False)
BUSY = ModelFailure("answered 503: busy", status=503, retryable=True)
HI = [Said("user", "hi")]


def slow_down(seconds: float) -> ModelFailure:
    return ModelFailure(
        "answered 429: slow down", status=429, retryable=True, rate_limited=True, retry_after=seconds
    )


class Models:
    """What each model says, by its name."""

    def __init__(self, **says: list[Any]) -> None:
        self.models = {name: TimedModel(*said) for name, said in says.items()}
        self.made: list[tuple[str, str | None]] = []

    def make(self, spec: ModelEndpoint, key: str | None) -> FakeModel:
        self.made.append((spec.name, key))
        return self.models[spec.name]

    def chain(self, spec: dict[str, Any] = SPEC, remaining: float = 3600.0, **keys: str) -> ModelChain:
        return ModelChain(
            ModelSpec.model_validate(spec), keys, in_thread(self.make), lambda: remaining, _no_sleep
        )

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.made]


class TimedModel(FakeModel):
    def __init__(self, *says: Any) -> None:
        super().__init__(*says)
        self.seconds: list[float] = []

    async def ask(self, *said: Any, timeout_seconds: float, **more: Any) -> ModelReply:
        self.seconds.append(timeout_seconds)
        return await super().ask(*said, timeout_seconds=timeout_seconds, **more)


async def _no_sleep(_seconds: float) -> None:
    """The tests have no time."""


async def test_a_model_that_answers_is_the_only_one_asked() -> None:
    models = Models(first=[reply("hello")])
    chain = models.chain()

    answer = await chain.ask(HI, None)

    assert (answer.text, answer.model, chain.note, chain.field) == ("hello", FIRST, None, "spec.model")
    assert models.names == ["first"]


async def test_the_next_is_asked_when_one_fails_for_good_or_its_patience_is_over() -> None:
    models = Models(first=[GONE], second=[BUSY] * MAX_TRIES, third=[reply("at last")])
    chain = models.chain()

    answer = await chain.ask(HI, {"type": "object"})

    assert (answer.text, answer.model) == ("at last", THIRD)
    assert models.names == ["first", "second", "third"]
    assert len(models.models["second"].asked) == MAX_TRIES
    assert models.models["third"].schemas == [{"type": "object"}]
    assert chain.note == (
        f"answered by fallback model {THIRD}, for model {FIRST} answered 404: no such model; "
        f"model {SECOND} answered 503: busy ({MAX_TRIES} tries)"
    )
    assert chain.field == "spec.model.fallbacks[1]"
    assert models.models["first"].closed
    assert models.models["second"].closed


async def test_a_server_that_asks_for_a_long_wait_is_left_for_the_next_at_once() -> None:
    models = Models(first=[slow_down(61)], second=[reply("hello")])

    assert (await models.chain().ask(HI, None)).model == SECOND


async def test_a_model_that_has_failed_is_not_asked_again() -> None:
    models = Models(first=[GONE], second=[reply("one"), reply("two")])
    chain = models.chain()

    answers = [await chain.ask(HI, None), await chain.ask(HI, None)]

    assert [answer.text for answer in answers] == ["one", "two"]
    assert models.names == ["first", "second"]


async def test_a_refusal_is_an_answer() -> None:
    models = Models(first=[reply("no", ending="refused")])

    assert (await models.chain().ask(HI, None)).ending == "refused"
    assert models.names == ["first"]


async def test_each_gets_its_own_key_also_after_the_agent_has_changed() -> None:
    # Given keys that stand by their references, in a pod that was started for other models
    one, two = SecretKeyRef(name="one", key="k"), SecretKeyRef(name="two", key="k")
    spec = {
        "provider": "Anthropic",
        "name": "first",
        "apiKeySecretRef": two.to_json(),
        "fallbacks": [
            {"provider": "OpenAI", "name": "second", "apiKeySecretRef": {"name": "three", "key": "k"}},
            {"provider": "OpenAI", "name": "third", "apiKeySecretRef": one.to_json()},
        ],
    }
    models = Models(first=[GONE], third=[reply("hello")])

    chain = models.chain(spec, **{model_key_variable(one): "key-1", model_key_variable(two): "key-2"})
    await chain.ask(HI, None)

    # Then each is asked with its own, and one whose key is not there is not asked at all
    assert models.made == [("first", "key-2"), ("third", "key-1")]
    assert chain.note is not None
    assert "needs key k of Secret three, and this pod was started without it" in chain.note


async def test_a_key_that_cannot_be_sent_is_a_failure_like_others() -> None:
    models = Models(second=[reply("hello")])

    def make(spec: ModelEndpoint, key: str | None) -> FakeModel:
        if spec.name == "first":
            raise ModelFailure("has an API key with characters that cannot be sent", retryable=False)
        return models.make(spec, key)

    chain = ModelChain(ModelSpec.model_validate(SPEC), {}, in_thread(make), lambda: 60.0, _no_sleep)

    assert (await chain.ask(HI, None)).model == SECOND


@pytest.mark.parametrize(
    ("first", "second", "third", "reason", "definite", "wait"),
    [
        ([GONE], [GONE], [GONE], Reason.MODEL_ERROR, True, None),
        ([GONE], [slow_down(90)], [GONE], Reason.MODEL_RATE_LIMITED, False, 90),
        ([slow_down(70)], [slow_down(90)], [slow_down(80)], Reason.MODEL_RATE_LIMITED, False, 70),
        ([slow_down(70)], [GONE], [BUSY] * MAX_TRIES, Reason.MODEL_ERROR, False, None),
    ],
)
async def test_when_all_fail_a_retry_is_worth_it_if_one_of_them_may_answer_then(
    first: list[Any], second: list[Any], third: list[Any], reason: Reason, definite: bool, wait: int | None
) -> None:
    with pytest.raises(StepFailure) as caught:
        await Models(first=first, second=second, third=third).chain().ask(HI, None)

    failure = caught.value
    assert (failure.reason, failure.definite, failure.retry_after) == (reason, definite, wait)
    assert failure.message.startswith(f"no model answered: model {FIRST} answered")
    assert f"; model {THIRD} answered" in failure.message


async def test_all_failures_are_told_however_long() -> None:
    long = ModelFailure("x" * 5000, retryable=False)

    with pytest.raises(StepFailure) as caught:
        await Models(first=[long], second=[long], third=[long]).chain().ask(HI, None)

    assert len(caught.value.message.encode()) <= MAX_MESSAGE_BYTES
    assert all(label in caught.value.message for label in (FIRST, SECOND, THIRD))


async def test_a_model_that_does_not_answer_leaves_time_for_the_others() -> None:
    # Given 90 s until the deadline, of which the fake models use none
    models = Models(first=[GONE], second=[GONE], third=[reply("hello")])

    await models.chain(remaining=90.0).ask(HI, None)

    # Then each but the last is given its share of what is left; the last is cut short by the deadline itself
    shares = [models.models[name].seconds for name in ("first", "second", "third")]
    assert shares == [[pytest.approx(30)], [pytest.approx(45)], [LONGEST_REQUEST_SECONDS]]


def loading(models: Models) -> Callable[[], MakeModel]:
    return lambda: models.make


async def test_the_step_says_who_answered_and_the_journal_too(
    make_gateway: Callable[..., FakeGateway],
) -> None:
    agent = {"name": "support", "model": SPEC}
    gateway = make_gateway(prompt_request(agent=agent))
    models = Models(first=[GONE], second=[calls("look"), reply("hello")])

    await StepRun(gateway.client(), {}, loading(models)).run()

    assert gateway.outcome is not None
    done = FinishBody.model_validate(gateway.outcome)
    assert done.outcome == "Succeeded"
    assert (
        done.message == f"answered by fallback model {SECOND}, for model {FIRST} answered 404: no such model"
    )
    assert gateway.bodies("journal")[0]["response"]["model"] == SECOND


def test_users_see_who_answered_in_the_attempt() -> None:
    answered = attempt("ask", "Succeeded", message=f"answered by fallback model {SECOND}")
    spec = task(prompt("ask"), agent="support")

    for state in (rows(answered), ended("Succeeded", Reason.SUCCEEDED, answered)):
        (entry,) = show(spec, state).steps[0].attempts or ()
        assert entry.message == f"answered by fallback model {SECOND}"


async def test_a_cut_off_answer_names_the_fallbacks_own_field(
    make_gateway: Callable[..., FakeGateway],
) -> None:
    gateway = make_gateway(prompt_request(agent={"name": "support", "model": SPEC}))
    models = Models(first=[GONE], second=[reply("half", ending="length")])

    await StepRun(gateway.client(), {}, loading(models)).run()

    assert gateway.outcome is not None
    assert gateway.outcome["reason"] == "ModelError"
    assert gateway.outcome["message"] == (
        f"the answer of model {SECOND} was cut off at its token limit; agent support allows 10: raise "
        "spec.model.fallbacks[0].maxOutputTokens or ask for less"
    )
