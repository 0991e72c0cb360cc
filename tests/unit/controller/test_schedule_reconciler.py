"""A Schedule in the cluster: which Tasks are made, ended and removed, what its status and Events say.

What is due when is tested with the engine; here the store is a script that remembers slots and ends.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from parley.controller import scheduled_tasks
from parley.controller.context import Context
from parley.controller.schedule_reconciler import ScheduleReconciler
from parley.controller.sights import Sights
from parley.kube.client import JsonObject
from parley.kube.errors import Conflict, Forbidden, Invalid, KubeUnavailable
from parley.kube.events import Transition
from parley.kube.kinds import REPLY, SCHEDULE, TASK, Kind
from parley.resources.schedule import RUN_NOW_ANNOTATION

from tests.fake_kube import FakeKube
from tests.kstatus import kstatus
from tests.status_schema import status_problems
from tests.unit.controller.contexts import storeless, woken
from tests.unit.controller.objects import NAMESPACE, body
from tests.unit.controller.records import record

MADE_AT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
"""When the objects of the tests were created."""
ONE_O_CLOCK = "hourly-0029923980"
TWO_O_CLOCK = "hourly-0029924040"
TASK_SPEC = {"steps": [{"name": "only", "container": {"image": "i"}}]}
METADATA = {"labels": {"report": "daily"}, "annotations": {"example.com/owner": "Maria"}}
SPEC = {"schedule": "0 * * * *", "taskTemplate": {"metadata": METADATA, "spec": TASK_SPEC}}


class Story:
    """A Schedule ``hourly``, made at 12:00; ``clock`` is the operator's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = MADE_AT + timedelta(minutes=1)
        self.kube = FakeKube()
        self.context: Context = storeless(self.kube)
        self.told: list[Transition] = []
        self.context.tell = self.told.append
        self.kube.on_change = self._watched
        self.slots: dict[str, str] = {}
        self.confirmed: set[str] = set()
        self.ended: list[tuple[str, str]] = []
        self.registered = True
        for name in ("take_slot", "confirm_slot", "end_task", "load_task"):
            monkeypatch.setattr(scheduled_tasks, name, getattr(self, name))
        self.reconciler = ScheduleReconciler(self.context, lambda: self.clock)

    def _watched(self, change: str, kind: Kind, seen: JsonObject) -> None:
        cast("dict[str, Any]", seen["metadata"]).setdefault("creationTimestamp", self.clock.isoformat())
        Sights(self.context).see(kind, seen, change == "DELETED")

    def restart(self) -> None:
        """Another operator leads: nothing is remembered but what Kubernetes and the store have."""
        self.context = storeless(self.kube)
        self.context.tell = self.told.append
        for (kind, _, _), seen in sorted(self.kube.objects.items(), key=str):
            Sights(self.context).see({"Task": TASK, "Schedule": SCHEDULE}[kind], seen, False)
        self.reconciler = ScheduleReconciler(self.context, lambda: self.clock)

    def apply(self, **fields: Any) -> None:
        """Make the Schedule as a user does."""
        self.kube.objects["Schedule", NAMESPACE, "hourly"] = made = body("hourly", **(SPEC | fields))
        self.kube._stored("ADDED", SCHEDULE, made)

    def annotate(self, text: str) -> None:
        def change(stored: JsonObject) -> None:
            cast("dict[str, Any]", stored["metadata"])["annotations"] = {RUN_NOW_ANNOTATION: text}

        self.kube.edit(SCHEDULE, NAMESPACE, "hourly", change)

    def change(self, **fields: Any) -> None:
        self.kube.edit(
            SCHEDULE, NAMESPACE, "hourly", lambda s: cast("dict[str, Any]", s["spec"]).update(fields)
        )

    async def at(self, time: str) -> dict[str, Any]:
        """Reconcile at a time of the day; returns the status afterwards."""
        self.clock = datetime.fromisoformat(f"2026-11-23T{time}+00:00")
        return await self.reconcile()

    async def reconcile(self) -> dict[str, Any]:
        await self.reconciler.reconcile(NAMESPACE, "hourly")
        return self.schedule["status"]

    def end(self, name: str, phase: str, **metadata: Any) -> None:
        """A Task ends, as its own reconciler says."""

        def change(stored: JsonObject) -> None:
            stored["status"] = {"phase": phase, "observedGeneration": 1}
            cast("dict[str, Any]", stored["metadata"]).update(metadata)

        self.kube.edit(TASK, NAMESPACE, name, change)

    @property
    def schedule(self) -> dict[str, Any]:
        return cast("dict[str, Any]", self.kube.objects["Schedule", NAMESPACE, "hourly"])

    @property
    def tasks(self) -> list[str]:
        return sorted(name for kind, _, name in self.kube.objects if kind == "Task")

    @property
    def notes(self) -> list[str]:
        return [transition.note for transition in self.told]

    # The store's part.

    async def take_slot(self, _conn: Any, _fence: Any, uid: str, slot: str, task_name: str) -> bool:
        assert uid == "uid-of-hourly"
        return self.slots.setdefault(slot, task_name) == task_name and slot not in self.confirmed

    async def confirm_slot(self, _conn: Any, _fence: Any, _uid: str, slot: str) -> None:
        assert slot in self.slots
        self.confirmed.add(slot)

    async def end_task(
        self, _conn: Any, _fence: Any, uid: str, *, phase: str, message: str, **_: Any
    ) -> bool:
        assert phase == "Cancelled"
        if self.registered:
            self.ended.append((uid, message))
        return self.registered

    async def load_task(self, _conn: Any, uid: str) -> Any:
        return record(uid=uid) if self.registered else None


@pytest.fixture
async def story(monkeypatch: pytest.MonkeyPatch) -> Story:
    return Story(monkeypatch)


def condition(status: dict[str, Any], kind: str = "Ready") -> tuple[str, str, str]:
    (found,) = (c for c in status["conditions"] if c["type"] == kind)
    return found["status"], found["reason"], found["message"]


async def test_a_new_schedule_says_when_it_runs(story: Story) -> None:
    story.apply()

    status = await story.at("12:00:30")

    assert story.tasks == []
    assert status["nextScheduleTime"] == "2026-11-23T13:00:00Z"
    assert "lastScheduleTime" not in status
    assert condition(status)[:2] == ("True", "Ready")
    assert kstatus(story.schedule).status == "Current"
    assert not status_problems("schedules", status)
    (due,) = story.context.queue._wakes.values()
    assert due == pytest.approx(60, abs=1), "a clock that jumps is noticed"


async def test_a_task_is_made_when_its_time_has_come(story: Story) -> None:
    story.apply()

    status = await story.at("13:00:01")

    made = cast("dict[str, Any]", story.kube.objects["Task", NAMESPACE, ONE_O_CLOCK])
    assert made["spec"] == TASK_SPEC
    metadata = made["metadata"]
    assert metadata["labels"] == {"report": "daily", "parley.dev/schedule": "hourly"}
    assert metadata["annotations"] == {
        "example.com/owner": "Maria",
        "parley.dev/scheduled-at": "2026-11-23T13:00Z",
    }
    (owner,) = metadata["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("Schedule", "uid-of-hourly", True)
    assert (status["lastScheduleTime"], status["nextScheduleTime"]) == (
        "2026-11-23T13:00:00Z",
        "2026-11-23T14:00:00Z",
    )
    assert status["active"] == [{"name": ONE_O_CLOCK, "uid": metadata["uid"]}]
    assert story.confirmed == {"2026-11-23T13:00Z"}
    assert story.notes == [f"made Task {ONE_O_CLOCK} for 2026-11-23T13:00Z"]
    assert story.told[0].type == "Normal"
    assert f"Task {ONE_O_CLOCK}" in await woken(story.context)
    assert not status_problems("schedules", status)


async def test_nothing_is_written_while_nothing_changes(story: Story) -> None:
    story.apply()
    await story.at("13:00:01")
    before = len(story.kube.requests)

    for minute in range(1, 59):
        await story.at(f"13:{minute:02}:00")

    assert len(story.kube.requests) == before
    assert len(story.told) == 1


async def test_each_slot_once_whatever_is_forgotten(story: Story) -> None:
    """The status was lost after the Task was made, and then the Task was deleted too."""
    story.apply()
    await story.at("13:00:01")
    story.schedule["status"] = {"observedGeneration": -1}
    await story.kube.delete(TASK, NAMESPACE, ONE_O_CLOCK)
    story.restart()

    status = await story.at("13:05:00")

    assert story.tasks == []
    assert status["lastScheduleTime"] == "2026-11-23T13:00:00Z"
    assert len(story.told) == 1


async def test_a_slot_that_was_taken_and_not_used_is_not_lost(story: Story) -> None:
    """The operator ended between the two."""
    story.apply()
    story.kube.fail(KubeUnavailable(503, "", "no answer"), verb="create", kind="Task")
    with pytest.raises(KubeUnavailable):
        await story.at("13:00:01")
    assert story.slots
    story.restart()

    await story.at("13:00:05")

    assert story.tasks == [ONE_O_CLOCK]


async def test_a_task_that_was_made_before_the_end_came_is_found_again(story: Story) -> None:
    story.apply()
    story.kube.fail(Conflict(409, "Conflict", "changed"), verb="patch", kind="Schedule")
    with pytest.raises(Conflict):
        await story.at("13:00:01")
    story.confirmed.clear()
    story.restart()

    status = await story.at("13:00:05")

    assert story.tasks == [ONE_O_CLOCK]
    assert [entry["name"] for entry in status["active"]] == [ONE_O_CLOCK]
    assert len(story.told) <= 1, "it is not told as new"


async def test_somebody_elses_task_of_that_name_is_not_taken_for_it(story: Story) -> None:
    story.apply()
    await story.kube.create(TASK, NAMESPACE, {"metadata": {"name": ONE_O_CLOCK}, "spec": {}})

    status = await story.at("13:00:01")

    assert condition(status)[:2] == ("False", "Error")
    assert f"a Task named {ONE_O_CLOCK} exists that is not this Schedule's: delete it" in condition(status)[2]
    assert story.confirmed == set()
    assert kstatus(story.schedule).status == "InProgress"
    await story.kube.delete(TASK, NAMESPACE, ONE_O_CLOCK)
    await story.at("13:00:40")
    assert story.confirmed == {"2026-11-23T13:00Z"}


async def test_what_the_operator_missed_is_said(story: Story) -> None:
    story.apply()

    await story.at("18:30:00")

    assert len(story.tasks) == 1
    assert story.notes == [f"made Task {story.tasks[0]} for 2026-11-23T18:00Z; 5 earlier times were missed"]
    assert story.told[0].type == "Warning"


async def test_more_than_a_hundred_missed_are_not_counted(story: Story) -> None:
    story.apply(schedule="* * * * *")

    await story.at("18:30:00")

    assert story.notes[0].endswith("; more than 100 earlier times were missed")


async def test_what_is_too_late_is_told_once(story: Story) -> None:
    story.apply(startingDeadline="5m")

    for minute in range(10, 15):
        await story.at(f"13:{minute}:00")

    assert story.tasks == []
    assert story.notes == [
        "made no Task for 2026-11-23T13:00Z: it was too late by more than spec.startingDeadline (5m)"
    ]
    assert (story.told[0].type, story.told[0].reason) == ("Warning", "TooLate")


async def test_a_task_that_still_runs_keeps_the_next_one_out_until_it_ends(story: Story) -> None:
    story.apply(concurrencyPolicy="Forbid")
    await story.at("13:00:01")

    status = await story.at("14:00:01")

    assert story.tasks == [ONE_O_CLOCK]
    assert f"until Task {ONE_O_CLOCK} has ended" in condition(status)[2]
    assert kstatus(story.schedule).status == "Current"
    story.end(ONE_O_CLOCK, "Succeeded")
    assert "Schedule hourly" in await woken(story.context)
    status = await story.at("14:10:00")
    assert story.tasks == [ONE_O_CLOCK, TWO_O_CLOCK]
    assert status["lastScheduleTime"] == "2026-11-23T14:00:00Z"


async def test_a_task_that_still_runs_is_ended_for_the_next_one(story: Story) -> None:
    story.apply(concurrencyPolicy="Replace")
    await story.at("13:00:01")
    old = story.kube.objects["Task", NAMESPACE, ONE_O_CLOCK]["metadata"]["uid"]  # type: ignore[index, call-overload]
    await woken(story.context)

    await story.at("14:00:01")

    assert [uid for uid, _ in story.ended] == [old]
    assert story.ended[0][1] == (
        f"replaced by Task {TWO_O_CLOCK}: Schedule hourly has concurrencyPolicy Replace"
    )
    assert story.tasks == [ONE_O_CLOCK, TWO_O_CLOCK], "what became of it stays to be seen"
    assert {f"Task {ONE_O_CLOCK}", f"Task {TWO_O_CLOCK}"} <= await woken(story.context)
    story.end(ONE_O_CLOCK, "Cancelled")
    status = await story.at("14:00:02")
    assert [entry["name"] for entry in status["active"]] == [TWO_O_CLOCK]


async def test_a_task_too_new_to_be_ended_is_waited_for(story: Story) -> None:
    story.apply(concurrencyPolicy="Replace")
    await story.at("13:00:01")
    story.registered = False

    await story.at("14:00:01")

    assert story.tasks == [ONE_O_CLOCK]
    assert min(story.context.queue._wakes.values()) == pytest.approx(0.5, abs=0.1)
    story.registered = True
    await story.at("14:00:02")
    assert story.tasks == [ONE_O_CLOCK, TWO_O_CLOCK]


async def test_a_run_by_hand(story: Story) -> None:
    story.apply(suspend=True)
    story.annotate("because")

    status = await story.at("12:30:00")
    again = await story.at("12:31:00")

    (made,) = story.tasks
    assert status["lastRunNow"] == again["lastRunNow"] == "because"
    assert story.notes == [f"made Task {made} as the annotation parley.dev/run-now asks"]
    assert condition(status)[:2] == ("True", "Suspended")
    assert "nextScheduleTime" not in status
    assert kstatus(story.schedule).status == "Current"
    annotations = cast("dict[str, Any]", story.kube.objects["Task", NAMESPACE, made]["metadata"])[
        "annotations"
    ]
    assert "parley.dev/scheduled-at" not in annotations

    story.annotate("because of something else")
    await story.at("12:32:00")
    assert len(story.tasks) == 2


async def test_an_annotation_of_any_length_is_answered_once(story: Story) -> None:
    story.apply(suspend=True)
    story.annotate("x" * 5000)

    status = await story.at("12:30:00")
    await story.at("12:31:00")

    assert len(story.tasks) == 1
    assert not status_problems("schedules", status)


async def test_only_so_many_of_the_past_are_kept(story: Story) -> None:
    story.apply(successfulTasksHistoryLimit=1, failedTasksHistoryLimit=0)
    for hour in (13, 14, 15, 16):
        await story.at(f"{hour}:00:01")
    names = story.tasks
    phases = ["Succeeded", "Failed", "Succeeded", "Succeeded"]
    for name, phase in zip(names, phases, strict=True):
        story.end(name, phase)

    await story.at("16:10:00")

    assert story.tasks == names[-1:]
    deletes = [request for request in story.kube.requests if request.verb == "delete"]
    assert len(deletes) == 3


async def test_a_task_that_git_owns_or_that_was_just_changed_is_not_removed(story: Story) -> None:
    story.apply(successfulTasksHistoryLimit=0)
    await story.at("13:00:01")
    await story.at("14:00:01")
    mark = {"annotations": {"argocd.argoproj.io/tracking-id": "app"}}
    story.end(ONE_O_CLOCK, "Succeeded", **mark)
    story.end(TWO_O_CLOCK, "Succeeded")
    # Somebody changes the other one, and the watch has not brought that yet.
    story.kube.on_change = lambda *_: None
    story.kube.edit(
        TASK, NAMESPACE, TWO_O_CLOCK, lambda s: cast("dict[str, Any]", s["metadata"]).update(mark)
    )

    await story.at("14:10:00")

    assert story.tasks == [ONE_O_CLOCK, TWO_O_CLOCK]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"schedule": "61 * * * *"}, "spec.schedule: '61 * * * *': bad minute"),
        ({"timeZone": "Europe/Nowhere"}, "spec.timeZone: there is no time zone 'Europe/Nowhere'"),
        (
            {
                "taskTemplate": {
                    "spec": {"steps": [{"name": "a", "container": {"image": "i", "args": ["{{ x }}"]}}]}
                }
            },
            "spec.taskTemplate.spec.steps[0]",
        ),
        ({"schedule": {"not": "text"}}, "spec.schedule"),
    ],
)
async def test_what_is_wrong_is_named_until_it_is_mended(
    story: Story, fields: dict[str, Any], says: str
) -> None:
    story.apply(**fields)

    status = await story.at("13:00:01")

    assert condition(status, "Stalled")[:2] == ("True", "InvalidSpec")
    assert condition(status, "Stalled")[2].startswith(says), condition(status, "Stalled")[2]
    assert kstatus(story.schedule).status == "Failed"
    assert story.tasks == []
    assert not status_problems("schedules", status)

    story.change(**(SPEC | {"timeZone": "Etc/UTC"}))
    assert kstatus(story.schedule).status == "InProgress", "it was changed since"
    await story.at("13:01:00")
    assert kstatus(story.schedule).status == "Current"
    assert story.tasks == [ONE_O_CLOCK]


async def test_a_task_the_api_server_refuses_is_told_with_its_words(story: Story) -> None:
    story.apply()
    story.kube.fail(Invalid(422, "Invalid", "spec.steps: no such image"), verb="create", kind="Task")

    status = await story.at("13:00:01")

    assert condition(status, "Stalled")[1:] == ("InvalidSpec", "spec.taskTemplate: spec.steps: no such image")
    assert "lastScheduleTime" not in status
    assert story.confirmed == set()


async def test_a_quota_holds_it_up_for_a_while(story: Story) -> None:
    story.apply()
    story.kube.fail(Forbidden(403, "Forbidden", "exceeded quota: tasks=5"), verb="create", kind="Task")

    status = await story.at("13:00:01")

    assert condition(status)[:2] == ("False", "QuotaExceeded")
    assert kstatus(story.schedule).status == "InProgress"
    assert min(story.context.queue._wakes.values()) == pytest.approx(30, abs=1)
    await story.at("13:00:31")
    assert story.tasks == [ONE_O_CLOCK]
    assert kstatus(story.schedule).status == "Current"


async def test_a_schedule_that_goes_is_left_alone(story: Story) -> None:
    story.apply()
    story.kube.edit(
        SCHEDULE,
        NAMESPACE,
        "hourly",
        lambda s: cast("dict[str, Any]", s["metadata"]).update(deletionTimestamp="2026-11-23T12:30:00Z"),
    )

    await story.at("13:00:01")

    assert story.tasks == []


async def test_a_reply_that_came_before_its_task_hears_of_one_that_a_schedule_makes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The watch may bring the Task after the answer to its creation did, and is then no news."""
    story = Story(monkeypatch)
    story.apply()
    early = body("early", taskRef={"name": ONE_O_CLOCK}, waitID="w", value=1, by="eve")
    Sights(story.context).see(REPLY, early, False)
    await woken(story.context)
    watched, story.kube.on_change = story.kube.on_change, lambda *_: None

    await story.at("13:00:01")
    watched("ADDED", TASK, story.kube.objects["Task", NAMESPACE, ONE_O_CLOCK])

    assert {f"Task {ONE_O_CLOCK}", "Reply early"} <= await woken(story.context)
