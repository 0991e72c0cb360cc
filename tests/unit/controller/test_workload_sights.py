"""Jobs and pods wake the task they belong to, and nobody else."""

import pytest
from parley.controller.context import Context
from parley.controller.resource import workload_key
from parley.controller.sights import Sights
from parley.kube.kinds import JOB, POD, TASK, Kind

from tests.unit.controller.contexts import woken
from tests.unit.controller.objects import NAMESPACE, sample, task_body
from tests.unit.controller.sights_story import newer, quiet

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


async def test_a_pod_of_another_namespace_that_names_the_task_is_none_of_its() -> None:
    context, sights = await with_owner()
    forged = sample("pod-exit-0")
    forged["metadata"]["namespace"] = "elsewhere"  # type: ignore[index, call-overload]

    sights.see(POD, forged, False)

    assert await woken(context) == set()
    assert context.projection.workloads.of_task(workload_key(NAMESPACE, OWNER)).pods == {}


async def test_the_pods_of_a_round_are_kept_apart() -> None:
    context, sights = await with_owner()
    for index in ("0", "1"):
        pod = sample("pod-running")
        pod["metadata"]["uid"] = f"pod-{index}"
        pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"] = index
        sights.see(POD, pod, False)

    pods = context.projection.workloads.of_task(workload_key(NAMESPACE, OWNER)).pods

    assert {key: pod.uid for key, pod in pods.items()} == {"exit-0": "pod-0", "exit-0/1": "pod-1"}
