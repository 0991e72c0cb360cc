"""Sessions, the inbox and answers for who may ask the gateway only."""

import json
from typing import Any

import httpx2
import pytest
from parley.cli.app import App
from parley.cli.failures import CliError, NoCluster
from parley.cli.gateway import token_for
from parley.kube.kinds import SESSION, TASK

from tests.unit.cli.cluster import FakeCluster
from tests.unit.cli.conftest import Run, Talk
from tests.unit.client.scripted import problem

ANYWHERE = ("-n", "shop", "--gateway", "http://gateway", "--token", "t")
QUESTION = {
    "step": "confirm",
    "kind": "Question",
    "question": "Refund 40?",
    "choices": ["approve", "reject"],
    "since": "2026-11-23T10:00:00Z",
}


def session(name: str, agent: str = "support") -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop", "uid": f"u-{name}"}
    return {"metadata": metadata, "spec": {"agentRef": {"name": agent}}, "status": {"phase": "Active"}}


def page(*items: dict[str, Any], **more: str) -> httpx2.Response:
    return httpx2.Response(200, json={"items": items, **more})


def waiting(task: str, wait_id: str = "w1", **more: Any) -> dict[str, Any]:
    return {"namespace": "shop", "task": task, "waitID": wait_id, **QUESTION, **more}


def asking() -> httpx2.Response:
    status = {"phase": "WaitingForInput", "waiting": [{"id": "w1", **QUESTION}]}
    metadata = {"name": "refund", "namespace": "shop", "uid": "u1"}
    return httpx2.Response(200, json={"metadata": metadata, "status": status, "attempts": []})


def said(**view: Any) -> httpx2.Response:
    return httpx2.Response(201, json={"name": "r-1", **view})


@pytest.fixture
def alone(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> Talk:
    """A machine without a kubeconfig."""

    def nowhere(_settings: object) -> FakeCluster:
        raise NoCluster("there is no way to a cluster: no kubeconfig", "set KUBECONFIG")

    monkeypatch.setattr(talk, "open_kube", nowhere)
    return talk


def test_sessions_are_listed_page_by_page_and_shown(alone: Talk) -> None:
    answers = [page(session("alice"), nextPageToken="more"), page(session("bob", "sales"))]
    listed = alone("sessions", "-l", "team=a", "--phase", "Active", *ANYWHERE, answers=[*answers])
    assert [line.split()[:3] for line in listed.out.splitlines()[1:]] == [
        ["alice", "support", "Active"],
        ["bob", "sales", "Active"],
    ]
    first, second = (dict(request.url.params) for request in alone.gateways[0].requests)
    assert first == {"labelSelector": "team=a", "state": "Active", "limit": "200"}
    assert second == {**first, "pageToken": "more"}

    # As programs have them of the API server
    sold = alone("sessions", "--agent", "sales", "-o", "name", *ANYWHERE, answers=[*answers])
    assert sold.out == "session.parley.dev/bob\n"
    shown = alone(
        "sessions", "alice", "-o", "json", *ANYWHERE, answers=[httpx2.Response(200, json=session("alice"))]
    )
    assert json.loads(shown.out) == {
        "apiVersion": "parley.dev/v1alpha1",
        "kind": "Session",
        **session("alice"),
    }


def test_the_inbox_has_what_the_gateway_shows(alone: Talk) -> None:
    approval = waiting("pay", "w2", tool="refund", arguments='{"order":7}', session="alice")

    inbox = alone("waiting", "-o", "json", *ANYWHERE, answers=[page(waiting("refund"), approval)])

    first, second = json.loads(inbox.out)["items"]
    assert (first["task"], first["waitID"], first["choices"]) == ("pay", "w2", ["approve", "reject"])
    assert (first["tool"], first["session"]) == ("refund", "alice")
    assert second["task"] == "refund"


def test_an_answer_is_given_once_and_waits_for_what_becomes_of_it(alone: Talk) -> None:
    answers = [asking(), said(), said(accepted=True, reason="Accepted")]

    approved = alone("approve", "refund", "-m", "Seen.", *ANYWHERE, answers=answers)

    assert (approved.code, approved.out) == (0, "refund: Refund 40? — approve\n")
    _, *replies = alone.gateways[0].requests
    body = {"taskRef": {"name": "refund"}, "waitID": "w1", "choice": "approve", "message": "Seen."}
    assert [json.loads(request.content) for request in replies] == [body, body]
    assert len({request.headers["Idempotency-Key"] for request in replies}) == 1

    made = alone(
        "reject",
        "refund",
        "-o",
        "json",
        *ANYWHERE,
        answers=[asking(), said(accepted=True, reason="Accepted")],
    )
    assert json.loads(made.out)["spec"] == {"taskRef": {"name": "refund"}, "waitID": "w1", "choice": "reject"}
    late = alone("approve", "refund", *ANYWHERE, answers=[asking(), said(accepted=False, reason="TooLate")])
    assert late.code == 1
    assert "the reply was refused: TooLate" in late.err


def test_who_may_not_is_told_the_right_they_need(alone: Talk) -> None:
    detail = 'you may not create replies in namespace "shop": ask for a role with the verb create on replies'

    refused = alone("approve", "refund", *ANYWHERE, answers=[asking(), problem(403, detail)])

    assert refused.code == 1
    assert detail in refused.err
    app = App(open_kube=alone.open_kube)
    app.settings.gateway = "http://gateway"
    with pytest.raises(CliError, match="needs a token") as raised:
        token_for(app)
    assert "PARLEY_TOKEN" in str(raised.value.hint)


@pytest.mark.parametrize(
    ("options", "asks_the_gateway"),
    [
        ((), False),
        (("--gateway", "http://gateway"), True),
        (("--as-service-account", "talker"), True),
        (("--as-user", "alice"), True),
        (("--token", "t"), True),
        (("--gateway", "http://gateway", "-A"), False),
    ],
)
def test_the_gateway_is_asked_where_the_command_line_names_it(
    cluster: FakeCluster, talk: Talk, options: tuple[str, ...], asks_the_gateway: bool
) -> None:
    cluster.put(SESSION, "bob", spec={"agentRef": {"name": "support"}})

    found = talk("sessions", "-o", "name", *options, answers=[page(session("alice"))])

    assert found.out == f"session.parley.dev/{'alice' if asks_the_gateway else 'bob'}\n"


def test_the_environments_token_and_a_certificate_leave_the_api_server_the_way(
    cluster: FakeCluster, talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.put(SESSION, "bob", spec={"agentRef": {"name": "support"}})
    monkeypatch.setenv("PARLEY_TOKEN", "t")
    assert talk("sessions", "-o", "name", answers=[page()]).out == "session.parley.dev/bob\n"

    monkeypatch.delenv("PARLEY_TOKEN")
    monkeypatch.setenv("PARLEY_GATEWAY", "http://gateway")
    cluster.user_token = None
    assert talk("sessions", "-o", "name", answers=[page()]).out == "session.parley.dev/bob\n"


@pytest.mark.parametrize("kind", [SESSION, TASK], ids=["sessions", "waiting"])
def test_without_rights_in_kubernetes_the_right_and_the_gateway_are_named(
    cluster: FakeCluster, parley: Run, kind: Any
) -> None:
    cluster.forbidden.add(("list", kind.plural))

    refused = parley("sessions" if kind is SESSION else "waiting")

    assert refused.code == 1
    assert f'cannot list resource "{kind.plural}"' in refused.err
    assert "--gateway URL" in refused.err
    one = parley("sessions" if kind is SESSION else "waiting", "-A", "--as-user", "alice")
    assert one.code == 1
    assert "leave out -A" in one.err
