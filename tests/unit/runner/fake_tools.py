"""An agent's tools as a test wants them: kinds by name, results by order."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from parley.protocol.request import AgentSnapshot
from parley.resources.tools import tool_called
from parley.runner.chat import ToolDefinition
from parley.runner.tool_opening import MakeTools
from parley.runner.tools.box import Found
from parley.runner.tools.errors import ToolProblem, ToolsUnavailable

KINDS: dict[str, dict[str, Any]] = {
    "Http": {"http": {"url": "http://shop/x"}},
    "Mcp": {"mcp": {"url": "http://tickets/mcp"}},
    "Container": {"container": {"image": "busybox"}},
    "Task": {"task": {"templateRef": {"name": "refund"}}},
}


def tool(name: str, kind: str = "Http", *, approval: bool = False) -> dict[str, Any]:
    """A tool as an agent has it."""
    return {"name": name, "approval": "Required" if approval else "Never", **KINDS[kind]}


@dataclass(frozen=True)
class Run:
    name: str
    arguments: Any
    key: str


@dataclass
class FakeTools:
    """What ``ToolBox`` promises. ``results`` are what names give: a value, an error, or what is called for one."""

    results: Mapping[str, Any] = field(default_factory=dict[str, Any])
    wrong: Mapping[str, str] = field(default_factory=dict[str, str])
    wrong_results: Mapping[str, str] = field(default_factory=dict[str, str])
    unavailable: str | None = None
    runs: list[Run] = field(default_factory=list[Run])
    made: list[AgentSnapshot] = field(default_factory=list[AgentSnapshot])
    scopes: list[Mapping[str, Any]] = field(default_factory=list[Mapping[str, Any]])
    closed: int = 0
    asked: int = 0

    def load(self) -> MakeTools:
        def make(agent: AgentSnapshot, _secrets: Mapping[str, str], scope: Mapping[str, Any]) -> FakeTools:
            self.made.append(agent)
            self.scopes.append(scope)
            return self

        return make

    async def offered(self) -> list[ToolDefinition]:
        self.asked += 1
        if self.unavailable:
            raise ToolsUnavailable(self.unavailable)
        agent = self.made[-1]
        named = [ToolDefinition(each.name, "", {"type": "object"}) for each in agent.tools]
        return [*named, *(ToolDefinition(name, "", {"type": "object"}) for name in agent.builtin_tools)]

    def find(self, name: str) -> Found | None:
        agent = self.made[-1]
        if name in agent.builtin_tools:
            return Found(None, "Builtin", needs_approval=False)
        spec = tool_called(agent.tools, name)
        kinds: Any = {"http": "Http", "mcp": "Mcp", "container": "Container", "task": "Task"}
        return None if spec is None else Found(spec, kinds[spec.kind], spec.needs_approval)

    async def check(self, name: str, arguments: Any) -> str | None:
        assert isinstance(arguments, dict)
        return self.wrong.get(name)

    async def check_result(self, name: str, result: Any) -> str | None:
        assert result is not Ellipsis
        return self.wrong_results.get(name)

    async def run(self, name: str, arguments: Any, *, key: str, timeout_seconds: float) -> Any:
        assert timeout_seconds > 0
        self.runs.append(Run(name, arguments, key))
        gives = self.results.get(name, f"{name} done")
        if isinstance(gives, Exception):
            raise gives
        return gives() if isinstance(gives, Callable) else gives  # pyright: ignore[reportUnknownVariableType]

    async def close(self) -> None:
        self.closed += 1


def problem(text: str) -> ToolProblem:
    return ToolProblem(text)
