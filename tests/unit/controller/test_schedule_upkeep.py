"""What a Schedule keeps of its past, and what it says of what is wrong."""

from typing import Any, cast

import pytest
from parley.controller.sights import Sights
from parley.kube.errors import Forbidden, Invalid
from parley.kube.kinds import REPLY, SCHEDULE, TASK

from tests.kstatus import kstatus
from tests.status_schema import status_problems
from tests.unit.controller.contexts import woken
from tests.unit.controller.objects import NAMESPACE, body
from tests.unit.controller.schedule_story import (
    ONE_O_CLOCK,
    SPEC,
    TWO_O_CLOCK,
    Story,
    condition,
)


@pytest.fixture
async def story(monkeypatch: pytest.MonkeyPatch) -> Story:
    return Story(monkeypatch)


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
