"""Logs of a Task's pods: those that are there, and those that come."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from parley.cli import pod_logs
from parley.cli.kube import LogLine
from parley.kube.client import JsonObject
from parley.kube.errors import KubeUnavailable
from parley.kube.kinds import POD, TASK

from tests.unit.cli.cluster import FakeCluster, ended
from tests.unit.cli.conftest import Run

STEP = {"name": "pay", "phase": "Succeeded", "attempt": 1, "job": "shipped-pay"}


def shipped(cluster: FakeCluster, phase: str = "Succeeded") -> JsonObject:
    """A Task that ended, and its pod in a phase."""
    task = cluster.put(
        TASK, "shipped", spec={"steps": []}, status={**ended("Succeeded", "Succeeded"), "steps": [STEP]}
    )
    labels = {
        "parley.dev/task-uid": task["metadata"]["uid"],
        "parley.dev/step": "pay",
        "batch.kubernetes.io/job-name": "shipped-pay",
    }
    cluster.put(
        POD,
        "shipped-pay",
        metadata={"labels": labels},
        spec={"containers": [{"name": "main"}]},
        status={"phase": phase},
    )
    return task


def test_each_line_has_its_step(cluster: FakeCluster, parley: Run) -> None:
    shipped(cluster)
    cluster.logs["shipped-pay", "main"] = ["one", "two", "three"]

    assert parley("logs", "shipped", "--tail", "2").out == "pay | two\npay | three\n"
    assert parley("logs", "shipped", "--follow").out == "pay | one\npay | two\npay | three\n"


def test_following_looks_for_new_pods_now_and_then_and_not_with_each_line(
    cluster: FakeCluster, parley: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pod_logs, "_LOOK_SECONDS", 3600.0)
    shipped(cluster)
    printed, looked = threading.Semaphore(0), list[str]()
    monkeypatch.setattr(pod_logs, "_print", lambda *_: printed.release())
    get, list_all = cluster.get, cluster.list

    def a_line_at_a_time(*_: object, **__: object) -> Iterator[LogLine]:
        for number in range(20):
            yield LogLine(f"{number:03}", "said")
            assert printed.acquire(timeout=30)

    def counted_get(kind: Any, *rest: Any) -> JsonObject:
        looked.append(kind.kind)
        return get(kind, *rest)

    def counted_list(kind: Any, *rest: Any, **more: Any) -> Any:
        looked.append(kind.kind)
        return list_all(kind, *rest, **more)

    monkeypatch.setattr(cluster, "follow_log", a_line_at_a_time)
    monkeypatch.setattr(cluster, "get", counted_get)
    monkeypatch.setattr(cluster, "list", counted_list)

    assert parley("logs", "shipped", "--follow").code == 0
    # The Task and its pods as they are asked for, one look at them, and the pod when its log is over.
    assert looked == ["Task", "Pod", "Task", "Pod", "Pod"]


def test_a_log_that_breaks_off_is_followed_from_there(
    cluster: FakeCluster, parley: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pod_logs, "_LOOK_SECONDS", 0.001)
    monkeypatch.setattr("parley.cli.following._RETRY_SECONDS", 0.001)
    shipped(cluster, "Running")
    asked: list[tuple[int | None, str]] = []

    def breaks_off(*_: object, tail: int | None, since: str) -> Iterator[LogLine]:
        asked.append((tail, since))
        if len(asked) == 2:
            raise KubeUnavailable(0, "Unreachable", "gone")
        lines = [LogLine(f"2026-11-23T10:00:00.{number}Z", f"said {number}") for number in range(4)]
        if len(asked) == 1:
            yield from lines[:2]
            return
        # The second that it is asked for comes whole.
        yield from lines
        cluster.update(POD, "shipped-pay", status={"phase": "Succeeded"})

    monkeypatch.setattr(cluster, "follow_log", breaks_off)

    said = parley("logs", "shipped", "--follow")

    assert said.out.splitlines() == [f"pay | said {number}" for number in range(4)]
    last = "2026-11-23T10:00:00.1Z"
    assert [since for _, since in asked] == ["", last, last]


def test_a_container_that_ended_is_not_asked_again_though_its_pod_goes_on(
    cluster: FakeCluster, parley: Run
) -> None:
    shipped(cluster, "Running")
    over = {"name": "main", "state": {"terminated": {"exitCode": 0}}}
    cluster.update(POD, "shipped-pay", status={"phase": "Running", "containerStatuses": [over]})
    cluster.logs["shipped-pay", "main"] = ["all of it"]

    assert parley("logs", "shipped", "--follow").out == "pay | all of it\n"


@pytest.mark.parametrize("follow", [[], ["--follow"]], ids=["once", "followed"])
def test_steps_in_warm_runners_are_told_from_those_whose_pods_are_gone(
    cluster: FakeCluster, parley: Run, follow: list[str]
) -> None:
    def answered(name: str, spec: dict[str, Any], *steps: dict[str, Any]) -> str:
        cluster.put(
            TASK,
            name,
            spec=spec,
            status={**ended("Succeeded", "Succeeded"), "agent": "support", "steps": [*steps]},
        )
        return parley("logs", name, *follow).err

    warm = {"name": "say", "phase": "Succeeded", "attempt": 1}
    message, chain = {"message": "hello"}, {"steps": [{"name": "rest", "sleep": "1s"}]}

    said = answered("warm", message, warm)
    assert "its steps ran in its agent's warm runners" in said
    assert "next:  kubectl logs -l parley.dev/agent=support -n shop" in said
    assert "are gone" in answered("cold", message, {**warm, "job": "cold-say"})
    assert "are gone" in answered("slept", chain, {**warm, "name": "rest"})
    cluster.put(TASK, "waits", spec=message, status={"phase": "Queued", "agent": "support", "steps": []})
    assert "has no pod yet" in parley("logs", "waits").err
