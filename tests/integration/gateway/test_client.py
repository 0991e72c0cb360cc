"""The runner's own client against the gateway's own app: what one writes, the other must read."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import httpx2
import pytest
from parley.gateway.app import create_app
from parley.gateway.settings import GatewaySettings
from parley.protocol.messages import CallBody
from parley.runner.chat import ChatMessage, ModelReply, Said
from parley.runner.gateway_client import GatewayClient
from parley.runner.rounds import Rounds
from parley.runner.settings import RunnerSettings
from parley.store.pool import Pool

from tests.fake_kube import FakeKube
from tests.integration.gateway.test_calls import turn
from tests.integration.store.story import Story
from tests.unit.runner.fake_model import FakeModel, calls, reply

UNKNOWN = {"error": "there is no tool called 'look'"}


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


def rounds_of(runner: GatewayClient, attempt: int, model: FakeModel) -> Rounds:
    async def ask(messages: Sequence[ChatMessage]) -> ModelReply:
        return await model.ask(messages, schema=None, timeout_seconds=1)

    return Rounds(runner, attempt, (), ask)


async def test_a_model_that_calls_gets_its_result_and_answers(
    runner: GatewayClient, attempt: int, story: Story
) -> None:
    await runner.take()

    answer = await rounds_of(runner, attempt, FakeModel(calls("look"), reply("done"))).answer(
        [Said("user", "hi")]
    )

    assert answer.text == "done"
    assert await story.sql("SELECT round, call, begun, result FROM journal WHERE call >= 0") == [
        (0, 0, {"tool": "look"}, UNKNOWN)
    ]


async def test_null_is_a_result(runner: GatewayClient, attempt: int, story: Story) -> None:
    await runner.take()

    await runner.journal_call(attempt, 0, 0, CallBody(begun=None))
    await runner.journal_call(attempt, 0, 0, CallBody(result=None))
    late = await runner.journal_call(attempt, 0, 0, CallBody(result="late"))

    assert late.stored is None
    assert await story.sql("SELECT begun::text, result::text FROM journal") == [("null", "null")]
