"""The stand-in for a model: what it says must follow from the request alone, so that other tests can rely on it."""

import http.client
import json
import urllib.error
import urllib.request
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.unit.runner.scripted import DIRECT, ScriptedModel


def post(model: ScriptedModel, body: Any) -> Any:
    request = urllib.request.Request(
        f"{model.base_url}/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": "Bearer not-a-key"},
    )
    with DIRECT.open(request, timeout=30) as answer:
        return json.load(answer)


def say(model: ScriptedModel, *texts: str, system: str = "", **more: Any) -> dict[str, Any]:
    """Send alternating user and assistant texts; return the assistant's message."""
    messages = [{"role": "system", "content": system}] if system else []
    messages += [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]
    return post(model, {"model": "scripted", "messages": messages, **more})["choices"][0]


@pytest.mark.parametrize(
    ("texts", "reply"),
    [
        (["My name is Alice."], "Nice to meet you, Alice."),
        (["My name is Alice.", "Hello.", "What is my name?"], "Your name is Alice."),
        (["my name is Al", "Hi", "No, my name is Bea", "Hi", "what is my name?"], "Your name is Bea."),
        (["What is my name?"], "I do not know your name."),
        (["I ask about order 12345."], "I will look at order 12345."),
        (["Order #7 is late", "Sorry.", "Which order is mine?"], "Your order is 7."),
        (["Which order is mine?"], "I do not know your order."),
        (["a", "b", "How many messages?"], "I can see 3 messages."),
        (["echo: one two "], "one two"),
        (["hello"], "You said: hello"),
        (["[slow 0s] hello"], "You said: hello"),
        (["[empty]"], ""),
        (["[long 12]"], "long long lo"),
    ],
)
def test_its_answer_follows_from_what_the_request_holds(
    model: ScriptedModel, texts: list[str], reply: str
) -> None:
    choice = say(model, *texts)

    assert choice["message"]["content"] == reply
    assert choice["finish_reason"] == "stop"


def test_it_tells_its_system_prompt_and_never_takes_it_for_the_users_words(model: ScriptedModel) -> None:
    system = "You are Support. My name is Zed."

    assert say(model, "What are your instructions?", system=system)["message"]["content"] == system
    assert say(model, "What is my name?", system=system)["message"]["content"] == "I do not know your name."


def test_usage_counts_words(model: ScriptedModel) -> None:
    answer = post(model, {"model": "m", "messages": [{"role": "user", "content": "echo: one two three"}]})

    assert answer["usage"] == {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7}


SCHEMAS: list[tuple[dict[str, Any], str, Any]] = [
    ({"enum": ["late", "broken"]}, "my parcel is broken", "broken"),
    ({"enum": ["late", "broken"]}, "late or broken? My parcel came late", "late"),
    ({"enum": ["late", "broken"]}, "hello", "late"),
    (
        {
            "type": "object",
            "properties": {
                "kind": {"$ref": "#/$defs/kind"},
                "order": {"type": "string", "minLength": 3},
                "amount": {"type": "integer", "minimum": 5},
                "price": {"type": "number"},
                "urgent": {"type": "boolean"},
                "note": {"type": ["string", "null"], "maxLength": 2},
                "tags": {"type": "array", "items": {"type": "string"}, "minItems": 2},
                "either": {"anyOf": [{"type": "null"}, {"type": "string"}]},
                "both": {"allOf": [{"type": "object", "properties": {"a": {"const": 1}}}]},
            },
            "$defs": {"kind": {"enum": ["refund", "question"]}},
        },
        "A question on order 12345, amount 40, price 2.5, urgent",
        {
            "kind": "question",
            "order": "12345",
            "amount": 40,
            "price": 2.5,
            "urgent": True,
            "note": "te",
            "tags": ["text", "text"],
            "either": None,
            "both": {"a": 1},
        },
    ),
    (
        {"type": "object", "properties": {"amount": {"type": "integer", "maximum": 9}}},
        "amount 40",
        {"amount": 9},
    ),
    ({"type": "array", "maxItems": 0}, "x", []),
]


@pytest.mark.parametrize(("schema", "text", "value"), SCHEMAS)
def test_with_a_schema_it_answers_a_value_that_fits(
    model: ScriptedModel, schema: dict[str, Any], text: str, value: Any
) -> None:
    asked = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}

    found = json.loads(say(model, text, response_format=asked)["message"]["content"])

    assert found == value
    Draft202012Validator(schema).validate(found)


def test_bad_json_is_mended_when_the_user_complains_unless_always(model: ScriptedModel) -> None:
    asked = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"enum": ["late", "broken"]}}}
    complaint = "'x' is not one of ['late', 'broken']"

    once = say(model, "It is broken [badjson]", "x", complaint, response_format=asked)["message"]["content"]
    always = say(model, "It is broken [badjson always]", "x", complaint, response_format=asked)["message"][
        "content"
    ]

    assert json.loads(once) == "broken"
    with pytest.raises(ValueError, match="Expecting"):
        json.loads(always)


def test_refusal_and_cutoff(model: ScriptedModel) -> None:
    refused = say(model, "[refuse]")
    cut = say(model, "[cutoff] tell me a long story")

    assert refused["message"]["refusal"]
    assert refused["message"]["content"] is None
    assert cut["finish_reason"] == "length"


def test_tool_calls_only_of_tools_that_are_offered_then_it_tells_the_result(model: ScriptedModel) -> None:
    tools = [{"type": "function", "function": {"name": "get_order", "parameters": {"type": "object"}}}]
    text = '[call get_order {"number": "12"}] and [call unknown {"x": 1}]'

    choice = say(model, text, tools=tools)
    call = choice["message"]["tool_calls"][0]
    after = post(
        model,
        {
            "model": "m",
            "tools": tools,
            "messages": [
                {"role": "user", "content": text},
                choice["message"],
                {"role": "tool", "tool_call_id": call["id"], "content": "sent"},
            ],
        },
    )

    assert choice["finish_reason"] == "tool_calls"
    assert len(choice["message"]["tool_calls"]) == 1
    assert json.loads(call["function"]["arguments"]) == {"number": "12"}
    assert after["choices"][0]["message"]["content"] == "The tool says: sent"


def test_failures_are_counted_by_key_then_it_answers(model: ScriptedModel) -> None:
    text = "[fail 503 x2 count-me] [retry-after 3] hello"

    seen: list[Any] = []
    for _ in range(3):
        try:
            seen.append(say(model, text)["message"]["content"])
        except urllib.error.HTTPError as error:
            seen.append((error.code, error.headers["Retry-After"]))
            error.close()

    assert seen == [(503, "3"), (503, "3"), "You said: hello"]
    assert [entry["status"] for entry in model.requests("count-me")] == [503, 503, 200]


def test_a_dropped_request_gets_no_answer(model: ScriptedModel) -> None:
    with pytest.raises((http.client.RemoteDisconnected, urllib.error.URLError)):
        say(model, "[drop x1 drop-me] hello")

    assert say(model, "[drop x1 drop-me] hello")["message"]["content"] == "You said: hello"


def test_a_stream_says_the_same(model: ScriptedModel) -> None:
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "echo: one two  three"}]}
    request = urllib.request.Request(f"{model.base_url}/chat/completions", json.dumps(body).encode())
    with DIRECT.open(request, timeout=30) as answer:
        lines = [line[6:].strip() for line in answer.read().decode().splitlines() if line]

    chunks = [json.loads(line) for line in lines[:-1]]
    assert lines[-1] == "[DONE]"
    assert (
        "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"])
        == "one two  three"
    )
    assert chunks[-1]["usage"]["completion_tokens"] == 3


@pytest.mark.parametrize("body", [{"messages": []}, {"messages": "x"}, [], {"messages": ["text"]}])
def test_a_malformed_request_is_refused_in_the_apis_form(model: ScriptedModel, body: Any) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        post(model, body)

    assert caught.value.code == 400
    assert "malformed" in json.load(caught.value)["error"]["message"]
    caught.value.close()
