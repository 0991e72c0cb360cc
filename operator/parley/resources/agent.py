"""Agent: who answers. Its instructions and its model."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from parley.resources.common import (
    Condition,
    Conditions,
    ObservedGeneration,
    ResourceModel,
    SecretKeyRef,
    StatusModel,
)

MAX_TEMPLATE = 32_768
"""Characters of a template in a manifest."""


class ModelSpec(ResourceModel):
    """The language model an agent speaks through."""

    provider: Literal["OpenAI"] = Field(
        description="The API the model's server speaks. OpenAI: anything that speaks its chat API."
    )
    name: str = Field(min_length=1, max_length=256, description="Name of the model, as its server knows it.")
    base_url: Annotated[str, Field(max_length=2048, pattern=r"^https?://[^\s/]+(/\S*)?$")] | None = Field(
        default=None,
        alias="baseURL",
        description="Base URL of the API, such as http://model.default/v1. Default: the provider's own.",
    )
    api_key_secret_ref: SecretKeyRef | None = Field(
        default=None,
        description="The API key, in a Secret of the same namespace. A model without a key needs none.",
    )
    temperature: Annotated[str, Field(max_length=8, pattern=r"^[0-2](\.[0-9]{1,4})?$")] | None = Field(
        default=None, description='Sampling temperature, a decimal number as a string, such as "0.2".'
    )
    max_output_tokens: Annotated[int, Field(ge=1, le=10_000_000)] | None = Field(
        default=None, description="Longest answer, in tokens. Default: the model's own."
    )


class RuntimeMode(StrEnum):
    """In what pods prompt steps run."""

    JOB = "Job"
    TASK = "Task"


class Runtime(ResourceModel):
    """How prompt steps run."""

    mode: RuntimeMode | None = Field(
        default=None,
        description="Job: every attempt in a Job of its own, the strictest isolation. Task: a Job that stays with its "
        "task and takes its next prompt step at once. Default: Job.",
    )


class AgentLimits(ResourceModel):
    """Bounds of the agent's work."""

    max_concurrent_tasks: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        default=None,
        description="How many of its tasks run at once, at most; those that wait or sleep do not count. Default: no "
        "limit.",
    )


class AgentSpec(ResourceModel):
    """Who answers, and how."""

    display_name: str = Field(default="", max_length=256, description="Name to show to people.")
    description: str = Field(default="", max_length=4096, description="What the agent is for.")
    instructions: str = Field(
        default="",
        max_length=MAX_TEMPLATE,
        description="What the agent is told before every conversation. May be a template.",
    )
    system_template: str = Field(
        default="",
        max_length=MAX_TEMPLATE,
        description="Template of the whole system prompt. Default: a built-in one, which holds the "
        "instructions, the user and the situation.",
    )
    model: ModelSpec = Field(description="The model that answers.")
    limits: AgentLimits | None = Field(default=None, description="Bounds of the agent's work.")
    runtime: Runtime | None = Field(default=None, description="How its prompt steps run.")


class AgentStatus(StatusModel):
    """What the operator last saw of the agent."""

    observed_generation: ObservedGeneration = None
    conditions: Conditions = Field(
        default_factory=list[Condition], description="Ready is True when the agent can be used."
    )
    sessions: int | None = Field(
        default=None, ge=0, description="Sessions that refer to the agent; up to 10 s old."
    )
    active_tasks: int | None = Field(
        default=None, ge=0, description="Tasks of the agent that have not ended; up to 10 s old."
    )
