"""What a call gave, as the model gets it: storable, small enough, and without secrets."""

import json

from pydantic import JsonValue

from parley.resources.common import is_deeper_than, shorten
from parley.runner.text import storable, storable_text
from parley.runner.tools.errors import ToolProblem
from parley.runner.tools.secrets import ToolSecrets

MAX_RESULT_BYTES = 256 * 1024
"""Largest result of a call, as JSON: the model reads it in every later round."""
MAX_DEPTH = 64
MAX_SERVER_TEXT_BYTES = 1024
"""Most of a server's own words in a message."""


def usable(result: JsonValue, secrets: ToolSecrets) -> JsonValue:
    """Make a result fit to be stored and shown.

    Raises:
        ToolProblem: it is too large or too deep; the text follows the tool's name.
    """
    if is_deeper_than(result, MAX_DEPTH):
        raise ToolProblem(f"gave a result that is nested deeper than {MAX_DEPTH} levels: ask for less")
    result = storable(secrets.hide_in(result))
    size = len(json.dumps(result, ensure_ascii=False, separators=(",", ":")).encode())
    if size > MAX_RESULT_BYTES:
        raise ToolProblem(too_large())
    return result


def too_large() -> str:
    """What is wrong with a larger result, after the tool's name."""
    return f"gave a result of more than {MAX_RESULT_BYTES // 1024} KiB: ask for less"


def in_words(text: str, secrets: ToolSecrets) -> str:
    """A server's own words for a message: one line, cut, without secrets."""
    # Hidden before it is cut: half a secret is one that is not found.
    text = secrets.hide(storable_text(text))
    return shorten(" ".join(text.split()), MAX_SERVER_TEXT_BYTES) or "nothing"
