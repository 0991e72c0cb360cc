"""Tools, calls and results in the wire formats of OpenAI's, Anthropic's and Google's APIs."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from parley.resources.agent import ModelSpec
from parley.runner.chat import Called, ChatMessage, JsonSchema, ModelCall, ModelReply, Said, ToolDefinition
from parley.runner.model import LibraryModel

from tests.unit.runner.wire import WireServer, wire_server
from tests.unit.runner.wire_answers import answer

PROVIDERS = ["OpenAI", "Anthropic", "Google"]
NAMES = {"OpenAI": "gpt-4.1-mini", "Anthropic": "claude-haiku-4-5", "Google": "gemini-2.5-flash"}
PARAMETERS: JsonSchema = {
    "type": "object",
    "properties": {
        "number": {"type": "string", "pattern": "^[0-9]+$"},
        "deep": {"type": "array", "items": {}},
    },
    "required": ["number"],
}
TOOLS = (
    ToolDefinition("get_order", "Look an order up.", PARAMETERS),
    ToolDefinition("ping", "", {"type": "object"}),
)
FIRST, SECOND = ModelCall("call_7", "get_order", {"number": "12"}), ModelCall("call_8", "ping", {})
TALK: list[ChatMessage] = [
    Said("user", "Where is order 12?"),
    Called("Let me look.", (FIRST, SECOND), ({"found": [1, None]}, None)),
    Called(
        "",
        (ModelCall("call_11", "get_order", {"number": "13"}),),
        ({"error": "answered 404: no such order"},),
    ),
    Said("assistant", "On its way."),
    Said("user", "And 13?"),
]
KIND: Any = {"type": "object", "properties": {"kind": {"enum": ["late", "broken"]}}, "required": ["kind"]}


@pytest.fixture
def wire() -> Iterator[WireServer]:
    with wire_server() as running:
        yield running
        assert running.answers == [], "not all was asked for"


async def ask(
    wire: WireServer,
    provider: str,
    *messages: ChatMessage,
    tools: Sequence[ToolDefinition] = TOOLS,
    schema: Any = None,
    name: str = "",
) -> ModelReply:
    spec = {
        "provider": provider,
        "name": name or NAMES[provider],
        "baseURL": f"{wire.url}/v1" if provider == "OpenAI" else wire.url,
        "maxOutputTokens": 50,
    }
    model = LibraryModel(ModelSpec.model_validate(spec), "sk-123456")
    try:
        return await model.ask(
            messages or [Said("user", "hi")], schema=schema, tools=tools, timeout_seconds=30
        )
    finally:
        await model.close()


def offered(provider: str, body: dict[str, Any]) -> dict[str, tuple[str | None, Any]]:
    """Name, description and schema of each tool in a request."""
    match provider:
        case "OpenAI":
            functions = [tool["function"] for tool in body["tools"]]
            assert all(tool["type"] == "function" for tool in body["tools"])
            return {f["name"]: (f.get("description"), f["parameters"]) for f in functions}
        case "Anthropic":
            return {t["name"]: (t.get("description"), t["input_schema"]) for t in body["tools"]}
        case _:
            [declared] = [tool["functionDeclarations"] for tool in body["tools"]]
            return {f["name"]: (f.get("description"), f["parameters_json_schema"]) for f in declared}


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_tools_are_offered_with_their_schemas_as_they_are(wire: WireServer, provider: str) -> None:
    wire.says(answer(provider, "hello"))

    reply = await ask(wire, provider)

    assert (reply.text, reply.calls) == ("hello", ())
    told = offered(provider, wire.seen[0].body)
    assert list(told) == ["get_order", "ping"]
    description, schema = told["get_order"]
    assert description == "Look an order up."
    assert schema["required"] == ["number"]
    assert schema["properties"]["number"] == {"type": "string", "pattern": "^[0-9]+$"}
    assert schema["properties"]["deep"] == {"type": "array", "items": {}}
    assert told["ping"][1]["type"] == "object"
    assert '"strict": true' not in json.dumps(wire.seen[0].body)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_the_model_may_answer_or_call_as_it_likes(wire: WireServer, provider: str) -> None:
    wire.says(answer(provider, "hello"))

    await ask(wire, provider)

    body = wire.seen[0].body
    expected: dict[str, Any] = {"OpenAI": "auto", "Anthropic": {"type": "auto"}}
    if provider == "Google":
        assert body["toolConfig"]["functionCallingConfig"]["mode"] == "AUTO"
    else:
        assert body["tool_choice"] == expected[provider]


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_calls_are_read_with_what_is_said_beside_them(wire: WireServer, provider: str) -> None:
    wire.says(answer(provider, "Let me look.", ("get_order", {"number": "12"}), ("ping", {})))

    reply = await ask(wire, provider)

    assert (reply.text, reply.ending) == ("Let me look.", "complete")
    assert [(call.name, call.arguments) for call in reply.calls] == [
        ("get_order", {"number": "12"}),
        ("ping", {}),
    ]
    assert len({call.id for call in reply.calls}) == 2
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (9, 4)


@pytest.mark.parametrize(
    ("provider", "stop"), [("OpenAI", "length"), ("Anthropic", "max_tokens"), ("Google", "MAX_TOKENS")]
)
async def test_calls_that_are_cut_off_are_none(wire: WireServer, provider: str, stop: str) -> None:
    wire.says(answer(provider, "Let", ("get_order", {"number": "1"}), stop=stop))

    reply = await ask(wire, provider)

    assert (reply.ending, reply.calls) == ("length", ())


async def test_arguments_that_are_no_json_stay_a_text(wire: WireServer) -> None:
    wire.says(answer("OpenAI", "", ("get_order", '{"number": ')))

    reply = await ask(wire, "OpenAI")

    assert reply.calls[0].arguments == '{"number": '


async def test_openai_gets_calls_and_results_of_the_history(wire: WireServer) -> None:
    wire.says(answer("OpenAI", "late"))

    await ask(wire, "OpenAI", *TALK)

    _, called, first, second, again, third, said, _ = wire.seen[0].body["messages"]
    assert called["content"] == "Let me look."
    assert [
        (c["id"], c["function"]["name"], json.loads(c["function"]["arguments"])) for c in called["tool_calls"]
    ] == [
        ("call_7", "get_order", {"number": "12"}),
        ("call_8", "ping", {}),
    ]
    assert [(m["role"], m["tool_call_id"]) for m in (first, second, third)] == [
        ("tool", "call_7"),
        ("tool", "call_8"),
        ("tool", "call_11"),
    ]
    assert json.loads(first["content"]) == {"found": [1, None]}
    assert json.loads(third["content"]) == {"error": "answered 404: no such order"}
    assert [call["id"] for call in again["tool_calls"]] == ["call_11"]
    assert said == {"role": "assistant", "content": "On its way."}


async def test_anthropic_gets_calls_and_results_of_the_history(wire: WireServer) -> None:
    wire.says(answer("Anthropic", "late"))

    await ask(wire, "Anthropic", *TALK)

    messages = wire.seen[0].body["messages"]
    assert [m["role"] for m in messages] == [
        "user",
        "assistant",
        "user",
        "assistant",
        "user",
        "assistant",
        "user",
    ]
    assert [(b["type"], b.get("id"), b.get("input")) for b in messages[1]["content"]] == [
        ("text", None, None),
        ("tool_use", "call_7", {"number": "12"}),
        ("tool_use", "call_8", {}),
    ]
    assert [(b["type"], b["tool_use_id"]) for b in messages[2]["content"]] == [
        ("tool_result", "call_7"),
        ("tool_result", "call_8"),
    ]
    assert "found" in json.dumps(messages[2]["content"][0]["content"])
    assert "no such order" in json.dumps(messages[4]["content"][0]["content"])


async def test_google_gets_calls_and_results_of_the_history(wire: WireServer) -> None:
    wire.says(answer("Google", "late"))

    await ask(wire, "Google", *TALK)

    contents = wire.seen[0].body["contents"]
    assert [c["role"] for c in contents] == ["user", "model", "user", "model", "user", "model", "user"]
    calls = [part["functionCall"] for part in contents[1]["parts"] if "functionCall" in part]
    assert [(c["name"], c.get("args") or {}) for c in calls] == [
        ("get_order", {"number": "12"}),
        ("ping", {}),
    ]
    results = [part["functionResponse"] for part in contents[2]["parts"]]
    assert [r["name"] for r in results] == ["get_order", "ping"]
    assert results[0]["response"] == {"found": [1, None]}
    assert contents[4]["parts"][0]["functionResponse"]["response"] == {"error": "answered 404: no such order"}


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_schema_and_tools_together(wire: WireServer, provider: str) -> None:
    wire.says(answer(provider, '{"kind":"late"}'))

    reply = await ask(wire, provider, Said("user", "it is late"), schema=KIND)

    assert reply.text == '{"kind":"late"}'
    body = wire.seen[0].body
    assert "get_order" in offered(provider, body)
    # Google's older models take no schema beside tools: they are told in words.
    assert '["late", "broken"]' in json.dumps(body).replace('\\"', '"')


async def test_a_newer_model_of_google_is_told_the_schema_beside_tools(wire: WireServer) -> None:
    wire.says(answer("Google", '{"kind":"late"}'))

    await ask(wire, "Google", schema=KIND, name="gemini-3-pro-preview")

    assert wire.seen[0].body["generationConfig"]["responseJsonSchema"]["required"] == ["kind"]


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_without_tools_none_are_sent(wire: WireServer, provider: str) -> None:
    wire.says(answer(provider, "hello"))

    await ask(wire, provider, tools=())

    assert not wire.seen[0].body.get("tools")
