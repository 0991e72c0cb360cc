"""The gateway over a real Postgres; the API server is a fake that knows some steps' pods and tokens."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from parley.gateway.app import create_app
from parley.gateway.settings import GatewaySettings
from parley.store.identity import store_id
from parley.store.pool import Pool, connect

from tests.fake_kube import FakeKube
from tests.integration.gateway.people import Desk, open_desk
from tests.integration.gateway.running import Shop, serving
from tests.integration.gateway.threaded import people_gateway
from tests.integration.store.conftest import pool, story
from tests.integration.store.story import Story
from tests.unit.runner.conftest import model
from tests.unit.runner.scripted import ScriptedModel

__all__ = ["model", "people_gateway", "pool", "story"]


@pytest.fixture
def kube() -> FakeKube:
    return FakeKube()


@pytest.fixture
async def client(pool: Pool, kube: FakeKube) -> AsyncIterator[httpx2.AsyncClient]:
    """Requests to the app, without a network between."""
    app = create_app(GatewaySettings(database_url=""), pool, kube)
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as opened:
        yield opened


@pytest.fixture
async def store(pool: Pool) -> str:
    """The store's id."""
    async with connect(pool) as conn:
        return await store_id(conn)


@pytest.fixture
async def shop(
    story: Story, kube: FakeKube, pool: Pool, model: ScriptedModel, store: str, tmp_path: Path
) -> AsyncIterator[Shop]:
    """A gateway on a real port, and what it takes to run real runners against it."""
    async with serving(create_app(GatewaySettings(database_url=""), pool, kube)) as url:
        yield Shop(story, kube, model, store, url, tmp_path)


@pytest.fixture
async def desk(pool: Pool, kube: FakeKube, story: Story) -> AsyncIterator[Desk]:
    """A gateway as people meet it."""
    async with open_desk(pool, kube, story, requests_per_second=0) as opened:
        yield opened
