"""An agent's mcp tool: which of a server's tools the model may call, and by which names."""

from collections.abc import Mapping

from pydantic import JsonValue

from parley.resources.common import parse_duration, shorten
from parley.resources.tools import McpTool, ToolSpec
from parley.runner.chat import ToolDefinition
from parley.runner.tools.errors import ToolProblem
from parley.runner.tools.headers import render_headers
from parley.runner.tools.mcp_listing import ListedTool, Listings
from parley.runner.tools.mcp_server import McpServer, names_of
from parley.runner.tools.naming import model_name
from parley.runner.tools.network import Network
from parley.runner.tools.rendering import rendered
from parley.runner.tools.secrets import ToolSecrets
from parley.templates.errors import TemplateError

MAX_DESCRIPTION_BYTES = 1024
"""Longest description that all model providers take."""


class McpTools:
    """The tools that an agent has from one server. Close it at the end.

    Args:
        tool: with ``mcp``.
        scope: what the headers' templates know.
        secrets: of the headers.
        network: how to connect.
        listings: where to keep what the server lists.
    """

    def __init__(
        self,
        tool: ToolSpec,
        scope: Mapping[str, JsonValue],
        secrets: ToolSecrets,
        network: Network,
        listings: Listings,
    ) -> None:
        if tool.mcp is None:
            raise ValueError(f"{tool.name} is no mcp tool")
        self._tool = tool
        self._mcp: McpTool = tool.mcp
        self._scope = scope
        self._secrets = secrets
        self._network = network
        self._listings = listings
        self._server: McpServer | None = None
        self._listed: dict[str, ListedTool] | None = None

    async def ask(self) -> None:
        """Ask the server for its tools, and pick out those that the agent has.

        Raises:
            ToolProblem: it does not say, or lacks one; the text follows the tool's name.
        """
        tools = await (await self._server_now()).tools()
        wanted = self._mcp.tool_names
        missing = [name for name in wanted or () if name not in tools]
        if missing:
            raise ToolProblem(
                f"{self._mcp.url} has no tool {', '.join(missing)}, which toolNames has; it has {names_of(tools)}: "
                "correct the Agent or the server"
            )
        picked = list(tools.values()) if wanted is None else [tools[name] for name in wanted]
        listed: dict[str, ListedTool] = {}
        for tool in picked:
            name = model_name(self._tool.name, tool.name)
            if name in listed:
                raise ToolProblem(
                    f"two tools of {self._mcp.url} would be called {name}: name one in toolNames"
                )
            listed[name] = tool
        self._listed = listed

    def offered(self) -> list[ToolDefinition]:
        """The tools as the model is shown them; what ``ask`` has found."""
        return [
            ToolDefinition(name, self._describe(tool), dict(tool.parameters))
            for name, tool in (self._listed or {}).items()
        ]

    def may_have(self, name: str) -> bool:
        """Whether a called name is one of them; True as long as the server was not asked."""
        return self._listed is None or self._known(name) is not None

    def result_schema(self, name: str) -> Mapping[str, JsonValue] | None:
        """What the server says of a tool's result, if it says anything."""
        tool = self._known(name)
        return None if tool is None else tool.result_schema

    async def listed(self, name: str) -> ListedTool:
        """Return the tool that a called name means; asks the server, if that was not done.

        Raises:
            ToolProblem: it has none.
        """
        if self._listed is None:
            await self.ask()
        tool = self._known(name)
        if tool is None:
            has = names_of({tool.name: tool for tool in (self._listed or {}).values()})
            raise ToolProblem(f"{self._mcp.url} has no such tool; the agent has {has} of it")
        return tool

    async def call(
        self, name: str, arguments: Mapping[str, JsonValue], *, key: str, limit: float
    ) -> JsonValue:
        """Call a tool.

        Raises:
            ToolProblem: there is no result; the text follows the tool's name.
        """
        tool = await self.listed(name)
        seconds = min(limit, parse_duration(self._mcp.timeout).total_seconds())
        server = await self._server_now()
        return await server.call(tool.name, arguments, key=key, seconds=seconds)

    async def close(self) -> None:
        """End the conversation with the server."""
        if self._server is not None:
            await self._server.close()

    def _known(self, name: str) -> ListedTool | None:
        """By the name that the model knows, else by the server's own."""
        listed = self._listed or {}
        if name in listed:
            return listed[name]
        own = name.removeprefix(f"{self._tool.name}_")
        return next((tool for tool in listed.values() if tool.name == own), None)

    def _describe(self, tool: ListedTool) -> str:
        parts = (self._tool.description, tool.description)
        return shorten("\n".join(part for part in parts if part), MAX_DESCRIPTION_BYTES)

    async def _server_now(self) -> McpServer:
        if self._server is None:
            try:
                headers = await rendered(
                    lambda: render_headers(self._mcp.headers, self._scope, self._secrets, "mcp.headers")
                )
            except TemplateError as error:
                raise ToolProblem(str(error)) from error
            self._server = McpServer(
                self._mcp,
                headers,
                secrets=self._secrets,
                network=self._network,
                listings=self._listings,
            )
        return self._server
