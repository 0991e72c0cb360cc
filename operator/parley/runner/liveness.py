"""Tells the kubelet that a runner which stays with its agent still turns: one that hangs is started again.

Nobody else would see it: the leader takes what it held to another, and it would hold its place for ever.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_PATIENCE = 5.0
_MOST_BYTES = 4096


@asynccontextmanager
async def answering(port: int, host: str | None = None) -> AsyncGenerator[int]:
    """Answer every request on a port for the block; gives the port, a free one for 0.

    Raises:
        OSError: the port cannot be had.
    """
    server = await asyncio.start_server(_answer, host, port, limit=_MOST_BYTES)
    async with server:
        yield int(server.sockets[0].getsockname()[1])


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        async with asyncio.timeout(_PATIENCE):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(_ANSWER)
            await writer.drain()
    writer.close()
