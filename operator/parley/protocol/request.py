"""An attempt's request: everything a runner needs, taken when the attempt is inserted.

The request is stored with the attempt, so a later change of the Agent, the Session or the Task never changes an
attempt that has begun, and the gateway reads none of them from Kubernetes.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, cast

from pydantic import BaseModel, ConfigDict, Discriminator, Field, JsonValue, Tag, TypeAdapter
from pydantic.alias_generators import to_camel

from parley.protocol.snapshots import ModelSnapshot, PodSnapshot, PromptSnapshot, ToolSnapshot, UserSnapshot
from parley.resources.agent import DEFAULT_MAX_TOOL_ROUNDS


class ProtocolModel(BaseModel):
    """Base of every model here: camelCase in JSON, snake_case in Python.

    Unknown fields are ignored, not refused: during an upgrade a runner and a gateway of neighbouring versions talk.
    """

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


ContextOverflow = Literal["Truncate", "Summarize", "Fail"]


class AgentSnapshot(ProtocolModel):
    """The agent as it was when the attempt was inserted."""

    name: str
    display_name: str = ""
    description: str = ""
    instructions: str = ""
    system_template: str = ""
    model: ModelSnapshot
    tools: list[ToolSnapshot] = Field(default_factory=list[ToolSnapshot])
    builtin_tools: list[str] = Field(default_factory=list, description="such as update_context")
    max_tool_rounds: int = Field(
        default=DEFAULT_MAX_TOOL_ROUNDS, description="how often the model may ask for calls in one turn"
    )
    pod: PodSnapshot | None = Field(
        default=None,
        description="what is set in its runners' pods: for the operator, which may make the Job later",
    )


class SessionSnapshot(ProtocolModel):
    """The session as it was when the attempt was inserted."""

    name: str
    user: UserSnapshot | None = Field(default=None, description="who says the message: one of users")
    users: list[UserSnapshot] = Field(default_factory=list[UserSnapshot])
    agents: list[str] = Field(
        default_factory=list, description="names of all its agents, the first speaks by default"
    )
    situation: str = ""
    system_template: str = ""
    context: dict[str, JsonValue] = Field(
        default_factory=dict, description="as set steps have left it; until one has, the Session's own"
    )
    metadata: dict[str, str] = Field(default_factory=dict)
    context_window: int | None = Field(
        default=None, description="newest messages the model is shown; None: 1,000"
    )
    token_budget: int | None = Field(
        default=None, description="tokens that one request to the model may have, estimated; None: no limit"
    )
    context_overflow: ContextOverflow = Field(
        default="Truncate", description="what becomes of messages beyond the window or the budget"
    )
    context_version: int = Field(
        default=0, description="the stored context's, 0 while it is still the Session's own"
    )


class TaskSnapshot(ProtocolModel):
    """What templates may know of the task itself."""

    name: str
    namespace: str


class PromptRequest(ProtocolModel):
    """One prompt step to run."""

    kind: Literal["Prompt"] = "Prompt"
    task: TaskSnapshot
    step: str
    path: str = Field(
        description="the prompt's path in the Task, such as spec.steps[1].prompt, for messages to the user"
    )
    prompt: PromptSnapshot
    literal: bool = Field(description="the text is a person's message: never a template")
    history: Literal["Session", "None"]
    agent: AgentSnapshot
    session: SessionSnapshot | None = None
    inputs: dict[str, JsonValue] = Field(default_factory=dict)
    needs_outputs: list[str] = Field(
        default_factory=list, description="steps whose outputs templates may read"
    )
    item: JsonValue = Field(default=None, description="of a forEach; see index")
    index: int | None = Field(default=None, description="the item's, from 0; None without a forEach")
    auto_run_tools: bool = Field(
        default=True, description="False: calls the model asks for are the step's output and are not run"
    )
    speaker: str | None = Field(default=None, description="name of the user who says the message")
    several: bool = Field(
        default=False, description="the session has several users or agents: the model is shown their names"
    )


class ToolUse(ProtocolModel):
    """The call that a tool step makes."""

    name: str
    arguments: dict[str, JsonValue] = Field(default_factory=dict, description="their strings are templates")


class ToolRequest(ProtocolModel):
    """One tool step to run: a call without a model."""

    kind: Literal["Tool"] = "Tool"
    task: TaskSnapshot
    step: str
    path: str = Field(description="the step's path in the Task, such as spec.steps[1].tool")
    tool: ToolUse
    agent: AgentSnapshot
    session: SessionSnapshot | None = None
    inputs: dict[str, JsonValue] = Field(default_factory=dict)
    needs_outputs: list[str] = Field(
        default_factory=list, description="steps whose outputs templates may read"
    )
    item: JsonValue = Field(default=None, description="of a forEach; see index")
    index: int | None = Field(default=None, description="the item's, from 0; None without a forEach")


def _kind(value: object) -> str:
    if isinstance(value, Mapping):
        return str(cast("Mapping[str, object]", value).get("kind") or "Prompt")
    return str(getattr(value, "kind", "Prompt"))


RunnerRequest = Annotated[
    Annotated[PromptRequest, Tag("Prompt")] | Annotated[ToolRequest, Tag("Tool")], Discriminator(_kind)
]
"""What a runner takes. A request without a kind, of an older version, is a prompt's."""

_RUNNER_REQUESTS: TypeAdapter[PromptRequest | ToolRequest] = TypeAdapter(RunnerRequest)


def runner_request(value: object) -> PromptRequest | ToolRequest:
    """Read a stored request that a runner may take.

    Raises:
        ValidationError: it is of another kind, or malformed.
    """
    return _RUNNER_REQUESTS.validate_python(value)


class InputFile(ProtocolModel):
    """What a container's input file is rendered from, in its own pod: outputs may be larger than a request."""

    path: str = Field(description="the field's, such as spec.steps[1].container.inputFile")
    template: JsonValue
    scope: dict[str, JsonValue] = Field(description="all names of templates but steps")
    steps: dict[str, str] = Field(
        default_factory=dict,
        description="names of the steps whose outputs it may read, by their names in templates",
    )


class ContainerRequest(ProtocolModel):
    """One container step, rendered, as the Job got it. Only ``input_file`` is read again, by the pod itself."""

    kind: Literal["Container"] = "Container"
    task: TaskSnapshot
    step: str
    container: dict[str, JsonValue]
    index: int | None = Field(default=None, description="the item's, from 0; None without a forEach")
    input_file: InputFile | None = None
    idempotency_key: str | None = Field(
        default=None, description="of a call that a model made, for PARLEY_IDEMPOTENCY_KEY"
    )


class TaskRequest(ProtocolModel):
    """One child task: the object that is made for it."""

    kind: Literal["Task"] = "Task"
    task: TaskSnapshot
    step: str
    index: int | None = Field(default=None, description="the item's, from 0; None without a forEach")
    spec: dict[str, JsonValue] = Field(description="the child's, its inputs rendered")
    inherited: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="the parent's sessionRef or agentRef, for a child whose template names neither",
    )
