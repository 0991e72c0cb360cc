"""Build the condition lists of the statuses: pure, so that every state can be table-tested against kstatus.

kstatus (how Flux, Argo CD and kubectl plugins read a status) takes the first of ``Reconciling=True``
(InProgress) or ``Stalled=True`` (Failed), then ``Ready`` (True: Current, else InProgress). So at most one of
the first two is ever there, and only while it is True.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from parley.resources.common import MAX_CONDITION_MESSAGE, Condition, ConditionStatus, shorten
from parley.resources.reasons import Reason

READY = "Ready"
SUCCEEDED = "Succeeded"
RECONCILING = "Reconciling"
STALLED = "Stalled"
WAITING_FOR_INPUT = "WaitingForInput"
PRUNED = "Pruned"
ACCEPTED = "Accepted"
ACTIVE = "Active"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A condition as it should be, before the time of its last transition is known."""

    type: str
    status: ConditionStatus
    reason: Reason
    message: str


def merge_conditions(
    previous: Iterable[Condition], verdicts: Sequence[Verdict], *, generation: int, now: datetime
) -> list[Condition]:
    """The list to write: ``lastTransitionTime`` moves only where the status flips.

    Args:
        previous: as read from the object; of types not in ``verdicts`` nothing is kept, so that abnormal
            conditions go, and conditions of other writers stay theirs.
        verdicts: in the order they are to be written.
        generation: the metadata.generation the verdicts were computed from.
        now: becomes the time of the conditions that are new or flip.
    """
    times = {(old.type, old.status): old.last_transition_time for old in previous}
    return [
        Condition(
            type=verdict.type,
            status=verdict.status,
            reason=verdict.reason,
            message=shorten(verdict.message, MAX_CONDITION_MESSAGE),
            last_transition_time=times.get((verdict.type, verdict.status), now),
            observed_generation=generation,
        )
        for verdict in verdicts
    ]


def is_ready(message: str) -> list[Verdict]:
    """An Agent, a Session, a TaskTemplate or a Schedule that can be used."""
    return [Verdict(READY, "True", Reason.READY, message)]


def not_ready(reason: Reason, message: str) -> list[Verdict]:
    """An Agent or a Session that cannot be used yet, and recovers by itself: kstatus InProgress."""
    return [Verdict(READY, "False", reason, message)]


def invalid(reason: Reason, message: str) -> list[Verdict]:
    """What ``is_ready`` is for, and cannot be used until someone changes it: kstatus Failed."""
    return [Verdict(READY, "False", reason, message), Verdict(STALLED, "True", reason, message)]


def is_waiting(message: str) -> list[Verdict]:
    """Beside the others of a Task or a Session: a person must reply. It is there only while that is so."""
    return [Verdict(WAITING_FOR_INPUT, "True", Reason.WAITING_FOR_INPUT, message)]


def session_active(message: str) -> list[Verdict]:
    """Beside Ready of a Session: it takes messages."""
    return [Verdict(ACTIVE, "True", Reason.ACTIVE, message)]


def session_inactive(reason: Reason, message: str) -> list[Verdict]:
    """Beside Ready of a Session: it sleeps, stands still as asked, or takes no more messages."""
    return [Verdict(ACTIVE, "False", reason, message)]


def is_pruned(message: str) -> list[Verdict]:
    """Beside the others of a task that has ended: its Jobs and pods were removed, and it stays."""
    return [Verdict(PRUNED, "True", Reason.PRUNED, message)]


def still_pruned(previous: Iterable[Condition]) -> list[Verdict]:
    """The Pruned condition as it stands, if it does: what was removed does not come back."""
    return [verdict for old in previous if old.type == PRUNED for verdict in is_pruned(old.message)]


def schedule_suspended(message: str) -> list[Verdict]:
    """A Schedule that stands still as asked: kstatus Current, for it is as its spec wants it."""
    return [Verdict(READY, "True", Reason.SUSPENDED, message)]


def reply_pending(message: str) -> list[Verdict]:
    """A Reply that is not decided: kstatus InProgress."""
    return [
        Verdict(ACCEPTED, "Unknown", Reason.PENDING, message),
        Verdict(READY, "False", Reason.PENDING, message),
        Verdict(RECONCILING, "True", Reason.PENDING, message),
    ]


def reply_accepted(message: str) -> list[Verdict]:
    """A Reply that answered its question: kstatus Current."""
    return [
        Verdict(ACCEPTED, "True", Reason.ACCEPTED, message),
        Verdict(READY, "True", Reason.ACCEPTED, message),
    ]


def reply_refused(reason: Reason, message: str) -> list[Verdict]:
    """A Reply that answers nothing, for good: kstatus Failed."""
    return [
        Verdict(ACCEPTED, "False", reason, message),
        Verdict(READY, "False", reason, message),
        Verdict(STALLED, "True", reason, message),
    ]


def task_in_progress(reason: Reason, message: str) -> list[Verdict]:
    """A task that waits, runs or retries: kstatus InProgress."""
    return [
        Verdict(READY, "False", reason, message),
        Verdict(SUCCEEDED, "Unknown", reason, message),
        Verdict(RECONCILING, "True", reason, message),
    ]


def task_suspended(message: str) -> list[Verdict]:
    """A task that stands still as asked: kstatus InProgress, though nobody works on it."""
    return [
        Verdict(READY, "False", Reason.SUSPENDED, message),
        Verdict(SUCCEEDED, "Unknown", Reason.SUSPENDED, message),
    ]


def task_succeeded(message: str) -> list[Verdict]:
    """A task that is done: kstatus Current."""
    return [
        Verdict(READY, "True", Reason.SUCCEEDED, message),
        Verdict(SUCCEEDED, "True", Reason.SUCCEEDED, message),
    ]


def task_cancelled(message: str) -> list[Verdict]:
    """A task that ended as its user asked: kstatus Current, and not Succeeded."""
    return [
        Verdict(READY, "True", Reason.CANCELLED, message),
        Verdict(SUCCEEDED, "False", Reason.CANCELLED, message),
    ]


def task_failed(reason: Reason, message: str) -> list[Verdict]:
    """A task that failed for good: kstatus Failed."""
    return [
        Verdict(READY, "False", reason, message),
        Verdict(SUCCEEDED, "False", reason, message),
        Verdict(STALLED, "True", reason, message),
    ]
