"""What a Session's status shows."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from parley.resources.common import (
    Condition,
    Conditions,
    FreeObject,
    ObservedGeneration,
    StatusModel,
    Timestamp,
    Usage,
)

MAX_RECENT_EVENTS = 10
MAX_STATUS_CONTEXT = 4096
"""Bytes of the stored context, as compact JSON, that the status shows."""
MAX_EVENT_TEXT = 256
"""Characters of an event's text in the status; the whole text is in the store."""


class SessionPhase(StrEnum):
    """Where the conversation stands, in one word."""

    PENDING = "Pending"
    ACTIVE = "Active"
    WAITING_FOR_INPUT = "WaitingForInput"
    DORMANT = "Dormant"
    PAUSED = "Paused"
    ENDED = "Ended"
    ARCHIVED = "Archived"


class EventCounts(StatusModel):
    """How much was said."""

    count: int = Field(default=0, ge=0, description="Events of the session.")
    messages: int = Field(default=0, ge=0, description="Those of them that are messages.")
    last_sequence: int = Field(default=0, ge=0, description="Sequence number of the newest event.")
    last_time: Timestamp | None = Field(default=None, description="When the newest event was stored.")


class RecentEvent(StatusModel):
    """One of the newest events."""

    sequence: int = Field(ge=1, description="Number of the event in its session: 1, 2, 3 …")
    time: Timestamp = Field(description="When it was stored.")
    type: str = Field(max_length=32, description="message, toolCall, toolResult, reply, state or summary.")
    role: str | None = Field(default=None, max_length=32, description="Of a message: user or assistant.")
    speaker: str | None = Field(
        default=None, max_length=256, description="Who said it: the person's name or id, or the Agent's name."
    )
    task: str | None = Field(default=None, max_length=253, description="Name of the Task it came from.")
    step: str | None = Field(default=None, max_length=63, description="Step of that Task.")
    text: str | None = Field(
        default=None,
        max_length=MAX_EVENT_TEXT,
        description="What was said, cut at 256 characters. Absent with statusText: Hide.",
    )


class TaskCounts(StatusModel):
    """The session's tasks, by how they stand."""

    active: int = Field(default=0, ge=0, description="Tasks that have not ended.")
    waiting: int = Field(default=0, ge=0, description="Those of them that wait for a person's reply.")
    succeeded: int = Field(default=0, ge=0, description="Tasks that succeeded.")
    failed: int = Field(default=0, ge=0, description="Tasks that failed.")


class SessionStatus(StatusModel):
    """What the operator last saw of the session."""

    observed_generation: ObservedGeneration = None
    phase: SessionPhase | None = Field(
        default=None,
        description="Pending: nothing was said yet, and it lacks what it needs, such as its agent. Active: it goes on. "
        "WaitingForInput: so it does, and a task of it waits for a person's reply. Dormant: nothing happened for "
        "idleTimeout, the next message wakes it. Paused, Ended, Archived: as desiredState asks; Ended also once "
        "expireAfter is over. Whether it takes turns now is what the condition Active says.",
    )
    conditions: Conditions = Field(
        default_factory=list[Condition],
        description="Ready is True while it has all it needs: its agents, the transcript it is to go on with. Active "
        "is True while it takes turns; False says why not. WaitingForInput is True while a task of it waits for a "
        "person's reply.",
    )
    agent: str | None = Field(
        default=None,
        max_length=256,
        description="Who answers by default, for people to read: the Agent's name, and where there are others how "
        "many, as in planner +1. Their names are in the spec.",
    )
    events: EventCounts | None = Field(default=None, description="How much was said.")
    recent_events: Annotated[list[RecentEvent], Field(max_length=MAX_RECENT_EVENTS)] = Field(
        default_factory=list[RecentEvent],
        description="The newest events, oldest first. All of them are in the store.",
    )
    tasks: TaskCounts | None = Field(default=None, description="The session's tasks, by how they stand.")
    context: FreeObject | None = Field(
        default=None,
        description="The context as templates see it, where it is at most 4 KiB: the spec's first values, until set "
        "steps and update_context change them. The whole is in the store.",
    )
    context_truncated: bool | None = Field(
        default=None, description="True: the context is too large to be shown."
    )
    context_version: int | None = Field(
        default=None,
        ge=0,
        description="Number of the context's version; every change raises it. Absent: nothing has changed the "
        "first values.",
    )
    dormant_since: Timestamp | None = Field(default=None, description="Since when it is Dormant.")
    cleared_through: int | None = Field(
        default=None, ge=0, description="The last event whose content was erased. Absent: none was."
    )
    usage: Usage | None = Field(default=None, description="Tokens of all the session's tasks.")
