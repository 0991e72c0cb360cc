"""Messages over HTTP: what somebody says in a session."""

from typing import Annotated, Self
from uuid import UUID

from pydantic import Field, StringConstraints, model_validator

from parley.api.common import MAX_USER_ID, ApiBody, ApiModel
from parley.resources.common import MAX_TEMPLATE
from parley.resources.runtime import RuntimeMode

MAX_CONTENT = MAX_TEMPLATE
"""Characters: as many as a Task's message may have."""


class MessageRuntime(ApiBody):
    """How the turn runs."""

    mode: RuntimeMode | None = Field(default=None, description="default: as the Agent says")


class PostMessage(ApiBody):
    """Something that a user of the session says."""

    content: Annotated[str, StringConstraints(min_length=1, max_length=MAX_CONTENT)] = Field(
        description="literal text, never a template"
    )
    turn: bool = Field(
        default=True,
        description="False: it becomes part of the conversation, and nobody is asked to answer it",
    )
    user: Annotated[str, StringConstraints(min_length=1, max_length=MAX_USER_ID)] | None = Field(
        default=None,
        description="id of the session's user who says it; default: the first, or the caller's own",
    )
    agent: Annotated[str, StringConstraints(min_length=1, max_length=253)] | None = Field(
        default=None, description="which of the session's agents is to answer; default: the first"
    )
    runtime: MessageRuntime | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not self.turn and (self.agent is not None or self.runtime is not None):
            raise ValueError("agent and runtime are of the turn: leave them out, or ask for one")
        return self


class MessageAccepted(ApiModel):
    """The message is in the session, for good."""

    sequence: Annotated[int, Field(ge=1)] = Field(description="the event's")
    event_id: UUID
    task: str | None = Field(
        default=None, description="name of the Task whose turn answers it; absent without a turn"
    )
