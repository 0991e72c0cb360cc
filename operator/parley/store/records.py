"""What the store's functions take and return: plain, frozen rows. Times are aware, on Postgres's clock."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from pydantic import JsonValue

from parley.resources.reasons import Reason
from parley.store.session_records import SessionFacts

AttemptState = Literal["Open", "Running", "Succeeded", "Failed", "Paused", "Lost", "TimedOut", "Cancelled"]
ClosedState = Literal["Failed", "Lost", "TimedOut", "Cancelled"]
"""How the leader may close an attempt. TimedOut needs a deadline that has passed on Postgres's clock."""
Cause = Literal["First", "Retry", "Disruption", "Resume"]
TurnState = Literal["Waiting", "Held", "Done", "Withdrawn"]
EndPhase = Literal["Succeeded", "Failed", "Cancelled"]
StepState = Literal["Entered", "Succeeded", "Failed", "Skipped"]
WaitKind = Literal["Question", "Approval", "Container", "Task"]
WaitState = Literal["Open", "Answered", "Expired", "Withdrawn"]
Runtime = Literal["Job", "Task", "Warm"]

NO_ITEM = -1
"""``item`` of a step without forEach. Never NULL: NULLs would defeat the unique indexes."""


@dataclass(frozen=True, slots=True)
class OutputRecord:
    """A value as far as a plan and a status need it; ``load_outputs`` and ``task_output`` give it whole.

    Up to its limit as JSON it is whole; beyond, ``cut`` is set and ``value`` is the beginning of a text, else None.
    """

    value: JsonValue
    cut: bool = False


@dataclass(frozen=True, slots=True)
class TaskEnd:
    """How a task ended. Written once; later ends change nothing. Its output is whole up to 8 KiB."""

    phase: EndPhase
    reason: str
    message: str
    output: OutputRecord
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
    runtime: Runtime = "Job"
    pool: str | None = None
    """Of runtime Warm: whose runners may take it."""
    uploaded: bool = False
    """Its container's output file, or why there is none, has arrived."""


@dataclass(frozen=True, slots=True)
class StepRecord:
    """What was decided about a step before its attempts, and how it ended where no attempt says so."""

    step: str
    state: StepState
    item_count: int | None
    """None for a step without forEach."""
    succeeded: int | None
    """Items that have an output; None until the step has ended."""
    failed: int | None
    """Items that were tried and have none; None until the step has ended."""
    until: datetime | None
    """When its sleep is over. It moves neither with outages nor with suspension."""
    reason: str | None
    message: str | None
    entered_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class WaitRecord:
    """Something an open step waits for.

    ``body`` is ``{question, choices?, schema?}`` for a Question, for calls ``{tool, arguments}``, with ``question,
    choices, onTimeout: Reject|Approve`` for an Approval and ``timeoutSeconds`` for a Container. Arguments over 2 KiB as
    JSON are the beginning of that JSON, a text; ``call_arguments`` gives them whole.
    """

    id: str
    step: str
    item: int
    kind: WaitKind
    body: dict[str, JsonValue]
    deadline: datetime | None
    state: WaitState
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ChildRecord:
    """The Task that an open attempt of a ``task`` step made, once it is registered. ``gone``: its object is deleted."""

    name: str
    uid: str
    ended: EndPhase | None
    reason: str | None
    message: str | None
    gone: bool


@dataclass(frozen=True, slots=True)
class ParentRecord:
    """The task whose step made this one. ``closed`` is a sentence that says why that attempt is open no more."""

    uid: str
    name: str
    closed: str | None
    suspended: bool


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
    paused: bool = False
    """Held, and its newest attempt is Paused: its calls wait for somebody."""


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
    """In the order they were inserted; of a step with items that has ended only the newest 3."""
    outputs: dict[str, OutputRecord]
    """By step name, whole up to 2 KiB; those of single items are left out."""
    turns: list[TurnRecord]
    """This task's, by ticket, ended ones included."""
    input_tokens: int
    output_tokens: int
    """Of all attempts."""
    now: datetime
    depth: int = 0
    """How many parents stand above it."""
    steps: list[StepRecord] = field(default_factory=list[StepRecord])
    """In the order they were entered."""
    waits: list[WaitRecord] = field(default_factory=list[WaitRecord])
    """The open ones, oldest first."""
    children: list[ChildRecord] = field(default_factory=list[ChildRecord])
    """Of open attempts only, one each."""
    parent: ParentRecord | None = None
    session: SessionFacts | None = None
    """Of the session it belongs to, if any."""


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

    ``number`` is 1 for the first attempt of a step, or of its item, and counts up by one. ``session_uid`` is set for a
    step that needs its session's turn and None for all others. ``timeout`` counts from the insertion,
    ``item_timeout`` from the moment a runner takes it: the items of a round wait for each other. A request of kind
    ``Task`` says that ``job`` is the name of a child Task. ``pool`` is set for runtime Warm alone: its runners are
    notified.
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
    runtime: Runtime = "Job"
    pool: str | None = None
    item_timeout: timedelta | None = None


@dataclass(frozen=True, slots=True)
class NewParent:
    """The Task that made this one. The attempt whose job bears this Task's name counts; another id is refused."""

    parent_uid: str
    parent_attempt: int | None = None


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
    deadline has moved), ``stale`` (the step has ended, or already has this attempt, an open one or a success),
    ``depth`` (a child would be more than 5 levels below the first task: for good) or ``tree`` (its family has 500
    tasks: for good).
    """

    why: Literal["turn", "task", "closed", "stale", "depth", "tree"]


@dataclass(frozen=True, slots=True)
class ReplyVerdict:
    """What became of a Reply, for good. ``why`` is None when it was accepted; ``message`` is for its author."""

    accepted: bool
    why: Reason | None
    message: str


@dataclass(frozen=True, slots=True)
class ContainerInput:
    """What a container's init process renders its input file from: the attempt's request and earlier outputs."""

    attempt: int
    request: dict[str, JsonValue]
    outputs: dict[str, JsonValue]


@dataclass(frozen=True, slots=True)
class ReadyTurn:
    """A step that is ready for its session's turn. The task must be registered with that session."""

    task_uid: str
    task_name: str
    step: str


@dataclass(frozen=True, slots=True)
class OpenObject:
    """A row whose Kubernetes object has not been seen to go, for the sweeper."""

    kind: Literal["Session", "Task"]
    uid: str
    namespace: str
    name: str
