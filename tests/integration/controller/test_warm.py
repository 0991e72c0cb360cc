"""Runtime mode Warm: an agent's runners come with its work, go when it has none, and no attempt is theirs alone."""

from typing import Any

import pytest
from parley.controller.context import WARM_KEY
from parley.kube.errors import Forbidden
from parley.kube.kinds import AGENT, DEPLOYMENT
from parley.store import runner_calls
from parley.store.errors import Stopped
from parley.store.pool import connect

from tests.integration.controller.cluster import NAMESPACE, Cluster
from tests.integration.controller.tools import PAY, reply, results, waiting
from tests.integration.controller.warm_pods import WarmPods

WARM: dict[str, Any] = {"mode": "Warm"}
SECRET: dict[str, Any] = {
    "name": "orders",
    "description": "Look it up.",
    "parameters": {"type": "object"},
    "http": {
        "url": "http://orders/",
        "headers": [
            {"name": "Authorization", "valueFrom": {"secretKeyRef": {"name": "orders", "key": "token"}}}
        ],
    },
}


@pytest.fixture
def pods(cluster: Cluster) -> WarmPods:
    return WarmPods(cluster)


def ask(name: str = "ask", **fields: Any) -> dict[str, Any]:
    return {"name": name, "prompt": {"text": "Hi"}, **fields}


async def start(cluster: Cluster, name: str = "t", *steps: dict[str, Any], **fields: Any) -> None:
    await cluster.task(name, *(steps or (ask(),)), agentRef={"name": "support"}, **fields)
    await cluster.settle()


async def tells(cluster: Cluster, reason: str, says: str = "", *, name: str = "t", step: str = "ask") -> None:
    """Wait until a step shows a reason: what may be over in no time is not shown at once."""

    def shown() -> bool:
        steps = {each["name"]: each for each in cluster.status(name).get("steps", ())}
        found = steps.get(step, {})
        return found.get("reason") == reason and says in found.get("message", "")

    await cluster.until(shown, f"{step} of {name} says {reason}: {says}")


def warm(cluster: Cluster) -> dict[str, Any]:
    return cluster.object(AGENT, "support")["status"]["warm"]


async def pass_time(cluster: Cluster, seconds: float) -> None:
    """Let an agent's runners stand idle for so long."""
    demand = cluster.context.demand
    before = demand._clock
    demand._clock = lambda: before() + seconds
    cluster.context.wake(WARM_KEY, NAMESPACE, "support")
    await cluster.settle()


async def end_leases(cluster: Cluster, name: str) -> None:
    """Let all who hold something of a task have been silent for too long."""
    async with connect(cluster.pool) as connection:
        await connection.execute(
            "UPDATE attempts SET lease_until = now() - interval '1 ms' WHERE task_uid = %s AND state = 'Running'",
            [cluster.object_uid(name)],
        )
        await connection.execute("SELECT pg_notify('parley', %s)", [cluster.object_uid(name)])
    await cluster.settle()


async def rows(cluster: Cluster, name: str) -> list[tuple[str, str, str | None]]:
    async with connect(cluster.pool) as connection:
        found = await connection.execute(
            "SELECT state, cause, pool FROM attempts WHERE task_uid = %s ORDER BY id",
            [cluster.object_uid(name)],
        )
        return [(str(state), str(cause), pool) for state, cause, pool in await found.fetchall()]


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


async def test_its_runners_end_when_it_is_idle_and_come_back(cluster: Cluster, pods: WarmPods) -> None:
    # Given an agent whose runners end a minute after its last attempt
    await cluster.agent(runtime={**WARM, "warm": {"replicas": 3, "idleTimeout": "1m"}})
    await start(cluster)
    assert pods.replicas == 3
    await pass_time(cluster, 3600)
    assert pods.replicas == 3, "it works"

    # When it has worked
    assert await pods.serve() == 1
    await pass_time(cluster, 59)
    assert pods.replicas == 3

    # Then a minute later none is left, until the next attempt
    await pass_time(cluster, 2)
    assert (pods.replicas, warm(cluster)["replicas"]) == (0, 0)
    await start(cluster, "next")
    assert pods.replicas == 3
    assert await pods.serve() == 1
    assert cluster.status("next")["phase"] == "Succeeded"


async def test_a_suspended_task_keeps_no_runner(cluster: Cluster, pods: WarmPods) -> None:
    await cluster.agent(runtime=WARM)
    await start(cluster)

    # When a task is suspended that no runner has begun
    cluster.edit("t", desiredState="Suspended")
    await cluster.settle()
    await pass_time(cluster, 601)

    # Then the runners end, and come back with the task
    assert pods.replicas == 0
    assert await pods.take() is None
    cluster.edit("t", desiredState="Running")
    await cluster.settle()
    assert pods.replicas == 1
    assert await pods.serve() == 1
    assert cluster.status("t")["phase"] == "Succeeded"


async def test_a_new_leader_ends_no_runners_that_work(cluster: Cluster, pods: WarmPods) -> None:
    # Given an attempt that a runner has
    await cluster.agent(runtime=WARM)
    await start(cluster)
    taken = await pods.take()
    assert taken is not None

    # When another leads, who has not looked at the task yet, long after
    cluster.lead_anew()
    cluster.context.queue = type(cluster.context.queue)()
    await pass_time(cluster, 0)
    await pass_time(cluster, 3600)

    # Then the store tells it that there is work
    assert pods.replicas == 1


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


async def test_what_keeps_its_runners_from_starting_is_the_steps_reason(
    cluster: Cluster, pods: WarmPods
) -> None:
    await cluster.agent(runtime=WARM)
    await start(cluster)

    # A quota leaves no room for a pod, as the Deployment says
    full = "pods is forbidden: exceeded quota: small"
    pods.tell(conditions=[{"type": "ReplicaFailure", "status": "True", "message": full}])
    await cluster.settle()
    await tells(cluster, "QuotaExceeded", full)

    # Then there is one, whose image is not there
    pods.tell(conditions=[])
    await pods.start(waiting={"reason": "ImagePullBackOff", "message": "no such image"})
    await cluster.settle()
    await tells(cluster, "ImagePullFailed", "ImagePullBackOff: no such image")

    # And when it has come up, the step runs
    await pods.start()
    await cluster.settle()
    await tells(cluster, "Scheduling", "waits for a runner of its agent")
    assert await pods.serve() == 1
    assert cluster.status("t")["phase"] == "Succeeded"


async def test_a_deployment_that_is_refused_is_tried_again(cluster: Cluster, pods: WarmPods) -> None:
    # Given an API server that takes no Deployment
    refusal = "admission webhook denied the request: no runners here"
    cluster.kube.fail(Forbidden(403, "Forbidden", refusal), verb="patch", kind="Deployment")
    await cluster.agent(runtime=WARM)
    await start(cluster)
    await tells(cluster, "PodRefused", refusal)

    # When it takes them again, then the step runs
    cluster.context.wake(WARM_KEY, NAMESPACE, "support")
    await cluster.settle()
    await tells(cluster, "Scheduling")
    assert await pods.serve() == 1


async def test_a_deployment_that_is_deleted_or_scaled_by_hand_is_put_right(
    cluster: Cluster, pods: WarmPods
) -> None:
    await cluster.agent(runtime=WARM)
    await start(cluster)

    def scale(body: Any) -> None:
        body["spec"]["replicas"] = 0

    cluster.kube.edit(DEPLOYMENT, NAMESPACE, pods.deployment["metadata"]["name"], scale)
    await cluster.settle()
    assert pods.replicas == 1

    await cluster.kube.delete(DEPLOYMENT, NAMESPACE, pods.deployment["metadata"]["name"])
    await cluster.settle()
    assert pods.replicas == 1


async def test_its_runners_are_shown_whoever_tells_of_them_first(cluster: Cluster, pods: WarmPods) -> None:
    # Given a watch that is later than the answer to the operator's own write
    watch = cluster.kube.on_change
    assert watch is not None

    def late(change: Any, kind: Any, *rest: Any) -> None:
        if kind is not DEPLOYMENT:
            watch(change, kind, *rest)

    cluster.kube.on_change = late
    await cluster.agent(runtime=WARM)
    await start(cluster)
    # Then the Agent shows its runners all the same
    assert (pods.replicas, warm(cluster)) == (1, {"replicas": 1, "ready": 0})


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
