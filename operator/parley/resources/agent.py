"""Agent: who answers. Its instructions, its model and its tools."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from parley.resources.common import (
    MAP_BY_NAME,
    MAX_TEMPLATE,
    Condition,
    Conditions,
    ObservedGeneration,
    ResourceModel,
    SecretKeyRef,
    StatusModel,
    Usage,
    rule,
    rules,
)
from parley.resources.runtime import AgentRuntime, RunnerPod, WarmRuntime
from parley.resources.tools import MAX_TOOLS, BuiltinTool, ToolSpec

DEFAULT_MAX_TOOL_ROUNDS = 8
NAMED_LIKE_SERVERS = (
    "a tool's name begins with that of an mcp tool and _, as the names of its server's tools do: rename one"
)
NAMED_LIKE_BUILTIN = "a tool is called like one of builtinTools: choose another name"
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


class AgentLimits(ResourceModel):
    """Bounds of the agent's work."""

    max_concurrent_tasks: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        default=None,
        description="How many of its tasks run at once, at most; those that wait or sleep do not count. Default: no "
        "limit.",
    )
    max_tool_rounds: Annotated[int, Field(ge=1, le=100)] = Field(
        default=DEFAULT_MAX_TOOL_ROUNDS,
        description="How many times in one turn the model may call tools, at most; then the turn fails. Default: 8.",
    )
    tokens_per_day: Annotated[int, Field(ge=1, le=1_000_000_000_000)] | None = Field(
        default=None,
        description="How many tokens it may use in a day (UTC), those it is sent and those it answers with; its prompt "
        "steps then wait for the next day. Default: no limit.",
    )


class AgentSpec(ResourceModel):
    """Who answers, and how."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.tools) || !has(self.builtinTools) || "
                "!self.tools.exists(t, self.builtinTools.exists(b, b == t.name))",
                NAMED_LIKE_BUILTIN,
                field=".tools",
            ),
            rule(
                "!has(self.tools) || self.tools.all(t, !has(t.mcp) || "
                "(self.tools.all(other, !other.name.startsWith(t.name + '_')) && "
                "(!has(self.builtinTools) || self.builtinTools.all(b, !b.startsWith(t.name + '_')))))",
                NAMED_LIKE_SERVERS,
                field=".tools",
            ),
        ),
    )

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
    tools: Annotated[list[ToolSpec], Field(max_length=MAX_TOOLS, json_schema_extra=MAP_BY_NAME)] = Field(
        default_factory=list[ToolSpec], description="What the model may call. Default: nothing."
    )
    builtin_tools: Annotated[
        list[BuiltinTool], Field(max_length=8, json_schema_extra={"x-kubernetes-list-type": "set"})
    ] = Field(
        default_factory=list[BuiltinTool],
        description="Parley's own tools that the model may call. update_context: change the session's stored context. "
        "Default: none.",
    )
    limits: AgentLimits | None = Field(default=None, description="Bounds of the agent's work.")
    runtime: AgentRuntime | None = Field(
        default=None, description="How its prompt and tool steps run, and in what pods."
    )

    @property
    def max_tool_rounds(self) -> int:
        """How many times in one turn the model may call tools."""
        return self.limits.max_tool_rounds if self.limits is not None else DEFAULT_MAX_TOOL_ROUNDS

    @property
    def warm(self) -> WarmRuntime:
        """Its runners of mode Warm, as they are while it says nothing of them."""
        return (self.runtime.warm if self.runtime is not None else None) or WarmRuntime()

    @property
    def runner_pod(self) -> RunnerPod | None:
        """What it says of its runners' pods."""
        return self.runtime.pod if self.runtime is not None else None

    @property
    def tool_secrets(self) -> list[SecretKeyRef]:
        """The Secrets its tools' headers come from, each once, in the order of the spec."""
        found: dict[tuple[str, str], SecretKeyRef] = {}
        for tool in self.tools:
            for header in tool.headers:
                if header.value_from is not None:
                    ref = header.value_from.secret_key_ref
                    found.setdefault((ref.name, ref.key), ref)
        return list(found.values())


class UsageToday(Usage):
    """Tokens of one day."""

    day: str = Field(
        min_length=10, max_length=10, pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}$", description="Which day, in UTC."
    )


class WarmStatus(StatusModel):
    """The runners of mode Warm."""

    replicas: int = Field(default=0, ge=0, description="Pods there should be now; 0 while the agent is idle.")
    ready: int = Field(default=0, ge=0, description="Pods that take attempts.")


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
    usage: Usage | None = Field(default=None, description="Tokens of all its tasks; up to 10 s old.")
    usage_today: UsageToday | None = Field(
        default=None, description="Tokens of the day that limits.tokensPerDay counts; up to 10 s old."
    )
    warm: WarmStatus | None = Field(default=None, description="Its runners of mode Warm, once there was one.")
