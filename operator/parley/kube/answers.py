"""What the API server's answers say: a JSON object, a page of a list, or a refusal."""

import json
from collections.abc import Mapping
from typing import Protocol, cast

import aiohttp
from pydantic import JsonValue

from parley.kube.client import JsonObject, Page
from parley.kube.errors import KubeUnavailable, error_for


class Answer(Protocol):
    """What the package's transport returns, as far as it is used here."""

    status: int
    reason: str | None
    response: aiohttp.ClientResponse

    @property
    def headers(self) -> Mapping[str, str]:
        """The answer's headers."""
        ...

    async def read(self) -> bytes:
        """Return the whole body."""
        ...


def read_page(answer: JsonObject, *, first: bool) -> tuple[Page, str]:
    """Return the page and the token that continues the list; an empty one at its end."""
    metadata = cast("Mapping[str, str]", answer.get("metadata") or {})
    items = cast("list[JsonObject]", answer.get("items") or [])
    return Page(items, metadata.get("resourceVersion", ""), first), metadata.get("continue", "")


def decode(answer: Answer, raw: bytes, what: str) -> JsonObject:
    """Return the object in an answer; ``what`` was asked, for messages.

    Raises:
        KubeError: The answer is a refusal, or none of an API server's.
    """
    try:
        decoded: JsonValue = json.loads(raw) if raw else {}
    except ValueError:
        decoded = None
    if 200 <= answer.status < 300:
        if isinstance(decoded, dict):
            return decoded
        message = f"the answer to {what} is no JSON object; is something between here and the API server?"
        raise KubeUnavailable(answer.status, "BadAnswer", message)
    refusal = decoded if isinstance(decoded, dict) and decoded.get("kind") == "Status" else {}
    reason = str(refusal.get("reason") or answer.reason or "Unknown")
    message = str(refusal.get("message") or raw[:200].decode(errors="replace") or reason)
    raise error_for(answer.status, reason, message, retry_after=_retry_after(answer))


def _retry_after(answer: Answer) -> float | None:
    value = answer.headers.get("Retry-After", "")
    return float(value) if value.isdigit() else None
