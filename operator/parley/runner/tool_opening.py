"""Opening an agent's tools for one attempt. They are imported only here, and only where an agent has some."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from pydantic import JsonValue

from parley.protocol.model_keys import tool_secret_variable
from parley.protocol.request import AgentSnapshot
from parley.resources.reasons import Reason
from parley.runner.calls import Tools
from parley.runner.chat import ToolDefinition
from parley.runner.daemon_thread import in_daemon_thread
from parley.runner.failure import StepFailure
from parley.runner.needed_secrets import header_secrets
from parley.runner.tools.errors import ToolsUnavailable

if TYPE_CHECKING:
    from parley.runner.tools.box import Found


class OpenTools(Tools, Protocol):
    """An agent's tools as ``tools.box.ToolBox`` gives them."""

    async def offered(self) -> list[ToolDefinition]:
        """Return all that the model may call."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


MakeTools = Callable[[AgentSnapshot, Mapping[str, str], Mapping[str, JsonValue]], OpenTools]
LoadTools = Callable[[], MakeTools]


def load_tool_box() -> MakeTools:
    """Import the tools, which takes a while."""
    from parley.runner.tools.box import ToolBox  # noqa: PLC0415 - see above

    return ToolBox


class NoTools:
    """The tools of an agent that has none."""

    async def offered(self) -> list[ToolDefinition]:
        """Offer nothing."""
        return []

    def find(self, name: str) -> "Found | None":  # noqa: ARG002 - the protocol's
        """Find nothing."""
        return None

    async def check(self, name: str, arguments: JsonValue) -> str | None:  # noqa: ARG002 - the protocol's
        """Never asked: nothing is found."""
        return None

    async def check_result(self, name: str, result: JsonValue) -> str | None:  # noqa: ARG002 - the protocol's
        """Never asked: nothing is found."""
        return None

    async def run(self, name: str, arguments: JsonValue, *, key: str, timeout_seconds: float) -> JsonValue:  # noqa: ARG002 - the protocol's
        """Never asked: nothing is found."""
        raise AssertionError("there are no tools to run")

    async def close(self) -> None:
        """Nothing is open."""


async def open_tools(
    load: LoadTools, agent: AgentSnapshot, secrets: Mapping[str, str], scope: Mapping[str, JsonValue]
) -> OpenTools:
    """Open an agent's tools.

    Args:
        load: gives the constructor; run in a thread, for it may import much.
        agent: whose they are.
        secrets: by variable, see ``tool_secret_variable``.
        scope: of the task's templates.

    Raises:
        StepFailure: ToolError: this pod lacks a secret of theirs.
    """
    if "session" not in scope:
        agent = agent.model_copy(update={"builtin_tools": []})  # there is no context to update
    if not agent.tools and not agent.builtin_tools:
        return NoTools()
    for tool in agent.tools:
        for reference in header_secrets(tool):
            if tool_secret_variable(reference) not in secrets:
                raise StepFailure(
                    Reason.TOOL_ERROR,
                    f"tool {tool.name} needs key {reference.key} of Secret {reference.name}, and this pod was started "
                    "without it: the Agent has changed since",
                )
    make = await in_daemon_thread(load)
    return make(agent, secrets, scope)


async def offered_by(tools: OpenTools, agent: AgentSnapshot) -> list[ToolDefinition]:
    """Return what the model is offered.

    Raises:
        StepFailure: ToolError: the agent's tools are not there as it names them.
    """
    try:
        return await tools.offered()
    except ToolsUnavailable as error:
        raise StepFailure(Reason.TOOL_ERROR, f"agent {agent.name}: {error}") from error
