"""Task: work with a beginning and an end, as a graph of steps."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from parley.resources.agent import AgentSpec
from parley.resources.common import (
    KEEP_DEFAULT,
    MAP_BY_NAME,
    MAX_TEMPLATE,
    Duration,
    FreeObject,
    ObjectReference,
    ResourceModel,
    immutable,
    parse_duration,
    rule,
    rules,
)
from parley.resources.container import ContainerStep, EnvVar, EnvVarSource, ResourceRequirements
from parley.resources.runtime import Runtime, RuntimeMode
from parley.resources.steps import (
    DEFAULT_STEP_TIMEOUT,
    MAX_STEPS,
    History,
    PromptMessage,
    PromptStep,
    Step,
)
from parley.resources.task_status import (
    MAX_STEP_MESSAGE,
    AttemptStatus,
    ItemCounts,
    StepPhase,
    StepStatus,
    TaskPhase,
    TaskStatus,
    WaitingEntry,
    WaitingKind,
)

__all__ = [
    "DEFAULT_STEP_TIMEOUT",
    "MAX_STEPS",
    "MAX_STEP_MESSAGE",
    "AttemptStatus",
    "ContainerStep",
    "DesiredState",
    "EnvVar",
    "EnvVarSource",
    "History",
    "ItemCounts",
    "PromptMessage",
    "PromptStep",
    "ResourceRequirements",
    "Step",
    "StepPhase",
    "StepStatus",
    "TaskFields",
    "TaskPhase",
    "TaskSpec",
    "TaskStatus",
    "WaitingEntry",
    "WaitingKind",
    "runtime_mode",
]

MAX_TASK_NAME = 52
"""Characters: Job names add eleven (a hash) and may have 63."""
MESSAGE_STEP = "reply"
"""Name of the one step that ``message`` stands for."""


class DesiredState(StrEnum):
    """What the user wants of the task."""

    RUNNING = "Running"
    SUSPENDED = "Suspended"
    CANCELLED = "Cancelled"


class TaskFields(ResourceModel):
    """What a Task and a TaskTemplate's task have in common."""

    session_ref: ObjectReference | None = Field(
        default=None,
        description="The Session the task belongs to, and so its agent.",
    )
    agent_ref: ObjectReference | None = Field(
        default=None,
        description="The Agent that answers. With sessionRef: one of the session's agents. Without: there is no "
        "conversation. Default: the session's first.",
    )
    user: Annotated[str, Field(min_length=1, max_length=256)] | None = Field(
        default=None,
        description="Who says it: the id of one of the session's users. Needs sessionRef. Default: the first.",
    )
    inputs: FreeObject = Field(
        default_factory=dict,
        description="Values for templates (inputs). Quote keys like y and no: YAML reads them as booleans.",
    )
    message: Annotated[str, Field(min_length=1, max_length=MAX_TEMPLATE)] | None = Field(
        default=None,
        description="What the user says, literally: no template. Short for one prompt step, whose answer is "
        "the output. Not with steps.",
    )
    steps: (
        Annotated[
            list[Step],
            Field(
                min_length=1,
                max_length=MAX_STEPS,
                json_schema_extra={
                    **MAP_BY_NAME,
                    **rules(
                        rule(
                            "self.all(s, !has(s.needs) || sets.contains(self.map(t, t.name), s.needs))",
                            "needs names a step that does not exist",
                        ),
                        rule(
                            "[self.map(t, t.name)].all(names, self.all(i, s, !has(s.needs) || "
                            "s.needs.all(n, !(n in names) || names.indexOf(n) < i)))",
                            "needs may name only steps written above the step (so there is no cycle)",
                        ),
                    ),
                },
            ),
        ]
        | None
    ) = Field(
        default=None,
        description="What to do, one step after the other, or as their needs say. Not with message.",
    )
    output: FreeObject | None = Field(
        default=None,
        description="The task's output: a mapping whose strings are templates. Default: the last step's "
        "output.",
    )
    timeout: Duration | None = Field(
        default=None,
        description="How long the task may take from its creation, such as 48h; time suspended does not "
        "count. Default: no limit.",
    )
    ttl_after_finished: Duration | None = Field(
        default=None,
        description="How long after its end the task is removed, with its Jobs, such as 24h. One that Git or Helm own "
        "stays, without its Jobs. Default: kept.",
    )
    runtime: Runtime | None = Field(
        default=None, description="How prompt steps run. Default: as the Agent says."
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

    def ttl_or_none(self) -> timedelta | None:
        """How long after its end the task is removed; None: it is kept."""
        return parse_duration(self.ttl_after_finished) if self.ttl_after_finished else None


TOOL_OF_NOBODY = "a tool step needs the Task's sessionRef or agentRef: the tool is an agent's"
USER_WITHOUT_SESSION = "user needs sessionRef: it is one of the session's users"
TASK_RULES = (
    rule(
        "(has(self.message) ? 1 : 0) + (has(self.steps) ? 1 : 0) + (has(self.templateRef) ? 1 : 0) == 1",
        "a Task has exactly one of message, steps and templateRef",
    ),
    rule(
        "!has(self.user) || has(self.sessionRef) || has(self.templateRef)",
        USER_WITHOUT_SESSION,
        field=".user",
    ),
    rule(
        "!has(self.templateRef) || !has(self.output)",
        "output is for the TaskTemplate to say: a Task with templateRef has none",
        field=".output",
        reason="FieldValueForbidden",
    ),
    rule(
        "has(self.sessionRef) || has(self.agentRef) || !has(self.message)",
        "a message needs a sessionRef or an agentRef: somebody must answer",
        field=".message",
    ),
    rule(
        "has(self.sessionRef) || has(self.agentRef) || !has(self.steps) || self.steps.all(s, !has(s.prompt))",
        "a prompt step needs the Task's sessionRef or agentRef: somebody must answer",
        field=".steps",
    ),
    rule(
        "has(self.sessionRef) || has(self.agentRef) || !has(self.steps) || self.steps.all(s, !has(s.tool))",
        TOOL_OF_NOBODY,
        field=".steps",
    ),
    rule(
        "has(self.sessionRef) || !has(self.steps) || self.steps.all(s, !has(s.prompt) || "
        "!has(s.prompt.history) || s.prompt.history != 'Session')",
        "history: Session needs the Task's sessionRef",
        field=".steps",
    ),
    rule(
        "has(self.sessionRef) || !has(self.steps) || self.steps.all(s, !has(s.set))",
        "a set step needs the Task's sessionRef: it changes the session's context",
        field=".steps",
    ),
)
"""What a Task must be when it is made; also inside a Schedule."""
_IMMUTABLE = (
    *(
        "sessionRef",
        "agentRef",
        "user",
        "inputs",
        "message",
        "steps",
        "templateRef",
        "output",
        "timeout",
        "runtime",
    ),
)


class TaskSpec(TaskFields):
    """What to do, and with whom."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            *TASK_RULES,
            *(immutable(field, kind="Task") for field in _IMMUTABLE),
            # Lists that are maps are equal in any order, but by default a step needs the one before it.
            rule(
                "!has(self.steps) || !has(oldSelf.steps) || "
                "self.steps.map(s, s.name) == oldSelf.steps.map(s, s.name)",
                "steps is immutable, their order too: delete the Task and create it again",
                field=".steps",
                reason="FieldValueForbidden",
            ),
            rule(
                "oldSelf.desiredState != 'Cancelled' || self.desiredState == 'Cancelled'",
                "Cancelled is final: delete the Task and create it again to run it once more",
                field=".desiredState",
                reason="FieldValueForbidden",
            ),
        ),
    )

    template_ref: ObjectReference | None = Field(
        default=None,
        description="The TaskTemplate that says what to do; this Task's inputs, sessionRef, agentRef, timeout, runtime "
        "and ttlAfterFinished win over its. Not with message or steps.",
    )
    desired_state: DesiredState = Field(
        default=DesiredState.RUNNING,
        description="Running; Suspended: nothing new starts, what runs goes on; Cancelled: end it, for good.",
        json_schema_extra={KEEP_DEFAULT: True},
    )


def runtime_mode(task: TaskFields, agent: AgentSpec | None) -> RuntimeMode:
    """In what pods a task's prompt steps run: as the task says, else its agent, else a Job each."""
    for runtime in (task.runtime, agent.runtime if agent is not None else None):
        if runtime is not None and runtime.mode is not None:
            return runtime.mode
    return RuntimeMode.JOB
