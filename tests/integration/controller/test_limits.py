"""How many tasks work at once, and how long ended ones stay."""

from typing import Any

import pytest
from parley.kube.errors import Conflict
from parley.kube.kinds import AGENT, TASK, TASK_TEMPLATE

from tests.integration.controller.cluster import Cluster, Exit, Run

STEP = {"name": "work", "container": {"image": "i"}}


async def limited(cluster: Cluster, places: int, tasks: int) -> None:
    """An agent with so many places; tasks ``t0``, ``t1`` … that want one each, made in this order."""
    cluster.behaviour = lambda _: None
    await cluster.agent(limits={"maxConcurrentTasks": places})
    for number in range(tasks):
        await cluster.task(f"t{number}", STEP, agentRef={"name": "support"})
        cluster.kube.edit(
            TASK, "team", f"t{number}",
            lambda body, number=number: body["metadata"].update(creationTimestamp=f"2026-11-23T12:0{number}:00Z"),  # type: ignore[union-attr, misc]
        )  # fmt: skip
    await cluster.settle()


def working(cluster: Cluster) -> set[str]:
    return {str(run.body["metadata"]["labels"]["parley.dev/task"]) for run in cluster.running.values()}  # type: ignore[index, call-overload]


def reason(cluster: Cluster, name: str) -> tuple[str, str]:
    ready = cluster.status(name)["conditions"][0]
    return ready["reason"], ready["message"]


async def test_no_more_tasks_of_an_agent_work_than_it_may_and_the_oldest_is_next(cluster: Cluster) -> None:
    await limited(cluster, places=2, tasks=4)
    assert working(cluster) == {"t0", "t1"}
    assert cluster.status("t3")["phase"] == "Queued"
    assert reason(cluster, "t3")[0] == "ConcurrencyLimited"
    assert "2nd of 2 in the queue of Agent support" in reason(cluster, "t3")[1]

    (run,) = [run for run in cluster.running.values() if "t0-" in run.job]
    await cluster.end(run, Exit())
    await cluster.settle()

    assert working(cluster) == {"t1", "t2"}


async def test_a_new_leader_keeps_to_the_limit(cluster: Cluster) -> None:
    await limited(cluster, places=1, tasks=3)
    assert working(cluster) == {"t0"}

    cluster.lead_anew()
    await cluster.settle()

    assert working(cluster) == {"t0"}
    assert cluster.status("t1")["phase"] == "Queued"


async def test_a_task_that_waits_for_a_person_leaves_its_place_to_others(cluster: Cluster) -> None:
    cluster.behaviour = lambda _: None
    await cluster.agent(limits={"maxConcurrentTasks": 1})
    await cluster.task("asks", {"name": "q", "wait": {"question": "?"}}, STEP, agentRef={"name": "support"})
    await cluster.task("works", STEP, agentRef={"name": "support"})

    await cluster.settle()

    assert cluster.status("asks")["phase"] == "WaitingForInput"
    assert working(cluster) == {"works"}


async def test_a_higher_limit_lets_more_work(cluster: Cluster) -> None:
    await limited(cluster, places=1, tasks=3)

    cluster.kube.edit(
        AGENT, "team", "support",
        lambda body: body["spec"].update(limits={"maxConcurrentTasks": 3}),  # type: ignore[union-attr]
    )  # fmt: skip
    await cluster.settle()

    assert working(cluster) == {"t0", "t1", "t2"}


async def test_a_namespace_has_a_limit_too(database: str) -> None:
    async with Cluster(database, behaviour=lambda _: None, max_tasks_per_namespace=1) as cluster:
        await cluster.task("one", STEP)
        await cluster.task("two", STEP)
        await cluster.settle()

        assert len(cluster.running) == 1
        (run,) = cluster.running.values()
        await cluster.end(run, Exit())
        await cluster.settle()
        assert len(cluster.runs) == 2


async def test_a_crowd_gets_through(cluster: Cluster) -> None:
    most = 0

    def work(_: Run) -> Exit:
        nonlocal most
        most = max(most, len(cluster.running))
        return Exit()

    cluster.behaviour = work
    await cluster.agent(limits={"maxConcurrentTasks": 3})
    for number in range(30):
        await cluster.task(f"t{number}", STEP, STEP | {"name": "again"}, agentRef={"name": "support"})

    await cluster.settle()

    assert {cluster.status(name)["phase"] for name in cluster.tasks()} == {"Succeeded"}


async def test_an_ended_task_goes_when_its_time_has_come(cluster: Cluster) -> None:
    await cluster.task("short", STEP, ttlAfterFinished="1s")

    await cluster.until(lambda: "short" not in cluster.tasks(), "its removal")

    assert len(cluster.runs) == 1, "it had run"


@pytest.mark.parametrize(
    "mark",
    [
        {"annotations": {"argocd.argoproj.io/tracking-id": "x"}},
        {"labels": {"kustomize.toolkit.fluxcd.io/name": "x"}},
        {"annotations": {"meta.helm.sh/release-name": "x"}},
    ],
    ids=["Argo CD", "Flux", "Helm"],
)
async def test_of_a_task_that_a_tool_owns_only_the_jobs_go(cluster: Cluster, mark: dict[str, Any]) -> None:
    await cluster.apply(TASK, "kept", {"steps": [STEP], "ttlAfterFinished": "1s"}, **mark)
    await cluster.settle()
    assert len(cluster.runs) == 1, "there was a Job"

    await cluster.until(lambda: cluster.jobs() == [], "the Jobs' removal")
    await cluster.settle()

    status = cluster.status("kept")
    (pruned,) = [each for each in status["conditions"] if each["type"] == "Pruned"]
    assert pruned["status"] == "True"
    assert status["phase"] == "Succeeded"
    assert status["steps"][0]["name"] == "work", "the rest of the status stays"


async def test_the_time_goes_on_under_a_new_leader_and_can_be_changed(cluster: Cluster) -> None:
    await cluster.task("short", STEP, ttlAfterFinished="1h")
    await cluster.settle()
    cluster.lead_anew()
    await cluster.settle()
    assert cluster.tasks() == ["short"]

    cluster.edit("short", ttlAfterFinished="1s")

    await cluster.until(lambda: cluster.tasks() == [], "its removal")


@pytest.mark.parametrize("anew", [False, True], ids=["the same leader", "another leader"])
async def test_a_template_may_say_how_long_its_tasks_stay(cluster: Cluster, anew: bool) -> None:
    await cluster.apply(TASK_TEMPLATE, "brief", {"task": {"steps": [STEP], "ttlAfterFinished": "1s"}})
    await cluster.apply(TASK_TEMPLATE, "lasting", {"task": {"steps": [STEP]}})
    for name, template in (("a", "brief"), ("b", "lasting")):
        await cluster.task(name, templateRef={"name": template})
    await cluster.task("c", templateRef={"name": "brief"}, ttlAfterFinished="1h")
    await cluster.settle()
    if anew:
        cluster.lead_anew()

    await cluster.until(lambda: "a" not in cluster.tasks(), "its removal")

    assert cluster.tasks() == ["b", "c"]


async def test_a_task_keeps_its_place_whatever_goes_wrong_around_it(cluster: Cluster) -> None:
    """Given a task at work, when its status meets a conflict, then nobody else gets its place."""
    await limited(cluster, places=1, tasks=2)
    (run,) = cluster.running.values()
    cluster.kube.fail(Conflict(409, "Conflict", "the object has been modified"), verb="patch", kind="Task")
    await cluster._pod(run, "Pending", {"waiting": {"reason": "ErrImagePull", "message": "no such image"}})

    with pytest.raises(Conflict):
        await cluster.settle()
    await cluster.settle()

    assert working(cluster) == {"t0"}
