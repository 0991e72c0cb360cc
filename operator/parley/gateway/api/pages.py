"""Pages of lists that Kubernetes keeps, with filters that it does not know.

The API server's token of a chunk names the object that the chunk ended with. Who sees the whole list may carry it, in a
token of ours; for who sees some of it only, it stays in the store for 15 minutes, and what they carry is drawn at
random. Later, or with other filters, a token is refused (400, ``InvalidPageToken``): the list is begun again without.
"""

import base64
import hashlib
import json
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Generic, NamedTuple, Protocol, TypeVar

from fastapi import Query
from pydantic import BaseModel, Field, JsonValue, ValidationError

from parley.gateway.access.dependencies import NamespaceAccess
from parley.gateway.access.refusal import Refusal, bad_request
from parley.gateway.calling import Backend
from parley.store.errors import KeyReused
from parley.store.idempotency import remember, remembered

ItemT = TypeVar("ItemT")
PageTokenQuery = Annotated[
    str | None,
    Query(alias="pageToken", min_length=1, max_length=4096, description="nextPageToken of the page before"),
]

CHUNK = 200
"""Objects read at a time when not all of them are wanted: with a status of 64 KiB each they take 13 MB."""
MOST_CHUNKS = 10
"""Then a page ends, however few were found; the caller goes on with its token."""
HIDDEN_FOR = timedelta(minutes=15)
"""How long the store keeps a position: each page has its own. The API server's own last 5 to 10 minutes."""

_HIDDEN = re.compile(r"[A-Za-z0-9_-]{32}")


class Position(BaseModel):
    """Where the next page begins.

    Attributes:
        after: the API server's token of the chunk; empty for the first.
        skip: objects of that chunk that earlier pages have shown.
    """

    after: str = Field(max_length=2048)
    skip: int = Field(ge=0, lt=CHUNK)


_BEGINNING = Position(after="", skip=0)


class _Token(Position):
    """A position that the caller carries. ``filters``: hash of the list's filters."""

    filters: str = Field(max_length=64)


class Tokens(Protocol):
    """What stands for positions of one list with its filters."""

    async def read(self, token: str | None) -> Position:
        """Read a token; the list's beginning if there is none.

        Raises:
            Refusal: the token is none of this list (400).
        """
        ...

    async def write(self, position: Position) -> str:
        """Make the token of a position."""
        ...


class OpenTokens:
    """Tokens that hold their position. ``filters``: what the list is asked for with."""

    def __init__(self, filters: Mapping[str, JsonValue]) -> None:
        self._filters = _hash(filters)

    async def read(self, token: str | None) -> Position:
        """See ``Tokens``."""
        return _read(token, self._filters)

    async def write(self, position: Position) -> str:
        """See ``Tokens``."""
        return _write(_Token(after=position.after, skip=position.skip, filters=self._filters))


class HiddenTokens:
    """Tokens that say nothing: their positions are in the store for 15 minutes, where every gateway finds them.

    Args:
        backend: the store.
        scope: whose tokens these are: nobody else's are taken.
        filters: what the list is asked for with.
    """

    def __init__(self, backend: Backend, scope: str, filters: Mapping[str, JsonValue]) -> None:
        self._backend = backend
        self._scope = scope
        self._filters = _hash(filters)

    async def read(self, token: str | None) -> Position:
        """See ``Tokens``."""
        if token is None:
            return _BEGINNING
        if not _HIDDEN.fullmatch(token):
            raise _no_token()
        try:
            async with self._backend.store() as conn:
                kept = await remembered(conn, self._scope, token, self._filters)
        except KeyReused:
            raise _no_token() from None
        if kept is None:
            raise _no_token()
        return Position.model_validate(kept)

    async def write(self, position: Position) -> str:
        """See ``Tokens``."""
        token = secrets.token_urlsafe(24)
        async with self._backend.store() as conn:
            await remember(conn, self._scope, token, self._filters, position.model_dump(), HIDDEN_FOR)
        return token


def tokens_of(access: NamespaceAccess, backend: Backend, filters: Mapping[str, JsonValue]) -> Tokens:
    """Return the tokens that this caller may carry of a list of the namespace."""
    if access.only_user is None:
        return OpenTokens(filters)
    caller = access.caller
    scope = json.dumps(["pages", access.namespace, caller.username, caller.acting_for])
    return HiddenTokens(backend, scope, filters)


class FoundPage(NamedTuple, Generic[ItemT]):
    """What was found, and the token that continues it, if more may follow."""

    items: list[ItemT]
    next_page_token: str | None


async def find_page(
    read: Callable[[int, str], Awaitable[tuple[Sequence[ItemT], str]]],
    wanted: Callable[[ItemT], Awaitable[bool]],
    *,
    tokens: Tokens,
    limit: int,
    token: str | None,
    chunk_size: int = CHUNK,
) -> FoundPage[ItemT]:
    """Read chunks until a page is full.

    Args:
        read: reads a chunk of at most so many objects, from the API server's token on; returns the next one's token.
        wanted: the filter, with what the caller may not see: what is counted shows in the pages.
        tokens: of this list with its filters.
        limit: most items of the page.
        token: of the page before.
        chunk_size: objects read at a time; the same for all pages that skip any.

    Raises:
        Refusal: the token is none of this list (400).
    """
    position = await tokens.read(token)
    after, skip = position.after, position.skip
    found: list[ItemT] = []
    for _ in range(MOST_CHUNKS):
        chunk, following = await read(chunk_size, after)
        for index in range(skip, len(chunk)):
            if not await wanted(chunk[index]):
                continue
            if len(found) == limit:
                return FoundPage(found, await tokens.write(Position(after=after, skip=index)))
            found.append(chunk[index])
        if not following:
            return FoundPage(found, None)
        if len(found) == limit:
            return FoundPage(found, await tokens.write(Position(after=following, skip=0)))
        after, skip = following, 0
    return FoundPage(found, await tokens.write(Position(after=after, skip=0)))


def _hash(filters: Mapping[str, JsonValue]) -> str:
    text = json.dumps(filters, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _write(token: _Token) -> str:
    return base64.urlsafe_b64encode(token.model_dump_json().encode()).decode().rstrip("=")


def _read(token: str | None, filters: str) -> Position:
    if token is None:
        return _BEGINNING
    try:
        padded = token.encode("ascii") + b"=" * (-len(token) % 4)
        read = _Token.model_validate_json(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, ValidationError):
        read = None
    if read is None or read.filters != filters:
        raise _no_token()
    return read


def _no_token() -> Refusal:
    return bad_request(
        "pageToken",
        "this is no nextPageToken of this list with these filters, or it is too old: begin again without pageToken",
        reason="InvalidPageToken",
    )


def write_position(after: str, filters: Mapping[str, JsonValue]) -> str:
    """Make a token of a list that is continued by what its last item was."""
    return _write(_Token(after=after, skip=0, filters=_hash(filters)))


def read_position(token: str | None, filters: Mapping[str, JsonValue]) -> str | None:
    """Read such a token; None for the list's beginning.

    Raises:
        Refusal: the token is none of this list (400).
    """
    return _read(token, _hash(filters)).after or None
