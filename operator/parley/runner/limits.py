"""How much of a conversation a model is shown: the window counts messages, the budget tokens. Pure functions.

Tokens are estimated as a quarter of the UTF-8 bytes, rounded up: no two models count alike, and none can be asked
beforehand. What is shown is always the newest part, without a gap, and a call never without its result.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from parley.runner.chat import Called, ChatMessage, ToolDefinition

BYTES_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Unit:
    """A part of the history that is shown or left out as a whole.

    Attributes:
        message: a message, or calls with their results.
        sequences: of the events it was made of.
        counts: it is one of the messages that a window counts.
    """

    message: ChatMessage
    sequences: tuple[int, ...]
    counts: bool = True

    @property
    def tokens(self) -> int:
        """What it needs of a budget."""
        return tokens_of(self.message)


@dataclass(frozen=True, slots=True)
class Room:
    """What is left for the history beside all that must be shown; None: no limit."""

    messages: int | None = None
    tokens: int | None = None

    def halved(self, tokens_kept_free: int) -> "Room":
        """Half of the room: whoever sums up makes room for more than the next message, or had to do it each time."""
        return Room(
            None if self.messages is None else self.messages // 2,
            None if self.tokens is None else max(self.tokens - tokens_kept_free, 0) // 2,
        )


def tokens_of(message: ChatMessage) -> int:
    """Estimate the tokens of one message, or of calls with their results."""
    if isinstance(message, Called):
        calls = sum(_bytes(call.name) + _bytes(call.arguments) for call in message.calls)
        return _tokens(_bytes(message.text) + calls + sum(map(_bytes, message.results)))
    return _tokens(_bytes(message.text))


def tokens_of_tools(tools: Sequence[ToolDefinition]) -> int:
    """Estimate what it takes to offer tools."""
    return sum(
        _tokens(_bytes(tool.name) + _bytes(tool.description) + _bytes(tool.parameters)) for tool in tools
    )


def first_shown(history: Sequence[Unit], room: Room) -> int:
    """Return from which unit on the history is shown.

    The newest are. Where something is left out, what is shown does not begin with calls: some servers refuse calls
    that nobody asked for, and no model knows what to make of them.
    """
    start, messages, tokens = len(history), 0, 0
    while start > 0:
        unit = history[start - 1]
        messages += unit.counts
        tokens += unit.tokens
        beyond = room.messages is not None and 0 < messages >= room.messages and not unit.counts
        if beyond or _over(messages, room.messages) or _over(tokens, room.tokens):
            break
        start -= 1
    if start > 0:
        while start < len(history) and isinstance(history[start].message, Called):
            start += 1
    return start


def ranges(sequences: Sequence[int]) -> list[tuple[int, int]]:
    """Write numbers as ranges, both ends included."""
    found: list[tuple[int, int]] = []
    for number in sorted(set(sequences)):
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def _over(count: int, most: int | None) -> bool:
    return most is not None and count > most


def _bytes(value: JsonValue) -> int:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return len(text.encode("utf-8", "surrogatepass"))


def _tokens(size: int) -> int:
    return math.ceil(size / BYTES_PER_TOKEN)
