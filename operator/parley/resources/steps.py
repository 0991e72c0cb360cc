"""The steps of a task: what each kind of step needs."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Literal, get_args

from pydantic import ConfigDict, Field

from parley.resources.common import (
    DNS_LABEL,
    MAX_TEMPLATE,
    Duration,
    FreeObject,
    ResourceModel,
    parse_duration,
    rule,
    rules,
)
from parley.resources.container import ContainerStep
from parley.resources.flow import FailStep, ForEach, ReturnStep, SetStep, SleepStep, TaskStep, WaitStep
from parley.resources.retry import Retry
from parley.resources.tools import ToolStep

DEFAULT_STEP_TIMEOUT = timedelta(hours=1)

StepKind = Literal["prompt", "tool", "container", "wait", "sleep", "set", "task", "return", "fail"]
STEP_KINDS: tuple[StepKind, ...] = get_args(StepKind)
_CEL_KINDS = tuple(
    "__return__" if kind == "return" else kind for kind in STEP_KINDS
)  # a word CEL keeps for itself
_ATTRIBUTES = {"return": "return_"}
ATTEMPT_FIELDS = {
    "retry": "the others run no attempts",
    "timeout": "a wait has its own, below wait",
    "forEach": "the others have nothing to run for each item",
}
"""Fields of steps that run in attempts, with why the other kinds have them not."""
CONTINUE_NOT_HERE = "continueOnError has no place beside return and fail: they end the task"
HISTORY_WITHOUT_ITEMS = "history: Session cannot stand beside forEach: a conversation has one turn at a time"

History = Literal["Session", "None"]
StepName = Annotated[str, Field(min_length=1, max_length=63, pattern=DNS_LABEL)]
MAX_STEPS = 64


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
        "neither. Default: Session with a sessionRef and without forEach, else None. Not Session with forEach.",
    )
    auto_run_tools: bool | None = Field(
        default=None,
        description="False: the tools the model calls are not run; the output is {text, calls: [{name, arguments}]}. "
        "Default: as the Session says.",
    )


class Step(ResourceModel):
    """One step of a task. Its kind is the field it has: prompt, container, wait and so on."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                " + ".join(f"(has(self.{kind}) ? 1 : 0)" for kind in _CEL_KINDS) + " == 1",
                f"a step has exactly one of {', '.join(STEP_KINDS)}",
            ),
            *(
                rule(
                    f"!has(self.{field}) || has(self.prompt) || has(self.tool) || has(self.container) || "
                    "has(self.task)",
                    f"{field} is for prompt, tool, container and task steps: {why}",
                    field=f".{field}",
                    reason="FieldValueForbidden",
                )
                for field, why in ATTEMPT_FIELDS.items()
            ),
            rule(
                "!has(self.continueOnError) || !self.continueOnError || !(has(self.__return__) || has(self.fail))",
                CONTINUE_NOT_HERE,
                field=".continueOnError",
                reason="FieldValueForbidden",
            ),
            rule(
                "!has(self.forEach) || !has(self.prompt) || !has(self.prompt.history) || "
                "self.prompt.history != 'Session'",
                HISTORY_WITHOUT_ITEMS,
                field=".prompt.history",
            ),
        ),
    )

    name: StepName = Field(
        description="Name of the step, a DNS label. In templates hyphens are written as underscores.",
    )
    needs: Annotated[list[StepName], Field(max_length=63)] | None = Field(
        default=None,
        description="Steps that must be done before, all written above this one. Default: the step before; []: "
        "none, it starts at once.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    when: Annotated[str, Field(min_length=1, max_length=MAX_TEMPLATE)] | None = Field(
        default=None,
        description='A template that yields true or false, such as "{{ inputs.size > 3 }}". False: the step is '
        "skipped, which counts as done; its output is null.",
    )
    continue_on_error: bool = Field(
        default=False,
        description="True: when the step fails, what needs it goes on all the same. Default: the task fails.",
    )
    retry: Retry | None = Field(
        default=None,
        description="When a failed attempt is repeated. Default: never. For prompt, tool, container and task steps.",
    )
    timeout: Duration | None = Field(
        default=None,
        description="How long one attempt of the step may take, such as 5m. Default: 1h. For prompt, tool, container "
        "and task steps.",
    )
    for_each: ForEach | None = Field(
        default=None,
        description="Run the step once for each item of a list. For prompt, tool, container and task steps.",
    )
    prompt: PromptStep | None = Field(default=None, description="Ask the agent's model.")
    tool: ToolStep | None = Field(
        default=None, description="Call a tool of the agent. Its output is the call's result."
    )
    container: ContainerStep | None = Field(
        default=None,
        description="Run a container. Its output is what it wrote, read as JSON where it is JSON.",
    )
    wait: WaitStep | None = Field(
        default=None, description="Ask a person. Its output is {choice or value, by, message, at}."
    )
    sleep: SleepStep | None = Field(default=None, description="Wait for a time. Its output is null.")
    set: SetStep | None = Field(default=None, description="Change the session's stored context.")
    task: TaskStep | None = Field(default=None, description="Run another Task. Its output is that task's.")
    return_: ReturnStep | None = Field(
        default=None, alias="return", description="End the task: it succeeded, with this output."
    )
    fail: FailStep | None = Field(default=None, description="End the task: it failed, for this reason.")

    @property
    def kinds(self) -> list[StepKind]:
        """The kinds it has fields of; one, unless the API server let in what it should not."""
        return [kind for kind in STEP_KINDS if getattr(self, _ATTRIBUTES.get(kind, kind)) is not None]

    @property
    def kind(self) -> StepKind:
        """Which kind of step it is: the field it has."""
        return self.kinds[0]

    @property
    def has_attempts(self) -> bool:
        """Whether it runs in attempts, which may fail and be repeated: prompt, tool, container and task steps."""
        return self.runs_in_runner or self.container is not None or self.task is not None

    @property
    def runs_in_runner(self) -> bool:
        """Whether its attempts run in a pod of Parley's own: prompt and tool steps."""
        return self.prompt is not None or self.tool is not None

    def timeout_or_default(self) -> timedelta:
        """How long one attempt of the step may take."""
        return parse_duration(self.timeout) if self.timeout else DEFAULT_STEP_TIMEOUT


def needs_of(steps: Sequence[Step], index: int) -> tuple[str, ...]:
    """Names of the steps that must be done before a step: its ``needs``, or else the step above it."""
    needs = steps[index].needs
    if needs is not None:
        return tuple(needs)
    return (steps[index - 1].name,) if index else ()


def all_needs_of(steps: Sequence[Step], index: int) -> frozenset[str]:
    """Names of all steps that are done when a step begins: its needs, their needs, and so on."""
    needed = set(needs_of(steps, index))
    for above in range(index - 1, -1, -1):
        if steps[above].name in needed:
            needed.update(needs_of(steps, above))
    return frozenset(needed)
