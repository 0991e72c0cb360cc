"""The runner's own client against the gateway's own app: what one writes, the other must read."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from parley.gateway.app import create_app
from parley.gateway.settings import GatewaySettings
from parley.protocol.messages import CallBody, ContextBody, ResponseBody
from parley.runner.gateway_client import GatewayClient, Rejected
from parley.runner.settings import RunnerSettings
from parley.store.pool import Pool

from tests.fake_kube import FakeKube
from tests.integration.gateway.test_calls import turn
from tests.integration.store.story import Story


@pytest.fixture
async def attempt(story: Story, kube: FakeKube, tmp_path: Path) -> int:
    """An attempt whose pod's token lies where the runner looks for it."""
    _, number, step = await turn(story, kube)
    (tmp_path / "token").write_text(step.token)
    return number


@pytest.fixture
async def runner(pool: Pool, kube: FakeKube, store: str, tmp_path: Path) -> AsyncIterator[GatewayClient]:
    """A client that a fault of the gateway makes fail instead of asking for ever."""

    async def never(seconds: float) -> None:
        raise AssertionError(f"the gateway is to be asked again in {seconds} s")

    app = create_app(GatewaySettings(database_url=""), pool, kube)
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    settings = RunnerSettings(gateway_url="http://gateway", store_id=store, token_file=tmp_path / "token")
    client = GatewayClient(settings, "n1", sleep=never, transport=transport)
    yield client
    await client.close()


async def test_null_is_a_result(runner: GatewayClient, attempt: int, story: Story) -> None:
    await runner.take()
    await runner.journal_response(
        attempt, 0, ResponseBody(response={"calls": [{"id": "c", "name": "get_order"}]})
    )

    await runner.journal_call(attempt, 0, 0, CallBody(begun=None))
    await runner.journal_call(attempt, 0, 0, CallBody(result=None))
    late = await runner.journal_call(attempt, 0, 0, CallBody(result="late"))

    assert late.stored is None
    stored = await story.sql("SELECT begun::text, result::text FROM journal WHERE call >= 0")
    assert stored == [("null", "null")]


async def test_the_context_is_changed_through_the_gateway(
    runner: GatewayClient, attempt: int, story: Story
) -> None:
    await runner.take()
    calls = [{"id": "c", "name": "update_context"}]
    await runner.journal_response(attempt, 0, ResponseBody(response={"calls": calls}))

    body = ContextBody(changes={"order": "12", "gone": None})
    first = await runner.update_context(attempt, 0, 0, body)
    again = await runner.update_context(attempt, 0, 0, ContextBody(changes={"order": "13"}))

    assert first == again
    assert isinstance(first.stored, dict)
    assert first.stored["context"] == {"order": "12"}
    assert await story.sql("SELECT context FROM sessions") == [({"order": "12"},)]


async def test_a_call_that_nobody_approved_cannot_begin(
    runner: GatewayClient, attempt: int, story: Story
) -> None:
    await runner.take()
    await runner.journal_response(
        attempt, 0, ResponseBody(response={"calls": [{"id": "c", "name": "refund"}]})
    )

    with pytest.raises(Rejected, match="NotAllowed: Nobody has approved"):
        await runner.journal_call(attempt, 0, 0, CallBody(begun={"tool": "refund"}))

    assert await story.sql("SELECT 1 FROM journal WHERE call >= 0") == []
