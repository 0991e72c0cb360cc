"""A session as a file: JSON lines, ``TranscriptHeader`` first, then each event, ``TranscriptEnd`` last.

Version 1. A reader refuses versions that it does not know, ignores fields that it does not know, and takes a file
without its last line for a broken one.
"""

from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, JsonValue, model_validator

from parley.api.common import ApiModel
from parley.api.events import EventView

JSON_LINES = "application/jsonl"
FORMAT = "parley.dev/session"
MAX_IMPORT_BYTES = 64 * 1024 * 1024
MAX_SEQUENCE = 2**53 - 1


class ExportedSession(ApiModel):
    """Where a transcript comes from."""

    namespace: str
    name: str
    uid: str


class TranscriptHeader(ApiModel):
    """The first line."""

    format: Literal["parley.dev/session"] = FORMAT
    version: Literal[1] = 1
    session: ExportedSession
    exported_at: AwareDatetime
    last_sequence: Annotated[int, Field(ge=0, le=MAX_SEQUENCE)] = Field(description="how many events follow")
    last_turn: Annotated[int, Field(ge=0, le=MAX_SEQUENCE)] = Field(description="no event has a higher turn")
    context: dict[str, JsonValue] | None = Field(
        default=None, description="absent while no step has changed it: then the Session's spec holds"
    )
    context_version: Annotated[int, Field(ge=0, le=MAX_SEQUENCE)] = 0


class TranscriptEvent(EventView):
    """One event, in their order."""

    turn: Annotated[int, Field(ge=1, le=MAX_SEQUENCE)] | None = Field(
        default=None,
        description="models are shown the conversation by turn, then by sequence; absent: they are not shown it",
    )

    @model_validator(mode="after")
    def _somebody_speaks(self) -> Self:
        if self.type == "message" and self.role is None:
            raise ValueError("role: a message has one, user or assistant")
        return self


class TranscriptEnd(ApiModel):
    """The last line: all of it is there."""

    end: Literal[True] = True
    events: Annotated[int, Field(ge=0)]


class ImportResult(ApiModel):
    """What an import did."""

    imported: Annotated[int, Field(ge=0)] = Field(description="events that are new in the session")
    already_there: Annotated[int, Field(ge=0)] = Field(description="events that an import has brought before")
    last_sequence: Annotated[int, Field(ge=0)] = Field(description="how many events the session has now")
