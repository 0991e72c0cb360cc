"""The tools of one agent: what its model is offered, whether arguments fit, and the calls that run in this pod."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue

from parley.protocol.request import AgentSnapshot
from parley.resources.tools import ToolSpec
from parley.runner.chat import ToolDefinition

FoundKind = Literal["Http", "Mcp", "Container", "Task", "Builtin"]


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
    """

    def __init__(
        self, agent: AgentSnapshot, secrets: Mapping[str, str], scope: Mapping[str, JsonValue]
    ) -> None:
        raise NotImplementedError

    async def offered(self) -> list[ToolDefinition]:
        """All that the model may call. MCP servers are asked for what they have; that is kept for five minutes.

        Raises:
            ToolsUnavailable: a server cannot be asked, or lacks a tool that the agent names, or two names clash.
        """
        raise NotImplementedError

    def find(self, name: str) -> Found | None:
        """Return what a name stands for, None if there is no such tool.

        Until ``offered`` was awaited, an MCP server is believed to have whatever begins with its name.
        """
        raise NotImplementedError

    async def check(self, name: str, arguments: JsonValue) -> str | None:
        """Say in a sentence what is wrong with the arguments of a tool that ``find`` finds; None if they fit."""
        raise NotImplementedError

    async def check_result(self, name: str, result: JsonValue) -> str | None:
        """Do the same for a result, by the tool's ``resultSchema``; ``run`` has done so for what it returns."""
        raise NotImplementedError

    async def run(self, name: str, arguments: JsonValue, *, key: str, timeout_seconds: float) -> JsonValue:
        """Make a call of kind Http or Mcp.

        Args:
            name: as offered.
            arguments: the model's; they fit.
            key: the call's journal id, sent along as idempotency key.
            timeout_seconds: at most; the tool's own, if that is shorter.

        Raises:
            ToolProblem: there is no result; the text is for the model.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """Close all connections."""
        raise NotImplementedError
