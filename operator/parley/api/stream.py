"""The data of a session's server-sent events, by the name that stands in ``event:``.

``hello`` (Hello) comes first. Its id, and that of each ``event`` (EventView), is a sequence: whoever connects again
with the last one in ``Last-Event-ID`` misses no event and gets none twice. ``delta`` (DeltaView), ``task`` (TaskChange)
and ``session`` (SessionChange) have no id: pieces of an answer are for the eye, the event brings the whole; a task's
and the session's state are told at the beginning and at each change. A comment comes after 15 seconds of silence.
``bye`` (Bye) is the end. A chat has ``accepted`` (MessageAccepted) in the place of ``hello``, and ends with ``done``
(Done).
"""

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, JsonValue

from parley.api.common import ApiModel

LAST_EVENT_ID_HEADER = "Last-Event-ID"
HEARTBEAT_SECONDS = 15.0

StreamedPhase = Literal[
    "Pending",
    "Queued",
    "Running",
    "WaitingForInput",
    "Suspended",
    "Succeeded",
    "Failed",
    "Cancelled",
    "Deleted",
]
"""A Task's phase as the store sees it: Deleted, when its object went before it had ended."""
ByeReason = Literal["Shutdown", "SessionGone"]


class Hello(ApiModel):
    """The stream has begun."""

    last_sequence: Annotated[int, Field(ge=0)] = Field(description="how many events the session has now")


class DeltaView(ApiModel):
    """A piece of a message that the model is giving. Some may be missing: offset tells."""

    task: str
    step: str
    attempt: Annotated[int, Field(ge=1)] = Field(description="another one than before: all pieces begin anew")
    round: Annotated[int, Field(ge=0)]
    offset: Annotated[int, Field(ge=0)] = Field(
        description="characters of this round before it; fewer than were there: the text begins anew from here"
    )
    text: str


class WaitingFor(ApiModel):
    """What a Task asks a person."""

    wait_id: str = Field(alias="waitID", description="for the Reply")
    step: str
    kind: Literal["Question", "Approval"]
    question: str
    choices: list[str] | None = Field(default=None, description="absent: the answer is a value")
    tool: str | None = Field(default=None, description="of an approval: the tool that is to be called")
    arguments: str | None = Field(default=None, description="of its call, as JSON, cut at 512 characters")
    since: AwareDatetime
    deadline: AwareDatetime | None = None


class TaskChange(ApiModel):
    """Where a Task of the session stands now."""

    name: str
    phase: StreamedPhase
    step: str | None = Field(default=None, description="the step that is under way")
    waiting: list[WaitingFor] | None = None
    reason: str | None = Field(default=None, description="of its end")
    message: str | None = None


class SessionChange(ApiModel):
    """Where the session stands now."""

    state: Literal["Active", "Dormant", "Paused", "Expired", "Ended", "Archived"]
    why: str | None = None


class Done(ApiModel):
    """How the turn of a chat ended."""

    task: str | None = Field(default=None, description="absent for a message without a turn")
    phase: Literal["Succeeded", "Failed", "Cancelled"]
    reason: str | None = None
    message: str | None = None
    output: JsonValue = Field(default=None, description="the Task's, up to 64 KiB as JSON")


class Bye(ApiModel):
    """The stream ends. After Shutdown connect again, with the last id."""

    reason: ByeReason
