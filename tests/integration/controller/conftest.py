"""A cluster in memory over a fresh database."""

from collections.abc import AsyncIterator

import pytest

from tests.integration.controller.cluster import Cluster


@pytest.fixture
async def cluster(database: str) -> AsyncIterator[Cluster]:
    async with Cluster(database) as made:
        yield made
