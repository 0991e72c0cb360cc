"""Replies over HTTP: what waits for a person, and what a person says."""

from typing import Annotated, Self

from pydantic import AwareDatetime, Field, JsonValue, StringConstraints, model_validator

from parley.api.common import ApiBody, ApiModel
from parley.resources.common import ObjectReference
from parley.resources.flow import Choice
from parley.resources.task_status import WaitingKind


class CreateReply(ApiBody):
    """An answer to a question of a Task; who gives it is whoever asks for this."""

    task_ref: ObjectReference = Field(description="the Task that asks")
    wait_id: Annotated[str, StringConstraints(min_length=1, max_length=64)] = Field(
        alias="waitID", description="which question: waitID of an entry of the list of what waits"
    )
    choice: Choice | None = Field(
        default=None, description="where there are choices; exactly one of choice and value"
    )
    value: JsonValue = Field(default=None, description="where there are none: any JSON")
    message: Annotated[str, StringConstraints(max_length=4096)] | None = Field(
        default=None, description="what else there is to say, for people"
    )

    @model_validator(mode="after")
    def _one_answer(self) -> Self:
        if (self.choice is not None) == ("value" in self.model_fields_set):
            raise ValueError("give exactly one of choice and value")
        return self


class ReplyView(ApiModel):
    """A Reply, and what became of it as far as that is known."""

    name: str
    accepted: bool | None = Field(
        default=None, description="absent: the operator has not decided yet; read the Reply, or look again"
    )
    reason: str | None = Field(
        default=None,
        description="Accepted, or why not: NotWaiting, UnknownChoice, TooLate, AlreadyAnswered …",
    )
    message: str | None = None


class WaitingView(ApiModel):
    """One question that waits for a person."""

    namespace: str
    task: str
    session: str | None = Field(default=None, description="name of the Task's Session")
    wait_id: str = Field(alias="waitID")
    kind: WaitingKind
    step: str
    item: int | None = None
    question: str
    choices: list[str] | None = Field(default=None, description="absent: the answer is a value")
    tool: str | None = Field(default=None, description="of an approval: the tool that is to be called")
    arguments: str | None = Field(default=None, description="of its call, as JSON, cut at 512 bytes")
    since: AwareDatetime
    deadline: AwareDatetime | None = None


class WaitingList(ApiModel):
    """A page of what waits for a person in a namespace."""

    items: list[WaitingView]
    next_page_token: str | None = None
