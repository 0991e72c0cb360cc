"""The scripted model in the forms of Anthropic's messages API and Google's generateContent: to OpenAI's and back."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from scripted_answers import Reply
from scripted_calls import Json, Message

ANTHROPIC = "/v1/messages"
GOOGLE = re.compile(r"/v1(?:beta)?/models/([^/:]+):(?:generateContent|streamGenerateContent)")
GOOGLE_STATUS = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE"}


def _text(content: Json) -> str:
    """The text of a string or of a list of blocks."""
    if isinstance(content, str):
        return content
    return "".join(str(block.get("text", "")) for block in content or [] if isinstance(block, dict))


def _function(name: str, description: Json, parameters: Json) -> dict[str, Json]:
    return {
        "type": "function",
        "function": {"name": name, "description": description, "parameters": parameters},
    }


def _call(number: int, name: str, arguments: Json) -> dict[str, Json]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"id": f"call_{number}", "type": "function", "function": function}


def _schema(schema: Json) -> dict[str, Json]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "output", "schema": schema}}}


def from_anthropic(body: dict[str, Json]) -> dict[str, Json]:
    """Return a request of the messages API as one of OpenAI's."""
    messages: list[Message] = []
    if system := _text(body.get("system")):
        messages.append({"role": "system", "content": system})
    for message in body["messages"]:
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        results = [block for block in blocks if block["type"] == "tool_result"]
        calls = [block for block in blocks if block["type"] == "tool_use"]
        messages += [{"role": "tool", "content": _text(result.get("content"))} for result in results]
        if (text := _text([block for block in blocks if block["type"] == "text"])) or calls:
            said: Message = {"role": message["role"], "content": text}
            if calls:
                said["tool_calls"] = [_call(n, c["name"], c["input"]) for n, c in enumerate(calls)]
            messages.append(said)
    tools = [_function(t["name"], t.get("description"), t["input_schema"]) for t in body.get("tools") or []]
    form = (body.get("output_config") or {}).get("format") or body.get("output_format") or {}
    wanted = _schema(form["schema"]) if "schema" in form else {}
    return {"model": body.get("model"), "messages": messages, "tools": tools, **wanted}


def from_google(model: str, body: dict[str, Json]) -> dict[str, Json]:
    """Return a request of generateContent as one of OpenAI's."""
    messages: list[Message] = []
    if system := _text((body.get("systemInstruction") or {}).get("parts")):
        messages.append({"role": "system", "content": system})
    for content in body["contents"]:
        parts = content["parts"]
        results = [part["functionResponse"] for part in parts if "functionResponse" in part]
        calls = [part["functionCall"] for part in parts if "functionCall" in part]
        messages += [{"role": "tool", "content": json.dumps(result["response"])} for result in results]
        if (text := _text(parts)) or calls:
            said: Message = {
                "role": "assistant" if content.get("role") == "model" else "user",
                "content": text,
            }
            if calls:
                said["tool_calls"] = [_call(n, c["name"], c.get("args") or {}) for n, c in enumerate(calls)]
            messages.append(said)
    declared = [one for tool in body.get("tools") or [] for one in tool.get("functionDeclarations") or []]
    tools = [
        _function(
            one["name"], one.get("description"), one.get("parametersJsonSchema") or one.get("parameters")
        )
        for one in declared
    ]
    asked = body.get("generationConfig") or {}
    schema = asked.get("responseJsonSchema") or asked.get("responseSchema")
    return {
        "model": model,
        "messages": messages,
        "tools": tools,
        **(_schema(schema) if schema is not None else {}),
    }


def to_anthropic(reply: Reply, model: Json, usage: dict[str, int]) -> dict[str, Json]:
    """Return a reply as a message of the messages API."""
    text = reply.content or reply.refusal
    content: list[Json] = [{"type": "text", "text": text}] if text else []
    content += [
        {"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": arguments}
        for number, (name, arguments) in enumerate(reply.calls)
    ]
    stops = {"tool_calls": "tool_use", "length": "max_tokens"}
    return {
        "id": "msg_scripted",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": "refusal" if reply.refusal else stops.get(reply.finish_reason, "end_turn"),
        "stop_sequence": None,
        "usage": {"input_tokens": usage["prompt_tokens"], "output_tokens": usage["completion_tokens"]},
    }


def anthropic_stream(message: dict[str, Json]) -> Iterator[tuple[str, dict[str, Json]]]:
    """Cut a message into the events of a stream: name and data."""
    yield "message_start", {"message": {**message, "content": [], "stop_reason": None}}
    for index, block in enumerate(message["content"]):
        called = block["type"] == "tool_use"
        empty = {**block, "input": {}} if called else {"type": "text", "text": ""}
        delta = (
            {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
            if called
            else {"type": "text_delta", "text": block["text"]}
        )
        yield "content_block_start", {"index": index, "content_block": empty}
        yield "content_block_delta", {"index": index, "delta": delta}
        yield "content_block_stop", {"index": index}
    stop = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield "message_delta", {"delta": stop, "usage": {"output_tokens": message["usage"]["output_tokens"]}}
    yield "message_stop", {}


def to_google(reply: Reply, model: Json, usage: dict[str, int]) -> dict[str, Json]:
    """Return a reply as a response of generateContent."""
    text = reply.content or reply.refusal
    parts: list[Json] = [{"text": text}] if text else []
    parts += [{"functionCall": {"name": name, "args": arguments}} for name, arguments in reply.calls]
    finish = "SAFETY" if reply.refusal else "MAX_TOKENS" if reply.finish_reason == "length" else "STOP"
    return {
        "candidates": [
            {
                "index": 0,
                "content": {"role": "model", "parts": parts or [{"text": ""}]},
                "finishReason": finish,
            }
        ],
        "usageMetadata": {
            "promptTokenCount": usage["prompt_tokens"],
            "candidatesTokenCount": usage["completion_tokens"],
            "totalTokenCount": usage["total_tokens"],
        },
        "modelVersion": model,
    }


def error_body(path: str, status: int, message: str, retry_after: str | None = None) -> dict[str, Json]:
    """Return an error as the API of this path tells it; Google's says in it how many seconds to wait."""
    if path == ANTHROPIC:
        kind = {404: "not_found_error", 429: "rate_limit_error", 529: "overloaded_error"}.get(
            status, "api_error"
        )
        return {"type": "error", "error": {"type": kind, "message": message}}
    if GOOGLE.fullmatch(path):
        word = GOOGLE_STATUS.get(status, "INTERNAL")
        told = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{retry_after}s"}
        details = {"details": [told]} if retry_after else {}
        return {"error": {"code": status, "message": message, "status": word, **details}}
    return {"error": {"message": message, "type": "scripted_error", "param": None, "code": None}}
