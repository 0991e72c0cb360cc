"""One round of a task: what is read, written to its status, told, and woken later."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, cast

import pytest
from parley.controller.context import TASK_KEY
from parley.controller.sights import Sights
from parley.engine.pods import PodView
from parley.kube.errors import Conflict, Forbidden, Invalid
from parley.kube.kinds import TASK
from parley.resources.reasons import Reason
from parley.store.records import Inserted, OutputRecord

from tests.kstatus import kstatus
from tests.unit.controller.contexts import woken
from tests.unit.controller.objects import NAMESPACE, task_body
from tests.unit.controller.records import NOW, RUNNING, UID, record
from tests.unit.controller.task_story import DONE, ENDED, IN_SESSION, STEPS, Rendered, Story


@pytest.fixture
def story(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Story]:
    return partial(Story, monkeypatch)


async def test_a_task_of_which_nothing_is_known_is_registered_without_a_look(
    story: Callable[..., Story],
) -> None:
    """Of a new one the store knows nothing, and registering finds what it does know."""
    given = story(record(attempts=[RUNNING]))

    status = await given.reconcile()
    assert (given.asked, status["phase"]) == (["register"], "Running")

    await given.reconcile()
    assert given.asked == ["register", "load"]


async def test_a_task_with_a_phase_is_looked_up_by_another_leader_too(story: Callable[..., Story]) -> None:
    given = story(record(attempts=[RUNNING]))
    given.see(
        task_body("exit-0", uid=UID, version=9, status={"phase": "Running"}) | {"spec": {"steps": STEPS}}
    )

    await given.reconcile()

    assert given.asked == ["load"]


async def test_a_running_task_shows_it_and_looks_again_at_its_deadline(story: Callable[..., Story]) -> None:
    given = story(record(attempts=[RUNNING]))

    status = await given.reconcile()

    assert (status["phase"], status["progress"], status["observedGeneration"]) == ("Running", "0/1", 1)
    assert status["steps"][0]["job"] == "exit-0"
    assert given.log == ["Task exit-0"]
    (due,) = (at for key, at in given.context.queue._wakes.items() if key.kind == TASK_KEY)
    assert due == pytest.approx(3600, abs=1)


async def test_what_has_not_changed_is_not_written_again(story: Callable[..., Story]) -> None:
    given = story(record(attempts=[RUNNING]))
    await given.reconcile()
    given.rows = replace(given.rows, now=NOW + timedelta(minutes=5))

    await given.reconcile()

    assert [request.verb for request in given.kube.requests if request.kind == "Task"] == ["patch"]


async def test_each_transition_is_told_once(story: Callable[..., Story]) -> None:
    given = story(record(attempts=[RUNNING]))
    await given.reconcile()
    await given.reconcile()
    given.rows = record(attempts=[DONE], ended=ENDED)
    await given.reconcile()

    assert [(event.reason, event.type, event.uid) for event in given.told] == [
        (Reason.RUNNING, "Normal", UID),
        (Reason.SUCCEEDED, "Normal", UID),
    ]


async def test_what_is_no_transition_is_written_and_not_told(story: Callable[..., Story]) -> None:
    given = story(record(attempts=[RUNNING]))
    await given.reconcile()
    given.rows = replace(given.rows, input_tokens=5)

    status = await given.reconcile()

    assert status["usage"]["inputTokens"] == 5
    assert len(given.told) == 1


async def test_a_failure_is_told_as_a_warning(story: Callable[..., Story]) -> None:
    failed = replace(ENDED, phase="Failed", reason="ExitCode", message="step step: exit code 3")
    given = story(record(attempts=[replace(DONE, state="Failed", reason="ExitCode")], ended=failed))

    await given.reconcile()

    assert [(event.type, event.note) for event in given.told] == [("Warning", "step step: exit code 3")]


async def test_whoever_sees_the_end_sees_its_events(story: Callable[..., Story]) -> None:
    """The session's status is written before the task's final one."""
    given = story(record(attempts=[DONE], ended=ENDED, **IN_SESSION), "alice")

    await given.reconcile()

    assert given.log == ["register the session", f"show session {NAMESPACE}/alice", "Task exit-0"]


async def test_an_ended_task_is_never_planned_again(story: Callable[..., Story]) -> None:
    """Its own status says so, whatever an emptier store would say."""
    given = story(record(attempts=[DONE], ended=ENDED))
    await given.reconcile()
    given.rows = record()

    status = await given.reconcile()

    assert status["phase"] == "Succeeded"
    assert given.log == ["Task exit-0"]
    assert given.context.projection.workloads.all() == {}, "nobody asks for its pods any more"


async def test_a_task_edited_after_its_end_is_still_ended_for_whoever_waits(
    story: Callable[..., Story],
) -> None:
    """desiredState may be changed at any time, as a GitOps tool does; the end stands, and kstatus must say so."""
    given = story(record(attempts=[DONE], ended=ENDED))
    await given.reconcile()

    edited = given.kube.edit(
        TASK, NAMESPACE, "exit-0", lambda made: made["spec"].update(desiredState="Cancelled")
    )  # type: ignore[union-attr]
    Sights(given.context).see(TASK, edited, False)
    for key in await woken(given.context):
        assert key == "Task exit-0"
        await given.reconcile()

    made = given.kube.objects["Task", NAMESPACE, "exit-0"]
    assert made["metadata"]["generation"] == 2  # type: ignore[index, call-overload]
    assert kstatus(made).status == "Current"
    assert made["status"]["phase"] == "Succeeded"  # type: ignore[index, call-overload]


async def test_a_status_is_never_written_over_a_newer_object(story: Callable[..., Story]) -> None:
    given = story(record(attempts=[RUNNING]))
    given.kube.edit(TASK, NAMESPACE, "exit-0", lambda made: made["spec"].update(desiredState="Cancelled"))  # type: ignore[union-attr]

    with pytest.raises(Conflict):
        await given.reconcile()

    assert given.told == [], "what was not written has not happened"


async def test_a_task_that_is_gone_or_going_is_left_alone(story: Callable[..., Story]) -> None:
    given = story(record(attempts=[RUNNING]))
    leaving = task_body("exit-0", uid=UID, version=9)
    leaving["metadata"]["deletionTimestamp"] = "2026-11-23T12:00:00Z"
    given.see(leaving)

    await given.reconcile()
    Sights(given.context).see(TASK, leaving, True)
    await given.reconcile()

    assert given.log == []


async def test_a_task_whose_session_was_made_again_has_lost_it(
    story: Callable[..., Story], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = story(record(attempts=[RUNNING], session_uid="uid-of-an-older-alice"), "alice")

    async def end_task(*_: object, reason: str, **__: object) -> bool:
        given.rows = replace(given.rows, ended=replace(ENDED, phase="Failed", reason=reason))
        return True

    monkeypatch.setattr("parley.store.tasks.end_task", end_task)

    status = await given.reconcile()

    assert status["phase"] == "Failed"
    assert {condition["reason"] for condition in status["conditions"]} == {"SessionDeleted"}


async def test_an_output_that_the_api_server_cannot_hold_hides_nothing_else(
    story: Callable[..., Story],
) -> None:
    given = story(
        record(
            attempts=[DONE],
            ended=replace(ENDED, output=OutputRecord(10**400)),
            outputs={"step": OutputRecord(10**400)},
        )
    )
    given.kube.fail(Invalid(400, "BadRequest", "number out of range"), verb="patch")

    status = await given.reconcile()

    assert (status["phase"], status["truncated"]) == ("Succeeded", True)
    assert "output" not in status
    (step,) = status["steps"]
    assert (step["phase"], step["truncated"], step.get("output")) == ("Succeeded", True, None)


def node(ready: str | None) -> dict[str, Any]:
    conditions = [] if ready is None else [{"type": "Ready", "status": ready}]
    return {"metadata": {"name": "node-1"}, "status": {"conditions": conditions}}


@pytest.mark.parametrize(
    ("what", "pod", "known", "lost"),
    [
        ("its node went", {"overdue_at": NOW - timedelta(minutes=2)}, None, True),
        ("its node does not answer", {"overdue_at": NOW - timedelta(minutes=2)}, node("Unknown"), True),
        ("its node never said", {"overdue_at": NOW - timedelta(minutes=2)}, node(None), True),
        ("its node is only slow", {"overdue_at": NOW - timedelta(minutes=2)}, node("True"), False),
        ("it is about to end", {"overdue_at": NOW + timedelta(seconds=20)}, None, False),
        ("it was told to end just now", {"overdue_at": NOW - timedelta(seconds=20)}, None, False),
        ("nobody told it to end", {}, None, False),
        ("it has ended", {"overdue_at": NOW - timedelta(minutes=2), "phase": "Failed"}, None, False),
        ("its file is sent", {"overdue_at": NOW - timedelta(minutes=2), "exit_code": 0}, None, True),
    ],
)
async def test_a_pod_that_does_not_end_is_lost_with_its_node(
    story: Callable[..., Story], what: str, pod: dict[str, Any], known: dict[str, Any] | None, lost: bool
) -> None:
    given = story(record())
    if known is not None:
        given.kube.objects["Node", None, "node-1"] = known
    shown = {"phase": "Running", "running": True, "node": "node-1", "deleting": "overdue_at" in pod, **pod}
    view = PodView("pod", "uid", **shown)

    marked = await given.reconciler._observer._with_lost_nodes({"job": view}, NOW)

    assert marked["job"].node_lost is lost, what


async def test_a_deadline_that_strikes_a_refused_job_keeps_the_cause(
    story: Callable[..., Story], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deadline that strikes before the container ran keeps what it waited for as the reason."""
    given = story(record(attempts=[replace(RUNNING, job="refused")]))
    closed: list[tuple[str, str]] = []

    async def load_request(*_: object) -> dict[str, Any]:
        task = {"name": "refund", "namespace": "team"}
        return {"kind": "Container", "task": task, "step": "run", "container": {"image": "i"}}

    async def close_attempt(*arguments: Any, **_: object) -> bool:
        state, reason = arguments[3:5]
        closed.append((state, reason))
        timed_out = replace(RUNNING, job="refused", state="TimedOut", reason=reason, ended_at=NOW)
        given.rows = record(attempts=[timed_out], ended=replace(ENDED, phase="Failed", reason=reason))
        return True

    monkeypatch.setattr("parley.store.attempts.load_request", load_request)
    monkeypatch.setattr("parley.store.attempts.close_attempt", close_attempt)
    given.kube.fail(Forbidden(403, "Forbidden", "exceeded quota: jobs"), verb="create", kind="Job", times=99)
    assert (await given.reconcile())["steps"][0]["reason"] == "QuotaExceeded"

    given.rows = replace(given.rows, now=RUNNING.deadline)
    await given.reconcile()

    assert closed == [("TimedOut", "QuotaExceeded")]


@pytest.mark.parametrize(
    ("shown", "held", "lacks"),
    [(1, 1, False), (2, 1, True), (1, 0, True), (0, 0, False)],
    ids=["both have one", "the second is lacking", "the only one is lacking", "neither has one"],
)
async def test_work_that_another_store_holds_is_never_done_again(
    story: Callable[..., Story], monkeypatch: pytest.MonkeyPatch, shown: int, held: int, lacks: bool
) -> None:
    given = story(record(attempts=[RUNNING] * held))
    status = {"phase": "Running", "steps": [{"name": "step", "phase": "Running", "attempt": shown}]}
    given.see(task_body("exit-0", uid=UID, version=9, status=status) | {"spec": {"steps": STEPS}})
    ended: list[str] = []

    async def end_task(*_: object, reason: str, **__: object) -> bool:
        ended.append(reason)
        given.rows = replace(given.rows, ended=replace(ENDED, phase="Failed", reason=reason))
        return True

    async def insert_attempt(*_: object) -> Inserted:
        given.rows = record(attempts=[RUNNING])
        return Inserted(1, RUNNING.deadline, None)

    monkeypatch.setattr("parley.store.tasks.end_task", end_task)
    monkeypatch.setattr("parley.store.attempts.insert_attempt", insert_attempt)
    given.context.evaluator = cast("Any", Rendered())

    await given.reconcile()

    assert ended == (["StoreMismatch"] if lacks else [])


async def test_a_task_with_many_attempts_is_looked_at_twice_a_second_at_most(
    story: Callable[..., Story],
) -> None:
    """Each of a thousand pods tells of itself several times; a look reads a thousand rows."""
    many = [replace(DONE, step="each", id=number, item=number) for number in range(200)]
    given = story(record(attempts=[*many, RUNNING]))
    await given.reconcile()
    looks = len(given.log)

    await given.reconcile()

    assert len(given.log) == looks
    due = min(given.context.queue._wakes.values())
    assert 0 < due <= 0.5
    given.reconciler._rests.clear()
    given.rows = replace(given.rows, input_tokens=5)
    assert (await given.reconcile())["usage"]["inputTokens"] == 5
