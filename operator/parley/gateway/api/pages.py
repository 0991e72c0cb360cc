"""Pages of lists that Kubernetes keeps, with filters that it does not know."""

import base64
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Generic, NamedTuple, TypeVar

from fastapi import Query
from pydantic import BaseModel, Field, JsonValue, ValidationError

from parley.gateway.access.refusal import bad_request

ItemT = TypeVar("ItemT")
PageTokenQuery = Annotated[
    str | None,
    Query(alias="pageToken", min_length=1, max_length=4096, description="nextPageToken of the page before"),
]

CHUNK = 200
"""Objects read at a time when not all of them are wanted: with a status of 64 KiB each they take 13 MB."""
MOST_CHUNKS = 10
"""Then a page ends, however few were found; the caller goes on with its token."""


class _Token(BaseModel):
    """Where the next page begins, and of what list.

    Attributes:
        after: the API server's token of the chunk; empty for the first.
        skip: objects of that chunk that earlier pages have shown.
        filters: hash of the filters.
    """

    after: str = Field(max_length=2048)
    skip: int = Field(ge=0, lt=CHUNK)
    filters: str = Field(max_length=64)


class FoundPage(NamedTuple, Generic[ItemT]):
    """What was found, and the token that continues it, if more may follow."""

    items: list[ItemT]
    next_page_token: str | None


async def find_page(
    read: Callable[[int, str], Awaitable[tuple[Sequence[ItemT], str]]],
    wanted: Callable[[ItemT], bool],
    *,
    filters: Mapping[str, JsonValue],
    limit: int,
    token: str | None,
    chunk_size: int = CHUNK,
) -> FoundPage[ItemT]:
    """Read chunks until a page is full.

    Args:
        read: reads a chunk of at most so many objects, from the API server's token on; returns the next one's token.
        wanted: the filter.
        filters: what the list is asked for with: a token is good for the same only.
        limit: most items of the page.
        token: of the page before.
        chunk_size: objects read at a time; the same for all pages that skip any.

    Raises:
        Refusal: the token is none of this list (400).
    """
    named = _hash(filters)
    position = _read(token, named)
    after, skip = position.after, position.skip
    found: list[ItemT] = []
    for _ in range(MOST_CHUNKS):
        chunk, following = await read(chunk_size, after)
        for index in range(skip, len(chunk)):
            if not wanted(chunk[index]):
                continue
            if len(found) == limit:
                return FoundPage(found, _write(_Token(after=after, skip=index, filters=named)))
            found.append(chunk[index])
        if not following:
            return FoundPage(found, None)
        if len(found) == limit:
            return FoundPage(found, _write(_Token(after=following, skip=0, filters=named)))
        after, skip = following, 0
    return FoundPage(found, _write(_Token(after=after, skip=0, filters=named)))


def _hash(filters: Mapping[str, JsonValue]) -> str:
    text = json.dumps(filters, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _write(token: _Token) -> str:
    return base64.urlsafe_b64encode(token.model_dump_json().encode()).decode().rstrip("=")


def _read(token: str | None, filters: str) -> _Token:
    if token is None:
        return _Token(after="", skip=0, filters=filters)
    try:
        padded = token.encode("ascii") + b"=" * (-len(token) % 4)
        read = _Token.model_validate_json(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, ValidationError):
        read = None
    if read is None or read.filters != filters:
        raise bad_request(
            "pageToken",
            "this is no nextPageToken of this list with these filters: begin again without pageToken",
            reason="InvalidPageToken",
        )
    return read


def write_position(after: str, filters: Mapping[str, JsonValue]) -> str:
    """Make a token of a list that is continued by what its last item was."""
    return _write(_Token(after=after, skip=0, filters=_hash(filters)))


def read_position(token: str | None, filters: Mapping[str, JsonValue]) -> str | None:
    """Read such a token; None for the list's beginning.

    Raises:
        Refusal: the token is none of this list (400).
    """
    return _read(token, _hash(filters)).after or None
