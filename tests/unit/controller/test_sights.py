"""Which keys a sight wakes: whoever waits for the object, and nobody else."""

from typing import Any

import pytest
from parley.kube.kinds import AGENT, POD, REPLY, SCHEDULE, SESSION, TASK, TASK_TEMPLATE, Kind

from tests.unit.controller.contexts import woken
from tests.unit.controller.objects import NAMESPACE, agent_body, body, session_body, task_body
from tests.unit.controller.sights_story import STORY, SUCCEEDED, newer, quiet


@pytest.mark.parametrize("deleted", [False, True], ids=["changed", "deleted"])
@pytest.mark.parametrize(
    ("what", "kind", "body", "changed", "gone"),
    [
        (
            "an agent",
            AGENT,
            agent_body(),
            {"Agent support", "Session alice", "Task alice-1", "Task alone"},
            {"Session alice", "Task alice-1", "Task alone"},
        ),
        (
            "a session",
            SESSION,
            session_body("alice"),
            {"Session alice", "Turns alice", "Task alice-1"},
            {"GoneSession uid-of-alice", "Turns alice", "Task alice-1"},
        ),
        (
            "a task in a session",
            TASK,
            task_body("alice-1", session="alice"),
            {"Task alice-1"},
            {"GoneTask uid-of-alice-1", "Turns alice", "Session alice"},
        ),
        ("a task without one", TASK, task_body("alone"), {"Task alone"}, {"GoneTask uid-of-alone"}),
        (
            "a task that has ended",
            TASK,
            task_body("alone-ended", status=SUCCEEDED),
            set(),
            {"GoneTask uid-of-alone-ended"},
        ),
    ],
)
async def test_a_sight_wakes_whoever_it_concerns(
    what: str, kind: Kind, body: dict[str, Any], changed: set[str], gone: set[str], deleted: bool
) -> None:
    context, sights = await quiet()

    sights.see(kind, newer(body), deleted)

    assert await woken(context) == (gone if deleted else changed), what


async def test_an_old_sight_wakes_nobody() -> None:
    context, sights = await quiet()

    for kind, made in STORY:
        sights.see(kind, made, False)

    assert await woken(context) == set()


async def test_our_own_write_wakes_nobody_when_it_comes_back() -> None:
    context, sights = await quiet()
    written = newer(task_body("alone", status={"phase": "Running"}))
    sights.see(TASK, written, False)
    await woken(context)

    sights.see(TASK, written, False)

    assert await woken(context) == set()


async def test_an_object_made_again_is_the_old_ones_end() -> None:
    """Its deletion was missed, as in a watch's gap."""
    context, sights = await quiet()

    sights.see(TASK, newer(task_body("alice-1", session="alice", uid="new")), False)
    sights.see(SESSION, newer(session_body("bob", agent="other", uid="new")), False)

    assert await woken(context) >= {
        "Task alice-1",
        "GoneTask uid-of-alice-1",
        "Turns alice",
        "Session bob",
        "GoneSession uid-of-bob",
    }


async def test_a_session_that_is_gone_must_be_registered_anew() -> None:
    context, sights = await quiet()
    context.known_sessions.add("uid-of-alice")

    sights.see(SESSION, newer(session_body("alice")), True)

    assert context.known_sessions == set()


async def test_turns_are_given_again_although_the_task_that_went_was_never_planned() -> None:
    """The others' tickets may have waited for its first plan."""
    context, sights = await quiet()

    sights.see(TASK, newer(task_body("alice-1", session="alice")), True)

    assert "Turns alice" in await woken(context)


async def test_an_object_that_cannot_be_read_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    context, sights = await quiet()

    sights.see(TASK, {"metadata": {"name": "broken"}}, False)
    sights.see(POD, {"metadata": {"labels": {"parley.dev/task-uid": "x"}}}, False)
    sights.see(TASK, newer(task_body("alone")), False)

    assert await woken(context) == {"Task alone"}
    assert "cannot read a Task" in caplog.text


async def test_every_sight_is_an_echo() -> None:
    context, sights = await quiet()
    context.echoes.wrote(TASK, {"metadata": {"resourceVersion": "50"}})
    context.echoes.wrote(POD, {"metadata": {"resourceVersion": "99999999"}})

    sights.see(TASK, newer(task_body("alone")), False)

    assert set(context.echoes._awaited) == {"pods"}


# Templates, schedules, replies, and who made a task.


def owned(made: dict[str, Any], kind: str, name: str) -> dict[str, Any]:
    made["metadata"]["ownerReferences"] = [
        {"kind": kind, "name": name, "uid": f"uid-of-{name}", "controller": True}
    ]
    return made


async def test_a_template_wakes_the_tasks_that_wait_for_it() -> None:
    context, sights = await quiet()
    sights.see(TASK, body("waits", templateRef={"name": "report"}), False)
    sights.see(TASK, body("ended", templateRef={"name": "report"}, status=SUCCEEDED), False)
    sights.see(TASK, body("other", templateRef={"name": "another"}), False)
    await woken(context)

    sights.see(TASK_TEMPLATE, body("report", task={}), False)

    assert await woken(context) == {"TaskTemplate report", "Task waits"}


async def test_an_agent_wakes_the_tasks_whose_templates_may_name_it() -> None:
    context, sights = await quiet()
    sights.see(TASK, body("waits", templateRef={"name": "report"}), False)
    await woken(context)

    sights.see(AGENT, newer(agent_body("other")), False)

    assert "Task waits" in await woken(context)


@pytest.mark.parametrize(("kind", "name"), [(SCHEDULE, "nightly"), (REPLY, "yes")])
async def test_schedules_and_replies_wake_themselves(kind: Kind, name: str) -> None:
    context, sights = await quiet()

    sights.see(kind, body(name, taskRef={"name": "alone"}), False)

    assert await woken(context) == {f"{kind.kind} {name}"}
    assert sights.cache(kind).get(NAMESPACE, name) is not None


@pytest.mark.parametrize("kind", ["Schedule", "Task"])
async def test_whoever_made_a_task_hears_of_its_making_its_end_and_its_going(kind: str) -> None:
    context, sights = await quiet()
    made = owned(task_body("child", uid="child"), kind, "maker")

    sights.see(TASK, made, False)
    assert await woken(context) == {"Task child", f"{kind} maker"}
    going_on = made | {
        "status": {"phase": "Running"},
        "metadata": made["metadata"] | {"resourceVersion": "2"},
    }
    sights.see(TASK, going_on, False)
    assert await woken(context) == {"Task child"}, "what it does meanwhile is not its maker's business"
    ended = made | {"status": SUCCEEDED, "metadata": made["metadata"] | {"resourceVersion": "3"}}
    sights.see(TASK, ended, False)
    assert await woken(context) == {f"{kind} maker"}
    sights.see(TASK, newer(ended), True)
    assert f"{kind} maker" in await woken(context)


async def test_a_reply_that_came_before_its_task_is_looked_at_again() -> None:
    context, sights = await quiet()
    sights.see(REPLY, body("early", taskRef={"name": "late"}), False)
    await woken(context)

    sights.see(TASK, task_body("late"), False)

    assert await woken(context) == {"Task late", "Reply early"}


async def test_an_ended_task_that_is_to_go_is_looked_at_until_it_has_gone() -> None:
    context, sights = await quiet()
    ended = body("short", message="Hi", ttlAfterFinished="1h", status=SUCCEEDED)

    sights.see(TASK, ended, False)
    assert await woken(context) == {"Task short"}
    pruned = newer(ended) | {"status": SUCCEEDED | {"conditions": [{"type": "Pruned", "status": "True"}]}}
    sights.see(TASK, pruned, False)

    assert await woken(context) == set()


async def test_our_own_write_wakes_nobody_even_when_it_comes_back_before_its_answer() -> None:
    context, sights = await quiet()
    status = {"phase": "Running"}

    with context.echoes.writing("uid-of-alone", status):
        sights.see(TASK, newer(task_body("alone", status=status)), False)

    assert await woken(context) == set()
    # Once the answer has come, whatever comes is news.
    sights.see(TASK, task_body("alone", version=999, status=status), False)
    assert await woken(context) == {"Task alone"}


async def test_what_a_user_changed_meanwhile_is_no_write_of_ours() -> None:
    context, sights = await quiet()
    status = {"phase": "Running"}
    edited = newer(task_body("alone", status=status))
    edited["metadata"]["generation"] = 2

    with context.echoes.writing("uid-of-alone", status):
        sights.see(TASK, edited, False)

    assert await woken(context) == {"Task alone"}
