"""What a client sends, what it makes of the answers, and when it sends again."""

from collections.abc import Callable

import httpx2
import pytest
from parley.api.messages import MAX_CONTENT
from parley.api.sessions import UpdateSession
from parley.client import InvalidRequest, ParleyError, Unreachable
from parley.resources.common import ObjectReference
from parley.resources.session import SessionSpec

from tests.unit.client.scripted import Both, Make, problem

SESSION = {
    "metadata": {"name": "alice", "namespace": "shop", "uid": "u1"},
    "spec": {"agentRef": {"name": "support"}},
    "status": {"phase": "Active"},
}
CONTEXT = {"context": {"order": 7}, "version": 3}


def ok(body: object, status: int = 200) -> httpx2.Response:
    return httpx2.Response(status, json=body)


def test_a_request_says_who_asks_for_whom_and_is_answered_with_a_model(client: Make) -> None:
    parley = client(ok(SESSION), user="alice@company.com")

    session = parley.ask("get_session", "alice")

    assert session.status.phase == "Active"
    (request,) = parley.gateway.requests
    assert (request.method, request.url.raw_path) == ("GET", b"/v1/namespaces/shop/sessions/alice")
    assert request.headers["Authorization"] == "Bearer secret"
    assert request.headers["Parley-User"] == "alice@company.com"
    assert request.headers["User-Agent"].startswith("parley-client/")


def test_a_token_that_changes_is_asked_for_with_each_request(client: Make) -> None:
    tokens = iter(["first", "second"])
    parley = client(ok(SESSION), token=lambda: next(tokens))

    parley.ask("get_session", "alice")
    parley.ask("get_session", "alice")

    assert [request.headers["Authorization"] for request in parley.gateway.requests] == [
        "Bearer first",
        "Bearer second",
    ]


def test_filters_stand_in_the_query_and_what_is_not_given_does_not(client: Make) -> None:
    parley = client(ok({"items": []}))

    parley.ask("list_sessions", metadata={"tier": "gold", "team": "a"}, state="Active", limit=5)

    assert parley.gateway.requests[0].url.params.multi_items() == [
        ("metadata", "tier=gold"), ("metadata", "team=a"), ("state", "Active"), ("limit", "5"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a/../b", b"a%2F..%2Fb"),
        ("a?x=1#y", b"a%3Fx%3D1%23y"),
        ("a%2Fb", b"a%252Fb"),
        ("ä", b"%C3%A4"),
    ],
)
def test_a_name_stays_one_part_of_the_path(client: Make, name: str, path: bytes) -> None:
    parley = client(problem(404))

    with pytest.raises(ParleyError):
        parley.ask("get_session", name)
    assert parley.gateway.requests[0].url.raw_path == b"/v1/namespaces/shop/sessions/" + path


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_name_that_would_be_another_path_is_refused(client: Make, name: str) -> None:
    parley = client(ok(SESSION))

    with pytest.raises(InvalidRequest, match="give a name") as raised:
        parley.ask("get_session", name)
    assert raised.value.problem.field == "name"
    assert parley.gateway.requests == []


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda one: one.ask("post_message", "alice", ""), "content"),
        (lambda one: one.ask("post_message", "alice", "x" * (MAX_CONTENT + 1)), "content"),
        (lambda one: one.read("chat", "alice", ""), "content"),
        (lambda one: one.ask("create_reply", "t", "w", choice=""), "choice"),
        (lambda one: one.ask("create_session", {"agentRef": {"name": "Nobody!"}}), "spec.agentRef.name"),
        (lambda one: one.ask("post_message", "alice", "hi", key="schlüssel"), "key"),
        (lambda one: one.ask("post_message", "alice", "hi", key="k" * 129), "key"),
        (lambda one: one.ask("get_session", "\udcff"), "name"),
    ],
)
def test_what_no_gateway_would_take_is_an_error_that_names_the_field_and_is_not_sent(
    client: Make, call: Callable[[Both], object], field: str
) -> None:
    parley = client(ok(SESSION))

    with pytest.raises(ParleyError) as raised:
        call(parley)

    assert isinstance(raised.value, InvalidRequest)
    assert isinstance(raised.value, ValueError), "as Python says it of a wrong argument"
    assert (raised.value.status, raised.value.problem.field) == (422, field)
    assert raised.value.problem.detail
    assert "xxx" not in str(raised.value), "what somebody says is not for logs"
    assert parley.gateway.requests == []


def test_a_token_may_end_its_line_and_is_never_shown(client: Make) -> None:
    parley = client(ok(SESSION), token="secret\n")
    parley.ask("get_session", "alice")
    assert parley.gateway.requests[0].headers["Authorization"] == "Bearer secret"

    with pytest.raises(InvalidRequest, match="token: ") as raised:
        client(ok(SESSION), token="geheim\nnis").ask("get_session", "alice")
    assert "geheim" not in str(raised.value)


def test_a_person_may_be_of_any_script(client: Make) -> None:
    parley = client(ok(SESSION), user="zoë@company.com")

    parley.ask("get_session", "alice")

    sent = dict(parley.gateway.requests[0].headers.raw)
    assert sent[b"Parley-User"] == "zoë@company.com".encode()
    with pytest.raises(InvalidRequest, match="user: "):
        client(ok(SESSION), user="a\nb").ask("get_session", "alice")


def test_null_is_said_only_on_purpose(client: Make) -> None:
    parley = client(ok(CONTEXT))

    parley.ask("update_context", "alice", {"order": None})
    parley.ask("update_context", "alice", {"order": 7}, version=3)

    assert parley.gateway.bodies == [{"changes": {"order": None}}, {"changes": {"order": 7}, "version": 3}]


def test_bodies_are_as_the_gateway_wants_them(client: Make) -> None:
    parley = client(ok(SESSION, 201))
    spec = SessionSpec(agent_ref=ObjectReference(name="support"))

    parley.ask("create_session", spec, name="alice", labels={"a": "b"})
    parley.ask("update_session", "alice", UpdateSession(situation="late", labels={"a": None}))

    assert parley.gateway.bodies == [
        {"name": "alice", "labels": {"a": "b"}, "spec": {"agentRef": {"name": "support"}}},
        {"labels": {"a": None}, "situation": "late"},
    ]


def test_a_refusal_is_an_error_with_all_that_the_gateway_says(client: Make) -> None:
    refusal = problem(
        409, "it is version 4", {"X-Request-ID": "r-1"}, field="changes.order", reason="ContextConflict"
    )
    parley = client(refusal)

    with pytest.raises(ParleyError) as raised:
        parley.ask("update_context", "alice", {"order": 7}, version=3)

    error = raised.value
    assert (error.status, error.reason, error.request_id) == (409, "ContextConflict", "r-1")
    assert str(error) == "changes.order: Refused: it is version 4 (409)"
    assert len(parley.gateway.requests) == 1


def test_what_is_no_gateways_answer_is_an_error_too(client: Make) -> None:
    with pytest.raises(ParleyError, match="<html>a proxy</html>"):
        client(httpx2.Response(502, text="<html>a proxy</html>")).ask("get_session", "alice")
    with pytest.raises(Unreachable, match="is this a gateway"):
        client(httpx2.Response(200, text="<html>a login</html>")).ask("get_session", "alice")


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_gateway_is_asked_again_as_often_as_it_may(client: Make, status: int) -> None:
    busy = problem(status, headers={"Retry-After": "0"})

    patient = client(busy, busy, ok(SESSION))
    assert patient.ask("get_session", "alice").metadata.name == "alice"
    assert len(patient.gateway.requests) == 3

    hopeless = client(busy)
    with pytest.raises(ParleyError) as raised:
        hopeless.ask("get_session", "alice")
    assert raised.value.status == status
    assert len(hopeless.gateway.requests) == 4


def test_who_is_asked_to_wait_too_long_does_not(client: Make) -> None:
    parley = client(problem(429, headers={"Retry-After": "3600"}))

    with pytest.raises(ParleyError):
        parley.ask("get_session", "alice")
    assert len(parley.gateway.requests) == 1


def test_what_is_repeated_bears_the_same_key(client: Make) -> None:
    accepted = {"sequence": 1, "eventId": "00000000-0000-0000-0000-000000000001", "task": "m-1"}
    parley = client(httpx2.ReadError("broken"), problem(503), ok(accepted, 201))

    assert parley.ask("post_message", "alice", "hello").task == "m-1"
    keys = [request.headers["Idempotency-Key"] for request in parley.gateway.requests]
    assert len(keys) == 3
    assert len(set(keys)) == 1

    parley.ask("post_message", "alice", "hello", key="mine")
    parley.ask("post_message", "alice", "hello")
    assert parley.gateway.requests[3].headers["Idempotency-Key"] == "mine"
    assert parley.gateway.requests[4].headers["Idempotency-Key"] not in {"mine", keys[0]}


def test_what_may_have_been_done_is_not_done_again_without_a_key(client: Make) -> None:
    parley = client(httpx2.ReadError("broken"), ok(SESSION))

    with pytest.raises(Unreachable, match="broken"):
        parley.ask("update_session", "alice", UpdateSession(situation="late"))
    assert len(parley.gateway.requests) == 1

    never_sent = client(httpx2.ConnectError("refused"), ok(SESSION))
    never_sent.ask("update_session", "alice", UpdateSession(situation="late"))
    assert len(never_sent.gateway.requests) == 2


def test_a_reply_has_a_choice_or_a_value(client: Make) -> None:
    parley = client(ok({"name": "r-1", "accepted": True}, 201))

    parley.ask("create_reply", "refund", "w1", choice="approve", message="late")
    parley.ask("create_reply", "refund", "w1", value=None)

    assert parley.gateway.bodies == [
        {"taskRef": {"name": "refund"}, "waitID": "w1", "choice": "approve", "message": "late"},
        {"taskRef": {"name": "refund"}, "waitID": "w1", "value": None},
    ]
