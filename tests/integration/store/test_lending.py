"""Lending connections: whoever is told to end while it waits for one ends."""

import asyncio

import pytest
from parley.store.pool import connect, open_pool, url_of

from tests.integration.store.story import Story

LONG = 30.0


async def test_a_task_that_is_cancelled_as_it_gets_its_connection_ends(story: Story) -> None:
    """Given a task that waits for the only connection, when it gets that and is cancelled at once, then it ends.

    So it goes when one part of the leader finds another store in the right one's place: it gives its connection back,
    and all others are told to end. One that ran on kept the leader from ever looking at the store again.
    """
    ran_on = False

    async def wait_for_it() -> None:
        nonlocal ran_on
        async with connect(pool):
            ran_on = True

    async with open_pool(url_of(story.pool), size=1) as pool:
        async with connect(pool):
            waiting = asyncio.create_task(wait_for_it())
            # It gets into the queue without any I/O.
            for _ in range(10):
                await asyncio.sleep(0)
            assert pool.get_stats()["requests_waiting"] == 1
        waiting.cancel()

        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(waiting, LONG)
        assert not ran_on
        # And the connection is there for others.
        async with connect(pool) as conn:
            await conn.execute("SELECT 1")
