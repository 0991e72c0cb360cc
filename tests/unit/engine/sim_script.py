"""What a story says happens to each step, but not in which order."""

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Literal

from parley.engine.state import Attempt
from parley.resources.reasons import Reason

ALWAYS = 99


class Ending(StrEnum):
    """How an attempt ends once no pod of it is lost."""

    SUCCEED = "Succeed"
    FAIL = "Fail"  # exit 3; a runner commits a failure; a child fails
    EXIT_1 = "Exit1"  # a runner that cannot commit
    OUT_OF_MEMORY = "OutOfMemory"
    HANG = "Hang"
    NO_IMAGE = "NoImage"
    EXIT_64 = "Exit64"  # of a container; else as FAIL
    DELETED = "Deleted"  # a child's object is deleted; else as FAIL


Approval = Literal["Yes", "No", "Late", "LateYes"]
"""What somebody says to a call; or nobody says anything, and its time-out means no or yes."""
RUNNER_KINDS = {"prompt", "tool"}


@dataclass(frozen=True)
class Call:
    """One tool call of a model's answer."""

    kind: Literal["Http", "Container", "Task"] = "Http"
    approval: Approval | None = None
    """None: it needs none."""
    script: "Script" = field(default_factory=lambda: Script())  # noqa: PLW0108 - it comes below
    """What happens to its container."""


@dataclass(frozen=True)
class Script:
    """The first ``losses`` attempts are lost, the next ``failures`` end as ``ending`` says, then one succeeds.

    Before a runner ends in whatever way it calls its tools, round by round; pauses are no failures.
    """

    ending: Ending = Ending.SUCCEED
    losses: int = 0
    failures: int = ALWAYS
    rounds: tuple[tuple[Call, ...], ...] = ()

    def loses(self, number: int) -> bool:
        return number <= self.losses

    def ends(self, failed: int) -> Ending:
        """How an attempt ends after so many failed ones."""
        return self.ending if failed < self.failures else Ending.SUCCEED


@dataclass(frozen=True)
class Decision:
    """What is rendered when a step is entered."""

    skip: bool = False
    broken: bool = False
    """Its template fails."""
    items: int = 0
    sleep: timedelta = timedelta(hours=1)
    reply: bool = True
    """Somebody answers its question."""


Scripts = dict[str, Script]


def key_of(attempt: Attempt) -> str:
    """What a script is found by: the step, or its item."""
    return attempt.step if attempt.item < 0 else f"{attempt.step}/{attempt.item}"


def failure_of(ending: Ending, kind: str) -> Reason | None:
    """The reason that an attempt fails for; None: it does not."""
    container = kind == "container"
    return {
        Ending.SUCCEED: None,
        Ending.FAIL: Reason.MODEL_ERROR if kind in RUNNER_KINDS else Reason.EXIT_CODE,
        Ending.EXIT_1: Reason.ERROR if kind in RUNNER_KINDS else Reason.EXIT_CODE,
        Ending.EXIT_64: Reason.MODEL_ERROR if kind in RUNNER_KINDS else Reason.EXIT_CODE,
        Ending.OUT_OF_MEMORY: Reason.OOM_KILLED,
        Ending.HANG: Reason.STEP_TIMEOUT,
        Ending.NO_IMAGE: Reason.STEP_TIMEOUT if kind == "task" else Reason.IMAGE_PULL_FAILED,
        Ending.DELETED: Reason.CANCELLED
        if kind == "task"
        else Reason.EXIT_CODE
        if container
        else Reason.MODEL_ERROR,
    }[ending]
