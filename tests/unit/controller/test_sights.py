"""Which keys a sight wakes: whoever waits for the object, and nobody else."""

from typing import Any

import pytest
from parley.controller.context import Context
from parley.controller.resource import workload_key
from parley.controller.sights import Sights
from parley.kube.kinds import AGENT, JOB, POD, REPLY, SCHEDULE, SESSION, TASK, TASK_TEMPLATE, Kind

from tests.unit.controller.contexts import storeless, woken
from tests.unit.controller.objects import NAMESPACE, agent_body, body, sample, session_body, task_body

SUCCEEDED = {"phase": "Succeeded", "observedGeneration": 1}
STORY = [
    (AGENT, agent_body()),
    (AGENT, agent_body("other")),
    (SESSION, session_body("alice")),
    (SESSION, session_body("bob", agent="other")),
    (TASK, task_body("alice-1", session="alice")),
    (TASK, task_body("alice-0", session="alice", status=SUCCEEDED)),
    (TASK, task_body("bob-1", session="bob")),
    (TASK, task_body("alone")),
    (TASK, task_body("alone-ended", status=SUCCEEDED)),
]


async def quiet() -> tuple[Context, Sights]:
    """Two agents with a session each, tasks in them and beside them; nothing queued."""
    context = storeless()
    sights = Sights(context)
    for kind, made in STORY:
        sights.see(kind, made, False)
    await woken(context)
    return context, sights


def newer(body: dict[str, Any]) -> dict[str, Any]:
    return body | {"metadata": body["metadata"] | {"resourceVersion": "100"}}


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


# Jobs and pods wake the task they belong to.

OWNER = "00000000-0000-4000-8000-000000000001"


async def with_owner() -> tuple[Context, Sights]:
    context, sights = await quiet()
    sights.see(TASK, task_body("exit-0", uid=OWNER), False)
    await woken(context)
    return context, sights


async def test_jobs_and_pods_wake_their_task_when_something_changed() -> None:
    context, sights = await with_owner()

    sights.see(JOB, sample("job-new"), False)
    assert await woken(context) == {"Task exit-0"}
    sights.see(POD, sample("pod-new"), False)
    assert await woken(context) == {"Task exit-0"}
    sights.see(POD, sample("pod-new"), False)
    assert await woken(context) == set()
    sights.see(POD, sample("pod-exit-0"), False)
    assert await woken(context) == {"Task exit-0"}
    sights.see(JOB, sample("job-complete"), False)
    assert await woken(context) == {"Task exit-0"}

    seen = context.projection.workloads.of_task(workload_key(NAMESPACE, OWNER))
    assert seen.jobs["exit-0"].completed
    assert seen.pods["exit-0"].exit_code == 0


async def test_a_slow_list_does_not_undo_what_the_watch_brought() -> None:
    """A pod that ended sends nothing more: taken for running again, its step would wait for its timeout."""
    context, sights = await with_owner()
    sights.see(POD, sample("pod-exit-0"), False)
    sights.see(JOB, sample("job-complete"), False)
    await woken(context)

    sights.see(POD, sample("pod-running"), False)
    sights.see(JOB, sample("job-new"), False)

    seen = context.projection.workloads.of_task(workload_key(NAMESPACE, OWNER))
    assert seen.pods["exit-0"].exit_code == 0
    assert seen.jobs["exit-0"].completed
    assert await woken(context) == set()


async def test_a_deleted_job_wakes_its_task_and_stays_away() -> None:
    context, sights = await with_owner()
    sights.see(JOB, sample("job-new"), False)
    await woken(context)

    sights.see(JOB, sample("job-complete"), True)
    assert await woken(context) == {"Task exit-0"}
    sights.see(JOB, sample("job-new"), False)

    seen = context.projection.workloads.of_task(workload_key(NAMESPACE, OWNER))
    assert (seen.jobs, seen.vanished) == ({}, {"exit-0"})


async def test_a_deleted_pod_that_had_not_ended_is_gone() -> None:
    context, sights = await with_owner()
    sights.see(POD, sample("pod-running"), False)
    await woken(context)

    sights.see(POD, sample("pod-running"), True)

    assert await woken(context) == {"Task exit-0"}
    assert context.projection.workloads.of_task(workload_key(NAMESPACE, OWNER)).pods == {}


async def test_the_end_that_comes_with_a_pods_deletion_is_not_lost() -> None:
    """The watch may bring the deletion alone, with the last state in it."""
    context, sights = await with_owner()
    sights.see(POD, sample("pod-running"), False)
    await woken(context)

    sights.see(POD, sample("pod-exit-0"), True)

    assert await woken(context) == {"Task exit-0"}
    assert context.projection.workloads.of_task(workload_key(NAMESPACE, OWNER)).pods["exit-0"].exit_code == 0


async def test_what_the_garbage_collector_takes_leaves_nothing_behind() -> None:
    context, sights = await with_owner()
    sights.see(JOB, sample("job-new"), False)
    sights.see(POD, sample("pod-running"), False)
    sights.see(TASK, newer(task_body("exit-0", uid=OWNER)), True)
    await woken(context)

    sights.see(POD, sample("pod-exit-0"), False)
    sights.see(POD, sample("pod-exit-0"), True)
    sights.see(JOB, sample("job-complete"), True)

    assert context.projection.workloads.all() == {}


@pytest.mark.parametrize("kind", [JOB, POD])
async def test_others_jobs_and_pods_are_none_of_our_business(kind: Kind) -> None:
    context, sights = await quiet()
    body = sample("job-new" if kind is JOB else "pod-running")
    body["metadata"]["labels"] = {"app": "something-else"}

    sights.see(kind, body, False)
    del body["metadata"]["labels"]
    sights.see(kind, body, False)

    assert await woken(context) == set()


async def test_a_pod_that_no_job_controls_is_none_of_our_business() -> None:
    context, sights = await with_owner()
    pod = sample("pod-running")
    del pod["metadata"]["ownerReferences"]

    sights.see(POD, pod, False)

    assert await woken(context) == set()


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


async def test_a_pod_of_another_namespace_that_names_the_task_is_none_of_its() -> None:
    context, sights = await with_owner()
    forged = sample("pod-exit-0")
    forged["metadata"]["namespace"] = "elsewhere"  # type: ignore[index, call-overload]

    sights.see(POD, forged, False)

    assert await woken(context) == set()
    assert context.projection.workloads.of_task(workload_key(NAMESPACE, OWNER)).pods == {}


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


async def test_the_pods_of_a_round_are_kept_apart() -> None:
    context, sights = await with_owner()
    for index in ("0", "1"):
        pod = sample("pod-running")
        pod["metadata"]["uid"] = f"pod-{index}"
        pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"] = index
        sights.see(POD, pod, False)

    pods = context.projection.workloads.of_task(workload_key(NAMESPACE, OWNER)).pods

    assert {key: pod.uid for key, pod in pods.items()} == {"exit-0": "pod-0", "exit-0/1": "pod-1"}


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
