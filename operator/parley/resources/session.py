"""Session: one conversation with an agent."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from parley.resources.common import (
    KEEP_DEFAULT,
    MAP_BY_NAME,
    MAX_TEMPLATE,
    Duration,
    FreeObject,
    ObjectReference,
    ResourceModel,
    immutable,
    parse_duration,
    rules,
)
from parley.resources.session_status import (
    MAX_EVENT_TEXT,
    MAX_RECENT_EVENTS,
    MAX_STATUS_CONTEXT,
    EventCounts,
    RecentEvent,
    SessionPhase,
    SessionStatus,
    TaskCounts,
)

__all__ = [
    "MAX_EVENT_TEXT",
    "MAX_RECENT_EVENTS",
    "MAX_STATUS_CONTEXT",
    "ClearHistory",
    "ContextOverflow",
    "EventCounts",
    "RecentEvent",
    "Retention",
    "SessionLimits",
    "SessionPerson",
    "SessionPhase",
    "SessionSpec",
    "SessionState",
    "SessionStatus",
    "SessionUser",
    "StatusText",
    "TaskCounts",
    "TranscriptRef",
    "TranscriptRetention",
]


class SessionUser(ResourceModel):
    """The person the agent talks with."""

    id: str | None = Field(default=None, max_length=256, description="The person's id in your own systems.")
    name: str | None = Field(
        default=None, max_length=256, description="The person's name, as the agent may use it."
    )
    about: str | None = Field(
        default=None, max_length=4096, description="What the agent should know of the person."
    )


class SessionPerson(ResourceModel):
    """One of several people the agent talks with."""

    id: str = Field(
        min_length=1,
        max_length=256,
        description="The person's id in your own systems; a Task's user names it.",
    )
    name: str | None = Field(
        default=None,
        max_length=256,
        description="The person's name, as the agent may use it. Default: the id.",
    )
    about: str | None = Field(
        default=None, max_length=4096, description="What the agent should know of the person."
    )


class ContextOverflow(StrEnum):
    """What becomes of a conversation that is longer than its token budget, or its window."""

    TRUNCATE = "Truncate"
    SUMMARIZE = "Summarize"
    FAIL = "Fail"


class SessionLimits(ResourceModel):
    """Bounds of the conversation."""

    idle_timeout: Duration | None = Field(
        default=None,
        description="How long after the last activity the session becomes Dormant, such as 1h; the next message wakes "
        "it. Default: never.",
    )
    expire_after: Duration | None = Field(
        default=None,
        description="How long after the last activity the session ends for good, such as 720h. Default: never.",
    )
    max_messages: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None,
        description="How many messages the session may hold; a turn after that fails with MessageLimit. Default: no "
        "limit.",
    )
    context_window: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        default=None,
        description="How many of the newest messages the model is shown, at most 2 MiB of them. Default: 1000.",
    )
    token_budget: Annotated[int, Field(ge=100, le=100_000_000)] | None = Field(
        default=None,
        description="How many tokens of the conversation the model is shown, as estimated from its length (4 bytes a "
        "token). Default: no limit.",
    )
    context_overflow: ContextOverflow = Field(
        default=ContextOverflow.TRUNCATE,
        description="What becomes of a longer conversation. Truncate: the oldest is left out. Summarize: the model "
        "sums up what is left out. Fail: the turn fails with BudgetExceeded. Default: Truncate.",
    )

    def idle_timeout_or_none(self) -> timedelta | None:
        """How long after its last activity the session sleeps; None: never."""
        return parse_duration(self.idle_timeout) if self.idle_timeout else None

    def expire_after_or_none(self) -> timedelta | None:
        """How long after its last activity the session ends; None: never."""
        return parse_duration(self.expire_after) if self.expire_after else None


class SessionState(StrEnum):
    """What the user wants of the session."""

    ACTIVE = "Active"
    PAUSED = "Paused"
    ENDED = "Ended"
    ARCHIVED = "Archived"


class TranscriptRetention(StrEnum):
    """What becomes of the transcript when the Session object is gone."""

    DELETE = "Delete"
    RETAIN = "Retain"


class Retention(ResourceModel):
    """How long what was said is kept."""

    transcript: TranscriptRetention = Field(
        default=TranscriptRetention.DELETE,
        description="Delete: the transcript is erased some time after the Session object is gone. Retain: it is kept. "
        "Default: Delete.",
    )
    after: Duration = Field(
        default="720h", description="How long after that it is erased, at least 1h. Default: 720h."
    )
    max_age: Duration | None = Field(
        default=None,
        description="What is older is erased while the session lives, at least 1h; numbers and times stay. Default: "
        "never.",
    )

    @property
    def after_gone(self) -> timedelta | None:
        """How long after the object is gone the transcript is erased; None: it is kept."""
        return None if self.transcript is TranscriptRetention.RETAIN else parse_duration(self.after)

    def max_age_or_none(self) -> timedelta | None:
        """How old what was said may grow; None: as old as it likes."""
        return parse_duration(self.max_age) if self.max_age else None


class ClearHistory(ResourceModel):
    """A request to erase what was said, up to an event."""

    through_sequence: Annotated[int, Field(ge=1)] = Field(
        description="The last event that is erased: contents go, numbers and times stay. It can only rise."
    )
    by: Annotated[str, Field(min_length=1, max_length=1024)] | None = Field(
        default=None, description="Who asks: the Kubernetes user name of whoever sets throughSequence."
    )


class TranscriptRef(ResourceModel):
    """The transcript of a Session that is gone."""

    uid: str = Field(
        min_length=1,
        max_length=64,
        pattern="^[-a-zA-Z0-9]+$",
        description="metadata.uid of the Session, of this namespace.",
    )


class StatusText(StrEnum):
    """Whether the status shows what was said."""

    SHOW = "Show"
    HIDE = "Hide"


class SessionSpec(ResourceModel):
    """With whom, and about what, the conversation is."""

    model_config = ConfigDict(
        json_schema_extra=rules(immutable("agentRef", kind="Session")),
    )

    agent_ref: ObjectReference | None = Field(
        default=None, description="The Agent that answers. Exactly one of agentRef and agents."
    )
    agents: (
        Annotated[list[ObjectReference], Field(min_length=1, max_length=8, json_schema_extra=MAP_BY_NAME)]
        | None
    ) = Field(
        default=None,
        description="Several Agents, one of which answers in each turn: the one the Task names, else the first. "
        "Exactly one of agentRef and agents.",
    )
    user: SessionUser | None = Field(
        default=None, description="The person the agent talks with. Not with users."
    )
    users: (
        Annotated[
            list[SessionPerson],
            Field(
                min_length=1,
                max_length=32,
                json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"]},
            ),
        ]
        | None
    ) = Field(
        default=None,
        description="Several people the agent talks with, one of whom speaks in each turn: the one the Task names, "
        "else the first. Not with user.",
    )
    situation: str = Field(
        default="", max_length=16_384, description="What the conversation is about, for the system prompt."
    )
    system_template: str = Field(
        default="", max_length=MAX_TEMPLATE, description="Overrides the agent's systemTemplate."
    )
    context: FreeObject = Field(
        default_factory=dict,
        description="First values for templates (session.context); set steps and update_context change the stored "
        "ones. Quote keys like y and no: YAML reads them as booleans.",
    )
    metadata: Annotated[dict[str, Annotated[str, Field(max_length=4096)]], Field(max_length=64)] = Field(
        default_factory=dict, description="Labels of your own, for templates (session.metadata)."
    )
    desired_state: SessionState = Field(
        default=SessionState.ACTIVE,
        description="Active; Paused: no new turn starts until it is Active again; Ended: no more turns, for good; "
        "Archived: so too, and it is put away.",
        json_schema_extra={KEEP_DEFAULT: True},
    )
    limits: SessionLimits | None = Field(default=None, description="Bounds of the conversation.")
    retention: Retention = Field(
        default_factory=Retention,
        description="How long what was said is kept. Default: 720h after the object is gone.",
    )
    auto_run_tools: bool | None = Field(
        default=None,
        description="False: the tools the model calls are not run but returned, as the task's output. A prompt step "
        "may say otherwise. Default: true.",
    )
    clear_history: ClearHistory | None = Field(
        default=None,
        description="Erase what was said, up to an event; a state event says who asked, and when.",
    )
    restore_from: TranscriptRef | None = Field(
        default=None,
        description="Begin with what an earlier Session said and knew, which is gone and whose transcript is kept. "
        "Default: begin anew.",
    )
    status_text: StatusText = Field(
        default=StatusText.SHOW,
        description="Show or Hide the texts of events in the status, which whoever may read Sessions "
        "can read. Default: Show.",
    )

    @property
    def agent_names(self) -> list[str]:
        """Names of the Agents that answer, the one that does by default first."""
        refs = self.agents or ([self.agent_ref] if self.agent_ref is not None else [])
        return [ref.name for ref in refs]

    @property
    def people(self) -> list[SessionUser]:
        """The people the agent talks with, the one who speaks by default first; one of ``user`` may have no id."""
        if self.users:
            return [SessionUser(id=one.id, name=one.name, about=one.about) for one in self.users]
        return [self.user] if self.user is not None else []
