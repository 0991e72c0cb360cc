"""What the plan is made from: the task as the store has it, and what Kubernetes shows around it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

from pydantic import JsonValue

from parley.engine.pods import JobView, PodView
from parley.resources.reasons import Reason

AttemptPhase = Literal["Open", "Running", "Succeeded", "Failed", "Paused", "Lost", "TimedOut", "Cancelled"]
Cause = Literal["First", "Retry", "Disruption", "Resume"]
EndPhase = Literal["Succeeded", "Failed", "Cancelled"]

_EMPTY: Mapping[str, JsonValue] = MappingProxyType({})


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


@dataclass(frozen=True, slots=True)
class TaskState:
    """The task's rows, read at one instant ``now`` of the store's clock."""

    now: datetime
    created_at: datetime
    deadline: datetime | None = None
    suspended: bool = False
    end: End | None = None
    attempts: tuple[Attempt, ...] = ()
    outputs: Mapping[str, JsonValue] = field(default_factory=lambda: _EMPTY)
    input_tokens: int = 0
    output_tokens: int = 0

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
class Surroundings:
    """What Kubernetes shows around the task, and what was found out in this reconcile."""

    pods: Mapping[str, PodView] = field(default_factory=dict[str, PodView])
    """By Job name; of several, the newest."""
    jobs: Mapping[str, JobView] = field(default_factory=dict[str, JobView])
    vanished: frozenset[str] = frozenset()
    """Jobs that were seen and are gone."""
    looked: frozenset[str] = frozenset()
    """Jobs whose pods were just read from the API server itself, past any watch."""
    refusals: Mapping[str, str] = field(default_factory=dict[str, str])
    """By Job name: why the API server just refused to make it."""
    hold: Hold | None = None
    """Something the task needs is not there (agent, session): nothing new starts."""
    session_gone: bool = False
    lacking: str | None = None
    """What the task's status shows and the store does not hold, in a sentence."""
    problems: tuple[str, ...] = ()
    """What is wrong with the spec, each with the path of its field."""
    turns: Mapping[str, Turn] = field(default_factory=dict[str, Turn])
    """By step name."""
    denied: Mapping[str, Hold] = field(default_factory=dict[str, Hold])
    """Steps whose start the store just refused."""
