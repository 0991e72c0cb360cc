"""The status budget: at most 64 KiB whatever a task did. What is cut is whole in Postgres.

What must be there (names, phases, times) takes at most some 30 KiB. The rest is handed out, first to what people act
upon: questions, the task's output, messages, steps' outputs, and what is left to the attempts.
"""

import json

from pydantic import JsonValue

from parley.resources.common import shorten

STATUS_BYTES = 64 * 1024
WAITING_BYTES = 10 * 1024
"""Of all questions together; the first is always shown, its choices may take 6 KiB."""
MESSAGES_BYTES = 12 * 1024
"""Of all steps' messages together."""
STEP_OUTPUT_BYTES = 1024
STEP_OUTPUTS_BYTES = 24 * 1024
TASK_OUTPUT_BYTES = 8 * 1024
_SMALLEST = 16
_QUOTES = 2
_MORE_IN_GO = {"<": 5, ">": 5, "&": 5, "\u2028": 3, "\u2029": 3}
"""Characters that ``encoding/json`` writes as six bytes, with how many that is more than here."""


def json_size(value: JsonValue) -> int:
    """Bytes of a value as compact JSON, as the API server stores it: Go's encoder escapes more than it must."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return len(text.encode()) + sum(text.count(char) * more for char, more in _MORE_IN_GO.items())


def fit_text(text: str, limit: int) -> str:
    """Cut a text to at most ``limit`` bytes inside a JSON string; a cut one ends with ``…``."""
    # Escapes make JSON up to six times as long as the text, so a few rounds are enough.
    room = limit
    fitted = shorten(text, room)
    while json_size(fitted) - _QUOTES > limit:
        room = room * 3 // 4
        fitted = shorten(text, room)
    return fitted


def fit_output(value: JsonValue, limit: int) -> tuple[JsonValue, bool]:
    """Return a value if it fits, a text cut, anything else dropped; tells whether something is missing."""
    if isinstance(value, str):
        text = fit_text(value, limit - _QUOTES)
        return text, text != value
    if json_size(value) <= limit:
        return value, False
    return None, True


class Room:
    """Bytes of the status that are not taken yet."""

    def __init__(self, size: int) -> None:
        self.left = size

    def take(self, value: JsonValue) -> bool:
        """Take the bytes of a value and a comma, if there are as many."""
        size = json_size(value) + 1
        if size > self.left:
            return False
        self.left -= size
        return True

    def fit_text(self, text: str, limit: int) -> str:
        """Cut a text to its limit, or to what is left; the empty text when that is next to nothing."""
        limit = min(limit, self.left - _QUOTES)
        fitted = fit_text(text, limit) if limit >= _SMALLEST else ""
        self.left -= json_size(fitted) if fitted else 0
        return fitted


class OutputBudget:
    """Room for the outputs of all steps together; ``room`` is what the status has left for them."""

    def __init__(self, room: int = STEP_OUTPUTS_BYTES) -> None:
        self._left = min(room, STEP_OUTPUTS_BYTES)

    def fit(self, value: JsonValue) -> tuple[JsonValue, bool]:
        """Fit the next step's output."""
        limit = min(STEP_OUTPUT_BYTES, self._left)
        if limit < _SMALLEST:
            return None, True
        fitted, truncated = fit_output(value, limit)
        self._left -= json_size(fitted)
        return fitted, truncated
