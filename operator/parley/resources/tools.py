"""The tools of an agent: what its model may call, each of exactly one kind."""

from datetime import timedelta
from typing import Annotated, Literal, get_args

from pydantic import Field, JsonValue

from parley.resources.common import (
    MAP_BY_NAME,
    MAX_TEMPLATE,
    Duration,
    FreeObject,
    ObjectReference,
    ResourceModel,
    SecretKeyRef,
    parse_duration,
)
from parley.resources.container import ContainerStep

MAX_TOOLS = 32
MAX_TOOL_TIMEOUT = timedelta(minutes=10)
"""Longest timeout of a call that runs in the runner's pod: http and mcp."""
TOOL_NAME = "^[a-zA-Z][a-zA-Z0-9_-]{0,47}$"
"""With an MCP server's tool behind it, it still fits the names that model providers take."""

ToolKind = Literal["http", "mcp", "container", "task"]
TOOL_KINDS: tuple[ToolKind, ...] = get_args(ToolKind)
BuiltinTool = Literal["update_context"]
Approval = Literal["Never", "Required"]
ApprovalDefault = Literal["Reject", "Approve"]


class HeaderSource(ResourceModel):
    """Where a header's value comes from."""

    secret_key_ref: SecretKeyRef = Field(description="A key of a Secret, whose value is the whole header's.")


class HttpHeader(ResourceModel):
    """A header of a request."""

    name: str = Field(
        min_length=1,
        max_length=256,
        pattern="^[-!#$%&'*+.^_`|~A-Za-z0-9]+$",
        description="Name of the header.",
    )
    value: Annotated[str, Field(max_length=MAX_TEMPLATE)] | None = Field(
        default=None, description="Its value: a template. Secrets go by valueFrom."
    )
    value_from: HeaderSource | None = Field(default=None, description="Take the value from a Secret.")


Headers = Annotated[list[HttpHeader], Field(max_length=32, json_schema_extra=MAP_BY_NAME)]


class HttpTool(ResourceModel):
    """One HTTP request for each call."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"] = Field(
        default="GET", description="The request's method. Default: GET."
    )
    url: Annotated[str, Field(min_length=1, max_length=4096)] = Field(
        description="Where the request goes. Scheme and host are written out; the rest is a template, and what it puts "
        'in is percent-encoded, such as "http://orders/orders/{{ arguments.number }}".'
    )
    headers: Headers = Field(default_factory=list[HttpHeader], description="Headers of the request.")
    body: JsonValue = Field(
        default=None,
        description="The request's body: any JSON, whose strings are templates. Default: POST, PUT and PATCH send the "
        "arguments, the others nothing.",
    )
    timeout: Duration = Field(
        default="10s", description="How long the request may take, at most 10m. Default: 10s."
    )
    allow_link_local: bool = Field(
        default=False,
        description="True: link-local addresses may be asked, the cloud's metadata among them. Default: they are "
        "refused.",
    )


class McpTool(ResourceModel):
    """The tools of a server that speaks the Model Context Protocol (streamable HTTP)."""

    url: Annotated[str, Field(min_length=1, max_length=4096)] = Field(
        description="Where the server is, such as http://tickets/mcp; not a template."
    )
    headers: Headers = Field(
        default_factory=list[HttpHeader],
        description="Headers of every request to the server. Templates know no arguments here.",
    )
    tool_names: (
        Annotated[
            list[Annotated[str, Field(min_length=1, max_length=128, pattern="^[-_./A-Za-z0-9]+$")]],
            Field(min_length=1, max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"}),
        ]
        | None
    ) = Field(
        default=None,
        description="Which of the server's tools the model may call; it sees each as <name>_<tool>. Default: all it "
        "lists.",
    )
    timeout: Duration = Field(
        default="30s", description="How long a call may take, at most 10m. Default: 30s."
    )
    allow_link_local: bool = Field(
        default=False,
        description="True: the server may have a link-local address. Default: it is refused.",
    )


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
