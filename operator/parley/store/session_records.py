"""What the store tells of sessions: plain, frozen rows. Times are aware, on Postgres's clock."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import JsonValue

LifeState = Literal["Active", "Dormant", "Paused", "Expired", "Ended", "Archived"]
"""Where a session stands; Expired, Ended and Archived are for good."""


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """What a plan needs of the session that a task belongs to."""

    state: LifeState
    since: datetime
    messages: int
    """Also those whose content was erased, but not posted ones that wait for their turn: they are yet to come."""
    cleared_through: int = 0
    """The contents of events up to this sequence are erased."""
    restored_from: str | None = None
    """uid of the session whose transcript this one goes on with."""


@dataclass(frozen=True, slots=True)
class EventRecord:
    """An event as a status shows it."""

    sequence: int
    id: str
    time: datetime
    type: str
    role: str | None
    text: str | None
    """At most the first 1,000 characters of the content, compact JSON where it is no string; None once erased."""
    task: str | None
    step: str | None
    item: int
    attempt: int | None
    speaker: str | None = None


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """What a session's status shows. ``recent`` runs from older to newer."""

    last_sequence: int
    messages: int
    last_time: datetime | None
    recent: list[EventRecord]
    input_tokens: int
    output_tokens: int
    tasks_active: int
    tasks_succeeded: int
    tasks_failed: int
    """Failed ones; Cancelled ones count nowhere."""
    tasks_waiting: int = 0
    """Those of the active ones that wait for a person."""
    context: dict[str, JsonValue] | None = None
    """As steps left it; None until one has changed it: then the Session's spec holds."""
    context_version: int = 0
    now: datetime | None = None
    """The store's clock."""
    state: LifeState = "Active"
    state_since: datetime | None = None
    state_why: str | None = None
    active_at: datetime | None = None
    """When something was said, queued, begun or ended last."""
    running: bool = False
    """An attempt of a task is under way."""
    retention: dict[str, JsonValue] | None = None
    clear_asked: int = 0
    """The greatest sequence that a request named which was carried out."""
    cleared_through: int = 0
    oldest: datetime | None = None
    """When the first event was stored that is not erased."""
    restored_from: str | None = None
