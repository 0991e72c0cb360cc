"""Answers with calls, as each provider's server sends them."""

import json
from typing import Any

from tests.unit.runner.wire import Answer


def answer(provider: str, text: str = "", *calls: tuple[str, Any], stop: str | None = None) -> Answer:
    """An answer with text and calls as the provider's server sends it."""
    match provider:
        case "OpenAI":
            asked = [
                {
                    "id": f"call_{place}",
                    "type": "function",
                    "function": {
                        "name": name,
                        "arguments": arguments if isinstance(arguments, str) else json.dumps(arguments),
                    },
                }
                for place, (name, arguments) in enumerate(calls)
            ]
            message = {
                "role": "assistant",
                "content": text or None,
                **({"tool_calls": asked} if asked else {}),
            }
            reason = stop or ("tool_calls" if calls else "stop")
            choice = {"index": 0, "message": message, "finish_reason": reason}
            usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
            return Answer(
                {
                    "id": "x",
                    "object": "chat.completion",
                    "created": 1,
                    "model": "m",
                    "choices": [choice],
                    "usage": usage,
                }
            )
        case "Anthropic":
            content: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
            content += [
                {"type": "tool_use", "id": f"toolu_{place}", "name": name, "input": arguments}
                for place, (name, arguments) in enumerate(calls)
            ]
            return Answer(
                {
                    "id": "msg_1",
                    "type": "message",
                    "role": "assistant",
                    "model": "claude",
                    "content": content,
                    "stop_reason": stop or ("tool_use" if calls else "end_turn"),
                    "stop_sequence": None,
                    "usage": {"input_tokens": 9, "output_tokens": 4},
                }
            )
        case _:
            parts: list[dict[str, Any]] = [{"text": text}] if text else []
            parts += [{"functionCall": {"name": name, "args": arguments}} for name, arguments in calls]
            candidate = {"content": {"role": "model", "parts": parts}, "finishReason": stop or "STOP"}
            usage = {"promptTokenCount": 9, "candidatesTokenCount": 4, "totalTokenCount": 13}
            return Answer({"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini"})
