"""A Schedule in the cluster: which Tasks are made, ended and removed, what its status and Events say.

What is due when is tested with the engine; here the store is a script that remembers slots and ends.
"""

from typing import Any, cast

import pytest
from parley.kube.errors import Conflict, KubeUnavailable
from parley.kube.kinds import TASK

from tests.kstatus import kstatus
from tests.status_schema import status_problems
from tests.unit.controller.contexts import woken
from tests.unit.controller.objects import NAMESPACE
from tests.unit.controller.schedule_story import (
    ONE_O_CLOCK,
    TASK_SPEC,
    TWO_O_CLOCK,
    Story,
    condition,
)


@pytest.fixture
async def story(monkeypatch: pytest.MonkeyPatch) -> Story:
    return Story(monkeypatch)


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
