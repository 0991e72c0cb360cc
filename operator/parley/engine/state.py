"""What the plan is made from: the task as the store has it, and what Kubernetes shows around it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from pydantic import JsonValue

from parley.engine.pods import JobView, PodView
from parley.resources.reasons import Reason

AttemptPhase = Literal["Open", "Running", "Succeeded", "Failed", "Paused", "Lost", "TimedOut", "Cancelled"]
Cause = Literal["First", "Retry", "Disruption", "Resume"]
EndPhase = Literal["Succeeded", "Failed", "Cancelled"]
MarkPhase = Literal["Entered", "Succeeded", "Failed", "Skipped"]
Runtime = Literal["Job", "Task", "Warm"]
WaitState = Literal["Open", "Answered", "Expired", "Withdrawn"]
WaitKind = Literal["Question", "Approval", "Container", "Task"]

NO_ITEM = -1
"""``item`` of a step without forEach."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of a step, as its row says."""

    id: int
    step: str
    item: int
    number: int
    job: str
    phase: AttemptPhase
    deadline: datetime
    created_at: datetime
    taken_at: datetime | None = None
    ended_at: datetime | None = None
    reason: Reason | None = None
    message: str = ""
    cause: Cause = "First"
    index: int = 0
    """Completion index in its Job."""
    runtime: Runtime = "Job"
    holder_pod: str = ""
    """Uid of the pod whose runner took it; empty while none has."""
    lease_until: datetime | None = None
    """Until when its holder is believed to be alive; None: for as long as its pod is."""
    pool: str = ""
    """Of runtime Warm: whose runners may take it."""
    definite: bool = False
    """The failure would repeat: no retry."""
    retry_after: int | None = None
    """Seconds the model's server asked to wait before a retry."""
    exit_code: int | None = None
    uploaded: bool = False
    """The container's output file is in the store, or what was wrong with it."""

    @property
    def open(self) -> bool:
        """Whether the attempt can still commit."""
        return self.phase in {"Open", "Running"}


@dataclass(frozen=True, slots=True)
class End:
    """How a task ended, first write wins."""

    phase: EndPhase
    reason: Reason
    message: str
    output: JsonValue
    at: datetime
    cut: bool = False
    """The output is whole in the store only."""


@dataclass(frozen=True, slots=True)
class StepMark:
    """What was decided about a step as a whole; an ended one never changes."""

    phase: MarkPhase
    items: int | None = None
    """How many items a forEach has."""
    until: datetime | None = None
    """When a sleep is over."""
    reason: Reason | None = None
    message: str = ""
    entered_at: datetime | None = None
    ended_at: datetime | None = None
    succeeded: int | None = None
    """How many items of an ended forEach have an output."""
    failed: int | None = None
    """How many items of an ended forEach were tried and have none."""

    @property
    def ended(self) -> bool:
        """Whether the step is done, one way or another."""
        return self.phase != "Entered"


@dataclass(frozen=True, slots=True)
class Output:
    """What a step gave, where it is small; ``cut``: the whole is in the store only."""

    value: JsonValue
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """What a step waits for: a person's answer, or a tool call that the operator runs.

    The calls of a Paused attempt are waits for Approval, or for the Container or the Task of the call itself.
    """

    id: str
    step: str
    item: int
    kind: WaitKind
    question: str
    choices: tuple[str, ...]
    since: datetime
    deadline: datetime | None
    state: WaitState
    call: str = ""
    """Name of the tool that is called."""
    arguments: str = ""
    """The call's arguments as compact JSON."""
    timeout: timedelta | None = None
    """How long the container of the call may run."""
    output_file: bool = False
    """The container of the call leaves its output in a file."""


@dataclass(frozen=True, slots=True)
class Child:
    """A Task that an attempt of a ``task`` step made; the attempt's ``job`` is its name."""

    name: str
    uid: str
    phase: EndPhase | None = None
    """How it ended; None while it goes on."""
    reason: Reason | None = None
    message: str = ""
    gone: bool = False
    """Its object was deleted."""

    @property
    def over(self) -> bool:
        """Whether it does nothing any more."""
        return self.gone or self.phase is not None


@dataclass(frozen=True, slots=True)
class TaskState:
    """The task's rows, read at one instant ``now`` of the store's clock."""

    now: datetime
    created_at: datetime
    deadline: datetime | None = None
    suspended: bool = False
    end: End | None = None
    attempts: tuple[Attempt, ...] = ()
    outputs: Mapping[str, Output] = field(default_factory=dict[str, Output])
    """By step name."""
    input_tokens: int = 0
    output_tokens: int = 0
    marks: Mapping[str, StepMark] = field(default_factory=dict[str, StepMark])
    """By step name; steps that need no decision have none."""
    waits: tuple[Wait, ...] = ()
    children: Mapping[str, Child] = field(default_factory=dict[str, Child])
    """By name; a child that was just created is among them."""
    parent_closed: str | None = None
    """Why the parent no longer waits for this task, in a sentence."""
    parent_suspended: bool = False

    def of_step(self, step: str) -> tuple[Attempt, ...]:
        """Return the step's attempts, oldest first."""
        return tuple(sorted((a for a in self.attempts if a.step == step), key=lambda a: a.number))


class Turn(StrEnum):
    """Whether a step that needs its session's turn has it."""

    NONE = "None"
    WAITING = "Waiting"
    HELD = "Held"


@dataclass(frozen=True, slots=True)
class Hold:
    """Why a task cannot start a step yet, although it is that step's time."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class WarmPool:
    """The runners of an agent that take what it is asked now."""

    name: str
    pods: tuple[PodView, ...] = ()
    refusal: str | None = None
    """Why Kubernetes makes no pod of it."""


@dataclass(frozen=True, slots=True)
class Gate:
    """What stands in the way of a task's steps, beside what they need. All None: nothing."""

    hold: Hold | None = None
    """Something the task needs is not there (agent, session, transcript): nothing new starts."""
    session_over: str | None = None
    """The session takes no more turns (it ended, was archived or expired), in a sentence: the task ends too."""
    session_hold: Hold | None = None
    """The session is paused: steps that run in attempts stay queued."""
    turn_refusal: Hold | None = None
    """Why the session takes no further turn: a turn that has not begun fails."""
    turn_holder: Hold | None = None
    """Who has the session's turn, for those who wait for it."""
    quota: Hold | None = None
    """The agent's tokens of the day are used up: prompts stay queued."""
    quota_until: datetime | None = None
    """When there will be tokens again."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What Kubernetes shows around the task, and what was found out in this reconcile."""

    pods: Mapping[str, PodView] = field(default_factory=dict[str, PodView])
    """By ``names.pod_key``; of several, the newest."""
    jobs: Mapping[str, JobView] = field(default_factory=dict[str, JobView])
    vanished: frozenset[str] = frozenset()
    """Jobs that were seen and are gone."""
    looked: frozenset[str] = frozenset()
    """Jobs whose pods were just read from the API server itself, past any watch."""
    refusals: Mapping[str, str] = field(default_factory=dict[str, str])
    """By Job name: why the API server just refused to make it."""
    gate: Gate = field(default_factory=Gate)
    session_gone: bool = False
    lacking: str | None = None
    """What the task's status shows and the store does not hold, in a sentence."""
    problems: tuple[str, ...] = ()
    """What is wrong with the spec, each with the path of its field."""
    turns: Mapping[str, Turn] = field(default_factory=dict[str, Turn])
    """By step name."""
    denied: Mapping[str, Hold] = field(default_factory=dict[str, Hold])
    """By step, or by ``names.call_step``: whose start the store just refused."""
    slot: Hold | None = None
    """Why the task gets no concurrency slot now; None: it has one, may take one, or there is no limit."""
    child_refusals: Mapping[str, str] = field(default_factory=dict[str, str])
    """By the child's name: why the API server refuses it, for good."""
    runtime: Runtime = "Job"
    """How the prompt and tool steps that start now are run."""
    pool: WarmPool | None = None
    """Where those of runtime Warm go; None while they are run otherwise."""
