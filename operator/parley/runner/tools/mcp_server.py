"""An agent's mcp tool: the tools of one server, and calls of them."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import JsonValue, TypeAdapter

from parley.resources.common import parse_duration
from parley.resources.tools import McpTool
from parley.runner.tools.errors import ToolProblem
from parley.runner.tools.mcp_connection import ConversationFailed, McpConnection, load_library
from parley.runner.tools.mcp_listing import ListedTool, Listings, list_tools
from parley.runner.tools.network import Network
from parley.runner.tools.results import in_words
from parley.runner.tools.secrets import ToolSecrets

if TYPE_CHECKING:
    from mcp.client.client import Client
    from mcp_types import CallToolResult, InputRequiredResult

KEY_META = "parley.dev/idempotency-key"
"""Under which name a call's ``_meta`` carries its journal id."""
PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 8.0)
"""Seconds between tries to hear from a server that is away, before a turn begins; ``timeout`` bounds them all."""
_HEADER_MISMATCH = -32020
_LOST = frozenset({"unknown", "not found", "no such", "not exist", "no longer"})


class McpServer:
    """One server. Close it at the end.

    Args:
        mcp: the tool.
        headers: rendered.
        secrets: never told.
        network: how to connect.
        listings: where to keep what it lists.
    """

    def __init__(
        self,
        mcp: McpTool,
        headers: Mapping[str, str],
        *,
        secrets: ToolSecrets,
        network: Network,
        listings: Listings,
    ) -> None:
        self._mcp = mcp
        self._headers = headers
        self._secrets = secrets
        self._network = network
        self._listings = listings
        self._key = (mcp.url, tuple(sorted(headers.items())), mcp.allow_link_local)
        self._seconds = parse_duration(mcp.timeout).total_seconds()
        self._connection: McpConnection | None = None

    async def tools(self) -> Mapping[str, ListedTool]:
        """All tools that the server lists, by name; as of the last five minutes.

        Raises:
            ToolProblem: it does not say; the text follows the tool's name.
        """
        if (known := self._listings.get(self._key)) is not None:
            return known
        # A turn that has not begun can wait for a server that is being restarted, and would fail without it.
        return await self._ask_for_tools(self._seconds, patient=True)

    async def call(
        self, name: str, arguments: Mapping[str, JsonValue], *, key: str, seconds: float
    ) -> JsonValue:
        """Call a tool: its structured content, else its text.

        Raises:
            ToolProblem: there is no result; the text follows the tool's name.
        """
        await load_library()
        try:
            async with asyncio.timeout(seconds):
                result = await self._call(name, arguments, key)
        except TimeoutError:
            await self.close()
            raise ToolProblem(
                f"{self._mcp.url} did not answer within {seconds:g} s: try again later"
            ) from None
        except ConversationFailed as failed:
            said = in_words(str(failed), self._secrets)
            if failed.passing or failed.forgotten:
                await self.close()
            if failed.code is not None:
                await self._check_listed(name)
            raise ToolProblem(f"{self._mcp.url} {said}") from failed
        if not result.is_error:
            return _content(result)
        said = in_words(_text(result), self._secrets)
        if any(word in said.lower() for word in _LOST):
            await self._check_listed(name)
        raise ToolProblem(f"{self._mcp.url} says: {said}")

    async def close(self) -> None:
        """End the conversation."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()

    async def _open(self) -> McpConnection:
        if self._connection is not None and not self._connection.alive:
            await self.close()
        if self._connection is None:
            self._connection = McpConnection(
                self._mcp.url,
                self._headers,
                allow_link_local=self._mcp.allow_link_local,
                network=self._network,
            )
        return self._connection

    async def _ask_for_tools(self, seconds: float, *, patient: bool = False) -> Mapping[str, ListedTool]:
        await load_library()
        failed: ConversationFailed | None = None
        try:
            async with asyncio.timeout(seconds):
                for pause in PAUSES if patient else ():
                    try:
                        return self._kept(await list_tools(await self._open()))
                    except ConversationFailed as error:
                        if not error.passing:
                            raise
                        failed = error
                        await self.close()
                    await asyncio.sleep(pause)
                return self._kept(await list_tools(await self._open()))
        except TimeoutError:
            await self.close()
            if failed is None:
                raise ToolProblem(f"{self._mcp.url} did not list its tools within {seconds:g} s") from None
            raise self._unlisted(failed, f", and has not come back within {seconds:g} s") from failed
        except ConversationFailed as error:
            raise self._unlisted(error) from error

    def _kept(self, tools: Mapping[str, ListedTool]) -> Mapping[str, ListedTool]:
        self._listings.put(self._key, tools)
        return tools

    def _unlisted(self, failed: ConversationFailed, more: str = "") -> ToolProblem:
        return ToolProblem(f"{self._mcp.url} {in_words(str(failed), self._secrets)}{more}")

    async def _check_listed(self, name: str) -> None:
        """See, after a call has failed, whether that is because the tool is gone.

        Raises:
            ToolProblem: it is.
        """
        self._listings.forget(self._key)
        try:
            tools = await self._ask_for_tools(self._seconds)
        except ToolProblem:
            return  # what the call met is told
        if name not in tools:
            raise ToolProblem(f"{self._mcp.url} no longer has the tool {name}; it has {names_of(tools)}")

    async def _call(self, name: str, arguments: Mapping[str, JsonValue], key: str) -> "CallToolResult":
        from mcp_types import InputRequiredResult  # noqa: PLC0415 - see load_library

        connection = await self._open()
        try:
            result = await connection.ask(lambda client: _send(client, name, arguments, key))
        except ConversationFailed as failed:
            if failed.forgotten:
                # Restarted meanwhile: the call has not begun, and goes over a new conversation.
                await self.close()
                connection = await self._open()
            elif failed.code == _HEADER_MISMATCH:
                # Some servers want arguments in headers too; which ones, the client learns from their list.
                await list_tools(connection)
            else:
                raise
            result = await connection.ask(lambda client: _send(client, name, arguments, key))
        if isinstance(result, InputRequiredResult):
            raise ToolProblem(
                f"{self._mcp.url} asks for more input in the middle of a call: that is not supported"
            )
        return result


def names_of(tools: Mapping[str, ListedTool]) -> str:
    """Name a server's tools in a message, as many as can be read."""
    shown = sorted(tools)[:20]
    return (", ".join(shown) + (", …" if len(tools) > len(shown) else "")) or "none"


async def _send(
    client: "Client", name: str, arguments: Mapping[str, JsonValue], key: str
) -> "CallToolResult | InputRequiredResult":
    """Send a call past the library's own check of its result: a server's pattern could stop this process."""
    from mcp_types import (  # noqa: PLC0415 - see load_library
        CallToolRequest,
        CallToolRequestParams,
        CallToolResult,
        InputRequiredResult,
    )

    params = CallToolRequestParams.model_validate(
        {"name": name, "arguments": dict(arguments), "_meta": {KEY_META: key}}
    )
    answers: TypeAdapter[CallToolResult | InputRequiredResult] = TypeAdapter(
        CallToolResult | InputRequiredResult
    )
    return await client.session.send_request(CallToolRequest(params=params), answers)


def _content(result: "CallToolResult") -> JsonValue:
    if result.structured_content is not None:
        return result.structured_content
    return _text(result)


def _text(result: "CallToolResult") -> str:
    """The texts of a result; what a model cannot read is named in their place."""
    return "\n".join(_part(block.model_dump(mode="json", by_alias=True)) for block in result.content)


def _part(block: Mapping[str, JsonValue]) -> str:
    kind = block.get("type")
    resource = block.get("resource")
    if kind == "text":
        return str(block.get("text", ""))
    if isinstance(resource, dict) and isinstance(resource.get("text"), str):
        return str(resource["text"])
    if kind == "resource_link":
        return f"[a link: {block.get('uri')}]"
    return f"[{kind} {block.get('mimeType') or ''} left out: only text can be read]"
