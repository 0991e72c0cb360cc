"""Schedules over a real store: each time makes one task, whoever leads, and one that still runs can be replaced."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

from parley.controller.context import SCHEDULE_KEY
from parley.controller.schedule_reconciler import ScheduleReconciler
from parley.kube.errors import Conflict, KubeUnavailable
from parley.kube.kinds import SCHEDULE, TASK

from tests.integration.controller.cluster import NAMESPACE, Cluster, Exit

WORK = {"steps": [{"name": "work", "container": {"image": "i"}}]}
QUICK = {"steps": [{"name": "only", "return": {"value": 1}}]}
HOURLY = "0 * * * *"


class Clock:
    """The operator's clock, which the test moves."""

    def __init__(self, cluster: Cluster) -> None:
        # The objects of the test are made now; the next hour of this clock is the first slot.
        self.now = datetime.now(UTC).replace(minute=30, second=0, microsecond=0) + timedelta(hours=1)
        self._cluster = cluster
        self.set()

    def set(self) -> None:
        """Hand it to the operator that leads."""
        reconcile = self._cluster.workers._by_kind[SCHEDULE_KEY]
        reconciler = cast("ScheduleReconciler", reconcile.__self__)  # type: ignore[attr-defined]
        reconciler._clock = lambda: self.now

    async def to_next_hour(self, name: str = "hourly") -> str:
        """Let the next slot come; returns the name of its Task."""
        self.now = self.now.replace(minute=0, second=1) + timedelta(hours=1)
        await self.look(name)
        return f"{name}-{int(self.now.timestamp()) // 60:010d}"

    async def look(self, name: str = "hourly") -> None:
        self._cluster.context.wake(SCHEDULE_KEY, NAMESPACE, name)
        await self._cluster.settle()


async def schedule(cluster: Cluster, spec: dict[str, Any], **fields: Any) -> Clock:
    clock = Clock(cluster)
    await cluster.apply(SCHEDULE, "hourly", {"schedule": HOURLY, "taskTemplate": {"spec": spec}, **fields})
    # The slot before this clock's time is the first.
    await cluster.settle()
    for name in cluster.tasks():
        await cluster.kube.delete(TASK, NAMESPACE, name)
    await cluster.settle()
    return clock


async def test_each_time_makes_one_task_that_runs_to_its_end(cluster: Cluster) -> None:
    clock = await schedule(cluster, QUICK)

    names = [await clock.to_next_hour() for _ in range(3)]

    assert cluster.tasks() == names
    assert {cluster.status(name)["phase"] for name in names} == {"Succeeded"}
    status = cluster.object(SCHEDULE, "hourly")["status"]
    assert status.get("active", []) == []
    assert datetime.fromisoformat(status["lastScheduleTime"]) == clock.now.replace(second=0)


async def test_a_slot_comes_once_whatever_a_new_leader_has_forgotten(cluster: Cluster) -> None:
    clock = await schedule(cluster, QUICK)
    name = await clock.to_next_hour()
    first = cluster.object(TASK, name)["metadata"]["uid"]

    # Given that neither the status nor the Task is there any more
    cluster.object(SCHEDULE, "hourly")["status"] = {"observedGeneration": -1}
    await cluster.kube.delete(TASK, NAMESPACE, name)
    cluster.lead_anew()
    clock.set()
    await clock.look()

    # Then it is not made again, and the next one is
    assert first
    assert cluster.tasks() == []
    assert await clock.to_next_hour() in cluster.tasks()


async def test_a_slot_survives_an_end_at_any_of_its_writes(cluster: Cluster) -> None:
    clock = await schedule(cluster, QUICK)
    for error, verb, kind in (
        (KubeUnavailable(503, "", "no answer"), "create", "Task"),
        (Conflict(409, "Conflict", "changed"), "patch", "Schedule"),
    ):
        cluster.kube.fail(error, verb=verb, kind=kind)
        try:
            name = await clock.to_next_hour()
        except type(error):
            name = f"hourly-{int(clock.now.timestamp()) // 60:010d}"
        else:
            raise AssertionError("the request was not made")
        cluster.lead_anew()
        clock.set()
        await clock.look()
        assert cluster.status(name)["phase"] == "Succeeded"

    assert len(cluster.tasks()) == 2


async def test_one_that_still_runs_is_cancelled_for_the_next(cluster: Cluster) -> None:
    cluster.behaviour = lambda _: None
    clock = await schedule(cluster, WORK, concurrencyPolicy="Replace")
    old = await clock.to_next_hour()
    assert cluster.status(old)["phase"] == "Running"

    new = await clock.to_next_hour()

    assert cluster.status(old)["phase"] == "Cancelled"
    (ready,) = (c for c in cluster.status(old)["conditions"] if c["type"] == "Ready")
    assert ready["message"].startswith(f"replaced by Task {new}")
    assert cluster.status(new)["phase"] == "Running"
    suspended = [cluster.kube.objects["Job", NAMESPACE, job]["spec"].get("suspend") for job in cluster.jobs()]  # type: ignore[index, union-attr, call-overload]
    assert suspended[-2:] == [True, None] or suspended[-2:] == [True, False], "its pod is told to end"
    active = cluster.object(SCHEDULE, "hourly")["status"]["active"]
    assert [entry["name"] for entry in active] == [new]


async def test_one_that_still_runs_keeps_the_next_out_until_its_end(cluster: Cluster) -> None:
    cluster.behaviour = lambda _: None
    clock = await schedule(cluster, WORK, concurrencyPolicy="Forbid")
    old = await clock.to_next_hour()

    new = await clock.to_next_hour()
    assert cluster.tasks() == [old]

    for run in list(cluster.running.values()):
        await cluster.end(run, Exit())
    await cluster.settle()
    assert cluster.status(old)["phase"] == "Succeeded"
    assert cluster.tasks() == [old, new]
