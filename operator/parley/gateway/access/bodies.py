"""Request bodies of people: read within a time, and refused where JSON readers would differ about them."""

import asyncio
import email.message
import json
import math
import re
from typing import Any, cast

from fastapi import Request
from pydantic import JsonValue

from parley.gateway.access.refusal import Refusal, bad_request
from parley.resources.common import is_deeper_than

MAX_LEVELS = 64
"""Levels of lists and maps in a body."""
MAX_PARTS = 50_000
"""Lists, maps and their entries in a body: two bytes of one become a hundred in memory."""

_TEXT = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)


async def read_json(request: Request, seconds: float) -> bytes:
    """Read and check a body of JSON; ``request.body()`` has it then.

    Raises:
        Refusal: it is no JSON by its type (415) or content (400), or comes too slowly (408).
    """
    _require_json(request.headers.get("Content-Type"))
    try:
        async with asyncio.timeout(seconds):
            raw = await request.body()
    except TimeoutError:
        detail = f"the body did not arrive within {seconds:g} s: send the request again"
        raise Refusal(408, detail, reason="Timeout", headers={"Connection": "close"}) from None
    check_json(raw)
    return raw


def check_json(raw: bytes) -> None:
    """Let JSON pass that everybody reads alike.

    Raises:
        Refusal: it is empty, no UTF-8, no JSON, nested too deep, of too many parts, or names a key twice (400).
    """
    if not raw:
        raise bad_request("body", "the body is empty: send a JSON object", reason="InvalidJSON")
    # What stands in texts is no structure; most bodies are too small for that to be looked at.
    if _parts(raw) > MAX_PARTS and _parts(_TEXT.sub(b"", raw)) > MAX_PARTS:
        detail = f"the body has more than {MAX_PARTS:,} lists, maps and entries: send less at once"
        raise bad_request("body", detail, reason="InvalidJSON")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise bad_request(
            "body", f"byte {error.start} of the body is no UTF-8: send JSON in UTF-8", reason="InvalidJSON"
        ) from None
    try:
        value = cast(
            "JsonValue",
            json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite),
        )
    except RecursionError:
        raise _too_deep() from None
    except _Twice as twice:
        raise bad_request(
            "body", f"the body names {twice} twice in one object: name it once", reason="InvalidJSON"
        ) from None
    except ValueError as error:
        raise bad_request("body", f"the body is no JSON: {error}", reason="InvalidJSON") from None
    if is_deeper_than(value, MAX_LEVELS):
        raise _too_deep()


def _parts(raw: bytes) -> int:
    return raw.count(b",") + raw.count(b"[") + raw.count(b"{")


class _Twice(Exception):
    """A key stands twice in one object."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise _Twice(json.dumps(twice[:100]))
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is larger than any number that is kept")
    return value


def _too_deep() -> Refusal:
    return bad_request("body", f"the body is nested deeper than {MAX_LEVELS} levels", reason="InvalidJSON")


def _require_json(content_type: str | None) -> None:
    message = email.message.Message()
    message["content-type"] = content_type or ""
    charset = str(message.get_param("charset", "utf-8")).lower()
    if content_type is None or message.get_content_type() != "application/json" or charset != "utf-8":
        raise Refusal(
            415,
            "send the body as JSON in UTF-8, with `Content-Type: application/json`",
            reason="UnsupportedMediaType",
            field="Content-Type",
        )
