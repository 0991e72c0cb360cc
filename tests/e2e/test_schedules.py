"""Tasks at given times: each slot once, what happens while one still runs, what is kept, and a start by hand."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.cluster import SYSTEM_NAMESPACE, Cluster, condition, wait_condition
from tests.e2e.conftest import LONG_SCRIPT, Store, container, schedule, session
from tests.e2e.disruption import all_ready, holder, leader, processes, send
from tests.e2e.seen import running
from tests.kstatus import kstatus

pytestmark = pytest.mark.cluster

QUICK = {"steps": [{"name": "only", "return": {"value": 1}}]}
BAD = {"steps": [{"name": "only", "fail": {"message": "no luck"}}]}
LONG_WORK = {"steps": [{"name": "only", "container": container(LONG_SCRIPT)}]}


def run_now(cluster: Cluster, namespace: str, name: str, text: str) -> None:
    """Ask for a run, as a person would."""
    cluster.kubectl(
        "annotate", "schedule", name, "-n", namespace, f"parley.dev/run-now={text}", "--overwrite"
    )


def runs(cluster: Cluster, namespace: str, name: str) -> list[dict[str, Any]]:
    """The tasks of a schedule that are there, oldest first."""
    found = [
        body
        for body in cluster.list("task", namespace)
        if body["metadata"]["name"].rpartition("-")[0] == name
    ]
    return sorted(found, key=lambda body: (body["metadata"]["creationTimestamp"], body["metadata"]["name"]))


def ends(cluster: Cluster, namespace: str, name: str) -> list[str]:
    """The phases of a schedule's tasks, once all have ended."""

    def probe() -> list[str] | None:
        phases = [body["status"].get("phase") for body in runs(cluster, namespace, name)]
        return phases if phases and set(phases) <= {"Succeeded", "Failed", "Cancelled"} else None

    return cluster.wait(f"the tasks of {name} end", namespace, probe)


def status(cluster: Cluster, namespace: str, name: str) -> dict[str, Any]:
    """Status of a schedule."""
    found = cluster.get("schedule", namespace, name)
    assert found is not None
    return found["status"]


def test_a_run_by_hand_and_what_is_kept(cluster: Cluster, namespace: str) -> None:
    # Given schedules whose time does not come
    metadata = {"labels": {"report": "daily"}, "annotations": {"example.com/owner": "Maria"}}
    labelled = {"taskTemplate": {"metadata": metadata, "spec": QUICK}}
    cluster.apply(
        namespace,
        schedule("good", QUICK, successfulTasksHistoryLimit=2, **labelled),
        schedule("bad", BAD, failedTasksHistoryLimit=0),
        schedule("resting", QUICK, suspend=True),
        schedule("nowhere", QUICK, timeZone="Europe/Nowhere"),
    )
    for name in ("good", "bad"):
        cluster.wait(
            f"{name} is ready",
            namespace,
            lambda name=name: (
                condition({"status": status(cluster, namespace, name)}, "Ready").get("status") == "True"
            ),
        )
    body = cluster.get("schedule", namespace, "good")
    assert body is not None
    assert kstatus(body).status == "Current"
    planned = datetime.fromisoformat(body["status"]["nextScheduleTime"])
    assert (planned.month, planned.day, planned.hour) == (2, 29, 0)

    # When a person runs it, more often than is kept
    for text in ("one", "two", "three"):
        run_now(cluster, namespace, "good", text)
        cluster.wait(
            f"it has run for {text}",
            namespace,
            lambda text=text: status(cluster, namespace, "good").get("lastRunNow") == text,
        )
        ends(cluster, namespace, "good")

    # Then each time is one task, with labels and annotations, owned by it, and only the newest are kept
    kept = cluster.wait(
        "the oldest is removed",
        namespace,
        lambda: [found for found in [runs(cluster, namespace, "good")] if len(found) == 2],
    )[0]
    for each in kept:
        assert each["metadata"]["labels"]["report"] == "daily"
        assert each["metadata"]["annotations"]["example.com/owner"] == "Maria"
        assert each["metadata"]["ownerReferences"][0]["name"] == "good"
        assert each["status"]["phase"] == "Succeeded"

    # And asking in the same words again runs nothing
    run_now(cluster, namespace, "good", "three")
    cluster.kubectl("label", "schedule", "good", "-n", namespace, "touched=yes")
    run_now(cluster, namespace, "bad", "once")
    cluster.wait(
        "bad has run and nothing of it is kept",
        namespace,
        lambda: (
            status(cluster, namespace, "bad").get("lastRunNow") == "once"
            and not runs(cluster, namespace, "bad")
        ),
    )
    assert [t["metadata"]["name"] for t in runs(cluster, namespace, "good")] == [
        t["metadata"]["name"] for t in kept
    ]

    # And one that rests can still be run by hand, and one that is wrong says so
    run_now(cluster, namespace, "resting", "now")
    assert cluster.wait("it runs", namespace, lambda: runs(cluster, namespace, "resting"))
    wrong = wait_condition(cluster, "schedule", namespace, "nowhere", "Stalled", reason="InvalidSpec")
    assert "Europe/Nowhere" in condition(wrong, "Stalled")["message"]

    # And a table shows when
    table = cluster.kubectl("get", "schedules", "-n", namespace)
    assert {"SCHEDULE", "SUSPEND", "NEXT"} <= set(table.splitlines()[0].split())

    # And they go with it
    cluster.kubectl("delete", "schedule", "good", "-n", namespace)
    cluster.wait("its tasks go with it", namespace, lambda: runs(cluster, namespace, "good") == [])


@pytest.mark.disruptive
def test_each_slot_once_also_when_the_operator_goes_at_that_moment(
    cluster: Cluster, namespace: str, store: Store
) -> None:
    # Given a leader and a young minute: what runs before the next one must have begun by then
    cluster.wait("somebody leads", namespace, lambda: leader(cluster))
    cluster.wait(
        "a minute is young", namespace, lambda: 1 <= datetime.now(UTC).second <= 15, timeout=70, every=0.1
    )

    # And schedules of every minute: free, with one that still runs, resting, and one in another time zone
    every = "* * * * *"
    cluster.apply(
        namespace,
        session("alice"),
        schedule("free", QUICK, schedule=every),
        schedule("strict", LONG_WORK, schedule=every, concurrencyPolicy="Forbid"),
        schedule("eager", LONG_WORK, schedule=every, concurrencyPolicy="Replace"),
        schedule("resting", QUICK, schedule=every, suspend=True),
        schedule("talk", {"sessionRef": {"name": "alice"}, "message": "echo: it is time"}, schedule=every),
        schedule("far", QUICK, schedule="30 3 * * *", timeZone="Asia/Kolkata"),
    )
    for name in ("strict", "eager"):
        run_now(cluster, namespace, name, "before")
        cluster.wait(
            f"one of {name} runs",
            namespace,
            lambda name=name: any(
                running(cluster, namespace, t["metadata"]["name"]) for t in runs(cluster, namespace, name)
            ),
        )
    before = {name: runs(cluster, namespace, name)[0]["metadata"]["name"] for name in ("strict", "eager")}
    next_time = datetime.fromisoformat(status(cluster, namespace, "far")["nextScheduleTime"])
    assert (next_time.astimezone(UTC).hour, next_time.astimezone(UTC).minute) == (22, 0)

    # When a minute comes, and the operator is killed in its first second
    cluster.wait("a minute begins", namespace, lambda: datetime.now(UTC).second == 0, timeout=70, every=0.05)
    minute = int(datetime.now(UTC).timestamp()) // 60
    name, old = leader(cluster), holder(cluster)
    assert name is not None
    send(processes(cluster, SYSTEM_NAMESPACE, name), 9)
    cluster.wait("another leads", namespace, lambda: holder(cluster) not in {"", old})

    # Then the slot was taken
    slot = f"{minute:010d}"
    for name in ("free", "talk", "eager"):
        made = f"{name}-{slot}"
        cluster.wait(
            f"Task {made} is made", namespace, lambda made=made: cluster.get("task", namespace, made)
        )
    # No other slot is to come while it is looked at.
    for name in ("free", "talk", "eager", "strict"):
        patch = '{"spec":{"suspend":true}}'
        cluster.kubectl("patch", "schedule", name, "-n", namespace, "--type=merge", "-p", patch)

    # And it was taken once
    assert cluster.wait_task(namespace, f"free-{slot}")["status"]["phase"] == "Succeeded"
    assert cluster.wait_task(namespace, f"talk-{slot}")["status"]["output"] == "it is time"

    # And a task that still ran kept the new one out, or was replaced by it
    replaced = cluster.wait_task(namespace, before["eager"])
    assert replaced["status"]["phase"] == "Cancelled"
    cluster.wait_task(namespace, f"eager-{slot}", "Running")
    assert [t["metadata"]["name"] for t in runs(cluster, namespace, "strict")] == [before["strict"]]
    assert runs(cluster, namespace, "resting") == []
    assert runs(cluster, namespace, "far") == []
    shown = status(cluster, namespace, "eager")
    assert [entry["name"] for entry in shown["active"]] == [f"eager-{slot}"]
    assert datetime.fromisoformat(shown["lastScheduleTime"]).timestamp() == minute * 60
    assert [
        t["metadata"]["name"]
        for t in runs(cluster, namespace, "free")
        if t["metadata"]["name"].endswith(slot)
    ] == [f"free-{slot}"]

    # And the conversation has it once
    rows = store.rows(
        "SELECT e.task, count(*) FROM events e JOIN sessions s ON s.uid = e.session_uid"
        " WHERE s.namespace = %s AND s.name = 'alice' GROUP BY 1",
        namespace,
    )
    assert rows
    assert all(count == 2 for _, count in rows), rows
    all_ready(cluster)
