"""The seam to the agent library, against a server that speaks the real API."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from parley.resources.agent import ModelSpec
from parley.runner.chat import Called, ModelCall, ModelFailure, ModelReply, Said
from parley.runner.failure import model_label
from parley.runner.model import LibraryModel

from tests.unit.runner.scripted import ScriptedModel


@asynccontextmanager
async def talking(base_url: str, *, key: str | None = None, **spec: Any) -> AsyncIterator[LibraryModel]:
    given = {"provider": "OpenAI", "name": "scripted", "baseURL": base_url, **spec}
    seam = LibraryModel(ModelSpec.model_validate(given), key)
    try:
        yield seam
    finally:
        await seam.close()


async def say(model: ScriptedModel, text: str, *, seconds: float = 30, **more: Any) -> ModelReply:
    async with talking(model.base_url, **more) as seam:
        return await seam.ask([Said("user", text)], schema=None, timeout_seconds=seconds)


async def test_an_answer_with_its_usage(model: ScriptedModel) -> None:
    reply = await say(model, "echo: one two three")

    assert reply == ModelReply("one two three", reply.usage)
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (4, 3)


async def test_the_whole_conversation_reaches_the_model_in_order(model: ScriptedModel) -> None:
    messages = [
        Said("system", "be brief (order-of-messages)"),
        Said("user", "one"),
        Said("user", "two"),
        Called("wait", (ModelCall("call_9", "look", {"a": 1}),), ({"found": True},)),
        Said("assistant", "three"),
        Said("user", "How many messages?"),
    ]

    async with talking(model.base_url, temperature="0.2", maxOutputTokens=50) as seam:
        await seam.ask(messages, schema=None, timeout_seconds=30)

    (entry,) = model.requests("order-of-messages")
    sent = entry["request"]
    assert [(m["role"], m.get("content")) for m in sent["messages"]] == [
        ("system", "be brief (order-of-messages)"),
        ("user", "one"),
        ("user", "two"),
        ("assistant", "wait"),
        ("tool", '{"found":true}'),
        ("assistant", "three"),
        ("user", "How many messages?"),
    ]
    assert sent["messages"][3]["tool_calls"][0]["function"] == {"name": "look", "arguments": '{"a":1}'}
    assert sent["temperature"] == 0.2
    assert sent["max_completion_tokens"] == 50
    assert "tools" not in sent


async def test_a_schema_is_sent_as_structured_output(model: ScriptedModel) -> None:
    schema: Any = {
        "type": "object",
        "properties": {"kind": {"enum": ["late", "broken"]}},
        "required": ["kind"],
    }

    async with talking(model.base_url) as seam:
        said = [Said("user", "it is broken (schema-is-sent)")]
        reply = await seam.ask(said, schema=schema, timeout_seconds=30)

    assert reply.text == '{"kind":"broken"}'
    (entry,) = model.requests("schema-is-sent")
    assert entry["request"]["response_format"]["json_schema"]["schema"]["properties"] == schema["properties"]


async def test_refusal_and_cutoff_are_told_apart_from_answers(model: ScriptedModel) -> None:
    refused = await say(model, "[refuse]")
    cut = await say(model, "[cutoff] a long story")

    assert (refused.ending, refused.text) == ("refused", "I cannot help with that.")
    assert cut.ending == "length"
    assert cut.usage.input_tokens > 0


async def test_calls_the_model_makes_up_are_read(model: ScriptedModel) -> None:
    reply = await say(model, '[invent get_order {"number": "12"}]')

    assert reply.calls == (ModelCall("call_0", "get_order", {"number": "12"}),)


@pytest.mark.parametrize(
    ("status", "retryable", "limited"),
    [
        (400, False, False),
        (401, False, False),
        (402, False, False),
        (403, False, False),
        (404, False, False),
        (408, True, False),
        (413, False, False),
        (422, False, False),
        (429, True, True),
        (500, True, False),
        (502, True, False),
        (503, True, False),
        (504, True, False),
        (529, True, False),
    ],
)
async def test_each_status_of_the_server(
    model: ScriptedModel, status: int, retryable: bool, limited: bool
) -> None:
    with pytest.raises(ModelFailure) as caught:
        await say(model, f"[fail {status} x1 seam-{status}] [retry-after 3]")

    assert caught.value.status == status
    assert caught.value.message == f"answered {status}: scripted failure {status}"
    assert (caught.value.retryable, caught.value.rate_limited) == (retryable, limited)
    assert caught.value.retry_after == 3.0
    # The SDK's own retries would multiply ours.
    assert len(model.requests(f"x1 seam-{status}]")) == 1


async def test_a_broken_connection_and_a_server_that_is_not_there(model: ScriptedModel) -> None:
    with pytest.raises(ModelFailure, match="cannot be reached") as dropped:
        await say(model, "[drop x1 seam-drop]")
    with pytest.raises(ModelFailure, match="cannot be reached: All connection attempts failed") as absent:
        async with talking("http://127.0.0.1:1/v1") as seam:
            await seam.ask([Said("user", "hello")], schema=None, timeout_seconds=30)

    assert dropped.value.retryable
    assert absent.value.retryable


async def test_a_server_that_does_not_answer_in_time(model: ScriptedModel) -> None:
    with pytest.raises(ModelFailure, match="did not answer within 1 s") as caught:
        await say(model, "[slow 20s] hello", seconds=1)

    assert caught.value.retryable


@pytest.mark.parametrize("key", ["with\nline", "with\0zero", "schlüssel"])
def test_a_key_that_cannot_be_sent_is_named_as_the_cause_and_not_shown(key: str) -> None:
    reference = {"name": "openai", "key": "api-key"}
    spec = ModelSpec.model_validate({"provider": "OpenAI", "name": "scripted", "apiKeySecretRef": reference})

    with pytest.raises(ModelFailure, match="check key api-key of Secret openai") as caught:
        LibraryModel(spec, key)

    assert not caught.value.retryable
    assert key not in caught.value.message


async def test_a_key_is_sent_without_the_line_end_that_secrets_often_have(model: ScriptedModel) -> None:
    await say(model, "hello (plain-key)", key="sk-123456")
    await say(model, "hello (line-end-key)", key="sk-123456\n")

    (plain,), (ended,) = model.requests("plain-key"), model.requests("line-end-key")
    assert plain["apiKeySha256"] == ended["apiKeySha256"] is not None


class Echo(BaseHTTPRequestHandler):
    """A server that puts the key it refuses into its answer, or answers what is no completion."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.startswith("/html"):
            self._send(200, b"<html>Welcome to the proxy</html>", "text/html")
            return
        said = f'{{"error": {{"message": "bad key {self.headers["Authorization"]} {"x" * 5000}"}}}}'
        self._send(401, said.encode(), "application/json")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
async def echo() -> AsyncIterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    await asyncio.to_thread(server.shutdown)
    thread.join(20)
    server.server_close()


async def test_a_key_that_the_server_sends_back_is_taken_out_and_the_message_is_short(echo: str) -> None:
    with pytest.raises(ModelFailure) as caught:
        async with talking(f"{echo}/v1", key="sk-very-secret") as seam:
            await seam.ask([Said("user", "hello")], schema=None, timeout_seconds=30)

    assert caught.value.message.startswith("answered 401: bad key Bearer *** xxx")
    assert "very-secret" not in caught.value.message
    assert len(caught.value.message.encode()) < 600


async def test_an_answer_that_is_no_completion_is_a_failure_of_the_model(echo: str) -> None:
    with pytest.raises(ModelFailure) as caught:
        async with talking(f"{echo}/html") as seam:
            await seam.ask([Said("user", "hello")], schema=None, timeout_seconds=30)

    assert "answered something unusable" in caught.value.message
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("base_url", "label"),
    [
        (None, "m at api.openai.com"),
        ("http://model.shop.svc/v1", "m at model.shop.svc"),
        ("http://user:password@models:8000/v1", "m at models:8000"),
    ],
)
def test_a_message_names_model_and_server_without_credentials(base_url: str | None, label: str) -> None:
    assert model_label(ModelSpec(provider="OpenAI", name="m", base_url=base_url)) == label
