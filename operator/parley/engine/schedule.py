"""What a Schedule does next: pure. As Kubernetes' CronJob does it, where that is not said otherwise.

One slot is started at a time; the reconciler carries a plan out and asks for another until nothing is left to start.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from parley.engine.cron import Cron
from parley.engine.state import EndPhase
from parley.resources.common import parse_duration
from parley.resources.schedule import ConcurrencyPolicy, ScheduleSpec

MOST_COUNTED = 100
"""Missed slots that are counted: a schedule of every minute misses thousands while nobody looks."""
_LONGEST_SLEEP = timedelta(minutes=1)
"""So that a clock that jumps is noticed."""


@dataclass(frozen=True, slots=True)
class ScheduledTask:
    """A Task that the schedule made.

    Attributes:
        ended: None while it goes on.
        kept: it bears a mark of GitOps or Helm, which would make a deleted one again.
    """

    name: str
    uid: str
    created: datetime
    ended: EndPhase | None = None
    kept: bool = False


@dataclass(frozen=True, slots=True)
class ScheduleState:
    """How the schedule stands.

    Attributes:
        created: when the Schedule was made; slots before that are none of its own.
        last: the newest slot that was dealt with, as the status says.
        tasks: those it made, without those that are being deleted.
        run_now: the text of the annotation that asks for a run.
        last_run_now: the text that was answered last.
    """

    name: str
    uid: str
    created: datetime
    last: datetime | None = None
    tasks: tuple[ScheduledTask, ...] = ()
    run_now: str | None = None
    last_run_now: str | None = None


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in the schedule, which one Task may fill, once.

    Attributes:
        id: tells it from the others of the schedule.
        at: its time; None for one that was asked for by hand.
    """

    id: str
    task_name: str
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class SchedulePlan:
    """What to do now, what to show, and when to look again.

    Attributes:
        start: the slot to start.
        replace: Tasks to delete before that, for they still run.
        prune: ended Tasks to delete, beyond the history's limits.
        active: Tasks that still run.
        last: the newest slot that was dealt with, before ``start``.
        next: the next slot; None while suspended.
        missed: slots that will not be started, because ``start`` is newer; at most 100 are counted.
        expired: the newest slot that is too late by the starting deadline.
        held_by: a Task that still runs, for whose end ``concurrencyPolicy: Forbid`` makes a due slot wait.
    """

    start: Slot | None
    replace: tuple[ScheduledTask, ...]
    prune: tuple[ScheduledTask, ...]
    active: tuple[ScheduledTask, ...]
    last: datetime | None
    next: datetime | None
    missed: int
    expired: datetime | None
    held_by: str | None
    wake_at: datetime


def plan_schedule(spec: ScheduleSpec, state: ScheduleState, now: datetime) -> SchedulePlan:
    """Decide what a schedule does next.

    Raises:
        CronError: ``spec.schedule`` or ``spec.timeZone`` cannot be read.
    """
    cron = Cron(spec.schedule, spec.time_zone)
    last = state.last
    if last is not None and last > now:
        # The clock was ahead when that slot was started. Slots that come until then are due all the same; that
        # each is started once is the store's to see to.
        last = cron.newest(min(state.created, now), now)
    due, missed, expired = _due(spec, cron, state, last, now)
    asked = _asked(state)
    slot = due or asked
    if spec.concurrency_policy == ConcurrencyPolicy.FORBID:
        # A schedule that is always late would never come to what a person asked for.
        slot = asked or due
    active = tuple(task for task in state.tasks if task.ended is None)
    held_by, replace = None, ()
    if slot is not None and active:
        if spec.concurrency_policy == ConcurrencyPolicy.FORBID:
            slot, held_by = None, active[0].name
        elif spec.concurrency_policy == ConcurrencyPolicy.REPLACE:
            replace = tuple(task for task in active if task.name != slot.task_name)
    next_slot = None if spec.suspend else cron.after(now)
    return SchedulePlan(
        start=slot,
        replace=replace,
        prune=_beyond_history(spec, state),
        active=active,
        last=last,
        next=next_slot,
        missed=missed if slot is not None and slot is due else 0,
        expired=expired,
        held_by=held_by,
        wake_at=min(next_slot or now + _LONGEST_SLEEP, now + _LONGEST_SLEEP),
    )


def slot_of(name: str, at: datetime) -> Slot:
    """Return the slot of a schedule at an instant."""
    at = at.astimezone(UTC)
    return Slot(at.strftime("%Y-%m-%dT%H:%MZ"), f"{name}-{int(at.timestamp()) // 60:010d}", at)


def _due(
    spec: ScheduleSpec, cron: Cron, state: ScheduleState, last: datetime | None, now: datetime
) -> tuple[Slot | None, int, datetime | None]:
    """Return the newest slot that is due, how many older ones it leaves out, and the newest that is too late."""
    if spec.suspend:
        return None, 0, None
    since = last or min(state.created, now)
    expired = None
    if spec.starting_deadline is not None:
        limit = now - parse_duration(spec.starting_deadline)
        if limit > since:
            expired = cron.newest(since, limit)
            since = limit
    newest = cron.newest(since, now)
    if newest is None:
        return None, 0, expired
    # One more than is told, for the newest is among them.
    missed = cron.count(since, now, MOST_COUNTED + 2) - 1
    return slot_of(state.name, newest), missed, None


def _asked(state: ScheduleState) -> Slot | None:
    """Return the slot of a run that was asked for by hand, if it was not answered yet."""
    if not state.run_now or state.run_now == state.last_run_now:
        return None
    digest = hashlib.sha256(f"{state.uid}/{state.run_now}".encode()).hexdigest()[:10]
    return Slot(f"run-now/{digest}", f"{state.name}-{digest}")


def _beyond_history(spec: ScheduleSpec, state: ScheduleState) -> tuple[ScheduledTask, ...]:
    newest_first = sorted(state.tasks, key=lambda task: (task.created, task.name), reverse=True)
    succeeded = [task for task in newest_first if task.ended == "Succeeded"]
    failed = [task for task in newest_first if task.ended in {"Failed", "Cancelled"}]
    surplus = succeeded[spec.successful_tasks_history_limit :] + failed[spec.failed_tasks_history_limit :]
    return tuple(task for task in surplus if not task.kept)
