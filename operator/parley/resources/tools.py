"""The tools of an agent: what its model may call, each of exactly one kind."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Literal, get_args

from pydantic import ConfigDict, Field, JsonValue

from parley.resources.common import (
    Duration,
    FreeObject,
    ObjectReference,
    ResourceModel,
    parse_duration,
    rule,
    rules,
)
from parley.resources.container import ContainerStep
from parley.resources.tool_requests import HeaderSource, HttpHeader, HttpTool, McpTool

__all__ = [
    "MAX_TOOLS",
    "TOOL_KINDS",
    "Approval",
    "ApprovalDefault",
    "BuiltinTool",
    "ContainerTool",
    "HeaderSource",
    "HttpHeader",
    "HttpTool",
    "McpTool",
    "TaskTool",
    "ToolKind",
    "ToolSpec",
    "ToolStep",
    "tool_called",
]

MAX_TOOLS = 32
TOOL_NAME = "^[a-zA-Z][a-zA-Z0-9_-]{0,47}$"
"""With an MCP server's tool behind it, it still fits the names that model providers take."""

ToolKind = Literal["http", "mcp", "container", "task"]
TOOL_KINDS: tuple[ToolKind, ...] = get_args(ToolKind)
BuiltinTool = Literal["update_context"]
Approval = Literal["Never", "Required"]
ApprovalDefault = Literal["Reject", "Approve"]


ONE_KIND = f"a tool has exactly one of {', '.join(TOOL_KINDS)}"
PARAMETERS_OF_SERVER = "an MCP server says its tools' parameters: leave them out"
RESULT_OF_TASK = "the result of a task tool is the Task's name: leave resultSchema out"
TIMEOUT_OF_NOTHING = "approvalTimeout needs approval: Required"
DEFAULT_OF_NOTHING = "onApprovalTimeout needs approvalTimeout: say how long a call waits"


class ContainerTool(ContainerStep):
    """A container in a Job for each call."""

    timeout: Duration = Field(
        default="10m", description="How long the container may take, such as 5m. Default: 10m."
    )


class TaskTool(ResourceModel):
    """A Task for each call, which runs on its own: the model is told its name, and later of its end."""

    template_ref: ObjectReference = Field(description="The TaskTemplate that says what to do.")
    inputs: FreeObject | None = Field(
        default=None,
        description="Inputs of that Task, whose strings are templates. Default: the arguments.",
    )


class ToolSpec(ResourceModel):
    """What an agent's model may call. Its kind is the field it has: http, mcp, container or task."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(" + ".join(f"(has(self.{kind}) ? 1 : 0)" for kind in TOOL_KINDS) + " == 1", ONE_KIND),
            rule(
                "!has(self.mcp) || !has(self.parameters)",
                PARAMETERS_OF_SERVER,
                field=".parameters",
                reason="FieldValueForbidden",
            ),
            rule(
                "!has(self.task) || !has(self.resultSchema)",
                RESULT_OF_TASK,
                field=".resultSchema",
                reason="FieldValueForbidden",
            ),
            rule(
                "!has(self.approvalTimeout) || (has(self.approval) && self.approval == 'Required')",
                TIMEOUT_OF_NOTHING,
                field=".approvalTimeout",
                reason="FieldValueForbidden",
            ),
            rule(
                "!has(self.onApprovalTimeout) || has(self.approvalTimeout)",
                DEFAULT_OF_NOTHING,
                field=".onApprovalTimeout",
                reason="FieldValueForbidden",
            ),
        ),
    )

    name: str = Field(
        min_length=1,
        max_length=48,
        pattern=TOOL_NAME,
        description="Name of the tool, as the model sees it: a letter, then letters, digits, _ and -. Of mcp it is "
        "what the names of the server's tools begin with.",
    )
    description: str = Field(
        default="", max_length=1024, description="What the tool does and when to call it, for the model."
    )
    parameters: FreeObject | None = Field(
        default=None,
        description="JSON Schema (2020-12) of the arguments, of type object. Default: no arguments; of task the "
        "template's inputSchema. Not with mcp: the server says it.",
    )
    result_schema: FreeObject | None = Field(
        default=None,
        description="JSON Schema (2020-12) that the result must fit; one that does not is an error, which the model is "
        "told. Default: any. Not with task, whose result is the Task's name.",
    )
    approval: Approval = Field(
        default="Never",
        description="Required: a person must approve each call by a Reply before it runs. Default: Never.",
    )
    approval_timeout: Duration | None = Field(
        default=None,
        description="How long a call waits for that, such as 24h. Needs approval: Required. Default: no limit.",
    )
    on_approval_timeout: ApprovalDefault = Field(
        default="Reject",
        description="What becomes of a call when nobody replied in time: Reject or Approve. Needs approvalTimeout. "
        "Default: Reject.",
    )
    http: HttpTool | None = Field(default=None, description="Send an HTTP request.")
    mcp: McpTool | None = Field(default=None, description="Call the tools of an MCP server.")
    container: ContainerTool | None = Field(
        default=None, description="Run a container as a Job. The turn pauses until it has ended."
    )
    task: TaskTool | None = Field(default=None, description="Queue a Task. The turn goes on at once.")

    @property
    def kinds(self) -> list[ToolKind]:
        """The kinds it has fields of; one, unless the API server let in what it should not."""
        return [kind for kind in TOOL_KINDS if getattr(self, kind) is not None]

    @property
    def kind(self) -> ToolKind:
        """Which kind of tool it is: the field it has."""
        return self.kinds[0]

    @property
    def needs_approval(self) -> bool:
        """Whether a person must approve each call before it runs."""
        return self.approval == "Required"

    @property
    def headers(self) -> list[HttpHeader]:
        """Headers of its requests; none of the kinds that send none."""
        requester = self.http or self.mcp
        return list(requester.headers) if requester is not None else []

    @property
    def parameters_or_default(self) -> dict[str, JsonValue]:
        """The JSON Schema of its arguments; that of a task tool without one is the template's to say."""
        return dict(self.parameters) if self.parameters is not None else {"type": "object"}

    def timeout_or_none(self) -> timedelta | None:
        """How long one call may take; None for a task, which is only queued."""
        limited = self.http or self.mcp or self.container
        return parse_duration(limited.timeout) if limited is not None else None

    def approval_timeout_or_none(self) -> timedelta | None:
        """How long a call waits for approval; None: for ever."""
        return parse_duration(self.approval_timeout) if self.approval_timeout else None


def tool_called(tools: Sequence[ToolSpec], name: str) -> ToolSpec | None:
    """Which tool a called name means; None: none of them.

    Its own name means a tool; all that begin with the name of an mcp tool and ``_`` mean that one, as a valid Agent has
    no other tool of such a name. Who runs a call and who asks whether it was approved must both go by this.
    """
    for tool in tools:
        if tool.mcp is None and tool.name == name:
            return tool
    servers = [tool for tool in tools if tool.mcp is not None and name.startswith(f"{tool.name}_")]
    return max(servers, key=lambda tool: len(tool.name), default=None)


class ToolStep(ResourceModel):
    """Call a tool of the task's agent, without its model."""

    name: str = Field(
        min_length=1,
        max_length=177,
        pattern="^[a-zA-Z][-_./a-zA-Z0-9]*$",
        description="Name of the tool, one of the agent's; of an MCP server's <name>_<tool>.",
    )
    arguments: FreeObject = Field(
        default_factory=dict, description="Its arguments, whose strings are templates. Default: none."
    )
