"""Sessions, context, tasks and replies at the gateway, over a real Postgres."""

import asyncio
from typing import Any

import pytest
from parley.kube.errors import Invalid, KubeUnavailable
from parley.kube.kinds import SESSION, TASK
from parley.store.pool import Pool

from tests.fake_kube import FakeKube
from tests.integration.gateway.people import (
    EVERYTHING,
    NAMESPACE,
    OWN,
    SPEC,
    Desk,
    add_task,
    open_desk,
    problem,
    waiting_task,
)
from tests.integration.store.posts import note
from tests.integration.store.story import Story


async def test_a_session_lives_from_its_making_to_its_deletion(desk: Desk) -> None:
    ann = desk.person("ann", *EVERYTHING)
    body = {"name": "first", "labels": {"team": "a"}, "spec": {**SPEC, "metadata": {"channel": "web"}}}

    made = await desk.ask(ann, "POST", "/sessions", json=body)
    assert made.status_code == 201, made.text
    assert made.json()["metadata"]["labels"] == {"team": "a"}
    assert made.json()["spec"]["metadata"] == {"channel": "web"}
    # What was not written is not written into the object: defaults are the operator's.
    assert desk.kube.objects[SESSION.kind, NAMESPACE, "first"]["spec"] == {
        **SPEC,
        "metadata": {"channel": "web"},
    }

    read = await desk.ask(ann, "GET", "/sessions/first")
    assert read.json() == made.json()

    changes = {"desiredState": "Paused", "labels": {"team": None, "tier": "b"}, "situation": "Asks."}
    changed = await desk.ask(ann, "PATCH", "/sessions/first", json=changes)
    assert changed.status_code == 200, changed.text
    assert changed.json()["metadata"]["labels"] == {"tier": "b"}
    assert (changed.json()["spec"]["desiredState"], changed.json()["spec"]["situation"]) == (
        "Paused",
        "Asks.",
    )

    stale = {"situation": "Late.", "resourceVersion": read.json()["metadata"]["resourceVersion"]}
    assert problem(await desk.ask(ann, "PATCH", "/sessions/first", json=stale))[:2] == (409, "Conflict")

    deleted = await desk.ask(ann, "DELETE", "/sessions/first")
    assert (deleted.status_code, deleted.content) == (202, b"")
    assert problem(await desk.ask(ann, "GET", "/sessions/first"))[:2] == (404, "NotFound")


async def test_a_session_begins_with_a_context_that_can_be_changed(desk: Desk) -> None:
    ann = desk.person("ann", *EVERYTHING)
    body = {"name": "first", "spec": {**SPEC, "context": {"a": "x" * 300_000}}}
    refused = await desk.ask(ann, "POST", "/sessions", json=body)
    assert problem(refused) == (413, "TooLarge", "body.spec.context")
    assert "at most 262,144" in refused.json()["detail"]
    assert (SESSION.kind, NAMESPACE, "first") not in desk.kube.objects


async def test_a_list_goes_page_by_page_through_what_fits(desk: Desk) -> None:
    ann = desk.person("ann", *EVERYTHING)
    for number in range(7):
        spec = {
            "metadata": {"channel": "web" if number % 2 else "mail"},
            "user": {"id": f"user-{number % 3}"},
        }
        await desk.session(f"s-{number}", labels={"even": str(number % 2 == 0)}, spec=spec)

    async def names(query: str) -> list[str]:
        found: list[str] = []
        token = ""
        while True:
            answer = await desk.ask(ann, "GET", f"/sessions?{query}{token}")
            assert answer.status_code == 200, answer.text
            assert len(answer.json()["items"]) <= 2
            found += [item["metadata"]["name"] for item in answer.json()["items"]]
            if "nextPageToken" not in answer.json():
                return found
            token = f"&pageToken={answer.json()['nextPageToken']}"

    assert await names("limit=2") == [f"s-{n}" for n in range(7)]
    assert await names("limit=2&labelSelector=even%3DTrue") == ["s-0", "s-2", "s-4", "s-6"]
    assert await names("limit=2&metadata=channel%3Dweb") == ["s-1", "s-3", "s-5"]
    assert await names("limit=2&user=user-1") == ["s-1", "s-4"]
    assert await names("limit=2&user=user-1&metadata=channel%3Dmail") == ["s-4"]
    assert await names("limit=2&state=Pending") == [f"s-{n}" for n in range(7)]
    assert await names("limit=2&state=Ended") == []

    # A token is good for the list it came with.
    first = (await desk.ask(ann, "GET", "/sessions?limit=1&user=user-1")).json()["nextPageToken"]
    other = await desk.ask(ann, "GET", f"/sessions?limit=1&user=user-2&pageToken={first}")
    assert problem(other) == (400, "InvalidPageToken", "pageToken")


async def test_a_repeat_with_the_same_key_makes_one_session(desk: Desk) -> None:
    ann, ben = desk.person("ann", *EVERYTHING), desk.person("ben", *EVERYTHING)
    key = {"Idempotency-Key": "order 12345"}

    answers = await asyncio.gather(
        *(desk.ask(ann, "POST", "/sessions", headers=key, json={"spec": SPEC}) for _ in range(4))
    )
    assert sorted(one.status_code for one in answers) == [200, 200, 200, 201]
    assert len({one.json()["metadata"]["uid"] for one in answers}) == 1

    other = await desk.ask(ann, "POST", "/sessions", headers=key, json={"spec": SPEC, "labels": {"a": "b"}})
    assert problem(other) == (409, "IdempotencyKeyReused", "Idempotency-Key")
    # Keys are each caller's own.
    bens = await desk.ask(ben, "POST", "/sessions", headers=key, json={"spec": SPEC})
    assert bens.status_code == 201
    assert bens.json()["metadata"]["name"] != answers[0].json()["metadata"]["name"]


@pytest.mark.parametrize("name", [None, "first"])
async def test_a_repeat_does_not_bring_a_deleted_session_back(desk: Desk, name: str | None) -> None:
    # Given a Session that was made with a key, and deleted
    ann = desk.person("ann", *EVERYTHING)
    key, body = {"Idempotency-Key": "k"}, {"spec": SPEC} if name is None else {"spec": SPEC, "name": name}
    made = await desk.ask(ann, "POST", "/sessions", headers=key, json=body)
    path = f"/sessions/{made.json()['metadata']['name']}"
    assert (await desk.ask(ann, "DELETE", path)).status_code == 202
    # When the request is repeated, then it stays deleted
    repeat = await desk.ask(ann, "POST", "/sessions", headers=key, json=body)
    assert problem(repeat) == (409, "IdempotencyKeyReused", "Idempotency-Key")
    assert "was deleted" in repeat.json()["detail"]
    assert (await desk.ask(ann, "GET", path)).status_code == 404
    # Nor is another's Session of the name taken for it
    if name is not None:
        await desk.session(name)
        repeat = await desk.ask(ann, "POST", "/sessions", headers=key, json=body)
        assert problem(repeat) == (409, "IdempotencyKeyReused", "Idempotency-Key")
    # and a new key makes one
    again = await desk.ask(ann, "POST", "/sessions", headers={"Idempotency-Key": "l"}, json={"spec": SPEC})
    assert again.status_code == 201


async def test_a_request_that_was_refused_or_lost_can_be_repeated(desk: Desk) -> None:
    ann = desk.person("ann", *EVERYTHING)
    key = {"Idempotency-Key": "k"}
    desk.kube.fail(KubeUnavailable(503, "", "no"), verb="create", kind=SESSION.kind)
    desk.kube.fail(Invalid(422, "Invalid", "no"), verb="create", kind=SESSION.kind)
    statuses = [
        (await desk.ask(ann, "POST", "/sessions", headers=key, json={"spec": SPEC})).status_code
        for _ in range(4)
    ]
    assert statuses == [503, 422, 201, 200]


async def test_a_key_that_ran_out_is_free_for_another_body(desk: Desk, story: Story) -> None:
    # Given a Session that an almost day old key made only when the request was repeated
    ann = desk.person("ann", *EVERYTHING)
    key = {"Idempotency-Key": "k"}
    desk.kube.fail(KubeUnavailable(503, "", "no"), verb="create", kind=SESSION.kind)
    lost = await desk.ask(ann, "POST", "/sessions", headers=key, json={"spec": SPEC})
    await story.sql("UPDATE idempotency SET at = at - interval '23 h'")
    made = await desk.ask(ann, "POST", "/sessions", headers=key, json={"spec": SPEC})
    assert [lost.status_code, made.status_code] == [503, 201]
    # When that day is over
    await story.sql("UPDATE idempotency SET at = at - interval '2 h'")
    # Then the key makes another one
    other = await desk.ask(ann, "POST", "/sessions", headers=key, json={"spec": SPEC, "labels": {"a": "b"}})
    assert other.status_code == 201, other.text
    assert other.json()["metadata"]["uid"] != made.json()["metadata"]["uid"]


async def test_a_name_that_is_taken_is_a_conflict(desk: Desk) -> None:
    ann = desk.person("ann", *EVERYTHING)
    await desk.session("taken")
    for headers in ({}, {"Idempotency-Key": "k"}):
        answer = await desk.ask(
            ann, "POST", "/sessions", headers=headers, json={"name": "taken", "spec": SPEC}
        )
        assert problem(answer) == (409, "AlreadyExists", "body.name")


async def test_the_context_is_changed_key_by_key(desk: Desk) -> None:
    ann = desk.person("ann", *EVERYTHING)
    await desk.session("first", spec={"context": {"order": "12345", "open": True}})

    assert (await desk.ask(ann, "GET", "/sessions/first/context")).json() == {
        "context": {"order": "12345", "open": True},
        "version": 0,
    }
    changed = await desk.ask(
        ann,
        "PATCH",
        "/sessions/first/context",
        json={"changes": {"open": None, "note": ["a", 1]}, "version": 0},
    )
    assert changed.json() == {"context": {"order": "12345", "note": ["a", 1]}, "version": 1}

    # Another key may be written by who has seen an older version, the same key may not.
    beside = await desk.ask(
        ann,
        "PATCH",
        "/sessions/first/context",
        json={"changes": {"note": ["a", 1], "open": None}, "version": 0},
    )
    assert beside.json() == changed.json()
    over = await desk.ask(
        ann, "PATCH", "/sessions/first/context", json={"changes": {"note": "mine"}, "version": 0}
    )
    assert problem(over)[:2] == (409, "ContextConflict")
    assert (await desk.ask(ann, "GET", "/sessions/first/context")).json() == changed.json()
    large = {"changes": {"big": "x" * 300_000}}
    assert problem(await desk.ask(ann, "PATCH", "/sessions/first/context", json=large))[0] == 413


async def test_a_context_waits_for_the_operator_to_take_the_session_in(desk: Desk) -> None:
    ann = desk.person("ann", *EVERYTHING)
    await desk.session("new", registered=False, spec={"context": {"order": "1"}})

    assert (await desk.ask(ann, "GET", "/sessions/new/context")).json()["context"] == {"order": "1"}
    early = await desk.ask(ann, "PATCH", "/sessions/new/context", json={"changes": {"a": 1}})
    assert (problem(early)[:2], early.headers["Retry-After"]) == ((503, "SessionNotReady"), "2")


async def test_events_are_listed_from_where_one_asks_and_of_the_types_one_wants(
    desk: Desk, story: Story
) -> None:
    # Given a conversation in which a call was made between question and answer
    ann = desk.person("ann", *EVERYTHING)
    alice = await desk.session("alice")
    for key in ("k1", "k2", "k3"):
        await note(story, alice, key, key)
    await story.sql(
        "UPDATE events SET type = 'state' WHERE session_uid = %s AND sequence = 2 RETURNING 1", alice
    )

    async def listed(query: str) -> tuple[list[int], int | None, int | None]:
        answer = (await desk.ask(ann, "GET", f"/sessions/alice/events?{query}")).json()
        assert answer["lastSequence"] == 3
        sequences = [one["sequence"] for one in answer["items"]]
        return sequences, answer.get("nextAfter"), answer.get("nextBefore")

    assert await listed("") == ([1, 2, 3], None, None)
    assert await listed("after=1") == ([2, 3], None, None)
    assert await listed("after=3") == ([], None, None)
    assert await listed("limit=1") == ([1], 1, None)
    assert await listed("after=1&limit=1") == ([2], 2, None)
    assert await listed("before=3&limit=1") == ([2], None, 2)
    assert await listed("type=message") == ([1, 3], None, None)
    assert await listed("type=state&type=reply") == ([2], 2, None)
    assert await listed("type=message&after=1") == ([3], None, None)
    both = await desk.ask(ann, "GET", "/sessions/alice/events?after=1&before=3")
    assert problem(both) == (400, "BadRequest", "before")
    assert problem(await desk.ask(ann, "GET", "/sessions/alice/events?limit=0"))[0] == 422


async def test_the_audit_trail_shows_every_attempt(desk: Desk) -> None:
    ann = desk.person("ann", *EVERYTHING)
    uid = await desk.session("first")
    tasks = [await desk.story.task(uid, f"t-{number}") for number in range(3)]
    for task in tasks:
        await desk.story.queue(uid, task)
    attempt = await desk.story.start(tasks[0])
    await desk.story.start(tasks[0], number=2, cause="Disruption", close=desk.story.close(attempt))

    first = (await desk.ask(ann, "GET", "/sessions/first/tasks?limit=2")).json()
    assert [task["name"] for task in first["items"]] == ["t-2", "t-1"]
    rest = (await desk.ask(ann, "GET", f"/sessions/first/tasks?pageToken={first['nextPageToken']}")).json()
    (audited,) = rest["items"]
    assert "nextPageToken" not in rest
    assert audited["name"] == "t-0"
    shown = [(one["number"], one["cause"], one["state"], one.get("reason")) for one in audited["attempts"]]
    assert shown == [(1, "First", "Lost", "PodLost"), (2, "Disruption", "Open", None)]
    assert audited["attempts"][0]["usage"] == {"inputTokens": 0, "outputTokens": 0}


async def test_a_task_is_shown_with_its_attempts(desk: Desk) -> None:
    ann = desk.person("ann", *EVERYTHING)
    body: Any = {"metadata": {"name": "asks"}, "spec": {"agentRef": {"name": "support"}, "message": "Hello"}}
    made: Any = await desk.kube.create(TASK, NAMESPACE, body)
    uid = made["metadata"]["uid"]
    desk.story.names[uid] = "asks"
    await desk.story.register(uid, None)
    await desk.story.start(uid)

    shown = (await desk.ask(ann, "GET", "/tasks/asks")).json()
    assert shown["spec"]["message"] == "Hello"
    assert [one["state"] for one in shown["attempts"]] == ["Open"]
    assert problem(await desk.ask(ann, "GET", "/tasks/none"))[:2] == (404, "NotFound")


async def test_a_session_that_cannot_be_read_is_in_nobodys_way(desk: Desk) -> None:
    # Given a Session that another version wrote, in which something waits
    ann, alice = desk.person("ann", *EVERYTHING), desk.person("alice", *OWN)
    await desk.session("hers", spec={"user": {"id": "alice"}})
    await desk.session("strange", spec={"user": {"id": "bob"}, "agentRef": 1})
    await add_task(desk, waiting_task("one", "hers", "Refund?"))
    await add_task(desk, waiting_task("two", "strange", "His?"))

    # Then who reaches her own only hears nothing of it, and who may read all hears why
    assert problem(await desk.ask(alice, "GET", "/sessions/strange/events"))[:2] == (404, "NotFound")
    waits = await desk.ask(alice, "GET", "/waiting")
    assert [one["task"] for one in waits.json()["items"]] == ["one"], waits.text
    assert problem(await desk.ask(ann, "GET", "/sessions/strange/events"))[:2] == (409, "InvalidSpec")


async def test_the_same_caller_is_asked_for_once_in_a_while(desk: Desk) -> None:
    ann = desk.person("ann", *EVERYTHING)
    await desk.session("first")
    for _ in range(3):
        assert (await desk.ask(ann, "GET", "/sessions/first/context")).status_code == 200
    kinds = [request.kind for request in desk.kube.requests]
    assert (kinds.count("TokenReview"), kinds.count("SubjectAccessReview")) == (1, 1)
    # Made once by the test, read once by the gateway.
    assert kinds.count("Session") == 2


async def test_each_answer_carries_the_id_of_its_request(desk: Desk) -> None:
    ann = desk.person("ann", *EVERYTHING)
    given = await desk.ask(ann, "GET", "/sessions", headers={"X-Request-ID": "abc-1"})
    made_up = await desk.ask(ann, "GET", "/sessions", headers={"X-Request-ID": "no id\x7f"})
    assert given.headers["X-Request-ID"] == "abc-1"
    assert len(made_up.headers["X-Request-ID"]) == 36


async def test_who_asks_too_much_is_told_when_to_come_back(pool: Pool, kube: FakeKube, story: Story) -> None:
    # Given a gateway that takes three requests at once from a caller, and one an hour after that
    async with open_desk(pool, kube, story, requests_per_second=1 / 3600, request_burst=3) as desk:
        ann, ben = desk.person("ann", *EVERYTHING), desk.person("ben", *EVERYTHING)
        for _ in range(3):
            assert (await desk.ask(ann, "GET", "/sessions")).status_code == 200

        refused = await desk.ask(ann, "GET", "/sessions")

        assert problem(refused)[:2] == (429, "TooManyRequests")
        assert int(refused.headers["Retry-After"]) > 3000
        assert (await desk.ask(ben, "GET", "/sessions")).status_code == 200
