"""What an http tool's server answered, read as a result."""

import json
from typing import NoReturn

import httpx2
from pydantic import JsonValue

from parley.runner.tools.errors import ToolProblem

_TEXT_TYPES = frozenset(
    {
        "application/xml",
        "application/yaml",
        "application/x-yaml",
        "application/x-ndjson",
        "application/jsonl",
        "application/javascript",
    }
)
_HEAD_HEADERS = ("content-type", "content-length", "etag", "last-modified")


def read_answer(response: httpx2.Response, body: bytes) -> JsonValue:
    """Read the answer to a request: JSON is JSON, a text is a text.

    Raises:
        ToolProblem: it is neither; the text follows the name of the server.
    """
    if response.request.method == "HEAD":
        told = {name: response.headers[name] for name in _HEAD_HEADERS if name in response.headers}
        return {"status": response.status_code, "headers": dict[str, JsonValue](told)}
    if not body:
        return None
    media_type = _media_type(response)
    if media_type == "application/json" or media_type.endswith("+json"):
        return _read_json(body)
    if media_type.startswith("text/") or media_type.endswith("+xml") or media_type in _TEXT_TYPES:
        return read_text(response, body)
    what = f"as {media_type[:64]}" if media_type else "without a Content-Type"
    raise ToolProblem(f"answered {len(body)} bytes {what}: only JSON and text can be read")


def read_text(response: httpx2.Response, body: bytes) -> str:
    """Read a text in the encoding that the answer names, UTF-8 if it names none."""
    try:
        return body.decode(response.charset_encoding or "utf-8-sig", "replace")
    except (LookupError, ValueError):
        return body.decode("utf-8", "replace")


def _media_type(response: httpx2.Response) -> str:
    return str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()


def _read_json(body: bytes) -> JsonValue:
    try:
        return json.loads(body.decode("utf-8-sig"), parse_constant=_no_constant)
    except RecursionError:
        raise ToolProblem("answered JSON that is nested too deeply") from None
    except ValueError as error:
        raise ToolProblem(f"answered what says that it is JSON, and is none: {error}") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
