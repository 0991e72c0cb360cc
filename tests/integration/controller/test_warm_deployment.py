"""The Deployment of an agent's warm runners: it comes with work, goes when idle, and says why it cannot."""

from typing import Any

import pytest
from parley.controller.context import WARM_KEY
from parley.kube.errors import Forbidden
from parley.kube.kinds import DEPLOYMENT

from tests.integration.controller.cluster import NAMESPACE, Cluster
from tests.integration.controller.warm_pods import WarmPods
from tests.integration.controller.warm_story import (
    WARM,
    pass_time,
    start,
    tells,
    warm,
)


@pytest.fixture
def pods(cluster: Cluster) -> WarmPods:
    return WarmPods(cluster)


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
