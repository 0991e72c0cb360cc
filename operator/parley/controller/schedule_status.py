"""What users see of a Schedule: pure, from its plan and its Tasks."""

from collections.abc import Sequence
from datetime import datetime

from parley.engine.schedule import MOST_COUNTED, ScheduledTask, SchedulePlan, Slot
from parley.resources.conditions import Verdict, is_ready, merge_conditions, schedule_suspended
from parley.resources.schedule import (
    MAX_STATUS_ACTIVE,
    RUN_NOW_ANNOTATION,
    ActiveTask,
    ScheduleSpec,
    ScheduleStatus,
)


def build_schedule_status(
    verdicts: Sequence[Verdict],
    active: Sequence[ScheduledTask],
    *,
    last: datetime | None,
    next_slot: datetime | None,
    last_run_now: str | None,
    generation: int,
    now: datetime,
    previous: ScheduleStatus,
) -> ScheduleStatus:
    """Build the whole status.

    Args:
        verdicts: how the schedule stands.
        active: its Tasks that have not ended, oldest first.
        last: the newest slot that was dealt with.
        next_slot: the one that comes next.
        last_run_now: the text of the annotation that was answered last.
        generation: of the spec that was read.
        now: the time of conditions that change.
        previous: the status that stands.
    """
    return ScheduleStatus(
        observed_generation=generation,
        conditions=merge_conditions(previous.conditions, verdicts, generation=generation, now=now),
        last_schedule_time=last,
        next_schedule_time=next_slot,
        last_run_now=last_run_now,
        active=[ActiveTask(name=task.name, uid=task.uid) for task in active[:MAX_STATUS_ACTIVE]],
    )


def verdicts_of(spec: ScheduleSpec, plan: SchedulePlan) -> list[Verdict]:
    """Say how a sound schedule stands."""
    if spec.suspend:
        return schedule_suspended("spec.suspend is true: no Tasks are made at their times")
    if plan.held_by is not None:
        return is_ready(
            f"a Task is due, and waits until Task {plan.held_by} has ended (concurrencyPolicy Forbid)"
        )
    return is_ready("Tasks are made at their times")


def made_note(slot: Slot, missed: int) -> str:
    """Say which Task was made and what for, and which slots were passed over, for an Event."""
    why = f"for {slot.id}" if slot.at is not None else f"as the annotation {RUN_NOW_ANNOTATION} asks"
    note = f"made Task {slot.task_name} {why}"
    if not missed:
        return note
    number = f"more than {MOST_COUNTED}" if missed > MOST_COUNTED else str(missed)
    return f"{note}; {number} earlier {'time was' if missed == 1 else 'times were'} missed"


def expired_note(spec: ScheduleSpec, slot: Slot) -> str:
    """Say that a slot came to nothing, for an Event."""
    return f"made no Task for {slot.id}: it was too late by more than spec.startingDeadline ({spec.starting_deadline})"
