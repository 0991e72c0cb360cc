"""Who is slow to ask, on real sockets: a connection is not kept for a request that does not come."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvicorn
from parley.gateway.connections import PromptHeaders
from parley.gateway.main import server_config
from parley.gateway.settings import GatewaySettings

from tests.integration.gateway.running import LONG, QuietServer, free_port

REQUEST = b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n"


class Timed(PromptHeaders):
    """Patient until a test says otherwise."""

    header_seconds = LONG * 10


class Slow:
    """An app that answers when it is told to."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def __call__(self, _scope: Any, _receive: Any, send: Any) -> None:
        self.asked.set()
        await self.may_answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


class Client:
    """A connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def answer(self) -> bytes:
        async with asyncio.timeout(LONG):
            return await self._reader.readuntil(b"\r\n\r\nok")

    async def is_closed(self, drip: bytes) -> None:
        """Go on sending bytes of a header until the server closes, which says nothing."""
        async with asyncio.timeout(LONG):
            reading = asyncio.create_task(self._reader.read())
            with suppress(ConnectionError):
                while not reading.done():
                    self._writer.write(drip)
                    await asyncio.wait({reading}, timeout=0.02)
                assert await reading == b""


class Server:
    """An app at a port."""

    def __init__(self, app: Slow, port: int) -> None:
        self.app = app
        self._port = port

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            yield Client(reader, writer)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    app, port = Slow(), free_port()
    running = QuietServer(
        uvicorn.Config(
            app, port=port, http=Timed, lifespan="off", log_config=None, timeout_graceful_shutdown=1
        )
    )
    serving = asyncio.create_task(running.serve())
    async with asyncio.timeout(LONG):
        while not running.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
    yield Server(app, port)
    running.should_exit = True
    await serving


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> Any:
    """From now on headers must come soon."""
    return lambda: monkeypatch.setattr(Timed, "header_seconds", 0.1)


@pytest.mark.parametrize(
    ("begin", "drip"),
    [(b"", b""), (b"GET / HT", b""), (b"GET / HTTP/1.1\r\nX-Slow: ", b"a")],
)
async def test_a_request_that_does_not_come_loses_its_connection(
    server: Server, hurry: Any, begin: bytes, drip: bytes
) -> None:
    hurry()
    async with server.client() as client:
        client.send(begin)
        await client.is_closed(drip)
    assert not server.app.asked.is_set()


async def test_who_has_asked_is_waited_for(server: Server, hurry: Any) -> None:
    async with server.client() as client:
        # Given a request whose answer takes longer than another's headers may
        client.send(REQUEST)
        async with asyncio.timeout(LONG):
            await server.app.asked.wait()
        hurry()
        async with server.client() as late:
            await late.is_closed(b"a")
        # Then it is answered all the same
        server.app.may_answer.set()
        assert (await client.answer()).startswith(b"HTTP/1.1 200")


async def test_the_next_request_of_a_connection_must_come_in_time_once_it_begins(
    server: Server, hurry: Any
) -> None:
    server.app.may_answer.set()
    async with server.client() as client:
        for begin, rest in ((REQUEST, b""), (REQUEST[:9], REQUEST[9:])):
            client.send(begin)
            client.send(rest)
            assert (await client.answer()).startswith(b"HTTP/1.1 200")
        hurry()
        client.send(REQUEST[:9])
        await client.is_closed(b"a")


@pytest.mark.parametrize("drip", [b"", b"a"])
async def test_a_body_that_nobody_reads_any_more_does_not_keep_its_connection(
    server: Server, hurry: Any, drip: bytes
) -> None:
    # Given a request that is answered before its body has come
    server.app.may_answer.set()
    async with server.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: gateway\r\nContent-Length: 1000000\r\n\r\n")
        assert (await client.answer()).startswith(b"HTTP/1.1 200")
        # When a byte of it comes, which ends uvicorn's own time for idle connections
        hurry()
        client.send(b"a")
        # Then the rest has no longer than headers have
        await client.is_closed(drip)


def test_the_gateway_is_served_over_such_connections() -> None:
    config = server_config(GatewaySettings(database_url=""), Slow())
    config.load()
    assert config.http_protocol_class is PromptHeaders
