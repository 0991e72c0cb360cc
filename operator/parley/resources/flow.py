"""What directs a task: step kinds that run in the operator, without a pod, and running a step for each item."""

from datetime import timedelta
from typing import Annotated

from pydantic import ConfigDict, Field, JsonValue

from parley.resources.common import (
    MAX_TEMPLATE,
    Duration,
    FreeObject,
    ObjectReference,
    ResourceModel,
    parse_duration,
    rule,
    rules,
)

MAX_ITEMS = 1000
"""Items of one ``forEach``."""
MAX_QUESTION = 4096
"""Characters of the template of a question."""
Choice = Annotated[str, Field(min_length=1, max_length=63)]


class ForEach(ResourceModel):
    """Run the step once for each item of a list."""

    items: JsonValue = Field(
        description="A list, whose strings are templates, or a template that yields one; at most 1,000 items. The "
        "step's templates know item and index (from 0); the step's output is the list of the items' outputs, in "
        "the same order.",
    )
    parallelism: Annotated[int, Field(ge=1, le=MAX_ITEMS)] = Field(
        default=10, description="How many items run at once, at most. Default: 10."
    )


class WaitStep(ResourceModel):
    """Ask a person, and wait for a Reply. Nothing runs meanwhile."""

    question: str = Field(
        min_length=1, max_length=MAX_QUESTION, description="What the person is asked: a template."
    )
    choices: Annotated[list[Choice], Field(min_length=2, max_length=16)] | None = Field(
        default=None,
        description="The answers to choose from. Not with schema; with neither any value is an answer.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    schema_: FreeObject | None = Field(
        default=None,
        alias="schema",
        description="JSON Schema (2020-12) that the answer's value must fit. Not with choices.",
    )
    timeout: Duration | None = Field(
        default=None,
        description="How long to wait, such as 24h; time suspended does not count. Default: no limit.",
    )
    on_timeout: JsonValue = Field(
        default=None,
        description="The answer when nobody replied in time: one of the choices, or a value whose strings are "
        "templates. Needs timeout. Default: the step fails with WaitTimeout.",
    )

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("!(has(self.choices) && has(self.schema))", "a wait has choices or a schema, not both"),
        ),
    )

    def timeout_or_none(self) -> timedelta | None:
        """How long to wait; None: no limit."""
        return parse_duration(self.timeout) if self.timeout else None


class SleepStep(ResourceModel):
    """Do nothing for a while, or until an instant. Nothing runs meanwhile."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("has(self.duration) != has(self.until)", "a sleep has exactly one of duration and until"),
        ),
    )

    duration: Duration | None = Field(
        default=None, description="How long, such as 90s or 168h. It goes on while the task is suspended."
    )
    until: Annotated[str, Field(min_length=1, max_length=MAX_TEMPLATE)] | None = Field(
        default=None,
        description="The instant at which to go on, as RFC 3339 has it (2027-01-31T09:00:00Z): a template. One in "
        "the past is over at once.",
    )


class SetStep(ResourceModel):
    """Change the stored context of the task's session. Its output is null."""

    context: Annotated[FreeObject, Field(min_length=1)] = Field(
        description="Keys to write into the session's context, with values whose strings are templates; null "
        "removes a key. Other keys stay. The Session object's spec is not changed.",
    )


class TaskStep(ResourceModel):
    """Run another Task, and wait for its end. Its output is that task's."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "has(self.templateRef) != has(self.spec)",
                "a task step has exactly one of templateRef and spec",
            ),
        ),
    )

    template_ref: ObjectReference | None = Field(
        default=None, description="The TaskTemplate that says what to do."
    )
    spec: FreeObject | None = Field(
        default=None,
        description="What to do: the spec of a Task, without desiredState. Its templates are its own: give it values "
        "through inputs. Without sessionRef and agentRef it has this Task's.",
    )
    inputs: FreeObject = Field(
        default_factory=dict,
        description="Inputs of that Task, whose strings are templates of this one; they win over those of spec.",
    )


class ReturnStep(ResourceModel):
    """End the task here: it succeeded, with this output. What still runs is ended."""

    value: JsonValue = Field(
        default=None, description="The task's output: any JSON, whose strings are templates. Default: null."
    )


class FailStep(ResourceModel):
    """End the task here: it failed, for this reason. What still runs is ended."""

    message: str = Field(min_length=1, max_length=4096, description="Why it failed, for people: a template.")
