"""Reply: a person's answer to a question of a Task."""

from typing import Annotated

from pydantic import ConfigDict, Field, JsonValue

from parley.resources.common import (
    Condition,
    Conditions,
    ObjectReference,
    ObservedGeneration,
    ResourceModel,
    StatusModel,
    rule,
    rules,
)
from parley.resources.flow import Choice


class ReplySpec(ResourceModel):
    """Which question, what answer, and who says so."""

    model_config = ConfigDict(
        json_schema_extra={
            **rules(
                rule(
                    "self == oldSelf",
                    "a Reply is immutable: delete it and create another; what was accepted stays",
                    reason="FieldValueForbidden",
                ),
            ),
            # CEL does not see fields of any type, such as value.
            "oneOf": [{"required": ["choice"]}, {"required": ["value"]}],
        },
    )

    task_ref: ObjectReference = Field(description="The Task that asks. Immutable.")
    wait_id: str = Field(
        alias="waitID",
        min_length=1,
        max_length=64,
        description="Which question: an id of the Task's status.waiting. Immutable.",
    )
    choice: Choice | None = Field(
        default=None,
        description="The answer, where there are choices. Exactly one of choice and value. Immutable.",
    )
    value: JsonValue = Field(
        default=None,
        description="The answer, where there are no choices: any JSON. Exactly one of choice and value. Immutable.",
    )
    message: str | None = Field(
        default=None, max_length=4096, description="What else there is to say, for people. Immutable."
    )
    by: Annotated[str, Field(min_length=1, max_length=1024)] | None = Field(
        default=None,
        description="Who replies: the Kubernetes user name of whoever creates the Reply. The API server fills it in, "
        "and refuses another. Immutable.",
    )


class ReplyStatus(StatusModel):
    """What became of the reply."""

    observed_generation: ObservedGeneration = None
    conditions: Conditions = Field(
        default_factory=list[Condition],
        description="Accepted: True when it answered the question; False, for good, when not, and why: NotWaiting, "
        "UnknownChoice, SchemaMismatch, TooLate, AlreadyAnswered. Ready and Stalled say the same for kstatus.",
    )
