"""Logs of pods that are gone: the ends that are kept, which the gateway gives."""

from typing import Any

import httpx2
import pytest
from parley.cli.failures import NoCluster
from parley.kube.kinds import TASK

from tests.unit.cli.cluster import FakeCluster
from tests.unit.cli.conftest import Talk
from tests.unit.cli.test_logs import shipped
from tests.unit.client.scripted import problem

STATUS = {
    "phase": "Failed",
    "steps": [
        {"name": "pay", "phase": "Failed", "attempt": 2, "job": "late-pay-2"},
        {"name": "say", "phase": "Succeeded", "attempt": 1, "job": "late-say-1"},
    ],
}


def attempt(number: int, step: str, nth: int, **more: Any) -> dict[str, Any]:
    made = {"createdAt": "2026-11-23T10:00:00Z", "runtime": "Job", "cause": "First", "state": "Failed"}
    return {**made, "id": number, "step": step, "number": nth, "job": f"late-{step}-{nth}", **more}


ATTEMPTS = [
    attempt(1, "pay", 1, exitCode=3),
    attempt(2, "say", 1, state="Succeeded"),
    attempt(3, "pay", 2, exitCode=1),
]


def shown(*attempts: dict[str, Any]) -> httpx2.Response:
    metadata = {"name": "late", "namespace": "shop", "uid": "u1"}
    return httpx2.Response(200, json={"metadata": metadata, "status": STATUS, "attempts": list(attempts)})


def log(number: int, *lines: str) -> httpx2.Response:
    return httpx2.Response(200, json={"id": number, "log": "\n".join(lines)})


@pytest.fixture
def late(cluster: FakeCluster) -> FakeCluster:
    """A Task that ended long ago."""
    cluster.put(TASK, "late", spec={}, status=STATUS)
    return cluster


@pytest.mark.usefixtures("late")
def test_what_is_kept_of_each_steps_newest_attempt_is_shown_and_where_it_is_from(talk: Talk) -> None:
    said = talk("logs", "late", answers=[shown(*ATTEMPTS), log(3, "second", "\x1b[2Jdeclined")])

    assert (said.code, said.out) == (0, "pay#2 | second\npay#2 | \ufffd[2Jdeclined\n")
    assert said.err.splitlines() == [
        "(pay: pods that are gone; these are the ends of their logs, from Parley's store)",
        "(say: pods that are gone, and nothing is kept of their logs)",
    ]
    asked = [request.url.path for request in talk.gateways[0].requests]
    assert asked == [
        "/v1/namespaces/shop/tasks/late",
        "/v1/namespaces/shop/tasks/late/attempts/3/log",
    ]


@pytest.mark.usefixtures("late")
def test_all_attempts_and_the_last_lines_of_each(talk: Talk) -> None:
    answers = [shown(*ATTEMPTS), log(1, "first", "timeout"), log(3, "second", "declined")]

    said = talk("logs", "late", "pay", "--all-attempts", "--tail", "1", answers=answers)

    assert said.out == "pay | timeout\npay#2 | declined\n"
    assert talk("logs", "late", "pay", "--tail", "0", answers=[shown(*ATTEMPTS), log(3, "x")]).out == ""


@pytest.mark.usefixtures("late")
def test_of_items_each_is_shown_with_its_newest(talk: Talk) -> None:
    items = [
        attempt(1, "pay", 1, item=0, exitCode=0),
        attempt(2, "pay", 1, item=1, exitCode=1),
        attempt(3, "pay", 2, item=1, exitCode=0),
    ]

    said = talk("logs", "late", "pay", answers=[shown(*items), log(1, "zero"), log(3, "one")])

    assert said.out == "pay[0] | zero\npay[1]#2 | one\n"


@pytest.mark.usefixtures("late")
def test_nothing_kept_is_said_and_is_an_error(talk: Talk) -> None:
    gone = talk("logs", "late", "say", answers=[shown(*ATTEMPTS)])
    assert (gone.code, gone.out) == (1, "")
    assert "the pods of step say of Task late are gone, and nothing is kept of their logs" in gone.err

    away = talk("logs", "late", answers=[problem(403, "you may not get tasks")])
    assert away.code == 1
    assert "the pods are gone, and what is kept of their logs cannot be asked for" in away.err
    assert "you may not get tasks" in away.err


def test_with_its_pod_there_the_gateway_is_not_asked(cluster: FakeCluster, talk: Talk) -> None:
    shipped(cluster)
    cluster.logs["shipped-pay", "main"] = ["all of it"]

    for follow in ([], ["--follow"]):
        assert talk("logs", "shipped", *follow, answers=[problem(500)]) == (0, "pay | all of it\n", "")
        assert talk.gateways[-1].requests == []


@pytest.mark.usefixtures("late")
def test_following_what_has_ended_shows_what_is_kept(talk: Talk) -> None:
    said = talk("logs", "late", "--follow", answers=[shown(*ATTEMPTS), log(3, "declined")])

    assert (said.code, said.out) == (0, "pay#2 | declined\n"), said


def test_a_url_and_a_token_are_enough_for_what_is_kept(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(_settings: object) -> FakeCluster:
        raise NoCluster("there is no way to a cluster: no kubeconfig", "set KUBECONFIG")

    monkeypatch.setattr(talk, "open_kube", nowhere)
    answers = [shown(*ATTEMPTS), shown(*ATTEMPTS), log(3, "declined")]

    said = talk("logs", "late", "-n", "shop", "--gateway", "http://gateway", "--token", "t", answers=answers)
    lost = talk("logs", "late", "-n", "shop", answers=[problem(500)])

    assert (said.code, said.out) == (0, "pay#2 | declined\n"), said
    assert lost.code == 1
    assert "there is no way to a cluster" in lost.err


def running() -> httpx2.Response:
    status = {
        "phase": "Running",
        "steps": [{"name": "pay", "phase": "Running", "attempt": 1, "job": "late-pay"}],
    }
    metadata = {"name": "late", "namespace": "shop", "uid": "u1"}
    return httpx2.Response(200, json={"metadata": metadata, "status": status, "attempts": []})


def test_by_way_of_the_gateway_pods_are_not_seen_and_it_says_so(talk: Talk) -> None:
    said = talk("logs", "late", "--as-user", "alice", answers=[running()])
    assert (said.code, said.out) == (1, "")
    assert "has no pod yet" not in said.err
    assert "pods of Task late cannot be seen by way of the gateway" in said.err
    assert "when they have ended" in said.err

    followed = talk("logs", "late", "--as-user", "alice", "--follow", answers=[shown(*ATTEMPTS)])
    assert (followed.code, followed.out) == (1, "")
    assert "--follow" in followed.err


def test_a_gateway_that_is_chosen_is_asked_and_not_the_kubeconfigs_cluster(talk: Talk) -> None:
    answers = [shown(*ATTEMPTS), shown(*ATTEMPTS), log(3, "declined")]

    # The kubeconfig's cluster is another one, which has no such Task.
    said = talk("logs", "late", "--gateway", "http://gateway", "--token", "t", "-n", "shop", answers=answers)

    assert (said.code, said.out) == (0, "pay#2 | declined\n"), said
