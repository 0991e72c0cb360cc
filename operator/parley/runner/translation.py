"""From our messages to the agent library's, and from its responses to our replies."""

import json
from collections.abc import Sequence
from typing import cast

from pydantic import JsonValue
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    ModelResponsePart,
    SystemPromptPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

from parley.runner.chat import Called, ChatMessage, ModelCall, ModelFailure, ModelReply, tokens
from parley.runner.text import storable, storable_text


def to_library(messages: Sequence[ChatMessage]) -> list[ModelMessage]:
    """Translate; neighbouring messages of one side share a request or response, as the library wants."""
    translated: list[ModelMessage] = []
    for message in messages:
        if isinstance(message, Called):
            text: list[ModelResponsePart] = [TextPart(message.text)] if message.text else []
            calls = [ToolCallPart(c.name, json.dumps(c.arguments), c.id) for c in message.calls]
            translated.append(ModelResponse(parts=[*text, *calls]))
            results = zip(message.calls, message.results, strict=True)
            translated.append(
                ModelRequest(parts=[ToolReturnPart(c.name, result, c.id) for c, result in results])
            )
        elif message.role == "assistant":
            translated.append(ModelResponse(parts=[TextPart(message.text)]))
        else:
            part: ModelRequestPart = (
                SystemPromptPart(message.text) if message.role == "system" else UserPromptPart(message.text)
            )
            translated.append(ModelRequest(parts=[part]))
    return translated


def from_library(response: ModelResponse) -> ModelReply:
    """Translate a response.

    Raises:
        ModelFailure: the server says that it broke the answer off.
    """
    usage = tokens(response.usage.input_tokens, response.usage.output_tokens)
    text = storable_text("".join(part.content for part in response.parts if isinstance(part, TextPart)))
    calls = tuple(
        ModelCall(part.tool_call_id, storable_text(part.tool_name), _arguments(part))
        for part in response.parts
        if isinstance(part, ToolCallPart)
    )
    if response.finish_reason == "content_filter":
        return ModelReply(storable_text(_refusal(response, text)), usage, "refused")
    if response.finish_reason == "length":
        return ModelReply(text, usage, "length")
    if response.finish_reason == "error":
        why = (response.provider_details or {}).get("finish_reason") or "an error"
        raise ModelFailure(f"broke its answer off: {storable_text(str(why))}", retryable=True)
    return ModelReply(text, usage, calls=calls)


def _refusal(response: ModelResponse, text: str) -> str:
    """What is known of a refusal: the model's own words, else the server's word for why, else what it began to say."""
    details = response.provider_details or {}
    words = details.get("refusal"), details.get("block_reason_message"), details.get("block_reason")
    named = details.get("finish_reason")
    reason = None if named in {"refusal", "content_filter"} else named
    return str(next((word for word in (*words, reason) if word), text))


def _arguments(part: ToolCallPart) -> JsonValue:
    """A call's arguments as JSON; what is no JSON stays the string it is, for the model to be told so."""
    if not isinstance(part.args, str):
        return storable(cast("JsonValue", part.args or {}))
    try:
        return storable(json.loads(part.args or "{}"))
    except ValueError:
        return storable_text(part.args)
