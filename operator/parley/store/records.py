"""What the store's functions take and return: plain, frozen rows. Times are aware, on Postgres's clock."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from pydantic import JsonValue

AttemptState = Literal["Open", "Running", "Succeeded", "Failed", "Paused", "Lost", "TimedOut", "Cancelled"]
ClosedState = Literal["Failed", "Lost", "TimedOut", "Cancelled"]
"""How the leader may close an attempt. TimedOut needs a deadline that has passed on Postgres's clock."""
Cause = Literal["First", "Retry", "Disruption", "Resume"]
TurnState = Literal["Waiting", "Held", "Done", "Withdrawn"]
EndPhase = Literal["Succeeded", "Failed", "Cancelled"]

NO_ITEM = -1
"""``item`` of a step without forEach. Never NULL: NULLs would defeat the unique indexes."""


@dataclass(frozen=True, slots=True)
class TaskEnd:
    """How a task ended. Written once; later ends change nothing."""

    phase: EndPhase
    reason: str
    message: str
    output: JsonValue
    at: datetime


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One attempt of a step, without its request."""

    id: int
    step: str
    item: int
    number: int
    cause: Cause
    job: str | None
    index: int
    state: AttemptState
    holder: str | None
    deadline: datetime
    lease_until: datetime | None
    reason: str | None
    message: str | None
    definite: bool
    """The failure would repeat: no retry."""
    retry_after: int | None
    """Seconds the model's server asked to wait before a retry."""
    exit_code: int | None
    pod_uid: str | None
    input_tokens: int
    output_tokens: int
    created_at: datetime
    taken_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class TurnRecord:
    """A place in a session's queue. ``task_uid`` is None until the Task of a posted message is seen."""

    session_uid: str
    ticket: int
    task_uid: str | None
    task_name: str
    step: str
    state: TurnState
    granted_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """Everything the engine needs of a task, as of one moment (``now``, Postgres's clock)."""

    uid: str
    cluster: str
    namespace: str
    name: str
    session_uid: str | None
    created_at: datetime
    registered_at: datetime
    deadline: datetime | None
    suspended_since: datetime | None
    gone_since: datetime | None
    ended: TaskEnd | None
    attempts: list[AttemptRecord]
    """In the order they were inserted."""
    outputs: dict[str, JsonValue]
    """By step name; steps with items are left out."""
    turns: list[TurnRecord]
    """This task's, by ticket, ended ones included."""
    input_tokens: int
    output_tokens: int
    now: datetime


@dataclass(frozen=True, slots=True)
class Close:
    """An attempt that is closed in the transaction that inserts its successor."""

    attempt_id: int
    state: ClosedState
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class NewAttempt:
    """An attempt to insert.

    ``number`` is 1 for a step's first attempt and counts up by one. ``session_uid`` is set for a step that needs its
    session's turn and None for all others. ``timeout`` counts from the insertion.
    """

    task_uid: str
    step: str
    number: int
    cause: Cause
    job: str | None
    request: Mapping[str, JsonValue]
    timeout: timedelta
    session_uid: str | None = None
    item: int = NO_ITEM
    index: int = 0
    close: Close | None = None


@dataclass(frozen=True, slots=True)
class Inserted:
    """The attempt stands; only now may its Job be created. ``ticket`` is the turn's, None without a turn."""

    id: int
    deadline: datetime
    ticket: int | None


@dataclass(frozen=True, slots=True)
class NotGranted:
    """Nothing was written; read and plan again.

    ``why`` is ``turn`` (another turn is held or first in the queue, or the step has no ticket), ``task`` (the task or
    its session is gone, ended, suspended or unknown), ``closed`` (the attempt to close is closed already, or its
    deadline has moved) or ``stale`` (the step already has this attempt, an open one or a success).
    """

    why: Literal["turn", "task", "closed", "stale"]


@dataclass(frozen=True, slots=True)
class ReadyTurn:
    """A step that is ready for its session's turn. The task must be registered with that session."""

    task_uid: str
    task_name: str
    step: str


@dataclass(frozen=True, slots=True)
class EventRecord:
    """An event as a status shows it."""

    sequence: int
    id: str
    time: datetime
    type: str
    role: str | None
    text: str
    """At most the first 1,000 characters of the content, compact JSON where it is no string."""
    task: str | None
    step: str | None
    item: int
    attempt: int | None


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


@dataclass(frozen=True, slots=True)
class OpenObject:
    """A row whose Kubernetes object has not been seen to go, for the sweeper."""

    kind: Literal["Session", "Task"]
    uid: str
    namespace: str
    name: str
