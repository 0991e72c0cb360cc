"""What waits for a person at the gateway, and what people say to it, over a real Postgres."""

import asyncio
from typing import Any

import pytest
from parley.kube.kinds import REPLY, Kind

from tests.integration.gateway.people import (
    EVERYTHING,
    NAMESPACE,
    OWN,
    Desk,
    add_task,
    problem,
    waiting_task,
)


async def test_an_inbox_shows_what_waits_for_a_person(desk: Desk) -> None:
    ann, alice = desk.person("ann", *EVERYTHING), desk.person("alice", *OWN)
    await desk.session("hers", spec={"user": {"id": "alice"}})
    await desk.session("his", spec={"user": {"id": "bob"}})
    await add_task(desk, waiting_task("one", "hers", "Refund?", "And this?"))
    await add_task(desk, waiting_task("two", "his", "His?"))
    await add_task(desk, waiting_task("none", "his"))

    all_of_them = (await desk.ask(ann, "GET", "/waiting")).json()["items"]
    assert [(one["task"], one["question"]) for one in all_of_them] == [
        ("one", "Refund?"),
        ("one", "And this?"),
        ("two", "His?"),
    ]
    assert all_of_them[0] == {
        "namespace": NAMESPACE,
        "task": "one",
        "session": "hers",
        "waitID": "wait-one-0",
        "kind": "Approval",
        "step": "ask",
        "question": "Refund?",
        "choices": ["approve", "reject"],
        "tool": "refund",
        "arguments": '{"amount":1}',
        "since": "2027-01-31T09:00:00Z",
    }
    hers = (await desk.ask(alice, "GET", "/waiting")).json()["items"]
    assert [one["task"] for one in hers] == ["one", "one"]


@pytest.mark.parametrize(
    ("task", "seen"),
    [
        ({"status": {"startTime": "2020-01-01T00:00:00Z"}}, 404),
        ({"status": {"completionTime": "2020-01-01T00:00:00Z"}, "made": "2019-01-01T00:00:00Z"}, 404),
        ({"status": {}, "made": "2019-01-01T00:00:00Z"}, 200),
        ({"status": {"startTime": "2999-01-01T00:00:00Z"}}, 200),
        ({"status": {"startTime": "2999-01-01T00:00:00Z"}, "owner": "uid-of-another"}, 404),
        ({"status": {"startTime": "2020-01-01T00:00:00Z"}, "owner": "its own"}, 200),
    ],
)
async def test_who_takes_the_name_of_a_session_that_is_gone_does_not_get_its_tasks(
    desk: Desk, task: dict[str, Any], seen: int
) -> None:
    alice = desk.person("alice", *OWN)
    uid = await desk.session("mine", spec={"user": {"id": "alice"}})
    body = waiting_task("old", "mine", "Refund?")
    body["status"] |= task["status"]
    if made := task.get("made"):
        body["metadata"]["creationTimestamp"] = made
    if owner := task.get("owner"):
        owner = uid if owner == "its own" else owner
        body["metadata"]["ownerReferences"] = [{"kind": "Session", "name": "mine", "uid": owner}]
    await add_task(desk, body)

    assert (await desk.ask(alice, "GET", "/tasks/old")).status_code == seen
    waits = (await desk.ask(alice, "GET", "/waiting")).json()["items"]
    assert [one["task"] for one in waits] == (["old"] if seen == 200 else [])


async def test_a_reply_is_made_in_the_callers_name_and_waits_for_the_verdict(desk: Desk) -> None:
    maria = desk.person("maria", "create replies", groups=("approvers",))
    said = {"taskRef": {"name": "one"}, "waitID": "w-1", "choice": "approve", "message": "Fine."}
    key = {"Idempotency-Key": "k-1"}

    condition = {
        "type": "Accepted",
        "status": "True",
        "reason": "Accepted",
        "message": "maria approved",
        "lastTransitionTime": "2027-01-31T09:00:00Z",
    }
    status: Any = {"observedGeneration": 1, "conditions": [condition]}

    def decide(change: str, kind: Kind, body: Any) -> None:
        """As the operator does, a moment after the Reply was made."""
        if (change, kind) == ("ADDED", REPLY):
            reply = desk.kube.objects[REPLY.kind, NAMESPACE, body["metadata"]["name"]]
            asyncio.get_running_loop().call_later(0.1, reply.update, {"status": status})

    desk.kube.on_change = decide
    answer = await desk.ask(maria, "POST", "/replies", headers=key, json=said)
    assert answer.status_code == 201, answer.text
    assert (answer.json()["accepted"], answer.json()["message"]) == (True, "maria approved")
    (person,) = desk.kube.impersonated
    assert (person.username, person.groups) == ("maria", ("approvers", "system:authenticated"))
    assert list(person.impersonation()) == [("Impersonate-User", "maria"), ("Impersonate-Group", "approvers")]

    repeat = await desk.ask(maria, "POST", "/replies", headers=key, json=said)
    assert (repeat.status_code, repeat.json()) == (200, answer.json())
    other = await desk.ask(maria, "POST", "/replies", headers=key, json={**said, "choice": "reject"})
    assert problem(other)[:2] == (409, "IdempotencyKeyReused")


@pytest.mark.parametrize("answer", [{}, {"choice": "a", "value": None}, {"choice": None}])
async def test_a_reply_is_one_answer(desk: Desk, answer: dict[str, Any]) -> None:
    maria = desk.person("maria", "create replies")
    body = {"taskRef": {"name": "one"}, "waitID": "w-1", **answer}
    assert problem(await desk.ask(maria, "POST", "/replies", json=body))[:2] == (422, "Invalid")
