"""The container of a container step: what runs, with which variables and how much of the node."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, JsonValue

from parley.resources.common import (
    MAP_BY_NAME,
    MAX_TEMPLATE,
    ConfigMapKeyRef,
    ResourceModel,
    SecretKeyRef,
    rule,
    rules,
)

ONE_VALUE = "a variable has exactly one of value and valueFrom"
ONE_SOURCE = "valueFrom has exactly one of secretKeyRef and configMapKeyRef"
RESERVED_VARIABLE = "names that begin with PARLEY_ are reserved: choose another name"


class EnvVarSource(ResourceModel):
    """Where a variable's value comes from."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "has(self.secretKeyRef) != has(self.configMapKeyRef)",
                ONE_SOURCE,
            ),
        ),
    )

    secret_key_ref: SecretKeyRef | None = Field(default=None, description="A key of a Secret.")
    config_map_key_ref: ConfigMapKeyRef | None = Field(default=None, description="A key of a ConfigMap.")


class EnvVar(ResourceModel):
    """An environment variable of a container."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("has(self.value) != has(self.valueFrom)", ONE_VALUE),
            rule(
                "!self.name.startsWith('PARLEY_')",
                RESERVED_VARIABLE,
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
    output_from: Literal["Message", "File"] = Field(
        default="Message",
        description="Where the output is read from. Message: the container's termination message "
        "(/dev/termination-log), at most 4 KiB. File: the file /parley/output, at most 16 MiB. Default: Message.",
    )
    input_file: JsonValue = Field(
        default=None,
        description="What the container finds in /parley/input.json: any JSON, whose strings are templates. "
        "Default: there is no such file.",
    )
