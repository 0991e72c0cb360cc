"""An answer as OpenAI's, Anthropic's and Google's servers stream it: its texts and arguments in pieces."""

import json
from collections.abc import Iterator
from typing import Any

PIECE = 3
"""Characters of a piece."""


def events(answer: dict[str, Any]) -> Iterator[bytes]:
    """The same answer as server-sent events."""
    if "choices" in answer:
        yield from _openai(answer)
    elif "content" in answer:
        yield from _anthropic(answer)
    else:
        yield from _google(answer)


def pieces(text: str) -> list[str]:
    return [text[start : start + PIECE] for start in range(0, len(text), PIECE)]


def data(body: Any, name: str = "") -> bytes:
    line = body if isinstance(body, str) else json.dumps(body)
    return (f"event: {name}\n" if name else "").encode() + f"data: {line}\n\n".encode()


def _openai(answer: dict[str, Any]) -> Iterator[bytes]:
    (choice,) = answer["choices"]
    message = choice["message"]
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": piece} for piece in pieces(message.get("content") or "")]
    deltas += [{"refusal": piece} for piece in pieces(message.get("refusal") or "")]
    for index, call in enumerate(message.get("tool_calls") or []):
        function = {"name": call["function"]["name"], "arguments": ""}
        deltas.append({"tool_calls": [{**call, "index": index, "function": function}]})
        deltas += [
            {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}
            for piece in pieces(call["function"]["arguments"])
        ]
    base = {name: answer[name] for name in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    for delta in deltas:
        yield data({**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    yield data({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]})
    yield data({**base, "choices": [], "usage": answer["usage"]})
    yield data("[DONE]")


def _anthropic(message: dict[str, Any]) -> Iterator[bytes]:
    def event(kind: str, **more: Any) -> bytes:
        return data({"type": kind, **more}, kind)

    usage = message["usage"]
    start = {**message, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    yield event("message_start", message=start)
    for index, block in enumerate(message["content"]):
        is_text = block["type"] == "text"
        begun = {**block, **({"text": ""} if is_text else {"input": {}})}
        yield event("content_block_start", index=index, content_block=begun)
        for piece in pieces(block["text"] if is_text else json.dumps(block["input"])):
            delta = {"type": "text_delta", "text": piece}
            called = {"type": "input_json_delta", "partial_json": piece}
            yield event("content_block_delta", index=index, delta=delta if is_text else called)
        yield event("content_block_stop", index=index)
    delta = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield event("message_delta", delta=delta, usage={"output_tokens": usage["output_tokens"]})
    yield event("message_stop")


def _google(answer: dict[str, Any]) -> Iterator[bytes]:
    base = {name: value for name, value in answer.items() if name != "candidates"}
    for candidate in answer.get("candidates", []):
        for part in candidate.get("content", {}).get("parts", []):
            for piece in pieces(part["text"]) if "text" in part else [None]:
                shown = part if piece is None else {**part, "text": piece}
                content = {"role": "model", "parts": [shown]}
                yield data({**base, "candidates": [{"content": content}]})
        last = {"content": {"role": "model", "parts": [{"text": ""}]}}
        yield data(
            {**base, "candidates": [{**last, **{k: v for k, v in candidate.items() if k != "content"}}]}
        )
    if not answer.get("candidates"):
        yield data(answer)
