"""Session: one conversation with an agent."""

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from parley.resources.agent import MAX_TEMPLATE
from parley.resources.common import (
    Condition,
    Conditions,
    FreeObject,
    ObjectReference,
    ObservedGeneration,
    ResourceModel,
    StatusModel,
    Timestamp,
    Usage,
    immutable,
    rules,
)

MAX_RECENT_EVENTS = 10
MAX_STATUS_CONTEXT = 4096
"""Bytes of the stored context, as compact JSON, that the status shows."""
MAX_EVENT_TEXT = 256
"""Characters of an event's text in the status; the whole text is in the store."""


class SessionUser(ResourceModel):
    """The person the agent talks with."""

    id: str | None = Field(default=None, max_length=256, description="The person's id in your own systems.")
    name: str | None = Field(
        default=None, max_length=256, description="The person's name, as the agent may use it."
    )
    about: str | None = Field(
        default=None, max_length=4096, description="What the agent should know of the person."
    )


class SessionLimits(ResourceModel):
    """Bounds of the conversation."""

    context_window: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        default=None,
        description="How many of the newest messages the model is shown, at most 2 MiB of them. Default: 1000.",
    )


class StatusText(StrEnum):
    """Whether the status shows what was said."""

    SHOW = "Show"
    HIDE = "Hide"


class SessionSpec(ResourceModel):
    """With whom, and about what, the conversation is."""

    model_config = ConfigDict(
        json_schema_extra=rules(immutable("agentRef", kind="Session", optional=False)),
    )

    agent_ref: ObjectReference = Field(description="The Agent that answers.")
    user: SessionUser | None = Field(default=None, description="The person the agent talks with.")
    situation: str = Field(
        default="", max_length=16_384, description="What the conversation is about, for the system prompt."
    )
    system_template: str = Field(
        default="", max_length=MAX_TEMPLATE, description="Overrides the agent's systemTemplate."
    )
    context: FreeObject = Field(
        default_factory=dict,
        description="First values for templates (session.context); set steps change the stored ones. Quote keys like "
        "y and no: YAML reads them as booleans.",
    )
    metadata: Annotated[dict[str, Annotated[str, Field(max_length=4096)]], Field(max_length=64)] = Field(
        default_factory=dict, description="Labels of your own, for templates (session.metadata)."
    )
    limits: SessionLimits | None = Field(default=None, description="Bounds of the conversation.")
    status_text: StatusText = Field(
        default=StatusText.SHOW,
        description="Show or Hide the texts of events in the status, which whoever may read Sessions "
        "can read. Default: Show.",
    )


class SessionPhase(StrEnum):
    """Where the conversation stands, in one word."""

    PENDING = "Pending"
    ACTIVE = "Active"
    WAITING_FOR_INPUT = "WaitingForInput"


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
        description="Pending: its agent does not exist yet. Active: it takes messages. WaitingForInput: so it does, "
        "and a task of it waits for a person's reply.",
    )
    conditions: Conditions = Field(
        default_factory=list[Condition],
        description="Ready is True as soon as the session's agent exists. WaitingForInput is True while a task of it "
        "waits for a person's reply.",
    )
    events: EventCounts | None = Field(default=None, description="How much was said.")
    recent_events: Annotated[list[RecentEvent], Field(max_length=MAX_RECENT_EVENTS)] = Field(
        default_factory=list[RecentEvent],
        description="The newest events, oldest first. All of them are in the store.",
    )
    tasks: TaskCounts | None = Field(default=None, description="The session's tasks, by how they stand.")
    context: FreeObject | None = Field(
        default=None,
        description="The stored context, as set steps left it, where it is at most 4 KiB; the whole is in the store.",
    )
    context_truncated: bool | None = Field(
        default=None, description="True: the stored context is too large to be shown."
    )
    usage: Usage | None = Field(default=None, description="Tokens of all the session's tasks.")
