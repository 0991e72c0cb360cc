"""Which tools the scripted model calls, and what it says of their results. ``scripted_model`` lists the rules."""

from __future__ import annotations

import json
import re
from typing import Any

Json = Any
Message = dict[str, Any]

CALL = re.compile(r"\[(call|invent|always) ([\w.-]+)\s*(?=[{\]])")
SAYING = re.compile(r"\[saying ([^\]]+)\]")
ROUND = "[then]"
ENDED = re.compile(r"\bTask ([\w.-]+) (?:has )?ended: (\w+)")


def text_of(message: Message) -> str:
    """Return a message's text, whether given as a string or as a list of parts."""
    content = message.get("content")
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def rounds_since(messages: list[Message]) -> int:
    """How many times the model has called tools since the user's last message."""
    count = 0
    for message in reversed(messages):
        if message.get("role") == "user":
            break
        count += bool(message.get("tool_calls"))
    return count


def tool_calls(text: str, messages: list[Message], request: dict[str, Any]) -> list[tuple[str, Json]]:
    """Return the calls of this round that the message asks for: of tools that are offered, or made up."""
    number = rounds_since(messages)
    rounds = text.split(ROUND)
    now = rounds[number] if number < len(rounds) else ""
    offered = set(offered_tools(request))
    calls: list[tuple[str, Json]] = []
    for word, name, arguments in [*_written(now), *(call for call in _written(text) if call[0] == "always")]:
        wanted = word == "invent" or name in offered
        if wanted and not (word == "always" and (name, arguments) in calls):
            calls.append((name, arguments))
    return calls


def _written(text: str) -> list[tuple[str, str, Json]]:
    """The calls written in a text: the word, the tool, its arguments."""
    found: list[tuple[str, str, Json]] = []
    for match in CALL.finditer(text):
        arguments: Json = {}
        if text[match.end()] == "{":
            try:
                arguments, _ = json.JSONDecoder().raw_decode(text, match.end())
            except ValueError:
                continue
        found.append((match[1], match[2], arguments))
    return found


def offered_tools(request: dict[str, Any]) -> list[str]:
    """Names of the tools that the request offers, in its order."""
    return [str(tool.get("function", {}).get("name")) for tool in request.get("tools") or []]


def said_beside(text: str) -> str | None:
    """What the model says beside its calls."""
    found = SAYING.search(text)
    return found[1] if found else None


def trailing_results(messages: list[Message]) -> list[str]:
    """Return the texts of the tool results at the end of the messages, in order."""
    start = len(messages)
    while start and messages[start - 1].get("role") == "tool":
        start -= 1
    return [text_of(message) for message in messages[start:]]


def ended_tasks(messages: list[Message]) -> str:
    """Say which Tasks the conversation has heard the end of."""
    found = [match for message in messages for match in ENDED.findall(text_of(message))]
    return " ".join(f"{name} ended: {phase}." for name, phase in found) or "No task has ended."
