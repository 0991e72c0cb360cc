"""Waiting for the operator to take in a Session that was made a moment ago."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from parley.gateway.access.dependencies import SessionAccess
from parley.gateway.access.people import People
from parley.gateway.access.refusal import not_found
from parley.store.errors import SessionNotReady, SessionOver

_READY_SECONDS = 5.0
_LOOK_SECONDS = 0.1

T = TypeVar("T")


async def when_ready(people: People, access: SessionAccess, write: Callable[[], Awaitable[T]]) -> T:
    """Write in a session, as soon as it is there.

    Raises:
        Refusal: the Session is gone (404).
        SessionNotReady: it was not there in time.
        SessionOver: it has ended.
    """
    clock = asyncio.get_running_loop().time
    end = clock() + _READY_SECONDS
    while True:
        try:
            return await write()
        except SessionNotReady:
            if clock() >= end:
                raise
            await asyncio.sleep(_LOOK_SECONDS)
        except SessionOver as over:
            if over.reason != "Gone":
                raise
            people.sessions.forget(access.namespace, access.name)
            raise not_found("Session", access.namespace, access.name) from None
