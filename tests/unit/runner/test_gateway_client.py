"""What the runner does with each of the gateway's answers."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from parley.protocol.messages import (
    CallBody,
    ContextBody,
    FinishBody,
    InputBody,
    InputMessage,
    PauseBody,
    PausedCall,
)
from parley.runner.gateway_client import NOT_ADMITTED_SECONDS, NotAdmitted, Rejected, StopRunning, TooLarge

from tests.unit.runner.fake_gateway import ATTEMPT, FakeGateway

SUCCESS = FinishBody(outcome="Succeeded", output="x")


async def test_every_call_says_who_and_which_store_with_the_token_read_anew(
    gateway: FakeGateway, tmp_path: Path
) -> None:
    client = gateway.client()
    await client.take()
    (tmp_path / "token").write_text("a-newer-token\n")
    await client.finish(ATTEMPT, SUCCESS)

    first, second = gateway.headers
    assert first["Authorization"] == "Bearer the-token"
    assert second["Authorization"] == "Bearer a-newer-token"
    assert (second["Parley-Store"], second["Parley-Nonce"]) == ("store-1", "nonce-1")


async def test_a_pause_and_a_change_of_the_context_go_where_they_belong(gateway: FakeGateway) -> None:
    client = gateway.client()
    call = PausedCall(round=0, call=1, kind="Approval", tool="pay", arguments=None)

    paused = await client.pause(ATTEMPT, PauseBody(calls=[call]))
    changed = await client.update_context(ATTEMPT, 2, 3, ContextBody(changes={"a": 1}))

    assert paused.waits == ["wait-0"]
    assert gateway.bodies("pause") == [
        {"calls": [{"round": 0, "call": 1, "kind": "Approval", "tool": "pay", "arguments": None}]}
    ]
    assert changed.stored == {"context": {"a": 1}, "version": 1}
    assert gateway.journal[2, 3].done


async def test_what_is_not_allowed_is_not_asked_again(gateway: FakeGateway) -> None:
    gateway.fail("journal", 422, reason="NotAllowed", detail="Nobody has approved the call of pay.")

    with pytest.raises(Rejected, match="NotAllowed: Nobody has approved the call of pay"):
        await gateway.client().journal_call(ATTEMPT, 0, 0, CallBody(begun={"tool": "pay"}))


@pytest.mark.parametrize("status", [204, 429, 500, 502, 503, 504])
async def test_what_may_pass_is_repeated_with_the_same_body(gateway: FakeGateway, status: int) -> None:
    gateway.fail("input", status, times=20)
    body = InputBody(messages=[InputMessage(role="user", content="hello")])

    await gateway.client().input(ATTEMPT, body)

    assert len(gateway.requests) == 21
    assert {str(sent) for sent in gateway.bodies("input")} == {str(gateway.bodies("input")[0])}
    assert max(gateway.slept) <= 5.0
    assert gateway.slept[0] <= 0.2


@pytest.mark.parametrize(
    "error",
    [
        httpx2.ConnectError("refused"),
        httpx2.ReadTimeout("slow"),
        httpx2.RemoteProtocolError("gone"),
        TimeoutError(),
    ],
)
async def test_a_broken_network_is_repeated(gateway: FakeGateway, error: Exception) -> None:
    gateway.fail("finish", error, times=3)

    await gateway.client().finish(ATTEMPT, SUCCESS)

    assert gateway.calls() == ["finish"] * 4


async def test_retry_after_is_honoured_within_reason(gateway: FakeGateway) -> None:
    gateway.fail("take", 503, headers={"Retry-After": "7"})
    gateway.fail("take", 503, headers={"Retry-After": "86400"})

    await gateway.client().take()

    assert gateway.slept == [7.0, 30.0]


@pytest.mark.parametrize(("status", "words"), [(409, "OtherHolder: held"), (410, "Cancelled: held")])
async def test_told_to_stop(gateway: FakeGateway, status: int, words: str) -> None:
    gateway.fail("finish", status, stop=True, reason=words.partition(":")[0], detail="held")

    with pytest.raises(StopRunning, match=words):
        await gateway.client().finish(ATTEMPT, SUCCESS)

    assert gateway.calls() == ["finish"]


@pytest.mark.parametrize(
    ("status", "error"), [(413, TooLarge), (400, Rejected), (404, Rejected), (422, Rejected)]
)
async def test_what_a_repeat_would_not_mend(
    gateway: FakeGateway, status: int, error: type[Exception]
) -> None:
    gateway.fail("finish", status, detail="field: wrong")

    with pytest.raises(error, match="field: wrong"):
        await gateway.client().finish(ATTEMPT, SUCCESS)

    assert gateway.calls() == ["finish"]


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_token_is_tried_for_a_minute(gateway: FakeGateway, status: int) -> None:
    gateway.fail("take", status, times=1000, detail="who are you")

    with pytest.raises(NotAdmitted, match="who are you"):
        await gateway.client().take()

    assert NOT_ADMITTED_SECONDS <= gateway.time < NOT_ADMITTED_SECONDS + 10


async def test_a_token_refused_while_the_api_server_restarts_is_accepted_later(gateway: FakeGateway) -> None:
    gateway.fail("take", 401, times=5)
    gateway.fail("take", 503, times=1)
    gateway.fail("take", 401, times=5)

    assert (await gateway.client().take()).attempt == ATTEMPT


async def test_an_outage_between_refusals_starts_the_minute_anew(gateway: FakeGateway) -> None:
    for _ in range(10):
        gateway.fail("take", 401, times=5)
        gateway.fail("take", httpx2.ConnectError("refused"))

    assert (await gateway.client().take()).attempt == ATTEMPT
    assert gateway.time > NOT_ADMITTED_SECONDS


async def test_a_token_that_is_not_there_is_waited_for_but_not_forever(
    gateway: FakeGateway, tmp_path: Path
) -> None:
    (tmp_path / "token").unlink()

    with pytest.raises(NotAdmitted, match="token cannot be read"):
        await gateway.client().take()

    assert gateway.requests == []


async def test_a_gateway_that_stalls_is_asked_again(
    gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parley.runner.gateway_client.REQUEST_SECONDS", 0.05)
    stalls = iter([True, False])
    serve = gateway._answer

    async def stall(request: httpx2.Request) -> httpx2.Response:
        if next(stalls):
            await asyncio.Event().wait()
        return await serve(request)

    monkeypatch.setattr(gateway, "_answer", stall)

    assert (await gateway.client().take()).attempt == ATTEMPT


async def test_time_is_told_by_the_gateway_where_clocks_differ(
    make_gateway: Callable[..., FakeGateway],
) -> None:
    gateway = make_gateway()
    away = datetime.now(UTC) + timedelta(hours=3)
    body = gateway.taken.model_dump_json(by_alias=True)
    headers = {"Date": away.strftime("%a, %d %b %Y %H:%M:%S GMT")}
    gateway._failures.append(("take", httpx2.Response(200, content=body, headers=headers)))
    client = gateway.client()

    await client.take()

    assert abs(client.now() - away) < timedelta(minutes=1)
