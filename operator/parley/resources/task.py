"""Task: work with a beginning and an end, as a chain of steps."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field, JsonValue

from parley.resources.agent import MAX_TEMPLATE
from parley.resources.common import (
    KEEP_DEFAULT,
    MAP_TYPE,
    Condition,
    Conditions,
    Duration,
    FreeObject,
    ObjectReference,
    ObservedGeneration,
    ResourceModel,
    StatusModel,
    Timestamp,
    Usage,
    immutable,
    parse_duration,
    rule,
    rules,
)
from parley.resources.steps import (
    DEFAULT_STEP_TIMEOUT,
    MAP_BY_NAME,
    ContainerStep,
    EnvVar,
    EnvVarSource,
    History,
    PromptMessage,
    PromptStep,
    ResourceRequirements,
    Step,
    StepName,
)

__all__ = [
    "DEFAULT_STEP_TIMEOUT",
    "ContainerStep",
    "DesiredState",
    "EnvVar",
    "EnvVarSource",
    "History",
    "PromptMessage",
    "PromptStep",
    "ResourceRequirements",
    "Step",
    "StepPhase",
    "StepStatus",
    "TaskPhase",
    "TaskSpec",
    "TaskStatus",
]

MAX_STEPS = 64
MAX_TASK_NAME = 52
"""Characters: Job names add eleven (a hash) and may have 63."""
MAX_STEP_MESSAGE = 256
"""Bytes of a step's message in the status."""
MESSAGE_STEP = "reply"
"""Name of the one step that ``message`` stands for."""


class DesiredState(StrEnum):
    """What the user wants of the task."""

    RUNNING = "Running"
    SUSPENDED = "Suspended"
    CANCELLED = "Cancelled"


_IMMUTABLE = ("sessionRef", "agentRef", "inputs", "message", "steps", "output", "timeout")


class TaskSpec(ResourceModel):
    """What to do, and with whom."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("has(self.message) != has(self.steps)", "a Task has exactly one of message and steps"),
            rule(
                "!(has(self.sessionRef) && has(self.agentRef))",
                "a Task has sessionRef or agentRef, not both: the session says which agent answers",
                field=".agentRef",
                reason="FieldValueForbidden",
            ),
            rule(
                "has(self.sessionRef) || has(self.agentRef) || !has(self.message)",
                "a message needs a sessionRef or an agentRef: somebody must answer",
                field=".message",
            ),
            rule(
                "has(self.sessionRef) || has(self.agentRef) || !has(self.steps) || "
                "self.steps.all(s, !has(s.prompt))",
                "a prompt step needs the Task's sessionRef or agentRef: somebody must answer",
                field=".steps",
            ),
            rule(
                "has(self.sessionRef) || !has(self.steps) || self.steps.all(s, !has(s.prompt) || "
                "!has(s.prompt.history) || s.prompt.history != 'Session')",
                "history: Session needs the Task's sessionRef",
                field=".steps",
            ),
            *(immutable(field, kind="Task") for field in _IMMUTABLE),
            rule(
                "oldSelf.desiredState != 'Cancelled' || self.desiredState == 'Cancelled'",
                "Cancelled is final: delete the Task and create it again to run it once more",
                field=".desiredState",
                reason="FieldValueForbidden",
            ),
        ),
    )

    session_ref: ObjectReference | None = Field(
        default=None,
        description="The Session the task belongs to, and so its agent. Not with agentRef. Immutable.",
    )
    agent_ref: ObjectReference | None = Field(
        default=None,
        description="The Agent that answers, with no conversation. Not with sessionRef. Immutable.",
    )
    inputs: FreeObject = Field(
        default_factory=dict,
        description="Values for templates (inputs). Immutable. Quote keys like y and no: YAML reads them "
        "as booleans.",
    )
    message: Annotated[str, Field(min_length=1, max_length=MAX_TEMPLATE)] | None = Field(
        default=None,
        description="What the user says, literally: no template. Short for one prompt step, whose answer is "
        "the output. Exactly one of message and steps. Immutable.",
    )
    steps: (
        Annotated[
            list[Step],
            Field(
                min_length=1,
                max_length=MAX_STEPS,
                json_schema_extra=MAP_BY_NAME,
            ),
        ]
        | None
    ) = Field(
        default=None,
        description="What to do, one step after the other. Exactly one of message and steps. Immutable.",
    )
    output: FreeObject | None = Field(
        default=None,
        description="The task's output: a mapping whose strings are templates. Default: the last step's "
        "output. Immutable.",
    )
    timeout: Duration | None = Field(
        default=None,
        description="How long the task may take from its creation, such as 48h; time suspended does not "
        "count. Default: no limit. Immutable.",
    )
    desired_state: DesiredState = Field(
        default=DesiredState.RUNNING,
        description="Running; Suspended: nothing new starts, what runs goes on; Cancelled: end it, for good.",
        json_schema_extra={KEEP_DEFAULT: True},
    )

    def effective_steps(self) -> list[Step]:
        """The steps to run; a ``message`` is one prompt step, whose text is literal, not a template."""
        if self.message is not None:
            # The message may be up to a prompt's length, so the step is valid by construction.
            return [Step(name=MESSAGE_STEP, prompt=PromptStep(text=self.message))]
        return list(self.steps or ())

    def timeout_or_none(self) -> timedelta | None:
        """How long the task may take from its creation; None: no limit."""
        return parse_duration(self.timeout) if self.timeout else None


class TaskPhase(StrEnum):
    """Where the task stands, in one word."""

    PENDING = "Pending"
    QUEUED = "Queued"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


class StepPhase(StrEnum):
    """Where a step stands, in one word."""

    PENDING = "Pending"
    QUEUED = "Queued"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    SKIPPED = "Skipped"


class StepStatus(StatusModel):
    """How one step stands."""

    # One writer replaces a step's entry whole; a second owner of one leaf would wedge server-side apply.
    model_config = ConfigDict(json_schema_extra={MAP_TYPE: "atomic"})

    name: StepName = Field(description="Name of the step.")
    phase: StepPhase = Field(description="Where the step stands.")
    attempt: int = Field(default=0, ge=0, description="Number of the newest attempt; 0: none yet.")
    job: str | None = Field(default=None, max_length=253, description="Name of the newest attempt's Job.")
    start_time: Timestamp | None = Field(default=None, description="When the first attempt began.")
    completion_time: Timestamp | None = Field(default=None, description="When the step ended.")
    reason: str | None = Field(
        default=None, max_length=64, description="Why it stands so, in one word; part of the API."
    )
    message: str | None = Field(
        default=None, max_length=MAX_STEP_MESSAGE, description="Why it stands so, for people."
    )
    output: JsonValue = Field(
        default=None, description="What it gave, where it is at most 1 KiB; the whole is in the store."
    )
    truncated: bool | None = Field(default=None, description="True: the output or the message is cut.")


class TaskStatus(StatusModel):
    """What the operator last saw of the task."""

    observed_generation: ObservedGeneration = None
    phase: TaskPhase | None = Field(
        default=None, description="Where the task stands; for people. Programs read the conditions."
    )
    conditions: Conditions = Field(
        default_factory=list[Condition],
        description="Succeeded: how the work ended (Unknown before). Ready: True once Succeeded, or "
        "Cancelled as asked. Reconciling: True while work goes on. Stalled: True when it failed for good.",
    )
    start_time: Timestamp | None = Field(default=None, description="When its first step began.")
    completion_time: Timestamp | None = Field(default=None, description="When it ended.")
    progress: str | None = Field(
        default=None, max_length=16, description="Steps that are done, of all steps, such as 1/3."
    )
    agent: str | None = Field(default=None, max_length=253, description="Name of the Agent that answers.")
    steps: Annotated[
        list[StepStatus],
        Field(max_length=MAX_STEPS, json_schema_extra=MAP_BY_NAME),
    ] = Field(default_factory=list[StepStatus], description="How each step stands, in the order of the spec.")
    output: JsonValue = Field(
        default=None, description="What it gave, where it is at most 8 KiB; the whole is in the store."
    )
    truncated: bool | None = Field(default=None, description="True: the output is cut.")
    usage: Usage | None = Field(default=None, description="Tokens of all its attempts.")
