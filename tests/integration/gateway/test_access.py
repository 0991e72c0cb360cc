"""Who reaches what: RBAC's own rights, one's own Sessions, a backend's users; and what the others are told."""

from typing import Any

import pytest
from parley.kube.errors import Forbidden, KubeUnavailable

from tests.integration.gateway.people import (
    EVERYTHING,
    NAMESPACE,
    OWN,
    SPEC,
    Desk,
    add_task,
    problem,
    waiting_task,
)

ROUTES: list[tuple[str, str, str, dict[str, Any] | None]] = [
    # The right, the request that needs it, and its body.
    ("list sessions", "GET", "/sessions", None),
    ("create sessions", "POST", "/sessions", {"spec": SPEC}),
    ("get sessions", "GET", "/sessions/first", None),
    ("patch sessions", "PATCH", "/sessions/first", {"situation": "x"}),
    ("delete sessions", "DELETE", "/sessions/first", None),
    ("get sessions/context", "GET", "/sessions/first/context", None),
    ("patch sessions/context", "PATCH", "/sessions/first/context", {"changes": {"a": 1}}),
    ("get sessions/events", "GET", "/sessions/first/events", None),
    ("create sessions/messages", "POST", "/sessions/first/messages", {"content": "x", "turn": False}),
    ("get sessions/export", "GET", "/sessions/first/export", None),
    ("list tasks", "GET", "/sessions/first/tasks", None),
    ("list tasks", "GET", "/waiting", None),
    ("get tasks", "GET", "/tasks/one", None),
]

CLOSED: list[tuple[str, str, str, dict[str, Any] | None]] = [
    # The same, of requests that answer at length, or change more than a test of rights should.
    ("get sessions/events", "GET", "/sessions/first/stream", None),
    ("get sessions/events", "POST", "/sessions/first/chat", {"content": "x"}),
    ("create sessions/messages", "POST", "/sessions/first/chat", {"content": "x"}),
    ("create sessions/import", "POST", "/sessions/first/import", None),
    ("get tasks", "GET", "/tasks/one/attempts/1/log", None),
    ("create replies", "POST", "/replies", {"taskRef": {"name": "one"}, "waitID": "w", "choice": "approve"}),
]


@pytest.fixture
async def first(desk: Desk) -> str:
    uid = await desk.session("first", spec={"user": {"id": "alice"}})
    await add_task(desk, waiting_task("one", "first", "Refund?"))
    return uid


@pytest.mark.parametrize(
    ("right", "method", "path", "body"), ROUTES, ids=[f"{m} {p}" for _, m, p, _ in ROUTES]
)
@pytest.mark.usefixtures("first")
async def test_each_route_needs_no_right_but_its_own(
    desk: Desk, right: str, method: str, path: str, body: dict[str, Any] | None
) -> None:
    served = await desk.ask(desk.person("has", right), method, path, json=body)
    assert served.status_code in {200, 201, 202}, served.text


@pytest.mark.parametrize(
    ("right", "method", "path", "body"),
    [*ROUTES, *CLOSED],
    ids=[f"{r} for {m} {p}" for r, m, p, _ in (*ROUTES, *CLOSED)],
)
@pytest.mark.usefixtures("first")
async def test_each_route_is_closed_to_whoever_lacks_its_right(
    desk: Desk, right: str, method: str, path: str, body: dict[str, Any] | None
) -> None:
    # Given one who has all the other rights but those that show Sessions, and one who has only these
    seeing = {"get sessions", "list sessions"}
    lacks = desk.person("lacks", *(set(EVERYTHING) - {right} - seeing))
    reads = desk.person("reads", *seeing)

    # Then the first is told that there is nothing, the second what is missing, unless that is what they have
    assert problem(await desk.ask(lacks, method, path, json=body))[:2] == (404, "NotFound")
    if right in seeing:
        return
    assert problem(await desk.ask(reads, method, path, json=body))[:2] == (403, "Forbidden")
    # And who has everything else is told just this
    told = await desk.ask(desk.person("sees", *(set(EVERYTHING) - {right})), method, path, json=body)
    assert problem(told)[:2] == (403, "Forbidden")
    verb, resource = right.split()
    assert f"may not {verb} {resource}" in told.json()["detail"]


async def test_no_route_is_left_out_of_the_tables(desk: Desk) -> None:
    document = (await desk.http.get("/openapi.json")).json()
    routes = {
        (method.upper(), path.removeprefix("/v1/namespaces/{namespace}"))
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if "people" in operation["tags"]
    }
    names = {"first": "{name}", "one": "{name}", "1": "{attempt}"}
    tried = {
        (method, "/".join(names.get(part, part) for part in path.split("/")))
        for _, method, path, _ in (*ROUTES, *CLOSED)
    }
    assert tried == routes


@pytest.mark.usefixtures("first")
async def test_what_one_may_not_see_is_as_what_does_not_exist(desk: Desk) -> None:
    nobody, ann = desk.person("nobody"), desk.person("ann", *EVERYTHING)

    def without_names(answer: Any) -> dict[str, Any]:
        return {**answer.json(), "detail": answer.json()["detail"].replace("absent", "first")}

    hidden = await desk.ask(nobody, "GET", "/sessions/first")
    absent = await desk.ask(nobody, "GET", "/sessions/absent")
    truly_absent = await desk.ask(ann, "GET", "/sessions/absent")
    assert without_names(hidden) == without_names(absent) == without_names(truly_absent)
    assert {one.status_code for one in (hidden, absent, truly_absent)} == {404}
    elsewhere = await desk.http.get(
        "/v1/namespaces/other/sessions", headers={"Authorization": "Bearer token-of-ann"}
    )
    assert problem(elsewhere)[0] == 404


async def test_people_without_a_right_of_their_own_reach_their_own_sessions(desk: Desk) -> None:
    alice = desk.person("alice", *OWN)
    for name, spec in {
        "hers": {"user": {"id": "alice"}},
        "theirs": {"users": [{"id": "bob"}, {"id": "alice"}]},
        "his": {"user": {"id": "bob"}},
        "nobodys": {},
    }.items():
        await desk.session(name, spec=spec)

    listed = (await desk.ask(alice, "GET", "/sessions")).json()["items"]
    assert [one["metadata"]["name"] for one in listed] == ["hers", "theirs"]
    for path in ("", "/context", "/tasks", "/events", "/export"):
        for name in ("hers", "theirs"):
            assert (await desk.ask(alice, "GET", f"/sessions/{name}{path}")).status_code == 200, (name, path)
        for name in ("his", "nobodys", "absent"):
            assert problem(await desk.ask(alice, "GET", f"/sessions/{name}{path}"))[0] == 404, (name, path)
    for name, status in (("hers", 200), ("his", 404)):
        changed = await desk.ask(alice, "PATCH", f"/sessions/{name}", json={"situation": "x"})
        assert changed.status_code == status, changed.text


async def test_whoever_has_only_own_sessions_makes_them_for_nobody_else(desk: Desk) -> None:
    alice = desk.person("alice", *OWN)
    mine = await desk.ask(alice, "POST", "/sessions", json={"spec": SPEC})
    assert (mine.status_code, mine.json()["spec"]["user"]) == (201, {"id": "alice"})
    named = await desk.ask(alice, "POST", "/sessions", json={"spec": {**SPEC, "user": {"name": "Alice"}}})
    assert named.json()["spec"]["user"] == {"id": "alice", "name": "Alice"}

    bobs = await desk.ask(alice, "POST", "/sessions", json={"spec": {**SPEC, "user": {"id": "bob"}}})
    assert problem(bobs) == (422, "NotYours", "body.spec.user.id")
    others = await desk.ask(alice, "POST", "/sessions", json={"spec": {**SPEC, "users": [{"id": "bob"}]}})
    assert problem(others) == (422, "NotYours", "body.spec.user.id")
    restored = {**SPEC, "restoreFrom": {"uid": "11111111-1111-1111-1111-111111111111"}}
    answer = await desk.ask(alice, "POST", "/sessions", json={"spec": restored})
    assert problem(answer) == (422, "NotYours", "body.spec.restoreFrom")


async def test_own_sessions_do_not_include_their_import(desk: Desk) -> None:
    alice = desk.person("alice", *OWN)
    await desk.session("hers", spec={"user": {"id": "alice"}})
    headers = {"Content-Type": "application/jsonl"}
    answer = await desk.ask(alice, "POST", "/sessions/hers/import", headers=headers, content=b"")
    assert problem(answer)[:2] == (403, "Forbidden")


@pytest.mark.usefixtures("first")
async def test_a_backend_reaches_the_sessions_of_the_user_it_names(desk: Desk) -> None:
    backend = desk.person("backend", *OWN, "act-for users/alice", "act-for users/zoë")
    await desk.session("his", spec={"user": {"id": "bob"}})
    alice = {"Parley-User": "alice"}

    assert (await desk.ask(backend, "GET", "/sessions/first", headers=alice)).status_code == 200
    listed = (await desk.ask(backend, "GET", "/sessions", headers=alice)).json()["items"]
    assert [one["metadata"]["name"] for one in listed] == ["first"]
    made = await desk.ask(backend, "POST", "/sessions", headers=alice, json={"spec": SPEC})
    assert made.json()["spec"]["user"] == {"id": "alice"}
    assert (await desk.ask(backend, "GET", "/tasks/one", headers=alice)).status_code == 200
    zoe = {"Parley-User": "zoë".encode()}
    assert (await desk.ask(backend, "GET", "/tasks/one", headers=zoe)).status_code == 404

    # Not those of others, nor of users it may not act for; without a user it has none of its own.
    for headers, path in (
        (alice, "/sessions/his"),
        ({"Parley-User": "bob"}, "/sessions/his"),
        ({"Parley-User": "bob"}, "/sessions"),
        ({}, "/sessions/first"),
    ):
        assert problem(await desk.ask(backend, "GET", path, headers=headers))[0] == 404, (headers, path)


@pytest.mark.usefixtures("first")
async def test_acting_for_a_user_is_a_limit_and_never_a_right(desk: Desk) -> None:
    # Given one who may do everything, and act for alice; and one who may act for everybody and nothing else
    ann = desk.person("ann", *EVERYTHING, "act-for users/alice")
    only = desk.person("only", "act-for users")
    await desk.session("his", spec={"user": {"id": "bob"}})
    alice = {"Parley-User": "alice"}

    assert (await desk.ask(ann, "GET", "/sessions/his")).status_code == 200
    assert problem(await desk.ask(ann, "GET", "/sessions/his", headers=alice))[0] == 404
    assert problem(await desk.ask(ann, "GET", "/sessions/first", headers={"Parley-User": "bob"}))[0] == 404
    assert problem(await desk.ask(only, "GET", "/sessions/first", headers=alice))[0] == 404


@pytest.mark.usefixtures("first")
async def test_a_backend_answers_only_what_its_users_tasks_ask(desk: Desk) -> None:
    rights = (*OWN, "act-for users", "create replies")
    backend = desk.person("backend", *rights)
    said = {"taskRef": {"name": "one"}, "waitID": "wait-one-0", "choice": "approve"}
    for user, task in (("bob", "one"), ("alice", "none")):
        answer = await desk.ask(
            backend,
            "POST",
            "/replies",
            headers={"Parley-User": user},
            json={**said, "taskRef": {"name": task}},
        )
        assert problem(answer)[:2] == (404, "NotFound"), (user, task)
    assert not desk.kube.impersonated


async def test_tokens_and_rights_are_asked_for_again_after_a_while(desk: Desk) -> None:
    ann = desk.person("ann", "list sessions")
    assert (await desk.ask(ann, "GET", "/sessions")).status_code == 200
    stranger = await desk.ask("nobodys-token", "GET", "/sessions")
    assert problem(stranger)[:2] == (401, "Unauthenticated")
    assert stranger.headers["WWW-Authenticate"].startswith("Bearer")
    reviews = [request for request in desk.kube.requests if request.kind == "TokenReview"]
    await desk.ask("nobodys-token", "GET", "/sessions")
    assert [request for request in desk.kube.requests if request.kind == "TokenReview"] == reviews


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (KubeUnavailable(0, "Timeout", "no answer"), (503, "ApiServerUnavailable")),
        (
            Forbidden(403, "Forbidden", 'User "system:serviceaccount:p:g" cannot get resource "sessions"'),
            (403, "NamespaceNotServed"),
        ),
        (Forbidden(403, "Forbidden", "exceeded quota: sessions"), (403, "Forbidden")),
    ],
)
async def test_an_api_server_that_refuses_the_gateway_is_told_as_it_is(
    desk: Desk, error: Exception, expected: tuple[int, str]
) -> None:
    ann = desk.person("ann", *EVERYTHING)
    await desk.session("first")
    desk.kube.fail(error, kind="Session")  # type: ignore[arg-type]
    answer = await desk.ask(ann, "GET", "/sessions/first")
    assert problem(answer)[:2] == expected
    assert ("Retry-After" in answer.headers) == (expected[0] == 503)


async def test_a_namespace_is_never_another(desk: Desk) -> None:
    desk.person("ann", *EVERYTHING)
    assert NAMESPACE == "shop"
    for namespace in ("Shop", "shop.", "..", "%2e%2e", "shop%00", "shop%2fsessions", "-shop"):
        answer = await desk.http.get(
            f"/v1/namespaces/{namespace}/sessions", headers={"Authorization": "Bearer token-of-ann"}
        )
        assert answer.status_code in {404, 422}, (namespace, answer.text)
