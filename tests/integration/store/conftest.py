"""A story over a fresh database."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from parley.store.leader import raise_epoch
from parley.store.pool import Pool, connect, open_pool

from tests.integration.store.story import Story


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    async with open_pool(database, size=12) as opened:
        yield opened


@pytest.fixture
async def story(pool: Pool) -> Story:
    async with connect(pool) as conn:
        return Story(pool, await raise_epoch(conn, str(uuid4()), "parley", "operator-0"))
