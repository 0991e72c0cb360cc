"""What a Schedule does next, as a table; and over days of operation, whatever happens to the operator and its clock."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parley.engine.cron import Cron, CronError
from parley.engine.schedule import (
    ScheduledTask,
    SchedulePlan,
    ScheduleState,
    Slot,
    plan_schedule,
    slot_of,
)
from parley.resources.schedule import ScheduleSpec

MIDNIGHT = datetime(2026, 11, 23, tzinfo=UTC)
UID = "7b6c0b0e-0000-4000-8000-000000000001"


def at(text: str) -> datetime:
    """A time of the 23rd of November 2026 (``10:00`` or ``10:00:30``), or a whole one."""
    return datetime.fromisoformat(text if "T" in text else f"2026-11-23T{text}").replace(tzinfo=UTC)


NOW = at("10:00:30")
YESTERDAY = at("2026-11-22T12:00")


def spec(schedule: str = "0 * * * *", **fields: Any) -> ScheduleSpec:
    task = {"spec": {"steps": [{"name": "only", "container": {"image": "i"}}]}}
    return ScheduleSpec.model_validate({"schedule": schedule, "taskTemplate": task, **fields})


def state(**fields: Any) -> ScheduleState:
    known: dict[str, Any] = {"name": "report", "uid": UID, "created": YESTERDAY, "last": at("09:00")}
    return ScheduleState(**(known | fields))


def made(name: str = "report-0029912580", ended: Any = None, **fields: Any) -> ScheduledTask:
    known: dict[str, Any] = {"uid": f"uid-of-{name}", "created": at("09:00")}
    return ScheduledTask(name=name, ended=ended, **(known | fields))


def told(plan: SchedulePlan) -> dict[str, Any]:
    """What a plan says, without what it leaves alone."""
    said = {
        "start": plan.start.id if plan.start else None,
        "replace": [task.name for task in plan.replace],
        "prune": [task.name for task in plan.prune],
        "missed": plan.missed,
        "expired": plan.expired.strftime("%H:%M") if plan.expired else None,
        "held_by": plan.held_by,
    }
    return {key: value for key, value in said.items() if value}


OLD = made("old")
DUE = {"start": "2026-11-23T10:00Z"}
TABLE: list[tuple[str, ScheduleSpec, ScheduleState, dict[str, Any]]] = [
    ("its time has come", spec(), state(), DUE),
    ("its time was dealt with", spec(), state(last=at("10:00")), {}),
    ("made after its last time", spec(), state(last=None, created=at("10:00:10")), {}),
    ("made before its last time, and never looked at", spec(), state(last=None, created=at("09:30")), DUE),
    (
        "the operator was away: the newest alone is made up for",
        spec(),
        state(last=at("05:00")),
        DUE | {"missed": 4},
    ),
    (
        "away for long",
        spec("* * * * *"),
        state(last=YESTERDAY),
        {"start": "2026-11-23T10:00Z", "missed": 101},
    ),
    ("suspended", spec(suspend=True), state(last=at("05:00")), {}),
    ("within the deadline", spec(startingDeadline="1m"), state(), DUE),
    ("later than the deadline", spec(startingDeadline="20s"), state(), {"expired": "10:00"}),
    (
        "later than the deadline, several times",
        spec("30 * * * *", startingDeadline="10m"),
        state(last=at("06:30")),
        {"expired": "09:30"},
    ),
    (
        "the deadline leaves older ones out",
        spec("*/10 * * * *", startingDeadline="25m"),
        state(last=at("05:00")),
        DUE | {"missed": 2},
    ),
    ("another still runs: both", spec(), state(tasks=(OLD,)), DUE),
    (
        "another still runs: it waits",
        spec(concurrencyPolicy="Forbid"),
        state(tasks=(OLD,)),
        {"held_by": "old"},
    ),
    (
        "another has ended",
        spec(concurrencyPolicy="Forbid"),
        state(tasks=(made("old", "Succeeded"),)),
        DUE,
    ),
    (
        "another still runs: it is replaced",
        spec(concurrencyPolicy="Replace"),
        state(tasks=(OLD, made("older", "Failed"))),
        DUE | {"replace": ["old"]},
    ),
    (
        "what it replaces is not itself, made before a crash",
        spec(concurrencyPolicy="Replace"),
        state(tasks=(made("report-0029923800"),)),
        DUE,
    ),
    (
        "nothing is due, so nothing is replaced",
        spec(concurrencyPolicy="Replace"),
        state(last=at("10:00"), tasks=(OLD,)),
        {},
    ),
    (
        "asked for by hand",
        spec(),
        state(last=at("10:00"), run_now="please"),
        {"start": "run-now/eac23f5554"},
    ),
    ("asked for in the same words", spec(), state(last=at("10:00"), run_now="a", last_run_now="a"), {}),
    (
        "asked for by hand while suspended",
        spec(suspend=True),
        state(run_now="please"),
        {"start": "run-now/eac23f5554"},
    ),
    (
        "asked for by hand while another runs",
        spec(concurrencyPolicy="Forbid"),
        state(last=at("10:00"), run_now="please", tasks=(OLD,)),
        {"held_by": "old"},
    ),
    ("its time has come and it was asked for: one at a time", spec(), state(run_now="please"), DUE),
    (
        "where one waits for another, what a person asked for is next",
        spec(concurrencyPolicy="Forbid"),
        state(run_now="please"),
        {"start": "run-now/eac23f5554"},
    ),
    (
        "the clock was ahead: what comes until then is due all the same",
        spec(),
        state(last=at("2031-01-01T00:00")),
        {},
    ),
    (
        "too many of the past",
        spec(successfulTasksHistoryLimit=1, failedTasksHistoryLimit=1),
        state(
            last=at("10:00"),
            tasks=(
                made("s1", "Succeeded", created=at("01:00")),
                made("f1", "Failed", created=at("02:00")),
                made("s2", "Succeeded", created=at("03:00")),
                made("c1", "Cancelled", created=at("04:00")),
                made("s3", "Succeeded", created=at("05:00")),
                made("runs", created=at("00:00")),
            ),
        ),
        {"prune": ["s2", "s1", "f1"]},
    ),
    (
        "what Git or Helm owns stays",
        spec(successfulTasksHistoryLimit=0),
        state(last=at("10:00"), tasks=(made("a", "Succeeded", kept=True), made("b", "Succeeded"))),
        {"prune": ["b"]},
    ),
    (
        "history is kept while suspended too",
        spec(suspend=True, failedTasksHistoryLimit=0),
        state(tasks=(made("a", "Failed"),)),
        {"prune": ["a"]},
    ),
]


@pytest.mark.parametrize(
    ("schedule", "given_state", "expected"), [pytest.param(*row[1:], id=row[0]) for row in TABLE]
)
def test_what_a_schedule_does(
    schedule: ScheduleSpec, given_state: ScheduleState, expected: dict[str, Any]
) -> None:
    assert told(plan_schedule(schedule, given_state, NOW)) == expected


def test_the_next_slot_and_when_to_look_again() -> None:
    plan = plan_schedule(spec(), state(last=at("10:00")), at("10:59:30"))

    assert plan.next == at("11:00")
    assert plan.wake_at == at("11:00")


def test_a_sleep_is_short_for_clocks_can_jump() -> None:
    plan = plan_schedule(spec("0 0 1 1 *"), state(), NOW)

    assert plan.next == at("2027-01-01T00:00")
    assert plan.wake_at - NOW <= timedelta(minutes=1)


def test_a_suspended_schedule_has_no_next_slot() -> None:
    assert plan_schedule(spec(suspend=True), state(), NOW).next is None


def test_a_slots_names_are_its_own_and_short_enough() -> None:
    slot = slot_of("r" * 41, at("10:00"))

    assert slot == Slot("2026-11-23T10:00Z", f"{'r' * 41}-0029923800", at("10:00"))
    assert len(slot.task_name) == 52
    by_hand = [
        plan_schedule(spec(suspend=True), state(run_now=text, uid=uid), NOW).start
        for text, uid in (("a", UID), ("b", UID), ("a", "another"))
    ]
    assert len({slot.task_name for slot in by_hand if slot}) == 3


def test_a_clock_that_was_ahead_is_put_right() -> None:
    """A slot of next year was started while the clock was wrong; that must not silence the schedule until then."""
    plan = plan_schedule(spec(), state(last=at("2027-06-01T00:00")), NOW)

    assert plan.last == at("10:00"), "the newest that is past, which is not started again"
    later = plan_schedule(spec(), state(last=plan.last), at("11:00:01"))
    assert told(later) == {"start": "2026-11-23T11:00Z"}


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [({"schedule": "61 * * * *"}, "schedule"), ({"timeZone": "Europe/Nowhere"}, "timeZone")],
)
def test_what_cannot_be_read_names_its_field(fields: dict[str, Any], wrong: str) -> None:
    with pytest.raises(CronError) as error:
        plan_schedule(spec(**fields), state(), NOW)

    assert error.value.field == wrong


@dataclass
class World:
    """A schedule, its Tasks and its slots, over time; the operator looks when it is told to."""

    spec: ScheduleSpec
    now: datetime = MIDNIGHT
    last: datetime | None = None
    taken: set[str] = field(default_factory=set)
    started: list[tuple[datetime, Slot]] = field(default_factory=list)
    tasks: list[ScheduledTask] = field(default_factory=list)
    crashes: bool = False

    def look(self, *, skew: timedelta = timedelta()) -> None:
        """Reconcile until nothing is left to start, with a clock that may be wrong."""
        clock = self.now + skew
        for _ in range(5):
            shown = ScheduleState("s", UID, MIDNIGHT, self.last, tuple(self.tasks))
            plan = plan_schedule(self.spec, shown, clock)
            self.tasks = [task for task in self.tasks if task not in plan.prune]
            if plan.start is None:
                self.last = plan.last
                return
            for task in plan.replace:
                self.tasks[self.tasks.index(task)] = replace(task, ended="Cancelled")
            self._start(plan.start)
            if self.crashes:
                self.crashes = False
                return
            self.last = plan.start.at
        pytest.fail("it never comes to rest")

    def _start(self, slot: Slot) -> None:
        assert slot.at is not None
        if slot.id in self.taken:
            return
        self.taken.add(slot.id)
        self.started.append((self.now, slot))
        self.tasks.append(ScheduledTask(slot.task_name, slot.task_name, slot.at))

    def end(self, phase: Any) -> None:
        """The oldest Task that runs ends."""
        for place, task in enumerate(self.tasks):
            if task.ended is None:
                self.tasks[place] = replace(task, ended=phase)
                return


MOMENTS = st.lists(
    st.tuples(
        st.integers(1, 3 * 3600),
        st.sampled_from(["look", "look", "look", "crash", "succeed", "fail", "nothing"]),
        st.sampled_from([0, 0, 0, 0, -4000, 90, 86_400 * 30]),
    ),
    min_size=1,
    max_size=40,
)
SPECS = st.builds(
    lambda cron, policy, deadline, keep: spec(
        cron,
        timeZone="Europe/Berlin",
        concurrencyPolicy=policy,
        successfulTasksHistoryLimit=keep,
        failedTasksHistoryLimit=keep,
        **({"startingDeadline": deadline} if deadline else {}),
    ),
    st.sampled_from(["*/10 * * * *", "0 * * * *", "30 2 * * *", "0 0 1 * *"]),
    st.sampled_from(["Allow", "Forbid", "Replace"]),
    st.sampled_from([None, "5m", "2h"]),
    st.integers(0, 2),
)


@settings(max_examples=150, deadline=None)
@given(schedule=SPECS, moments=MOMENTS)
def test_whatever_happens_each_slot_comes_at_most_once(schedule: ScheduleSpec, moments: list[Any]) -> None:
    world = World(schedule)
    for seconds, happens, skew in moments:
        world.now += timedelta(seconds=seconds)
        match happens:
            case "look":
                world.look(skew=timedelta(seconds=skew))
            case "crash":
                world.crashes = True
                world.look()
            case "succeed" | "fail":
                world.end("Succeeded" if happens == "succeed" else "Failed")
            case _:
                pass
        active = [task for task in world.tasks if task.ended is None]
        if schedule.concurrency_policy in {"Forbid", "Replace"}:
            assert len(active) <= 1, "two of its Tasks at once"

    names = [slot.task_name for _, slot in world.started]
    assert len(names) == len(set(names))
    cron = Cron(schedule.schedule, schedule.time_zone)
    for _, slot in world.started:
        assert slot.at is not None
        assert cron.after(slot.at - timedelta(seconds=1)) == slot.at, "started at no time of the schedule"


@settings(max_examples=60, deadline=None)
@given(schedule=SPECS, pauses=st.lists(st.integers(1, 5), min_size=5, max_size=60), jumps=st.integers(0, 59))
def test_with_a_right_clock_no_slot_is_lost(schedule: ScheduleSpec, pauses: list[int], jumps: int) -> None:
    """Looked at every few minutes, each slot is started within that time, unless one that runs keeps it out."""
    free = schedule.model_copy(update={"concurrency_policy": "Allow"})
    world = World(free)
    world.now += timedelta(minutes=jumps)
    for minutes in pauses:
        world.now += timedelta(minutes=minutes)
        world.look()

    cron, slot, expected = Cron(free.schedule, free.time_zone), at("00:00"), list[datetime]()
    while (found := cron.after(slot)) is not None and found <= world.now:
        expected.append(found)
        slot = found
    started = [slot.at for _, slot in world.started]
    first_look = at("00:00") + timedelta(minutes=jumps + pauses[0])
    assert started[1 if started and started[0] <= first_look else 0 :] == [
        e for e in expected if e > first_look
    ]
    for when, slot_ in world.started[1:]:
        assert slot_.at is not None
        assert when - slot_.at <= timedelta(minutes=5)
