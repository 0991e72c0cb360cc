"""People who chat: they post a message, read its turn's stream, and post it again where that broke."""

import asyncio
import json
import random
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx2

_GIVE_UP_SECONDS = 120.0
_PAUSE_SECONDS = (0.025, 0.05)
"""Before a message is posted again, as Parley's own client waits at first."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One message and its answer.

    Attributes:
        began: by the monotonic clock, when it was posted.
        repeats: how often it was posted again, with the same key.
    """

    session: str
    message: str
    answer: str
    began: float
    seconds: float
    repeats: int


class Gateways:
    """Connections to all gateways; as by a load balancer, what one of them refuses to take goes to the next."""

    def __init__(self, urls: Sequence[str], token: str) -> None:
        self.urls = list(urls)
        self._http = httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {token}"},
            timeout=httpx2.Timeout(_GIVE_UP_SECONDS, connect=2.0),
            limits=httpx2.Limits(max_connections=1000, max_keepalive_connections=1000),
            trust_env=False,
        )
        self._next = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def chat(
        self, path: str, user: str, body: dict[str, Any], key: str
    ) -> AsyncIterator[tuple[str, Any]]:
        """Post a message for a user; yields the stream's events: name and data."""
        headers = {"Parley-User": user, "Idempotency-Key": key, "Accept": "text/event-stream"}
        async with aclosing(await self._post(path, body, headers)) as answer:
            if answer.status_code >= 400:
                text = (await answer.aread()).decode()
                if answer.status_code in {429, 503}:
                    raise httpx2.ReadError(text)
                raise AssertionError(f"{answer.status_code}: {text}")
            name, data = "message", ""
            async for line in answer.aiter_lines():
                field, _, value = line.partition(":")
                if not line:
                    if data:
                        yield name, json.loads(data)
                    name, data = "message", ""
                elif field == "event":
                    name = value.strip()
                elif field == "data":
                    data += value.strip()

    async def _post(self, path: str, body: dict[str, Any], headers: dict[str, str]) -> httpx2.Response:
        for _ in self.urls[1:]:
            try:
                return await self._post_to_next(path, body, headers)
            except httpx2.ConnectError:
                continue
        return await self._post_to_next(path, body, headers)

    async def _post_to_next(
        self, path: str, body: dict[str, Any], headers: dict[str, str]
    ) -> httpx2.Response:
        self._next += 1
        url = self.urls[self._next % len(self.urls)] + path
        request = self._http.build_request("POST", url, json=body, headers=headers)
        return await self._http.send(request, stream=True)


class Person:
    """Chats in one session, which bears their name."""

    def __init__(self, session: str, gateways: Gateways, namespace: str) -> None:
        self.session = session
        self._gateways = gateways
        self._path = f"/v1/namespaces/{namespace}/sessions/{session}/chat"

    async def say(self, message: str) -> Turn:
        """Post a message and read to the turn's end; a stream that broke is taken up with the same key."""
        key, began, repeats = uuid.uuid4().hex, time.monotonic(), 0
        async with asyncio.timeout(_GIVE_UP_SECONDS):
            while True:
                try:
                    done = await self._read(message, key)
                except (httpx2.HTTPError, EOFError):
                    repeats += 1
                    await asyncio.sleep(random.uniform(*_PAUSE_SECONDS))
                    continue
                break
        seconds = time.monotonic() - began
        assert done["phase"] == "Succeeded", (self.session, done)
        return Turn(self.session, message, str(done.get("output")), began, seconds, repeats)

    async def _read(self, message: str, key: str) -> dict[str, Any]:
        done: dict[str, Any] | None = None
        # To its end: the connection is the next message's then.
        async for name, data in self._gateways.chat(self._path, self.session, {"content": message}, key):
            if name == "done":
                done = data
        if done is None:
            raise EOFError("the stream ended before the turn did")
        return done
