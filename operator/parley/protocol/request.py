"""An attempt's request: everything a runner needs, taken when the attempt is inserted.

The request is stored with the attempt, so a later change of the Agent, the Session or the Task never changes an
attempt that has begun, and the gateway reads none of them from Kubernetes.
"""

from typing import Annotated, Literal, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, PlainSerializer
from pydantic.alias_generators import to_camel

from parley.resources.agent import ModelEndpoint, ModelSpec
from parley.resources.session import SessionUser
from parley.resources.task import PromptStep


class ProtocolModel(BaseModel):
    """Base of every model here: camelCase in JSON, snake_case in Python.

    Unknown fields are ignored, not refused: during an upgrade a runner and a gateway of neighbouring versions talk.
    """

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


def _known_fields(value: object) -> object:
    """Drop a model's fields that this version does not know, as everywhere in the protocol."""
    if not isinstance(value, dict):
        return value
    given = cast("dict[str, object]", value)
    model = {name: given[name] for name in given if name in _MODEL_FIELDS}
    fallbacks = model.get("fallbacks")
    if isinstance(fallbacks, list):
        model["fallbacks"] = [_known_fields(fallback) for fallback in cast("list[object]", fallbacks)]
    return model


_MODEL_FIELDS = {
    name for field, info in ModelSpec.model_fields.items() for name in (field, info.alias or to_camel(field))
}
ModelSnapshot = Annotated[
    ModelSpec,
    BeforeValidator(_known_fields),
    PlainSerializer(ModelEndpoint.to_json, return_type=dict[str, JsonValue]),
]
"""What is unset is left out: a neighbouring version need not know of it."""


class AgentSnapshot(ProtocolModel):
    """The agent as it was when the attempt was inserted."""

    name: str
    display_name: str = ""
    description: str = ""
    instructions: str = ""
    system_template: str = ""
    model: ModelSnapshot


class SessionSnapshot(ProtocolModel):
    """The session as it was when the attempt was inserted."""

    name: str
    user: SessionUser | None = None
    situation: str = ""
    system_template: str = ""
    context: dict[str, JsonValue] = Field(
        default_factory=dict, description="as set steps have left it; until one has, the Session's own"
    )
    metadata: dict[str, str] = Field(default_factory=dict)
    context_window: int | None = Field(
        default=None, description="newest messages the model is shown; None: 1,000"
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
    prompt: PromptStep
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
