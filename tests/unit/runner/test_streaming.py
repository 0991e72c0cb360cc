"""An answer that is streamed is the answer that comes in one piece: text, usage, calls, endings and failures."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from parley.resources.agent import ModelSpec
from parley.runner import model as model_module
from parley.runner.chat import ModelFailure, ModelReply, Said, ToolDefinition
from parley.runner.model import LibraryModel

from tests.unit.runner.wire import Answer, WireServer, anthropic_error, google_error, wire_server
from tests.unit.runner.wire_answers import answer
from tests.unit.runner.wire_streams import data, events

PROVIDERS = ["OpenAI", "Anthropic", "Google"]
NAMES = {"OpenAI": "gpt-4.1-mini", "Anthropic": "claude-haiku-4-5", "Google": "gemini-2.5-flash"}
TOOLS = (ToolDefinition("look", "Looks.", {"type": "object", "properties": {"at": {"type": "string"}}}),)
CUT = {"OpenAI": "length", "Anthropic": "max_tokens", "Google": "MAX_TOKENS"}
REFUSED = {"OpenAI": "content_filter", "Anthropic": "refusal", "Google": "SAFETY"}


@pytest.fixture(scope="module")
def server() -> Iterator[WireServer]:
    with wire_server() as running:
        yield running


@pytest.fixture
def wire(server: WireServer) -> Iterator[WireServer]:
    server.seen.clear()
    yield server
    left, server.answers[:] = list(server.answers), []
    assert left == [], "not all was asked for"


class Asked:
    """One model's seam, asked in both ways."""

    def __init__(self, wire: WireServer, provider: str) -> None:
        spec = {
            "provider": provider,
            "name": NAMES[provider],
            "baseURL": f"{wire.url}/v1" if provider == "OpenAI" else wire.url,
            "maxOutputTokens": 50,
        }
        self._wire = wire
        self._seam = LibraryModel(ModelSpec.model_validate(spec), "sk-123456")
        self.heard: list[str] = []

    async def __aenter__(self) -> "Asked":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._seam.close()

    async def streamed(self, *answers: Answer) -> ModelReply | ModelFailure:
        return await self._ask(answers, on_text=self.heard.append)

    async def whole(self, *answers: Answer) -> ModelReply | ModelFailure:
        return await self._ask(answers)

    async def _ask(self, answers: Sequence[Answer], **more: Any) -> ModelReply | ModelFailure:
        self._wire.says(*answers)
        try:
            return await self._seam.ask(
                [Said("user", "hi")], schema=None, tools=TOOLS, timeout_seconds=30, **more
            )
        except ModelFailure as failure:
            return failure


def told(outcome: ModelReply | ModelFailure) -> Any:
    """What counts of an outcome; Google's calls have no ids but those that the library makes up."""
    if isinstance(outcome, ModelReply):
        return replace(outcome, calls=tuple(replace(call, id="") for call in outcome.calls))
    return (
        outcome.message,
        outcome.status,
        outcome.retryable,
        outcome.rate_limited,
        outcome.retry_after,
    )


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("Good morning.", ()),
        ("Grüße, 世界 👋", ()),
        ("Let me look.", (("look", {"at": "the order"}),)),
        ("", (("look", {"at": "a"}), ("look", {"at": "b", "deep": [1, {"x": None}]}))),
    ],
)
async def test_text_usage_and_calls_are_the_same(
    wire: WireServer, provider: str, text: str, calls: Any
) -> None:
    said = answer(provider, text, *calls)
    async with Asked(wire, provider) as model:
        streamed, whole = await model.streamed(said), await model.whole(said)

    assert isinstance(streamed, ModelReply), streamed
    assert told(streamed) == told(whole)
    assert "".join(model.heard) == text
    assert len(model.heard) == 0 or len(model.heard) > 1


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(("stops", "ending"), [(CUT, "length"), (REFUSED, "refused")])
async def test_an_answer_that_is_cut_off_or_refused_is_one(
    wire: WireServer, provider: str, stops: dict[str, str], ending: str
) -> None:
    said = answer(provider, "I cannot", stop=stops[provider])
    async with Asked(wire, provider) as model:
        streamed, whole = await model.streamed(said), await model.whole(said)

    assert isinstance(streamed, ModelReply), streamed
    assert streamed.ending == ending
    assert told(streamed) == told(whole)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503, 529])
async def test_a_refused_request_fails_alike_and_is_made_once(
    wire: WireServer, provider: str, status: int
) -> None:
    error = {"error": {"message": "no luck", "type": "some_error", "code": None}}
    refusal = {
        "OpenAI": Answer(error, status, {"Retry_After": "7"}),
        "Anthropic": anthropic_error(status, "some_error", "no luck", Retry_After="7"),
        "Google": google_error(status, "SOME_ERROR", "no luck"),
    }[provider]
    async with Asked(wire, provider) as model:
        streamed, whole = await model.streamed(refusal), await model.whole(refusal)

    assert isinstance(streamed, ModelFailure)
    assert told(streamed) == told(whole)
    assert len(wire.seen) == 2


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_connection_that_breaks_in_the_middle_is_worth_another_try(
    wire: WireServer, provider: str
) -> None:
    begun = b"".join(list(events(answer(provider, "a long answer").body))[:3])
    async with Asked(wire, provider) as model:
        outcome = await model.streamed(
            Answer(begun, headers={"Content_Type": "text/event-stream"}, missing=100)
        )

    assert isinstance(outcome, ModelFailure), outcome
    assert outcome.retryable


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_stream_that_ends_too_early_is_no_answer_and_the_next_one_comes_whole(
    wire: WireServer, provider: str
) -> None:
    # Given a server that ends a stream as if that were all
    begun = b"".join(list(events(answer(provider, "a long answer").body))[:4])
    said = answer(provider, "all of it")
    async with Asked(wire, provider) as model:
        broken = await model.streamed(Answer(begun, headers={"Content_Type": "text/event-stream"}))
        next_one = await model.streamed(said)

    # Then what it said is not taken for the answer, and it is asked in another way
    assert isinstance(broken, ModelFailure), broken
    assert broken.retryable
    assert isinstance(next_one, ModelReply)
    assert next_one.text == "all of it"
    assert "".join(model.heard) != "all of it"


async def test_a_stream_that_breaks_once_does_not_keep_a_model_from_streaming(
    wire: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a model that many conversations share, and a stream of one of them that broke a moment ago
    monkeypatch.setattr(model_module, "BROKEN_SECONDS", 0.0, raising=False)
    begun = b"".join(list(events(answer("OpenAI", "a long answer").body))[:4])
    async with Asked(wire, "OpenAI") as model:
        assert isinstance(
            await model.streamed(Answer(begun, headers={"Content_Type": "text/event-stream"})), ModelFailure
        )
        told(await model.streamed(answer("OpenAI", "hello")))
    # Then the next one streams again
    assert [bool(seen.body.get("stream")) for seen in wire.seen] == [True, True]


async def test_streams_that_break_together_count_as_one(
    wire: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a model that many conversations share, all of whose streams break at once
    counts: list[int] = []

    def whole_seconds(broken: int) -> float:
        counts.append(broken)
        return 1000.0

    monkeypatch.setattr(model_module, "whole_seconds", whole_seconds)
    begun = b"".join(list(events(answer("OpenAI", "a long answer").body))[:4])
    broken = Answer(begun, headers={"Content_Type": "text/event-stream"})
    async with Asked(wire, "OpenAI") as model:
        outcomes = await asyncio.gather(*[model.streamed(broken) for _ in range(4)])
    # Then that was one bad moment
    assert [type(one) for one in outcomes] == [ModelFailure] * 4
    assert [bool(seen.body.get("stream")) for seen in wire.seen] == [True] * 4
    assert counts == [0]


def test_streams_that_break_one_after_the_other_are_given_up_for_longer_and_longer() -> None:
    pauses = [model_module.whole_seconds(broken) for broken in (0, 1, 2, 5, 10_000)]
    assert pauses == [10, 20, 40, 300, 300]


async def test_an_error_in_the_middle_of_a_stream_is_a_failure(wire: WireServer) -> None:
    begun = b"".join(list(events(answer("OpenAI", "a long answer").body))[:3])
    error = data({"error": {"message": "the server is on fire", "type": "server_error", "code": None}})
    async with Asked(wire, "OpenAI") as model:
        outcome = await model.streamed(Answer(begun + error, headers={"Content_Type": "text/event-stream"}))

    assert isinstance(outcome, ModelFailure), outcome
    assert "on fire" in outcome.message


async def test_a_server_that_does_not_stream_is_asked_for_the_whole_at_once_and_from_then_on(
    wire: WireServer,
) -> None:
    no = Answer({"error": {"message": "stream is not supported by this model"}}, 400)
    yes = answer("OpenAI", "hello")
    async with Asked(wire, "OpenAI") as model:
        first, second = await model.streamed(no, yes), await model.streamed(yes)

    assert [told(each).text for each in (first, second)] == ["hello", "hello"]
    assert [bool(seen.body.get("stream")) for seen in wire.seen] == [True, False, False]


async def test_a_servers_cookies_are_not_kept(wire: WireServer) -> None:
    said = answer("OpenAI", "hello")
    async with Asked(wire, "OpenAI") as model:
        await model.streamed(replace(said, headers={"Set_Cookie": "who=ann; Path=/"}))
        await model.streamed(said)

    assert ["cookie" in seen.headers for seen in wire.seen] == [False, False]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    provider=st.sampled_from(PROVIDERS),
    text=st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=40),
    arguments=st.none()
    | st.dictionaries(st.text(max_size=5), st.text(max_size=10) | st.integers(-9, 9), max_size=3),
)
def test_whatever_it_says_it_says_the_same(
    wire: WireServer, provider: str, text: str, arguments: Any
) -> None:
    said = answer(provider, text, *([] if arguments is None else [("look", arguments)]))

    async def both() -> None:
        async with Asked(wire, provider) as model:
            streamed, whole = await model.streamed(said), await model.whole(said)
        assert told(streamed) == told(whole)

    asyncio.run(both())
