"""Agent: who answers. Its instructions and its model."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from parley.resources.common import (
    Condition,
    Conditions,
    ObservedGeneration,
    ResourceModel,
    SecretKeyRef,
    StatusModel,
    rule,
    rules,
)

MAX_TEMPLATE = 32_768
"""Characters of a template in a manifest."""


NO_SEED = "Anthropic's API takes no seed: leave it out"
COOLER = "Anthropic's API takes a temperature of at most 1"

StopSequence = Annotated[str, Field(min_length=1, max_length=64)]


class ModelEndpoint(ResourceModel):
    """A language model: what it is called, whose API it speaks, and how it is asked."""

    # A parameter goes to the model's server as it is set: what that does not take for the model, it refuses in words.
    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("self.provider != 'Anthropic' || !has(self.seed)", NO_SEED, field=".seed"),
            rule(
                "self.provider != 'Anthropic' || !has(self.temperature) || "
                "self.temperature.matches('^(0([.][0-9]+)?|1([.]0+)?)$')",
                COOLER,
                field=".temperature",
            ),
        )
    )

    provider: Literal["OpenAI", "Anthropic", "Google"] = Field(
        description="The API the model's server speaks. OpenAI: its chat API, which many other servers speak too. "
        "Anthropic: its messages API. Google: the Gemini API's generateContent."
    )
    name: str = Field(min_length=1, max_length=256, description="Name of the model, as its server knows it.")
    base_url: Annotated[str, Field(max_length=2048, pattern=r"^https?://[^\s/]+(/\S*)?$")] | None = Field(
        default=None,
        alias="baseURL",
        description="Base URL of the API: of OpenAI's with the version, such as http://model.default/v1, of the others "
        "without. Default: the provider's own.",
    )
    api_key_secret_ref: SecretKeyRef | None = Field(
        default=None,
        description="The API key, in a Secret of the same namespace. A model without a key needs none.",
    )
    temperature: (
        Annotated[str, Field(max_length=8, pattern=r"^([01](\.[0-9]{1,4})?|2(\.0{1,4})?)$")] | None
    ) = Field(
        default=None,
        description='Sampling temperature, a decimal number as a string, such as "0.2". Anthropic: at most 1.',
    )
    top_p: Annotated[str, Field(max_length=8, pattern=r"^(0(\.[0-9]{1,4})?|1(\.0{1,4})?)$")] | None = Field(
        default=None,
        description="Only the likeliest tokens that together have this probability are considered, a decimal number as "
        'a string, such as "0.9". Set this or the temperature, not both.',
    )
    max_output_tokens: Annotated[int, Field(ge=1, le=10_000_000)] | None = Field(
        default=None, description="Longest answer, in tokens. Default: the model's own."
    )
    stop_sequences: Annotated[list[StopSequence], Field(min_length=1, max_length=4)] | None = Field(
        default=None, description="Texts at which an answer ends; they are not part of it."
    )
    seed: Annotated[int, Field(ge=0, le=2_147_483_647)] | None = Field(
        default=None,
        description="Makes answers to equal requests alike, as far as the model's server can. Not Anthropic.",
    )


class ModelSpec(ModelEndpoint):
    """The language model an agent speaks through, and those that are asked when it fails."""

    fallbacks: Annotated[list[ModelEndpoint], Field(min_length=1, max_length=4)] | None = Field(
        default=None,
        description="Models to ask, in this order, when the ones before have failed for good or for too long. Each "
        "has its own key and parameters; none are inherited.",
    )

    @property
    def in_order(self) -> list[ModelEndpoint]:
        """The model and its fallbacks, in the order they are asked."""
        return [self, *(self.fallbacks or ())]


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
