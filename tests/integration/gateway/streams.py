"""Gateways on real ports over one store, and readers of their streams."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import httpx2
from fastapi import FastAPI
from parley.gateway.app import create_app
from parley.gateway.live.hub import Live
from parley.gateway.settings import GatewaySettings
from parley.store.pool import Pool

from tests.fake_kube import FakeKube
from tests.integration.gateway.people import EVERYTHING, NAMESPACE, Desk
from tests.integration.gateway.running import LONG, serving
from tests.integration.store.story import Story


@dataclass(frozen=True)
class Frame:
    """One server-sent event; a comment has neither name nor data."""

    event: str
    id: str | None
    data: Any

    @property
    def sequence(self) -> int:
        return int(self.id or -1)


@dataclass
class Stream:
    """An open stream; what it brought is kept, for failures to tell."""

    response: httpx2.Response
    frames: list[Frame] = field(default_factory=list[Frame])
    _lines: AsyncIterator[str] | None = None

    async def next(self) -> Frame | None:
        """Wait for the next frame; None at the end of the stream."""
        if self._lines is None:
            self._lines = self.response.aiter_lines()
        found: dict[str, str] = {}
        try:
            async with asyncio.timeout(LONG):
                async for line in self._lines:
                    if line:
                        name, _, value = line.partition(":")
                        found[name] = value.removeprefix(" ")
                    elif found:
                        break
        except TimeoutError:
            raise AssertionError(f"nothing more comes after {self.frames}") from None
        if not found:
            return None
        text = found.get("data")
        self.frames.append(
            Frame(found.get("event", ""), found.get("id"), None if text is None else json.loads(text))
        )
        return self.frames[-1]

    async def until(self, event: str, **data: Any) -> Frame:
        """Read on until a frame of this name, with these in its data."""
        while (frame := await self.next()) is not None:
            if frame.event == event and data.items() <= (frame.data or {}).items():
                return frame
        raise AssertionError(f"the stream ended without {event} {data}: {self.frames}")

    async def rest(self) -> list[Frame]:
        """Read to the end."""
        found: list[Frame] = []
        while (frame := await self.next()) is not None:
            found.append(frame)
        return found


@dataclass
class Gateway:
    """One replica."""

    app: FastAPI
    url: str
    desk: Desk

    @property
    def live(self) -> Live:
        return self.app.state.live

    @asynccontextmanager
    async def stream(
        self, path: str, token: str = "token-of-alice", *, method: str = "GET", **options: Any
    ) -> AsyncIterator[Stream]:
        headers = {"Authorization": f"Bearer {token}", **options.pop("headers", {})}
        url = f"{self.url}/v1/namespaces/{NAMESPACE}{path}"
        async with (
            httpx2.AsyncClient(timeout=LONG) as http,
            http.stream(method, url, headers=headers, **options) as response,
        ):
            if response.status_code != 200:
                raise AssertionError(f"{response.status_code}: {await response.aread()!r}")
            yield Stream(response)


@dataclass
class Replicas:
    """Gateways over one store and one API server, all of whose people may do all."""

    pool: Pool
    kube: FakeKube
    story: Story
    gateways: list[Gateway] = field(default_factory=list[Gateway])
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def start(self, **settings: Any) -> Gateway:
        """Start one more."""
        given = {"requests_per_second": 0, "streams_per_caller": 1000} | settings
        app = create_app(GatewaySettings(database_url="", **given), self.pool, self.kube)
        url = await self._stack.enter_async_context(serving(app))
        http = await self._stack.enter_async_context(httpx2.AsyncClient(base_url=url, timeout=LONG))
        desk = self.gateways[0].desk if self.gateways else Desk(self.kube, self.story, http)
        if not self.gateways:
            self.kube.allowed = desk.allows
            desk.person("alice", *EVERYTHING)
        self.gateways.append(Gateway(app, url, Desk(self.kube, self.story, http, desk.rights)))
        return self.gateways[-1]
