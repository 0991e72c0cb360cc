"""The steps of a task: what each kind of step needs."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, JsonValue

from parley.resources.agent import MAX_TEMPLATE
from parley.resources.common import (
    DNS_LABEL,
    ConfigMapKeyRef,
    Duration,
    FreeObject,
    ResourceModel,
    SecretKeyRef,
    parse_duration,
    rule,
    rules,
)

DEFAULT_STEP_TIMEOUT = timedelta(hours=1)

History = Literal["Session", "None"]
StepName = Annotated[str, Field(min_length=1, max_length=63, pattern=DNS_LABEL)]
MAP_BY_NAME: dict[str, JsonValue] = {
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["name"],
}


class PromptMessage(ResourceModel):
    """One message of a prompt."""

    role: Literal["user", "assistant"] = Field(description="Who says it.")
    content: str = Field(min_length=1, max_length=MAX_TEMPLATE, description="What is said: a template.")


class PromptStep(ResourceModel):
    """Ask the agent's model."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("has(self.text) != has(self.messages)", "a prompt has exactly one of text and messages"),
        ),
    )

    text: Annotated[str, Field(min_length=1, max_length=MAX_TEMPLATE)] | None = Field(
        default=None, description="What the user says: a template. Short for one user message."
    )
    messages: Annotated[list[PromptMessage], Field(min_length=1, max_length=32)] | None = Field(
        default=None, description="What is said, as several messages."
    )
    output_schema: FreeObject | None = Field(
        default=None,
        description="JSON Schema (2020-12) of the output, which is then JSON that fits it. Default: the "
        "output is the answer's text.",
    )
    history: History | None = Field(
        default=None,
        description="Session: the model sees the conversation, and what is said here joins it. None: "
        "neither. Default: Session with a sessionRef, else None.",
    )


class EnvVarSource(ResourceModel):
    """Where a variable's value comes from."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "has(self.secretKeyRef) != has(self.configMapKeyRef)",
                "valueFrom has exactly one of secretKeyRef and configMapKeyRef",
            ),
        ),
    )

    secret_key_ref: SecretKeyRef | None = Field(default=None, description="A key of a Secret.")
    config_map_key_ref: ConfigMapKeyRef | None = Field(default=None, description="A key of a ConfigMap.")


class EnvVar(ResourceModel):
    """An environment variable of a container."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "has(self.value) != has(self.valueFrom)", "a variable has exactly one of value and valueFrom"
            ),
            rule(
                "!self.name.startsWith('PARLEY_')",
                "names that begin with PARLEY_ are reserved: choose another name",
                field=".name",
                reason="FieldValueForbidden",
            ),
        ),
    )

    name: str = Field(
        min_length=1, max_length=256, pattern="^[A-Za-z_][A-Za-z0-9_]*$", description="Name of the variable."
    )
    value: Annotated[str, Field(max_length=MAX_TEMPLATE)] | None = Field(
        default=None,
        description="Its value: a template. It can be read in the Job; secrets go by valueFrom.",
    )
    value_from: EnvVarSource | None = Field(
        default=None, description="Take the value from a Secret or a ConfigMap."
    )


Quantity = Annotated[
    str,
    Field(
        max_length=64,
        pattern=r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$",
    ),
]
Resources = Annotated[dict[str, Quantity | int], Field(max_length=16)]


class ResourceRequirements(ResourceModel):
    """CPU, memory and the like of a container."""

    requests: Resources = Field(
        default_factory=dict, description="What is set aside for the container, such as cpu: 100m."
    )
    limits: Resources = Field(
        default_factory=dict, description="The most the container may use, such as memory: 256Mi."
    )


class ContainerStep(ResourceModel):
    """Run a container as a Job."""

    image: str = Field(
        min_length=1,
        max_length=1024,
        pattern=r"^[^\s{}]+$",
        description="The container's image; not a template.",
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = Field(
        default=None, description="When to pull the image. Default: IfNotPresent."
    )
    command: Annotated[list[Annotated[str, Field(max_length=MAX_TEMPLATE)]], Field(max_length=64)] = Field(
        default_factory=list,
        description="The program, each entry a template. Default: the image's entry point.",
    )
    args: Annotated[list[Annotated[str, Field(max_length=MAX_TEMPLATE)]], Field(max_length=64)] = Field(
        default_factory=list,
        description="Its arguments, each a template. Values go as they are: $(NAME) is not expanded.",
    )
    env: Annotated[list[EnvVar], Field(max_length=64, json_schema_extra=MAP_BY_NAME)] = Field(
        default_factory=list[EnvVar], description="Environment variables."
    )
    resources: ResourceRequirements | None = Field(
        default=None, description="CPU, memory and the like of the container."
    )


class Step(ResourceModel):
    """One step of a task. Its kind is the field it has: prompt or container."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("has(self.prompt) != has(self.container)", "a step has exactly one of prompt and container"),
        ),
    )

    name: StepName = Field(
        description="Name of the step, a DNS label. In templates hyphens are written as underscores.",
    )
    prompt: PromptStep | None = Field(default=None, description="Ask the agent's model.")
    container: ContainerStep | None = Field(
        default=None,
        description="Run a container. Its output is its termination message, read as JSON where it is JSON.",
    )
    timeout: Duration | None = Field(
        default=None, description="How long one attempt of the step may take, such as 5m. Default: 1h."
    )

    def timeout_or_default(self) -> timedelta:
        """How long one attempt of the step may take."""
        return parse_duration(self.timeout) if self.timeout else DEFAULT_STEP_TIMEOUT
