"""One conversation with an MCP server: the library's client, in a task of its own, behind checked connections."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from http import HTTPStatus
from importlib import import_module
from typing import TYPE_CHECKING, TypeVar, cast

from parley.runner.daemon_thread import in_daemon_thread
from parley.runner.tools.network import Network

if TYPE_CHECKING:
    from mcp.client.client import Client

MAX_ANSWER_BYTES = 8 * 1024 * 1024
"""Largest answer of a server to one request; a result may be far smaller."""
CLOSE_SECONDS = 3.0

Answer = TypeVar("Answer")


class ConversationFailed(Exception):
    """The server did not do its part; the text follows its name.

    Args:
        message: the text.
        code: of JSON-RPC, where it answered so.
        passing: whether it may be over in a moment, as where a server is being restarted.
        forgotten: whether the server knows nothing of this conversation, and has done nothing.
    """

    def __init__(
        self, message: str, code: int | None = None, *, passing: bool = False, forgotten: bool = False
    ) -> None:
        super().__init__(message)
        self.code = code
        self.passing = passing
        self.forgotten = forgotten


class McpConnection:
    """A connection to one server; open it with ``open``, and close it.

    Args:
        url: of the server.
        headers: of every request.
        allow_link_local: see ``addresses.refusal``.
        network: how to connect.
    """

    def __init__(
        self, url: str, headers: Mapping[str, str], *, allow_link_local: bool, network: Network
    ) -> None:
        self._url = url
        self._http, self._transport = network.client(
            headers, allow_link_local=allow_link_local, max_bytes=MAX_ANSWER_BYTES
        )
        self._closing = asyncio.Event()
        self._client: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self._failure = ConversationFailed("was asked when the conversation had ended")
        # The library's scopes must be left by the task that entered them, and calls come from others.
        self._holder = asyncio.create_task(self._hold())

    @property
    def alive(self) -> bool:
        """Whether more can be asked."""
        return not self._holder.done()

    async def ask(self, question: "Callable[[Client], Awaitable[Answer]]") -> Answer:
        """Ask the server something.

        Raises:
            ConversationFailed: there is no answer that could be read.
        """
        asking = asyncio.create_task(self._ask(question))
        try:
            await asyncio.wait({asking, self._holder}, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise self._failure
            return asking.result()
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    async def close(self) -> None:
        """End the conversation; a server that does not answer to that is left alone."""
        self._closing.set()
        if self._client.done():
            await asyncio.wait({self._holder}, timeout=CLOSE_SECONDS)
        self._holder.cancel()
        await asyncio.gather(self._holder, return_exceptions=True)

    async def _ask(self, question: "Callable[[Client], Awaitable[Answer]]") -> Answer:
        from mcp.shared.exceptions import MCPError  # noqa: PLC0415 - see load_library
        from pydantic import ValidationError  # noqa: PLC0415 - with it

        client = await asyncio.shield(self._client)
        try:
            return await question(client)
        except MCPError as error:
            raise ConversationFailed(
                self._said(error.message),
                error.code,
                passing=self._transport.passing,
                # So streamable HTTP says that a session has ended; in the first request there is none.
                forgotten=self._transport.status == HTTPStatus.NOT_FOUND,
            ) from error
        except ValidationError as error:
            raise ConversationFailed(self._said(str(error))) from error

    async def _hold(self) -> None:
        """Keep the client open. How it fails is told to those who wait for it; nobody awaits this task's result."""
        from mcp.client.client import Client  # noqa: PLC0415 - see load_library
        from mcp.client.streamable_http import streamable_http_client  # noqa: PLC0415 - see load_library

        try:
            async with (
                self._http,
                Client(
                    streamable_http_client(
                        self._url, http_client=self._http, max_sse_event_size=MAX_ANSWER_BYTES
                    ),
                    cache=None,
                ) as client,
            ):
                self._client.set_result(client)
                await self._closing.wait()
        except Exception as error:  # noqa: BLE001 - a group of whatever the library's tasks met
            self._failure = ConversationFailed(
                self._transport.problem or _words(error), passing=self._transport.passing
            )
        finally:
            if not self._client.done():
                self._client.set_exception(self._failure)
                self._client.exception()  # told, even if nobody asks any more

    def _said(self, message: str) -> str:
        """What became of a request. The library says of all failed ones the same; its transport knows more."""
        problem = self._transport.problem
        if problem is None:
            return f"answered: {_plain(message)}"
        return f"{problem}: {_plain(message)}" if problem.startswith("answered") else problem


def _words(error: Exception) -> str:
    """What the first of a group's errors says."""
    first: BaseException = error
    while isinstance(first, BaseExceptionGroup):
        first = cast("BaseExceptionGroup[BaseException]", first).exceptions[0]
    return f"does not speak MCP as it should: {_plain(str(first)) or type(first).__name__}"


def _plain(message: str) -> str:
    """Spare the reader what a validation library has to say."""
    return "what it answers is not of the protocol" if "validation error" in message else message


async def load_library() -> None:
    """Import the MCP library, which takes seconds, while the event loop goes on."""
    # What goes wrong is told; its log quotes whatever a server says, secrets that were sent to it included.
    logging.getLogger("mcp").setLevel(logging.CRITICAL)
    for module in ("mcp.client.client", "mcp.client.streamable_http"):
        await in_daemon_thread(partial(import_module, module))
