"""The status budget: at most 64 KiB whatever a task did (design 3.3). What is cut is whole in Postgres."""

import json

from pydantic import JsonValue

from parley.resources.common import shorten

STEP_OUTPUT_BYTES = 1024
STEP_OUTPUTS_BYTES = 24 * 1024
TASK_OUTPUT_BYTES = 8 * 1024
_SMALLEST = 16


def json_size(value: JsonValue) -> int:
    """Bytes of a value as compact JSON."""
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def fit_output(value: JsonValue, limit: int) -> tuple[JsonValue, bool]:
    """Return a value if it fits, a text cut, anything else dropped; tells whether something is missing."""
    if json_size(value) <= limit:
        return value, False
    if not isinstance(value, str):
        return None, True
    # Escapes make JSON longer than the text; halving until it fits is quick, for the excess is bounded.
    room = limit - 2
    text = shorten(value, room)
    while json_size(text) > limit:
        room = room * 3 // 4
        text = shorten(value, room)
    return text, True


class OutputBudget:
    """Room for the outputs of all steps together."""

    def __init__(self) -> None:
        self._left = STEP_OUTPUTS_BYTES

    def fit(self, value: JsonValue) -> tuple[JsonValue, bool]:
        """Fit the next step's output."""
        limit = min(STEP_OUTPUT_BYTES, self._left)
        if limit < _SMALLEST:
            return None, True
        fitted, truncated = fit_output(value, limit)
        self._left -= json_size(fitted)
        return fitted, truncated
