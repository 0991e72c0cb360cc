"""Runtime mode Warm: an agent's runners come with its work, go when it has none, and no attempt is theirs alone."""

from typing import Any

import pytest
from parley.kube.kinds import AGENT, DEPLOYMENT
from parley.store import runner_calls
from parley.store.errors import Stopped
from parley.store.pool import connect

from tests.integration.controller.cluster import NAMESPACE, Cluster
from tests.integration.controller.tools import PAY, reply, results, waiting
from tests.integration.controller.warm_pods import WarmPods
from tests.integration.controller.warm_story import (
    SECRET,
    WARM,
    ask,
    end_leases,
    pass_time,
    rows,
    start,
    tells,
    warm,
)


@pytest.fixture
def pods(cluster: Cluster) -> WarmPods:
    return WarmPods(cluster)


async def test_the_first_attempt_brings_the_runners_and_they_take_all(
    cluster: Cluster, pods: WarmPods
) -> None:
    # Given an agent that nobody has asked anything
    await cluster.agent(runtime=WARM)
    await cluster.settle()
    assert pods.deployments() == []

    # When it has a task of three steps
    await start(cluster, "t", ask("a"), ask("b"), ask("c"))
    await tells(cluster, "Scheduling", "waits for a runner of its agent", step="a")
    assert (pods.replicas, warm(cluster)) == (1, {"replicas": 1, "ready": 0})
    await pods.start()
    await cluster.settle()
    assert warm(cluster) == {"replicas": 1, "ready": 1}

    # Then a runner takes one after the other, and there is no Job
    assert await pods.serve() == 3
    assert cluster.status("t")["phase"] == "Succeeded"
    assert cluster.status("t")["output"] == "answer of c"
    assert cluster.jobs() == []
    assert "job" not in cluster.step("t", "a")
    assert await rows(cluster, "t") == [("Succeeded", "First", pods.pool)] * 3


async def test_a_runner_that_is_lost_is_followed_by_any_other(cluster: Cluster, pods: WarmPods) -> None:
    # Given a turn that a runner has
    await cluster.agent(runtime=WARM)
    await cluster.session()
    await cluster.task("t", message="Hi", sessionRef={"name": "alice"})
    await cluster.settle()
    taken = await pods.take()
    assert taken is not None
    await cluster.settle()
    await tells(cluster, "Running", step="reply")

    # When nothing is heard of it any more
    await end_leases(cluster, "t")

    # Then another takes the turn over, and what the first still says is not heard
    with pytest.raises(Stopped):
        await pods.answer(taken, ["too late"])
    again = await pods.take(slot=1)
    assert again is not None
    await pods.answer(again, ["in time"], slot=1)
    await cluster.settle()
    assert cluster.status("t")["output"] == "in time"
    assert [(state, cause) for state, cause, _ in await rows(cluster, "t")] == [
        ("Lost", "First"),
        ("Succeeded", "Disruption"),
    ]


async def test_what_a_runner_has_begun_ends_whatever_the_agent_becomes(
    cluster: Cluster, pods: WarmPods
) -> None:
    # Given three attempts, one of which a runner has, when the agent gets a tool with a Secret
    await cluster.agent(runtime=WARM)
    for name in ("begun", "waits", "suspended"):
        await start(cluster, name)
    old, taken = pods.pool, await pods.take()
    assert taken is not None
    cluster.edit("suspended", desiredState="Suspended")
    cluster.change_agent(tools=[SECRET])
    await cluster.settle()

    # Then its runners change to another pool, which what was not begun waits for
    assert pods.pool != old
    assert [pool for _, _, pool in await rows(cluster, "waits")] == [old, pods.pool]
    assert await pods.take(old, slot=1) is None
    assert await pods.serve() == 1
    assert cluster.status("waits")["phase"] == "Succeeded"

    # And what was begun ends where it is
    await pods.answer(taken, ["done"], old)
    await cluster.settle()
    assert cluster.status("begun")["output"] == "done"
    assert [pool for _, _, pool in await rows(cluster, "begun")] == [old]

    # And what was suspended goes on with the new ones
    cluster.edit("suspended", desiredState="Running")
    await cluster.settle()
    assert await pods.serve() == 1
    assert cluster.status("suspended")["phase"] == "Succeeded"


async def test_new_instructions_change_no_runner(cluster: Cluster, pods: WarmPods) -> None:
    await cluster.agent(runtime=WARM)
    await start(cluster)
    before = pods.pool

    cluster.change_agent(instructions="Be brief.")
    await cluster.settle()
    await start(cluster, "next")

    assert pods.pool == before
    assert await pods.serve() == 2
    assert [taken.request.agent.instructions for taken in pods.taken] == ["", "Be brief."]


async def test_an_agent_that_goes_back_to_jobs_leaves_nothing_waiting(
    cluster: Cluster, pods: WarmPods
) -> None:
    await cluster.agent(runtime=WARM)
    await start(cluster)

    cluster.change_agent(runtime={"mode": "Job"})
    await cluster.settle()

    assert cluster.status("t")["output"] == "answer of ask"
    assert [state for state, _, _ in await rows(cluster, "t")] == ["Cancelled", "Succeeded"]
    await pass_time(cluster, 601)
    assert pods.replicas == 0


async def test_an_approved_call_goes_on_in_a_warm_runner(cluster: Cluster, pods: WarmPods) -> None:
    # Given a turn that asks a person
    await cluster.agent(runtime=WARM, tools=[PAY])
    await cluster.session()
    await cluster.task("refund", message="Refund me.", sessionRef={"name": "alice"})
    await cluster.settle()
    script: list[Any] = [[("pay", {"amount": 5})], "Paid."]
    assert await pods.serve(*script) == 1
    (entry,) = waiting(cluster)

    # When nobody does anything for long, then no runner waits for the answer
    await pass_time(cluster, 601)
    assert pods.replicas == 0

    # When the person agrees, then the call runs, once
    assert await reply(cluster, "yes", entry["id"], "approve") == ("True", "Accepted")
    assert pods.replicas == 1
    assert await pods.serve(*script) == 1
    assert cluster.status("refund")["output"] == "Paid."
    assert [name for name, _ in cluster.called] == ["pay"]
    assert [(state, cause) for state, cause, _ in await rows(cluster, "refund")] == [
        ("Paused", "First"),
        ("Succeeded", "Resume"),
    ]


async def test_a_call_whose_secret_the_runners_lack_runs_in_a_job(cluster: Cluster, pods: WarmPods) -> None:
    # Given a turn that asks before a call which needs a Secret
    tool = {**SECRET, "approval": "Required"}
    await cluster.agent(runtime=WARM, tools=[tool])
    await cluster.session()
    await cluster.task("refund", message="Refund me.", sessionRef={"name": "alice"})
    await cluster.settle()
    script: list[Any] = [[("orders", {})], "Here it is."]
    assert await pods.serve(*script) == 1
    (entry,) = waiting(cluster)

    # When the agent loses the tool before a person agrees
    cluster.change_agent(tools=[])
    cluster.behaviour = lambda _: script
    await reply(cluster, "yes", entry["id"], "approve")

    # Then what was agreed to runs all the same, in a pod of its own that has the Secret
    assert cluster.status("refund")["output"] == "Here it is."
    assert [name for name, _ in cluster.called] == ["orders"]
    (run,) = cluster.runs
    assert any("TOOL_SECRET" in name for name in run.env)
    assert results(cluster) == {}


async def test_without_its_agent_a_task_waits_for_another(cluster: Cluster, pods: WarmPods) -> None:
    # Given an agent that is deleted, with its runners, while an attempt waits and a runner has another
    await cluster.agent(runtime=WARM)
    await start(cluster, "begun")
    old, taken = pods.pool, await pods.take()
    assert taken is not None
    await start(cluster, "waits")
    await cluster.kube.delete(AGENT, NAMESPACE, "support")
    await cluster.kube.delete(DEPLOYMENT, NAMESPACE, pods.deployment["metadata"]["name"])
    await cluster.settle()

    # Then the one goes on, the other says what is missing
    await tells(cluster, "AgentNotFound", name="waits")
    await pods.answer(taken, ["done"], old)
    await cluster.settle()
    assert cluster.status("begun")["output"] == "done"

    # When there is an agent again, it has runners of its own
    await cluster.agent(runtime=WARM)
    await cluster.settle()
    assert pods.pool != old
    assert await pods.serve() == 1
    assert cluster.status("waits")["phase"] == "Succeeded"


async def test_a_task_may_ask_for_it_and_items_have_a_job_all_the_same(
    cluster: Cluster, pods: WarmPods
) -> None:
    await cluster.agent()
    each = ask("each", forEach={"items": ["x", "y"]})

    await start(cluster, "t", ask("first"), each, runtime=WARM)

    assert await pods.serve() == 1
    assert cluster.status("t")["phase"] == "Succeeded"
    assert [run.step for run in cluster.runs] == ["each", "each"]


async def test_a_step_that_ran_too_long_and_a_cancelled_task_are_closed_over_their_runner(
    cluster: Cluster, pods: WarmPods
) -> None:
    await cluster.agent(runtime=WARM)
    await start(cluster)
    taken = await pods.take()
    assert taken is not None

    cluster.edit("t", desiredState="Cancelled")
    await cluster.settle()

    assert cluster.status("t")["phase"] == "Cancelled"
    async with connect(cluster.pool) as connection:
        with pytest.raises(Stopped):
            await runner_calls.heartbeat(connection, taken.attempt, pods._holder(pods.pool, 0))
    await pass_time(cluster, 601)
    assert pods.replicas == 0
