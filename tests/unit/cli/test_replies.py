"""The inbox, and answers: objects under the caller's own name, and what the operator says of them."""

import json
from typing import Any

import pytest
from parley.kube.client import JsonObject
from parley.kube.kinds import REPLY, TASK, Kind

from tests.unit.cli.cluster import FakeCluster, condition
from tests.unit.cli.conftest import Run


def asks(cluster: FakeCluster, name: str, *entries: dict[str, Any], namespace: str = "shop") -> None:
    cluster.put(TASK, name, namespace, spec={}, status={"phase": "WaitingForInput", "waiting": list(entries)})


def refund(wait_id: str = "w1", step: str = "confirm", since: str = "2026-11-23T10:00:00Z") -> dict[str, Any]:
    return {
        "id": wait_id,
        "step": step,
        "kind": "Question",
        "question": f"Refund 40 ({step})?",
        "choices": ["approve", "reject"],
        "since": since,
    }


DISCOUNT = {
    "id": "w9",
    "step": "discount",
    "kind": "Question",
    "question": "What discount?",
    "since": "2026-11-22T10:00:00Z",
}


@pytest.fixture
def operator(cluster: FakeCluster) -> list[JsonObject]:
    """Accepts every Reply; returns those it saw."""
    seen: list[JsonObject] = []

    def decide(kind: Kind, body: JsonObject) -> None:
        if kind is REPLY:
            seen.append(body)
            spec = {**body["spec"], "by": "alice@company.com"}
            accepted = {"conditions": [condition("Accepted", "True", "Accepted")]}
            cluster.update(REPLY, body["metadata"]["name"], spec=spec, status=accepted)

    cluster.on_write = decide
    return seen


def test_the_inbox_has_all_questions_oldest_first(cluster: FakeCluster, parley: Run) -> None:
    asks(cluster, "refund", refund())
    asks(cluster, "discount", DISCOUNT, namespace="sales")
    cluster.put(TASK, "busy", status={"phase": "Running"})

    said = parley("waiting", "-A")

    rows = said.out.splitlines()
    assert [row.split()[:2] for row in rows] == [
        ["NAMESPACE", "TASK"],
        ["sales", "discount"],
        ["shop", "refund"],
    ]
    assert "approve|reject" in rows[2]
    assert "parley reply discount -n sales --value JSON" in said.err
    found = json.loads(parley("waiting", "-A", "-o", "json").out)["items"]
    assert [(one["namespace"], one["waitID"]) for one in found] == [("sales", "w9"), ("shop", "w1")]


def test_a_program_is_told_that_a_task_asks_more_than_its_status_shows(
    cluster: FakeCluster, parley: Run
) -> None:
    asks(cluster, "refund", refund())
    assert "more" not in json.loads(parley("waiting", "-o", "json").out)

    status = cluster.get(TASK, "shop", "refund")["status"]
    cluster.update(TASK, "refund", status={**status, "waitingTotal": 11})

    assert json.loads(parley("waiting", "-o", "json").out)["more"] == 10


def test_an_approval_shows_the_call_that_is_to_be_approved(cluster: FakeCluster, parley: Run) -> None:
    call = refund() | {
        "kind": "Approval",
        "question": "May it run?",
        "call": "refund",
        "arguments": '{"order": 7}',
    }
    asks(cluster, "t", call)

    assert 'May it run? refund({"order": 7})' in parley("waiting").out


def test_an_empty_inbox_and_one_that_may_not_be_seen(cluster: FakeCluster, parley: Run) -> None:
    assert parley("waiting").out == "Nothing waits in namespace shop.\n"

    cluster.forbidden.add(("list", "tasks"))
    said = parley("waiting", "-A")

    assert said.code == 1
    assert "next:  look into one that is yours: parley waiting -n NAMESPACE" in said.err


def test_a_reply_names_the_question_and_waits_until_it_counts(
    cluster: FakeCluster, operator: list[JsonObject], parley: Run
) -> None:
    asks(cluster, "refund", refund())

    said = parley("approve", "refund", "-m", "It came late.")

    assert said == (0, "refund: Refund 40 (confirm)? — approve (by alice@company.com)\n", "")
    assert [reply["spec"] for reply in operator] == [
        {"taskRef": {"name": "refund"}, "waitID": "w1", "choice": "approve", "message": "It came late."}
    ]


@pytest.mark.parametrize(
    ("given", "value"), [("5", 5), ("soon", "soon"), ('{"a": [1]}', {"a": [1]}), ("null", None)]
)
def test_a_value_is_json_or_a_plain_word(
    cluster: FakeCluster, operator: list[JsonObject], parley: Run, given: str, value: object
) -> None:
    asks(cluster, "discount", DISCOUNT)

    assert parley("reply", "discount", "--value", given).code == 0
    assert operator[0]["spec"] == {"taskRef": {"name": "discount"}, "waitID": "w9", "value": value}


def test_where_a_task_asks_two_things_it_must_be_said_which(
    cluster: FakeCluster, operator: list[JsonObject], parley: Run
) -> None:
    asks(cluster, "t", refund("w1", "first"), refund("w2", "second"))

    unclear = parley("approve", "t")
    by_step, by_id = parley("reject", "t", "--question", "second"), parley("approve", "t", "--question", "w1")

    assert unclear.code == 1
    assert "--question w1: Refund 40 (first)?; --question w2" in unclear.err
    assert (by_step.code, by_id.code) == (0, 0)
    assert [(one["spec"]["waitID"], one["spec"]["choice"]) for one in operator] == [
        ("w2", "reject"),
        ("w1", "approve"),
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("approve", "idle"), "Task idle asks nothing now"),
        (("approve", "nix"), "there is no Task nix"),
        (("approve", "discount"), "asks for a value, not a choice"),
        (("reply", "refund", "--value", "5"), "has choices: approve, reject"),
        (("reply", "refund", "--choice", "maybe"), "'maybe' is no answer"),
        (("reply", "refund", "--value", "{"), "this is no JSON"),
        (("reply", "refund"), "exactly one of --choice and --value"),
    ],
)
def test_what_cannot_be_answered_is_told_before_anything_is_made(
    cluster: FakeCluster, operator: list[JsonObject], parley: Run, arguments: tuple[str, ...], says: str
) -> None:
    asks(cluster, "refund", refund())
    asks(cluster, "discount", DISCOUNT)
    cluster.put(TASK, "idle", status={"phase": "Running"})
    if arguments[-1] == "{":
        asks(cluster, "refund", DISCOUNT)

    said = parley(*arguments)

    assert said.code in {1, 2}
    assert says in said.err
    assert operator == []


def test_a_refused_reply_says_why(cluster: FakeCluster, parley: Run) -> None:
    asks(cluster, "refund", refund())

    def refuse(_kind: Kind, body: JsonObject) -> None:
        verdict = condition("Accepted", "False", "AlreadyAnswered", "bob replied first")
        cluster.update(REPLY, body["metadata"]["name"], status={"conditions": [verdict]})

    cluster.on_write = refuse
    said = parley("approve", "refund")

    assert said.code == 1
    assert "error: the reply was refused: AlreadyAnswered: bob replied first" in said.err
    assert "next:  see what it asks now: parley waiting -n shop" in said.err


def test_who_may_not_reply_is_told_which_role_allows_it(cluster: FakeCluster, parley: Run) -> None:
    asks(cluster, "refund", refund())
    cluster.forbidden.add(("create", "replies"))

    said = parley("approve", "refund")

    assert said.code == 1
    assert "--clusterrole=parley-approver" in said.err


def test_an_operator_that_is_away_is_told_and_not_waited_for_forever(
    cluster: FakeCluster, parley: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parley.cli.inbox.ACCEPT_SECONDS", 0.0)
    asks(cluster, "refund", refund())

    said = parley("approve", "refund")

    assert said.code == 1
    assert "nobody has decided about it yet" in said.err
    assert "parley doctor" in said.err
