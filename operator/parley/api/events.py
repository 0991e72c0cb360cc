"""A session's events over HTTP."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import AwareDatetime, Field, JsonValue

from parley.api.common import ApiModel

MAX_EVENTS = 500
DEFAULT_EVENTS = 100
_MAX_NUMBER = 2**31 - 1

EventType = Literal["message", "toolCall", "toolResult", "reply", "state", "summary"]
Role = Literal["user", "assistant"]
Sequence = Annotated[int, Field(ge=1)]


class EventView(ApiModel):
    """Something that was said or done in a session. It never changes, but that its content may be erased."""

    sequence: Sequence = Field(description="1, 2, 3 … in its session, without a gap")
    id: UUID
    time: AwareDatetime
    type: EventType
    role: Role | None = Field(default=None, description="of a message")
    speaker: str | None = Field(default=None, description="name of the person or agent who says it")
    content: JsonValue = Field(
        default=None, description="a message's text, or an object; null or absent once it was erased"
    )
    task: str | None = Field(default=None, description="name of the Task it comes from")
    step: str | None = None
    item: Annotated[int, Field(ge=0, le=_MAX_NUMBER)] | None = Field(
        default=None, description="of a forEach, from 0"
    )
    attempt: Annotated[int, Field(ge=1, le=_MAX_NUMBER)] | None = None


class EventList(ApiModel):
    """A page of events, in their order."""

    items: list[EventView]
    next_after: int | None = Field(
        default=None, description="more may follow: ask again with it as after; absent with before"
    )
    next_before: int | None = Field(
        default=None, description="asked with before, earlier ones are left: ask again with it as before"
    )
    last_sequence: Annotated[int, Field(ge=0)] = Field(description="how many events the session has")
