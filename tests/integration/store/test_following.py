"""What somebody who reads a session along is told, whatever became of the look before."""

import asyncio

import pytest
from parley.store.following import look
from parley.store.pool import StoreUnavailable, connect, open_pool

from tests.integration.store.story import Story


@pytest.mark.parametrize("looks", [1, 2, 3], ids=lambda times: f"after {times} looks")
async def test_a_look_that_was_given_up_spoils_no_later_one(story: Story, database: str, looks: int) -> None:
    """A reader who leaves while the store is slow: psycopg may have counted on a statement that was never prepared."""
    session = await story.session()
    async with open_pool(database, size=1) as readers, connect(story.pool) as slow:

        async def once() -> int:
            async with connect(readers) as conn:
                found = await look(conn, session, after=0, limit=10)
            assert found is not None
            return found[0].last_sequence

        for _ in range(looks):
            await once()
        async with slow.transaction():
            await slow.execute("LOCK TABLE waits IN ACCESS EXCLUSIVE MODE")
            with pytest.raises((TimeoutError, StoreUnavailable)):
                async with asyncio.timeout(0.3):
                    await once()

        assert [await once() for _ in range(3)] == [0, 0, 0]
