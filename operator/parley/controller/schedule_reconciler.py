"""Schedules: make the Tasks whose time has come, each slot once; remove those of the past; show what is next."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Literal, cast

from parley.controller.context import SCHEDULE_KEY, Context
from parley.controller.finality import is_final
from parley.controller.metrics import SCHEDULED_TASKS
from parley.controller.queue import Key
from parley.controller.resource import ObjectName, Resource
from parley.controller.schedule_status import (
    build_schedule_status,
    expired_note,
    made_note,
    verdicts_of,
)
from parley.controller.scheduled_tasks import Made, ScheduledTasks
from parley.engine.cron import CronError
from parley.engine.schedule import (
    ScheduledTask,
    SchedulePlan,
    ScheduleState,
    Slot,
    plan_schedule,
    slot_of,
)
from parley.engine.state import EndPhase
from parley.kube.events import Transition
from parley.kube.kinds import SCHEDULE
from parley.resources.conditions import Verdict, invalid, not_ready
from parley.resources.reasons import Reason
from parley.resources.schedule import MAX_RUN_NOW, RUN_NOW_ANNOTATION, ScheduleSpec, ScheduleStatus

_MOST_STARTS = 4
"""Starts in one reconcile; there is hardly ever more than one."""
_SOON = 0.5
"""Seconds until a Task that is to be replaced has its row, without which it cannot be ended."""
_REFUSED_PAUSE = 30.0


def _now() -> datetime:
    return datetime.now(UTC)


class ScheduleReconciler:
    """Reconciles Schedules by name, by the operator's own clock: that no slot comes twice is the store's to see to."""

    def __init__(self, context: Context, clock: Callable[[], datetime] = _now) -> None:
        self._context = context
        self._clock = clock
        self._tasks = ScheduledTasks(context)
        self._expired: dict[ObjectName, datetime] = {}
        """The slots that were told to be too late."""

    async def reconcile(self, namespace: str, name: str) -> None:
        """Bring a Schedule as far as it goes now."""
        for _ in range(_MOST_STARTS):
            schedule = self._context.projection.schedules.get(namespace, name)
            if schedule is None or schedule.deleting or not await self._advance(schedule):
                return
        self._context.wake(SCHEDULE_KEY, namespace, name)

    async def _advance(self, schedule: Resource) -> bool:
        """Start what is due, or show that nothing is; tells whether there may be more to start."""
        reading = await self._context.specs.read(ScheduleSpec, schedule)
        if reading.spec is None or reading.problems:
            await self._show_invalid(schedule, "; ".join(reading.problems))
            return False
        spec, state, now = reading.spec, self._state(schedule), self._clock()
        try:
            plan = plan_schedule(spec, state, now)
        except CronError as error:
            await self._show_invalid(schedule, f"spec.{error.field}: {error}")
            return False
        self._tell_expired(schedule, spec, plan)
        for task in plan.prune:
            await self._tasks.remove(schedule, task)
        if plan.start is None:
            await self._write(schedule, verdicts_of(spec, plan), plan.last, plan.next, state.last_run_now)
            self._wake_after(schedule, (plan.wake_at - now).total_seconds())
            return False
        for task in plan.replace:
            if not await self._tasks.cancel(schedule, task, plan.start):
                self._wake_after(schedule, _SOON)
                return False
        made = await self._tasks.make(schedule, plan.start)
        if made.refused is not None:
            await self._write(
                schedule, _refused(made.refused, made), plan.last, plan.next, state.last_run_now
            )
            if not made.for_good:
                self._wake_after(schedule, _REFUSED_PAUSE)
            return False
        if made.new:
            self._tell_made(schedule, plan.start, plan.missed)
        by_hand = plan.start.at is None
        last, answered = (plan.last, state.run_now) if by_hand else (plan.start.at, state.last_run_now)
        await self._write(schedule, verdicts_of(spec, plan), last, plan.next, answered)
        return True

    def _state(self, schedule: Resource) -> ScheduleState:
        status = ScheduleStatus.model_validate(schedule.status)
        return ScheduleState(
            name=schedule.name,
            uid=schedule.uid,
            created=schedule.created,
            last=status.last_schedule_time,
            tasks=self._tasks_of(schedule),
            run_now=schedule.annotations.get(RUN_NOW_ANNOTATION, "")[:MAX_RUN_NOW] or None,
            last_run_now=status.last_run_now,
        )

    def _tasks_of(self, schedule: Resource) -> tuple[ScheduledTask, ...]:
        """Return the schedule's Tasks, oldest first, without those that are being deleted."""
        tasks = [task for task in self._context.projection.tasks.owned_by(schedule.uid) if not task.deleting]
        return tuple(
            ScheduledTask(
                name=task.name,
                uid=task.uid,
                created=task.created,
                ended=cast("EndPhase", str(task.status["phase"])) if is_final(task) else None,
                kept=task.mark is not None,
            )
            for task in sorted(tasks, key=lambda task: (task.created, task.name))
        )

    async def _show_invalid(self, schedule: Resource, problem: str) -> None:
        previous = ScheduleStatus.model_validate(schedule.status)
        verdicts = invalid(Reason.INVALID_SPEC, problem)
        await self._write(schedule, verdicts, previous.last_schedule_time, None, previous.last_run_now)

    async def _write(
        self,
        schedule: Resource,
        verdicts: Sequence[Verdict],
        last: datetime | None,
        next_slot: datetime | None,
        last_run_now: str | None,
    ) -> None:
        # Read again: a Task may just have been made.
        active = [task for task in self._tasks_of(schedule) if task.ended is None]
        status = build_schedule_status(
            verdicts,
            active,
            last=last,
            next_slot=next_slot,
            last_run_now=last_run_now,
            generation=schedule.generation,
            now=self._clock(),
            previous=ScheduleStatus.model_validate(schedule.status),
        ).to_json()
        if status == schedule.status:
            return
        written = await self._context.kube.apply_status(
            SCHEDULE, schedule.namespace, schedule.name, status, resource_version=schedule.resource_version
        )
        self._context.echoes.wrote(SCHEDULE, written)
        self._context.projection.schedules.see(Resource.from_object(written))

    def _wake_after(self, schedule: Resource, seconds: float) -> None:
        # The clock on the wall and the queue's are two: a little late beats a round too early.
        self._context.queue.add_after(
            Key(SCHEDULE_KEY, schedule.namespace, schedule.name), max(seconds, 0) + 0.01
        )

    def _tell_made(self, schedule: Resource, slot: Slot, missed: int) -> None:
        SCHEDULED_TASKS.labels("RunNow" if slot.at is None else "Schedule").inc()
        kind: Literal["Warning", "Normal"] = "Warning" if missed else "Normal"
        self._tell(schedule, kind, Reason.RUNNING, made_note(slot, missed), slot)

    def _tell_expired(self, schedule: Resource, spec: ScheduleSpec, plan: SchedulePlan) -> None:
        if plan.expired is None or self._expired.get(schedule.key) == plan.expired:
            return
        self._expired[schedule.key] = plan.expired
        slot = slot_of(schedule.name, plan.expired)
        self._tell(schedule, "Warning", Reason.TOO_LATE, expired_note(spec, slot), slot)

    def _tell(
        self, schedule: Resource, kind: Literal["Warning", "Normal"], reason: Reason, note: str, slot: Slot
    ) -> None:
        self._context.tell(
            Transition(
                kind=SCHEDULE,
                namespace=schedule.namespace,
                name=schedule.name,
                uid=schedule.uid,
                type=kind,
                reason=reason,
                note=note,
                key=slot.id,
            )
        )


def _refused(message: str, made: Made) -> list[Verdict]:
    if made.for_good:
        return invalid(Reason.INVALID_SPEC, message)
    return not_ready(Reason.QUOTA_EXCEEDED if "quota" in message else Reason.ERROR, message)
