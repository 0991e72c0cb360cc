"""Session: one conversation with an agent."""

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from parley.resources.common import (
    KEEP_DEFAULT,
    MAP_BY_NAME,
    MAX_TEMPLATE,
    FreeObject,
    ObjectReference,
    ResourceModel,
    immutable,
    rule,
    rules,
)
from parley.resources.session_limits import ContextOverflow, Retention, SessionLimits, TranscriptRetention
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


ONE_OF_AGENTS = "a Session has exactly one of agentRef and agents"
USER_OR_USERS = "a Session has user or users, not both"


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


class SessionState(StrEnum):
    """What the user wants of the session."""

    ACTIVE = "Active"
    PAUSED = "Paused"
    ENDED = "Ended"
    ARCHIVED = "Archived"


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
        json_schema_extra=rules(
            rule("has(self.agentRef) != has(self.agents)", ONE_OF_AGENTS),
            rule(
                "!(has(self.user) && has(self.users))",
                USER_OR_USERS,
                field=".users",
                reason="FieldValueForbidden",
            ),
            *(immutable(field, kind="Session") for field in ("agentRef", "agents", "restoreFrom")),
            # Lists that are maps are equal in any order, but by default the first agent answers.
            rule(
                "!has(self.agents) || !has(oldSelf.agents) || "
                "self.agents.map(a, a.name) == oldSelf.agents.map(a, a.name)",
                "agents is immutable, their order too: delete the Session and create it again",
                field=".agents",
                reason="FieldValueForbidden",
            ),
            rule(
                "oldSelf.desiredState != 'Ended' || self.desiredState in ['Ended', 'Archived']",
                "Ended is final, but for Archived: make another Session, with restoreFrom to go on in it",
                field=".desiredState",
                reason="FieldValueForbidden",
            ),
            rule(
                "oldSelf.desiredState != 'Archived' || self.desiredState == 'Archived'",
                "Archived is final: make another Session, with restoreFrom to go on in it",
                field=".desiredState",
                reason="FieldValueForbidden",
            ),
            rule(
                "!has(self.clearHistory) || !has(oldSelf.clearHistory) || "
                "self.clearHistory.throughSequence >= oldSelf.clearHistory.throughSequence",
                "throughSequence can only rise: what was erased does not come back",
                field=".clearHistory.throughSequence",
            ),
        ),
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
