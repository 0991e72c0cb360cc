"""The tools of one agent: what its model is offered, whether arguments fit, and the calls that run in this pod."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import JsonValue

from parley.protocol.request import AgentSnapshot
from parley.resources.common import parse_duration
from parley.resources.tools import ToolSpec, tool_called
from parley.runner.chat import ToolDefinition
from parley.runner.tools.builtin import BUILTIN
from parley.runner.tools.errors import ToolProblem, ToolsUnavailable
from parley.runner.tools.http_tool import call_http
from parley.runner.tools.mcp_listing import LISTINGS, Listings
from parley.runner.tools.mcp_tools import McpTools
from parley.runner.tools.network import Network
from parley.runner.tools.results import usable
from parley.runner.tools.schemas import SchemaChecks, UnusableSchema
from parley.runner.tools.secrets import MissingSecret, ToolSecrets

FoundKind = Literal["Http", "Mcp", "Container", "Task", "Builtin"]
_KINDS: Final[Mapping[str, FoundKind]] = {
    "http": "Http",
    "mcp": "Mcp",
    "container": "Container",
    "task": "Task",
}
MAX_OFFERED = 128
"""Most tools that all model providers take."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """A tool that a name stands for; ``tool`` is None for one of Parley's own."""

    tool: ToolSpec | None
    kind: FoundKind
    needs_approval: bool


class ToolBox:
    """The tools of one attempt's agent. Close it at the end.

    Args:
        agent: as the attempt's request has it.
        secrets: the headers' secrets, by environment variable (``tool_secret_variable``); ``os.environ`` will do.
        scope: what templates know beside ``arguments``: session, agent, task, inputs.
        network: how to connect; tests have their own.
        listings: where MCP servers' lists are kept.
    """

    def __init__(
        self,
        agent: AgentSnapshot,
        secrets: Mapping[str, str],
        scope: Mapping[str, JsonValue],
        *,
        network: Network | None = None,
        listings: Listings = LISTINGS,
    ) -> None:
        self._tools = agent.tools
        self._builtin = {name: BUILTIN[name] for name in agent.builtin_tools if name in BUILTIN}
        self._scope = scope
        self._secrets = ToolSecrets(agent.tools, secrets)
        self._network = network or Network()
        self._checks = SchemaChecks()
        self._servers = {
            tool.name: McpTools(tool, scope, self._secrets, self._network, listings)
            for tool in agent.tools
            if tool.mcp is not None
        }

    async def offered(self) -> list[ToolDefinition]:
        """All that the model may call. MCP servers are asked for what they have; that is kept for five minutes.

        Raises:
            ToolsUnavailable: a server cannot be asked, or lacks a tool that the agent names, or two names clash, or
                the secret of a header is missing.
        """
        self._check_secrets()
        await self._ask_servers()
        offered: dict[str, ToolDefinition] = {}
        for tool in self._tools:
            definitions = self._servers[tool.name].offered() if tool.mcp is not None else [_definition(tool)]
            for definition in definitions:
                self._check_name(definition.name, tool, offered)
                offered[definition.name] = definition
        for definition in self._builtin.values():
            if definition.name in offered:
                raise ToolsUnavailable(_clash(definition.name))
            offered[definition.name] = definition
        if len(offered) > MAX_OFFERED:
            raise ToolsUnavailable(
                f"the agent's tools are {len(offered)}, and models take at most {MAX_OFFERED}: say with mcp.toolNames "
                "which ones it needs"
            )
        return list(offered.values())

    def find(self, name: str) -> Found | None:
        """Return what a name stands for, None if there is no such tool.

        Until ``offered`` was awaited, an MCP server is believed to have whatever begins with its name.
        """
        if name in self._builtin:
            return Found(None, "Builtin", needs_approval=False)
        tool = tool_called(self._tools, name)
        if tool is None or (tool.mcp is not None and not self._servers[tool.name].may_have(name)):
            return None
        return Found(tool, _KINDS[tool.kind], tool.needs_approval)

    async def check(self, name: str, arguments: JsonValue) -> str | None:
        """Say in a sentence what is wrong with the arguments of a tool that ``find`` finds; None if they fit."""
        if not isinstance(arguments, dict):
            return f"the arguments of {name} must be an object: call it again with one"
        try:
            schema, served = await self._parameters(name)
        except ToolProblem as problem:
            return str(problem)
        problem = await self._problem(schema, arguments, "arguments", served=served)
        return None if problem is None else f"{name} cannot be called like this: {problem}"

    async def check_result(self, name: str, result: JsonValue) -> str | None:
        """Do the same for a result, by the tool's ``resultSchema``; ``run`` has done so for what it returns."""
        tool = tool_called(self._tools, name)
        if tool is None or name in self._builtin:
            return None
        schema: Mapping[str, JsonValue] | None = tool.result_schema
        if served := schema is None and tool.mcp is not None and not isinstance(result, str):
            schema = self._servers[tool.name].result_schema(name)
        problem = None if schema is None else await self._problem(schema, result, "result", served=served)
        if problem is None:
            return None
        # The arguments were fine, and the call may have changed something.
        return (
            f"tool {name} was called, and its result does not fit its schema: {self._secrets.hide(problem)}"
        )

    async def run(self, name: str, arguments: JsonValue, *, key: str, timeout_seconds: float) -> JsonValue:
        """Make a call of kind Http or Mcp.

        Args:
            name: as offered, or ``<mcp tool>_<name at the server>``.
            arguments: the model's; they fit.
            key: the call's journal id, sent along as idempotency key.
            timeout_seconds: at most; the tool's own, if that is shorter.

        Raises:
            ToolProblem: there is no result; the text is for the model.
        """
        tool = tool_called(self._tools, name)
        if tool is None or name in self._builtin or not (tool.http or tool.mcp):
            raise ValueError(f"{name} is no tool that runs in a runner")
        given = arguments if isinstance(arguments, dict) else {}
        try:
            result = usable(await self._call(tool, name, given, key, timeout_seconds), self._secrets)
        except ToolProblem as problem:
            raise ToolProblem(self._secrets.hide(f"tool {name}: {problem}")) from problem
        if misfit := await self.check_result(name, result):
            raise ToolProblem(misfit)
        return result

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(server.close() for server in self._servers.values()), self._checks.close())

    async def _call(
        self, tool: ToolSpec, name: str, arguments: dict[str, JsonValue], key: str, limit: float
    ) -> JsonValue:
        if tool.http is None:
            return await self._servers[tool.name].call(name, arguments, key=key, limit=limit)
        return await call_http(
            tool.http,
            {**self._scope, "arguments": arguments},
            key=key,
            seconds=min(limit, parse_duration(tool.http.timeout).total_seconds()),
            secrets=self._secrets,
            network=self._network,
        )

    async def _parameters(self, name: str) -> tuple[Mapping[str, JsonValue], bool]:
        """The schema of a tool's arguments, and whether it is an MCP server's."""
        if name in self._builtin:
            return self._builtin[name].parameters, False
        tool = tool_called(self._tools, name)
        if tool is None:
            raise ToolProblem(f"there is no tool called {name!r}")
        if tool.mcp is None:
            return tool.parameters_or_default, False
        try:
            return (await self._servers[tool.name].listed(name)).parameters, True
        except ToolProblem as problem:
            raise ToolProblem(self._secrets.hide(f"tool {name}: {problem}")) from problem

    async def _problem(
        self, schema: Mapping[str, JsonValue], value: JsonValue, path: str, *, served: bool
    ) -> str | None:
        try:
            return await self._checks.problem(schema, value, path)
        except UnusableSchema as unusable:
            log.warning("a schema cannot be used", extra={"path": path, "why": str(unusable)})
            # An MCP server that gives such a schema checks by itself what it is sent; nobody else does.
            return None if served else f"{path}: cannot be checked against the schema: try again later"

    async def _ask_servers(self) -> None:
        servers = list(self._servers.items())
        answers = await asyncio.gather(*(server.ask() for _, server in servers), return_exceptions=True)
        for (name, _), answer in zip(servers, answers, strict=True):
            if isinstance(answer, ToolProblem):
                raise ToolsUnavailable(self._secrets.hide(f"tool {name}: {answer}")) from answer
            if isinstance(answer, BaseException):
                raise answer

    def _check_secrets(self) -> None:
        for tool in self._tools:
            for header in tool.headers:
                if header.value_from is None:
                    continue
                try:
                    self._secrets.value(header.value_from.secret_key_ref)
                except MissingSecret as missing:
                    raise ToolsUnavailable(f"tool {tool.name}: its header {header.name}: {missing}") from None

    def _check_name(self, name: str, tool: ToolSpec, offered: Mapping[str, ToolDefinition]) -> None:
        if name in offered or tool_called(self._tools, name) is not tool:
            raise ToolsUnavailable(_clash(name))


def _definition(tool: ToolSpec) -> ToolDefinition:
    return ToolDefinition(tool.name, tool.description, tool.parameters_or_default)


def _clash(name: str) -> str:
    return f"two of the agent's tools would be called {name}: rename one of them"
