"""The plan's actions: what a task may do, one class each. The controller carries them out."""

from dataclasses import dataclass
from typing import Literal

from parley.engine.pods import Verdict
from parley.engine.state import NO_ITEM, Attempt, Cause, Child, EndPhase, Wait
from parley.resources.reasons import Reason
from parley.resources.task import Step


@dataclass(frozen=True, slots=True)
class CloseAttempt:
    """Close an open attempt: from then on its runner is told to stop."""

    attempt: int
    phase: Literal["Failed", "Lost", "TimedOut", "Cancelled"]
    reason: Reason
    message: str
    keeps_turn: bool = False
    """The session's turn goes on: the step is repeated soon."""


@dataclass(frozen=True, slots=True)
class StartAttempt:
    """Insert the next attempt of a step; ``close`` is closed in the same transaction."""

    step: Step
    index: int
    number: int
    cause: Cause
    needs_turn: bool
    close: CloseAttempt | None = None
    item: int = NO_ITEM


@dataclass(frozen=True, slots=True)
class RoundEntry:
    """One item of a round; its place among the entries is its completion index."""

    item: int
    number: int
    cause: Cause


@dataclass(frozen=True, slots=True)
class StartRound:
    """Insert an attempt for each entry, all or none; one Indexed Job runs them."""

    step: Step
    index: int
    entries: tuple[RoundEntry, ...]
    close: tuple[CloseAttempt, ...] = ()


@dataclass(frozen=True, slots=True)
class RefuseAttempt:
    """Insert the next attempt of a step as one that failed for good: its session takes no further turn."""

    step: Step
    index: int
    number: int
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class StartCall:
    """Insert the next attempt of a call's container; ``close`` is closed in the same transaction.

    ``step_name`` is the call's own (``names.call_step``): under it the attempt is kept, without an item.
    """

    wait: Wait
    step_name: str
    number: int
    cause: Cause
    close: CloseAttempt | None = None


@dataclass(frozen=True, slots=True)
class AnswerCall:
    """Take the last attempt of a call's container for the call's result: its output, or why it has none."""

    wait: Wait
    attempt_id: int


@dataclass(frozen=True, slots=True)
class QueueTask:
    """Make the Task of a call, and take its name for the call's result; it may be there already."""

    wait: Wait


@dataclass(frozen=True, slots=True)
class CreateJob:
    """Make the Job of an open attempt; it may be there already.

    Of a call's container ``step`` is made up: it has the name, the timeout and where the output is, no more.
    """

    attempt: Attempt
    step: Step


@dataclass(frozen=True, slots=True)
class CreateRound:
    """Make the Indexed Job of a round; it may be there already. ``attempts`` are all of the round, by index."""

    job: str
    attempts: tuple[Attempt, ...]
    step: Step


@dataclass(frozen=True, slots=True)
class CreateChild:
    """Make the child Task of an open attempt; it may be there already."""

    attempt: Attempt
    step: Step
    index: int


@dataclass(frozen=True, slots=True)
class FinishChild:
    """Commit an attempt's outcome from its child Task, which has ended."""

    attempt: Attempt
    child: Child


@dataclass(frozen=True, slots=True)
class EnterStep:
    """Render what decides a step (``when``, items, sleep, wait, set, return, fail) and write the decision down."""

    step: Step
    index: int


@dataclass(frozen=True, slots=True)
class EndStep:
    """End a step with items, whose outputs become its output, or a sleep that is over."""

    step: str
    phase: Literal["Succeeded", "Failed"]
    reason: Reason
    message: str = ""


@dataclass(frozen=True, slots=True)
class ExpireWait:
    """Nobody replied in time: what the question or the tool has for that case is the answer, or the step fails."""

    wait_id: str
    step: Step
    index: int


@dataclass(frozen=True, slots=True)
class FinishContainer:
    """Commit a container attempt's outcome from its ended pod."""

    attempt: Attempt
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class StopJob:
    """Suspend the Job of a closed attempt: its pod ends, the Job stays as a tombstone of its name."""

    job: str


@dataclass(frozen=True, slots=True)
class LookAgain:
    """Read an attempt's Job and pod from the API server: that the watches show no pod may be their lag."""

    job: str


@dataclass(frozen=True, slots=True)
class SetSuspended:
    """Let the task's deadlines stand still, or go on."""

    suspended: bool


@dataclass(frozen=True, slots=True)
class EndTurn:
    """Give the session's turn back: the step may not go on now, others may; ``failed``: nor will it ever."""

    step: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class EndTask:
    """End the task; on success its output is rendered first. Open attempts are closed with it."""

    phase: EndPhase
    reason: Reason
    message: str = ""


Action = (
    CloseAttempt
    | StartAttempt
    | StartRound
    | RefuseAttempt
    | StartCall
    | AnswerCall
    | QueueTask
    | CreateJob
    | CreateRound
    | CreateChild
    | FinishContainer
    | FinishChild
    | EnterStep
    | EndStep
    | ExpireWait
    | StopJob
    | LookAgain
    | SetSuspended
    | EndTurn
    | EndTask
)
