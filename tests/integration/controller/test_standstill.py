"""Nothing stands still for ever: whatever is missing or gone, what waits for it goes on or ends."""

import asyncio
from typing import Any, cast

import pytest
from parley.controller.context import TASK_KEY
from parley.controller.observation import Observation, Observer
from parley.controller.task_under_work import TaskUnderWork
from parley.kube.kinds import POD, SCHEDULE, TASK
from parley.store.pool import connect
from parley.store.tasks import end_task

from tests.integration.controller.cluster import NAMESPACE, PATIENCE, Cluster
from tests.integration.controller.test_schedules import HOURLY, Clock

NEVER = {"templateRef": {"name": "never"}}


async def test_a_child_whose_template_never_comes_ends_with_its_step(cluster: Cluster) -> None:
    await cluster.task("parent", {"name": "ask", "task": NEVER, "timeout": "1s"})
    await cluster.until(lambda: cluster.status("parent")["phase"] == "Failed", "the step's timeout")

    (child,) = [name for name in cluster.tasks() if name != "parent"]
    await cluster.until(lambda: cluster.status(child)["phase"] == "Cancelled", f"the end of {child}")
    assert "its parent task parent has ended" in cluster.status(child)["conditions"][0]["message"]


async def test_a_step_is_repeated_although_its_child_waited_for_a_template(cluster: Cluster) -> None:
    """A retry waits until the child before it has ended; one without a row must end for that as well."""
    retry = {"limit": 1, "causes": ["Timeout"], "backoff": {"initial": "1s"}}
    await cluster.task("parent", {"name": "ask", "task": NEVER, "timeout": "1s", "retry": retry})

    await cluster.until(lambda: cluster.status("parent")["phase"] == "Failed", "the end of both attempts")

    assert cluster.step("parent", "ask")["attempt"] == 2


async def test_a_task_that_waits_for_its_template_is_replaced(cluster: Cluster) -> None:
    """Given a Task that has not begun, when its Schedule replaces it, then it goes: there is no end to write."""
    spec = {"schedule": HOURLY, "concurrencyPolicy": "Replace", "taskTemplate": {"spec": NEVER}}
    await cluster.apply(SCHEDULE, "hourly", spec)
    clock = Clock(cluster)
    first = await clock.to_next_hour()
    assert cluster.tasks() == [first]

    second = await clock.to_next_hour()

    await cluster.until(lambda: cluster.tasks() == [second], f"only {second}, not {cluster.tasks()}")


async def test_many_steps_that_need_no_pod_are_done_at_once(cluster: Cluster) -> None:
    await cluster.agent()
    await cluster.session()
    steps = [{"name": f"s{number}", "set": {"context": {"last": number}}} for number in range(64)]
    await cluster.task("long", *steps, sessionRef={"name": "alice"})

    await cluster.settle()

    assert cluster.status("long")["phase"] == "Succeeded"


async def test_a_file_whose_pod_went_before_it_was_sent_is_not_waited_for(cluster: Cluster) -> None:
    """Given a container that has ended, when its pod is deleted by force, then the step is run again at once."""
    cluster.behaviour = lambda _: None
    await cluster.task("file", {"name": "work", "container": {"image": "i", "outputFrom": "File"}})
    await cluster.settle()
    (run,) = cluster.running.values()
    await cluster._pod(run, "Running", {"terminated": {"exitCode": 0}})
    await cluster.settle()
    assert "is being stored" in cluster.step("file", "work")["message"]

    await cluster.kube.delete(POD, "team", f"{run.job}-0")
    await cluster.settle()

    assert [each.job for each in cluster.runs if each.job != run.job] != [], cluster.status("file")
    assert cluster.step("file", "work")["attempts"][0]["reason"] == "PodLost"


async def test_a_task_that_the_last_leader_ended_at_the_last_moment_holds_no_place(cluster: Cluster) -> None:
    """A new leader gives no place before it has planned all open tasks; one whose end came late is never planned."""
    cluster.behaviour = lambda _: None
    await cluster.agent(limits={"maxConcurrentTasks": 1})
    work = {"name": "work", "container": {"image": "i"}}
    uid = await cluster.task("first", work, agentRef={"name": "support"})
    await cluster.settle()
    await cluster.task("second", work, agentRef={"name": "support"})
    await cluster.settle()
    assert cluster.status("second")["phase"] == "Queued"
    async with connect(cluster.pool) as connection:
        ended = {"phase": "Failed", "reason": "Error", "message": "as it happened", "close_attempts": "Error"}
        await end_task(connection, cluster.context.fence, uid, **ended)  # type: ignore[arg-type]

    cluster.lead_anew()
    cluster.kube.edit(TASK, "team", "first", lambda body: cast("Any", body)["status"].update(phase="Failed"))
    await cluster.settle()

    assert [run.job for run in cluster.runs if "second" in run.job] != [], cluster.status("second")


async def test_a_task_whose_plan_takes_too_long_keeps_no_other_from_its_place(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker cuts off what takes a minute; a new leader waits for each first plan before it gives places."""
    await cluster.agent(limits={"maxConcurrentTasks": 1})
    work = {"name": "work", "container": {"image": "i"}}
    await cluster.task("slow", work)
    await cluster.task("quick", work, agentRef={"name": "support"})
    cluster.lead_anew()
    resolve = Observer.observe

    async def observe(observer: Observer, task: TaskUnderWork) -> Observation:
        if task.resource.name == "slow":
            await asyncio.sleep(PATIENCE)
        return await resolve(observer, task)

    monkeypatch.setattr(Observer, "observe", observe)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await cluster.workers._by_kind[TASK_KEY](NAMESPACE, "slow")
    for _ in range(2):  # its own first plan is one of those that are waited for
        await cluster.workers._by_kind[TASK_KEY](NAMESPACE, "quick")

    assert [name for name in cluster.jobs() if name.startswith("quick")] != []
