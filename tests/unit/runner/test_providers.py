"""Anthropic's and Google's APIs, against a server that speaks their wire formats."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from parley.resources.agent import ModelSpec
from parley.runner.chat import Called, ChatMessage, ModelCall, ModelFailure, ModelReply, Said
from parley.runner.failure import model_label
from parley.runner.model import LibraryModel

from tests.unit.runner.scripted import ScriptedModel
from tests.unit.runner.wire import (
    Answer,
    WireServer,
    anthropic_error,
    anthropic_message,
    google_content,
    google_error,
    google_retry_info,
    wire_server,
)

KIND: Any = {"type": "object", "properties": {"kind": {"enum": ["late", "broken"]}}, "required": ["kind"]}
TALK: list[ChatMessage] = [
    Said("system", "Be brief."),
    Said("user", "one"),
    Called("wait", (ModelCall("call_9", "look", {"a": 1}),), ({"found": True},)),
    Said("assistant", "two"),
    Said("user", "three"),
]
ASKED: dict[str, Any] = {
    "temperature": "0.2",
    "topP": "0.9",
    "maxOutputTokens": 50,
    "stopSequences": ["END"],
}


@pytest.fixture
def wire() -> Iterator[WireServer]:
    with wire_server() as running:
        yield running
        assert running.answers == [], "not all was asked for"


async def ask(
    wire: WireServer,
    provider: str,
    *messages: ChatMessage,
    schema: Any = None,
    key: str = "sk-123456",
    name: str = "",
    **spec: Any,
) -> ModelReply:
    named = name or {"Anthropic": "claude-haiku-4-5", "Google": "gemini-2.5-flash"}[provider]
    given = {"provider": provider, "name": named, "baseURL": wire.url, **spec}
    model = LibraryModel(ModelSpec.model_validate(given), key)
    try:
        return await model.ask(messages or [Said("user", "hi")], schema=schema, timeout_seconds=30)
    finally:
        await model.close()


async def test_anthropic_is_asked_the_whole_conversation_with_every_parameter(wire: WireServer) -> None:
    wire.says(anthropic_message("four", " five"))

    reply = await ask(wire, "Anthropic", *TALK, **ASKED)

    assert (reply.text, reply.ending) == ("four five", "complete")
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (9, 4)
    (seen,) = wire.seen
    assert seen.path.split("?")[0] == "/v1/messages"
    assert seen.headers["authorization"] == "Bearer sk-123456"
    body = seen.body
    assert body["model"] == "claude-haiku-4-5"
    assert (body["temperature"], body["top_p"], body["max_tokens"]) == (0.2, 0.9, 50)
    assert body["stop_sequences"] == ["END"]
    assert "Be brief." in str(body["system"])
    assert [message["role"] for message in body["messages"]] == [
        "user",
        "assistant",
        "user",
        "assistant",
        "user",
    ]
    assert body["messages"][1]["content"][1]["input"] == {"a": 1}
    assert "found" in str(body["messages"][2])
    assert "three" in str(body["messages"][4])


async def test_google_is_asked_the_whole_conversation_with_every_parameter(wire: WireServer) -> None:
    wire.says(google_content("four", " five"))

    reply = await ask(wire, "Google", *TALK, **ASKED, seed=7)

    assert (reply.text, reply.ending) == ("four five", "complete")
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (9, 4)
    (seen,) = wire.seen
    assert seen.path == "/v1beta/models/gemini-2.5-flash:generateContent"
    assert seen.headers["x-goog-api-key"] == "sk-123456"
    config = seen.body["generationConfig"]
    assert (config["temperature"], config["topP"], config["maxOutputTokens"]) == (0.2, 0.9, 50)
    assert (config["stopSequences"], config["seed"]) == (["END"], 7)
    assert seen.body["systemInstruction"]["parts"] == [{"text": "Be brief."}]
    assert [each["role"] for each in seen.body["contents"]] == ["user", "model", "user", "model", "user"]
    assert seen.body["contents"][1]["parts"][1]["functionCall"]["args"] == {"a": 1}
    assert seen.body["contents"][4]["parts"] == [{"text": "three"}]


async def test_openai_gets_every_parameter_even_where_the_library_knows_better(model: ScriptedModel) -> None:
    spec = {"provider": "OpenAI", "name": "o3", "baseURL": model.base_url, **ASKED, "seed": 7}
    seam = LibraryModel(ModelSpec.model_validate(spec), None)
    try:
        await seam.ask([Said("user", "hello (every-parameter)")], schema=None, timeout_seconds=30)
    finally:
        await seam.close()

    (entry,) = model.requests("every-parameter")
    sent = entry["request"]
    assert (sent["temperature"], sent["top_p"], sent["max_completion_tokens"]) == (0.2, 0.9, 50)
    assert (sent["stop"], sent["seed"]) == (["END"], 7)


async def test_anthropic_gets_a_temperature_even_where_the_library_knows_better(wire: WireServer) -> None:
    wire.says(anthropic_message("hi"))

    await ask(wire, "Anthropic", name="claude-opus-4-8", temperature="0.2", maxOutputTokens=50)

    assert wire.seen[0].body["temperature"] == 0.2


async def test_a_long_answer_that_anthropic_streams(wire: WireServer) -> None:
    wire.says(anthropic_message("a long", " answer"))

    reply = await ask(wire, "Anthropic", name="claude-haiku-4-5")

    # Without maxOutputTokens the model's own maximum is asked for, which the API only takes as a stream.
    assert wire.seen[0].body["stream"] is True
    assert (reply.text, reply.usage.output_tokens) == ("a long answer", 4)


@pytest.mark.parametrize("provider", ["Anthropic", "Google"])
async def test_a_schema_is_sent_as_structured_output(wire: WireServer, provider: str) -> None:
    answer = '{"kind":"late"}'
    wire.says(anthropic_message(answer) if provider == "Anthropic" else google_content(answer))

    reply = await ask(wire, provider, Said("user", "it is late"), schema=KIND, maxOutputTokens=50)

    assert reply.text == answer
    body = wire.seen[0].body
    shown = (
        body["output_config"]["format"]["schema"]
        if provider == "Anthropic"
        else body["generationConfig"]["responseJsonSchema"]
    )
    assert shown["properties"]["kind"]["enum"] == ["late", "broken"]


async def test_a_model_without_structured_output_is_told_the_schema_in_words(wire: WireServer) -> None:
    wire.says(anthropic_message('{"kind":"late"}'))

    reply = await ask(
        wire, "Anthropic", Said("system", "Be brief."), Said("user", "it is late"),
        schema=KIND, name="claude-3-haiku-20240307", maxOutputTokens=50,
    )  # fmt: skip

    assert reply.text == '{"kind":"late"}'
    assert '"enum": ["late", "broken"]' in str(wire.seen[0].body["system"])
    assert "Be brief." in str(wire.seen[0].body["system"])


@pytest.mark.parametrize(
    ("provider", "answer", "ending", "text"),
    [
        ("Anthropic", anthropic_message("half an ans", stop="max_tokens"), "length", "half an ans"),
        ("Anthropic", anthropic_message("half", stop="model_context_window_exceeded"), "length", "half"),
        ("Anthropic", anthropic_message("I will not.", stop="refusal"), "refused", "I will not."),
        ("Anthropic", anthropic_message("until", stop="stop_sequence"), "complete", "until"),
        ("Google", google_content("half an ans", finish="MAX_TOKENS"), "length", "half an ans"),
        ("Google", google_content(finish="MAX_TOKENS"), "length", ""),
        ("Google", google_content("bad wo", finish="SAFETY"), "refused", "SAFETY"),
        ("Google", google_content(finish="PROHIBITED_CONTENT"), "refused", "PROHIBITED_CONTENT"),
        ("Google", Answer({"promptFeedback": {"blockReason": "SAFETY"}}), "refused", "SAFETY"),
    ],
)
async def test_refusals_and_cutoffs_are_told_apart_from_answers(
    wire: WireServer, provider: str, answer: Answer, ending: str, text: str
) -> None:
    wire.says(answer)

    reply = await ask(wire, provider, maxOutputTokens=50)

    assert (reply.ending, reply.text) == (ending, text)


async def test_an_answer_that_google_broke_off_may_be_asked_for_again(wire: WireServer) -> None:
    wire.says(google_content("call(", finish="MALFORMED_FUNCTION_CALL"))

    with pytest.raises(ModelFailure, match="broke its answer off: MALFORMED_FUNCTION_CALL") as caught:
        await ask(wire, "Google")

    assert caught.value.retryable


@pytest.mark.parametrize(
    ("provider", "answer", "retryable", "limited", "wait"),
    [
        ("Anthropic", anthropic_error(429, "rate_limit_error", "slow", retry_after="7"), True, True, 7.0),
        ("Anthropic", anthropic_error(500, "api_error", "oops"), True, False, None),
        ("Anthropic", anthropic_error(529, "overloaded_error", "busy", retry_after="3"), True, False, 3.0),
        ("Anthropic", anthropic_error(401, "authentication_error", "no such key"), False, False, None),
        ("Anthropic", anthropic_error(400, "invalid_request_error", "no temperature"), False, False, None),
        (
            "Google",
            google_error(429, "RESOURCE_EXHAUSTED", "slow", google_retry_info("14s")),
            True,
            True,
            14.0,
        ),
        ("Google", google_error(429, "RESOURCE_EXHAUSTED", "slow", retry_after="7"), True, True, 7.0),
        ("Google", google_error(500, "INTERNAL", "oops"), True, False, None),
        ("Google", google_error(503, "UNAVAILABLE", "busy", retry_after="3"), True, False, 3.0),
        ("Google", google_error(403, "PERMISSION_DENIED", "no such key"), False, False, None),
        ("Google", google_error(400, "INVALID_ARGUMENT", "no such field"), False, False, None),
    ],
)
async def test_each_failure_of_a_server(
    wire: WireServer, provider: str, answer: Answer, retryable: bool, limited: bool, wait: float | None
) -> None:
    wire.says(answer)

    with pytest.raises(ModelFailure) as caught:
        await ask(wire, provider)

    assert caught.value.message == f"answered {answer.status}: {answer.body['error']['message']}"
    assert (caught.value.retryable, caught.value.rate_limited) == (retryable, limited)
    assert caught.value.retry_after == wait
    # The SDKs' own retries would multiply ours.
    assert len(wire.seen) == 1


@pytest.mark.parametrize("provider", ["Anthropic", "Google"])
async def test_what_is_no_answer_is_a_failure_of_the_model(wire: WireServer, provider: str) -> None:
    wire.says(Answer(b"<html>Welcome to the proxy</html>"))

    with pytest.raises(ModelFailure) as caught:
        await ask(wire, provider, maxOutputTokens=50)

    assert caught.value.retryable


@pytest.mark.parametrize("provider", ["Anthropic", "Google"])
async def test_a_server_that_is_not_there(provider: str) -> None:
    with pytest.raises(ModelFailure, match="cannot be reached") as caught:
        await ask(WireServer("http://127.0.0.1:1"), provider)

    assert caught.value.retryable


@pytest.mark.parametrize("provider", ["Anthropic", "Google"])
async def test_a_key_that_the_server_sends_back_is_taken_out(wire: WireServer, provider: str) -> None:
    wire.says(
        anthropic_error(401, "authentication_error", "bad key sk-very-secret")
        if provider == "Anthropic"
        else google_error(403, "PERMISSION_DENIED", "bad key sk-very-secret")
    )

    with pytest.raises(ModelFailure) as caught:
        await ask(wire, provider, key="sk-very-secret\n")

    assert "bad key ***" in caught.value.message


@pytest.mark.parametrize(
    ("provider", "label"),
    [
        ("OpenAI", "m at api.openai.com"),
        ("Anthropic", "m at api.anthropic.com"),
        ("Google", "m at generativelanguage.googleapis.com"),
    ],
)
def test_a_message_names_each_providers_own_server(provider: str, label: str) -> None:
    assert model_label(ModelSpec.model_validate({"provider": provider, "name": "m"})) == label


@pytest.mark.parametrize(
    ("provider", "sdk"), [("OpenAI", "openai"), ("Anthropic", "anthropic"), ("Google", "google.genai")]
)
def test_a_runner_imports_the_sdk_of_the_provider_it_asks_and_no_other(provider: str, sdk: str) -> None:
    program = (
        "import sys\n"
        "from parley.resources.agent import ModelSpec\n"
        "from parley.runner.step import load_model_seam\n"
        "make = load_model_seam()\n"
        "sdks = {'openai', 'anthropic', 'google.genai'}\n"
        "assert not sdks & set(sys.modules)\n"
        f"make(ModelSpec(provider={provider!r}, name='m'), None)\n"
        "print(*sdks & set(sys.modules))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )

    assert done.stdout.split() == [sdk], done.stderr
