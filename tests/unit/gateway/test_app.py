"""The gateway's app without a store: what it refuses, and what it answers while the database is away."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from parley.gateway.app import create_app
from parley.gateway.settings import GatewaySettings
from parley.kube.client import TokenIdentity
from parley.kube.errors import KubeUnavailable, TooLarge
from parley.kube.kinds import SESSION
from parley.store import pool as store_pool
from parley.store import runner_calls
from parley.store.errors import NotAllowed
from parley.store.pool import open_pool

from tests.fake_kube import FakeKube
from tests.unit.gateway.steps import StepInCluster, add_step

LIMIT = 2000


@pytest.fixture
def kube() -> FakeKube:
    return FakeKube()


@pytest.fixture
async def step(kube: FakeKube) -> StepInCluster:
    return await add_step(kube)


@pytest.fixture
async def app(kube: FakeKube, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FastAPI]:
    monkeypatch.setattr(store_pool, "CHECKOUT_TIMEOUT", 0.2)
    settings = GatewaySettings(database_url="postgresql://nobody@127.0.0.1:1/none", max_body_bytes=LIMIT)
    async with open_pool(settings.database_url, size=1) as pool:
        yield create_app(settings, pool, kube)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as opened:
        yield opened


def headers(step: StepInCluster, **changes: str) -> dict[str, str]:
    return {"Authorization": step.authorization, "Parley-Store": "store-1", "Parley-Nonce": "n1"} | changes


def problem(response: httpx2.Response) -> dict[str, Any]:
    assert response.headers["Content-Type"] == "application/problem+json", response.text
    body = response.json()
    assert body["status"] == response.status_code
    return body


async def test_liveness_does_not_depend_on_the_store_readiness_does(client: httpx2.AsyncClient) -> None:
    alive = await client.get("/healthz")
    ready = await client.get("/readyz")

    assert alive.status_code == 200
    assert ready.status_code == 503
    assert problem(ready)["title"] == "Not ready"


async def test_without_a_token_401_with_a_strangers_403(client: httpx2.AsyncClient, kube: FakeKube) -> None:
    none = await client.post("/runner/v1/take")
    kube.objects.clear()
    stranger = await add_step(kube)
    kube.objects.clear()
    gone = await client.post("/runner/v1/take", headers=headers(stranger))

    assert none.status_code == 401
    assert none.headers["WWW-Authenticate"] == "Bearer"
    assert problem(none)["title"] == "Not authenticated"
    assert problem(gone)["status"] == 403


async def test_an_api_server_that_is_away_is_503_not_401(
    client: httpx2.AsyncClient, kube: FakeKube, step: StepInCluster
) -> None:
    kube.fail(KubeUnavailable(0, "", "connection refused"))

    response = await client.post("/runner/v1/take", headers=headers(step))

    assert problem(response)["status"] == 503
    assert response.headers["Retry-After"] == "2"


async def test_a_store_that_is_away_is_503_and_never_stop(
    client: httpx2.AsyncClient, step: StepInCluster
) -> None:
    response = await client.post("/runner/v1/take", headers=headers(step))

    assert problem(response)["status"] == 503
    assert response.headers["Retry-After"] == "2"
    assert not problem(response)["stop"]


@pytest.fixture
async def ann(kube: FakeKube) -> dict[str, str]:
    """Headers of somebody who may do everything, and whose Session is there."""
    kube.identities["token-of-ann"] = TokenIdentity(
        authenticated=True, username="ann", audiences=("https://kubernetes.default.svc",)
    )
    kube.allowed = lambda _question: True
    spec: Any = {"agentRef": {"name": "support"}}
    await kube.create(SESSION, "shop", {"metadata": {"name": "first"}, "spec": spec})
    return {"Authorization": "Bearer token-of-ann"}


async def test_people_are_told_what_to_do_while_the_store_is_away(
    client: httpx2.AsyncClient, ann: dict[str, str]
) -> None:
    for path in ("/events", "/context", "/tasks", "/export"):
        response = await client.get(f"/v1/namespaces/shop/sessions/first{path}", headers=ann)

        told = problem(response)
        assert (told["status"], told["reason"]) == (503, "StoreUnavailable"), path
        assert "repeat the same request" in told["detail"], path
        assert response.headers["Retry-After"] == "2", path
        assert "stop" not in told, path


async def test_people_are_told_of_a_fault_without_its_words(
    client: httpx2.AsyncClient, kube: FakeKube, ann: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("said in confidence")

    monkeypatch.setattr(kube, "page", broken)
    told = problem(await client.get("/v1/namespaces/shop/sessions", headers=ann))

    assert (told["status"], told["reason"]) == (500, "InternalError")
    assert "whoever runs Parley" in told["detail"]
    assert "confidence" not in str(told)


async def test_what_the_api_server_finds_too_large_is_the_callers_to_mend(
    client: httpx2.AsyncClient, kube: FakeKube, ann: dict[str, str]
) -> None:
    kube.fail(TooLarge(500, "InternalError", "etcdserver: request is too large"), verb="create")

    body = {"spec": {"agentRef": {"name": "support"}}}
    told = problem(await client.post("/v1/namespaces/shop/sessions", headers=ann, json=body))

    assert (told["status"], told["reason"]) == (413, "TooLarge")
    assert "Send less" in told["detail"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"Parley-Store": ""}, "Parley-Store"),
        ({"Parley-Nonce": ""}, "Parley-Nonce"),
        ({"Parley-Nonce": "a/b"}, "Parley-Nonce"),
        ({"Parley-Nonce": "x" * 65}, "Parley-Nonce"),
    ],
)
async def test_headers_the_protocol_wants(
    client: httpx2.AsyncClient, step: StepInCluster, changes: dict[str, str], words: str
) -> None:
    response = await client.post("/runner/v1/take", headers=headers(step, **changes))

    assert problem(response)["status"] == 400
    assert words in problem(response)["detail"]


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        (
            "/runner/v1/attempts/1/finish",
            {"outcome": "Perhaps", "output": "said in confidence"},
            "body.outcome",
        ),
        ("/runner/v1/attempts/0/finish", {"outcome": "Failed"}, "path.attempt"),
        ("/runner/v1/attempts/x/finish", {"outcome": "Failed"}, "path.attempt"),
        (f"/runner/v1/attempts/{2**63}/finish", {"outcome": "Failed"}, "path.attempt"),
        ("/runner/v1/attempts/1/input", {"messages": []}, "body.messages"),
        ("/runner/v1/attempts/1/pause", {"calls": []}, "body.calls"),
        (
            "/runner/v1/attempts/1/pause",
            {"calls": [{"round": 0, "call": 0, "kind": "Person"}]},
            "body.calls.0.kind",
        ),
    ],
)
async def test_a_malformed_body_says_where_and_never_repeats_what_was_said(
    client: httpx2.AsyncClient, step: StepInCluster, path: str, body: dict[str, Any], words: str
) -> None:
    response = await client.post(path, headers=headers(step), json=body)

    assert problem(response)["status"] == 422
    assert words in problem(response)["detail"]
    assert "confidence" not in response.text


@pytest.mark.parametrize("body", [{}, {"begun": 1, "result": 2}])
async def test_a_call_is_begun_or_done(
    client: httpx2.AsyncClient, step: StepInCluster, body: dict[str, Any]
) -> None:
    response = await client.put("/runner/v1/attempts/1/journal/0/calls/0", headers=headers(step), json=body)

    assert problem(response)["status"] == 422


async def test_a_change_of_the_context_is_of_a_call_in_a_round(
    client: httpx2.AsyncClient, step: StepInCluster
) -> None:
    path = "/runner/v1/attempts/1/journal/{}/calls/{}/context"
    changes = {"changes": {"a": None}}

    no_changes = await client.put(path.format(0, 0), headers=headers(step), json={"version": 1})
    no_round = await client.put(path.format(1001, 0), headers=headers(step), json=changes)
    the_response = await client.put(path.format(0, -1), headers=headers(step), json=changes)
    well_formed = await client.put(path.format(0, 0), headers=headers(step), json=changes)

    assert "body.changes" in problem(no_changes)["detail"]
    assert "path.round_number" in problem(no_round)["detail"]
    assert "path.call" in problem(the_response)["detail"]
    assert problem(well_formed)["status"] == 503, "the store is away"


async def test_what_is_not_allowed_is_definite_and_says_why(
    client: httpx2.AsyncClient, step: StepInCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    @asynccontextmanager
    async def store(*_: Any) -> AsyncIterator[None]:
        yield None

    async def refuse(*_: Any) -> None:
        raise NotAllowed("Nobody has approved the call of pay.")

    monkeypatch.setattr("parley.gateway.calling.Backend.store_of", store)
    monkeypatch.setattr(runner_calls, "put_call", refuse)

    response = await client.put(
        "/runner/v1/attempts/1/journal/0/calls/0", headers=headers(step), json={"begun": {"tool": "pay"}}
    )

    assert problem(response) == {
        "title": "Not allowed",
        "status": 422,
        "detail": "Nobody has approved the call of pay.",
        "stop": False,
        "reason": "NotAllowed",
    }


async def test_no_json_at_all(client: httpx2.AsyncClient, step: StepInCluster) -> None:
    response = await client.post("/runner/v1/attempts/1/finish", headers=headers(step), content=b"{nope")

    assert problem(response)["status"] == 422


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_over_the_limit_is_413_whether_it_says_so_or_not(
    client: httpx2.AsyncClient, step: StepInCluster, declared: bool
) -> None:
    body = json.dumps({"outcome": "Succeeded", "output": "x" * LIMIT}).encode()

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 100):
            yield body[start : start + 100]

    content = body if declared else chunks()
    response = await client.post("/runner/v1/attempts/1/finish", headers=headers(step), content=content)

    assert response.status_code == 413


async def test_a_strangers_body_is_not_read(client: httpx2.AsyncClient) -> None:
    read: list[int] = []

    async def chunks() -> AsyncIterator[bytes]:
        for number in range(10):
            read.append(number)
            yield b"{"

    response = await client.post("/runner/v1/attempts/1/finish", content=chunks())

    assert response.status_code == 401
    assert read == []


async def test_a_path_that_does_not_exist_is_a_problem_too(client: httpx2.AsyncClient) -> None:
    assert problem(await client.get("/nothing"))["status"] == 404
    assert problem(await client.get("/runner/v1/take"))["status"] == 405


async def test_a_fault_tells_its_kind_only(
    client: httpx2.AsyncClient, app: FastAPI, step: StepInCluster
) -> None:
    class Broken:
        async def identify(self, _: str | None) -> None:
            raise RuntimeError("said in confidence")

    app.state.backend.identities = Broken()

    response = await client.post("/runner/v1/take", headers=headers(step))

    assert problem(response)["status"] == 500
    assert "confidence" not in response.text


async def test_requests_are_counted_by_route_not_by_path(
    client: httpx2.AsyncClient, step: StepInCluster
) -> None:
    for attempt in (1, 2, 3):
        await client.post(
            f"/runner/v1/attempts/{attempt}/finish", headers=headers(step), json={"outcome": "x"}
        )
    await client.get("/nothing/at/all")
    await client.post("/runner/v1/attempts/1/finish", headers=headers(step), content=b"x" * (LIMIT + 1))

    scraped = (await client.get("/metrics")).text

    route = 'route="/runner/v1/attempts/{attempt}/finish"'
    assert f'parley_gateway_requests_total{{method="POST",{route},status="422"}} 3.0' in scraped
    assert 'parley_gateway_requests_total{method="unknown",route="unknown",status="404"} 1.0' in scraped
    assert f'{route},status="413"}} 1.0' in scraped
    assert f'parley_gateway_request_seconds_count{{method="POST",{route}}} 4.0' in scraped


async def test_the_api_is_described(client: httpx2.AsyncClient) -> None:
    described = (await client.get("/openapi.json")).json()

    assert "/runner/v1/take" in described["paths"]
    assert "/healthz" not in described["paths"]


def test_settings_come_from_the_environment_and_hide_the_url() -> None:
    settings = GatewaySettings.from_environment({"PARLEY_DATABASE_URL": "postgresql://u:pw@h/d"})

    assert settings.http_port == 8080
    assert "pw" not in repr(settings)
    with pytest.raises(SystemExit, match="PARLEY_DATABASE_URL"):
        GatewaySettings.from_environment({})
    with pytest.raises(SystemExit, match="PARLEY_HTTP_PORT"):
        GatewaySettings.from_environment({"PARLEY_DATABASE_URL": "x", "PARLEY_HTTP_PORT": "http"})
