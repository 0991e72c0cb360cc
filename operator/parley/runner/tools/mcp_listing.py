"""What MCP servers list: asked page by page, and kept for a while."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import JsonValue

from parley.resources.common import is_deeper_than
from parley.runner.tools.mcp_connection import ConversationFailed, McpConnection

if TYPE_CHECKING:
    from mcp.client.client import Client
    from mcp_types import Tool

KEEP_SECONDS = 300.0
MAX_PAGES = 50
MAX_TOOLS = 1000
MAX_SCHEMA_DEPTH = 64


@dataclass(frozen=True, slots=True)
class ListedTool:
    """A tool as its server describes it."""

    name: str
    description: str
    parameters: Mapping[str, JsonValue]
    result_schema: Mapping[str, JsonValue] | None


class Listings:
    """What servers have listed, by whatever tells them apart. One serves the process: a task's steps ask the same."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[object, tuple[float, Mapping[str, ListedTool]]] = {}

    def get(self, server: object) -> Mapping[str, ListedTool] | None:
        """Return what a server has listed in the last five minutes."""
        until, tools = self._kept.get(server, (0.0, {}))
        return tools if self._clock() < until else None

    def put(self, server: object, tools: Mapping[str, ListedTool]) -> None:
        """Keep what a server has listed now."""
        now = self._clock()
        self._kept = {key: kept for key, kept in self._kept.items() if now < kept[0]}
        self._kept[server] = (now + KEEP_SECONDS, tools)

    def forget(self, server: object) -> None:
        """Ask anew next time."""
        self._kept.pop(server, None)


LISTINGS = Listings()


async def list_tools(connection: McpConnection) -> dict[str, ListedTool]:
    """Ask a server for all its tools, by name.

    Raises:
        ConversationFailed: it does not say, or does not come to an end.
    """
    tools: dict[str, ListedTool] = {}
    cursor: str | None = None
    for _ in range(MAX_PAGES):
        page, cursor = await connection.ask(lambda client, cursor=cursor: _page(client, cursor))
        tools |= {tool.name: tool for tool in page if tool.name not in tools}
        if len(tools) > MAX_TOOLS:
            raise ConversationFailed(f"lists more than {MAX_TOOLS} tools")
        if cursor is None:
            return tools
    raise ConversationFailed(f"lists its tools on more than {MAX_PAGES} pages")


async def _page(client: "Client", cursor: str | None) -> tuple[list[ListedTool], str | None]:
    answer = await client.list_tools(cursor=cursor)
    return [_listed(tool) for tool in answer.tools], answer.next_cursor


def _listed(tool: "Tool") -> ListedTool:
    for schema in (tool.input_schema, tool.output_schema):
        if schema is not None and is_deeper_than(schema, MAX_SCHEMA_DEPTH):
            raise ConversationFailed(
                f"lists the tool {tool.name} with a schema deeper than {MAX_SCHEMA_DEPTH} levels"
            )
    return ListedTool(tool.name, tool.description or "", tool.input_schema, tool.output_schema)
