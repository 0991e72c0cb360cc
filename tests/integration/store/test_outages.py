"""The database goes away and comes back: nothing is half done, and everybody recovers without a restart."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import pytest
from parley.store import runner_calls, tasks
from parley.store.leader import raise_epoch
from parley.store.migrate import migrate
from parley.store.pool import StoreUnavailable, connect, open_pool

from tests.integration.store.story import Story, says
from tests.postgres import EmbeddedPostgres

Answer = TypeVar("Answer")


async def eventually(call: Callable[[], Awaitable[Answer]]) -> Answer:
    """Repeat the call while the store is away, as everybody does."""
    end = time.monotonic() + 60
    while True:
        try:
            return await call()
        except StoreUnavailable as error:
            said = str(error)
        assert time.monotonic() < end, f"the pool did not recover: {said}"


@pytest.fixture(scope="module")
def restartable_server() -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres()
    yield server
    server.remove()


@pytest.fixture
def own_server(restartable_server: EmbeddedPostgres) -> Iterator[EmbeddedPostgres]:
    """A server that is not running yet, and that a test may stop and start as it likes."""
    yield restartable_server
    restartable_server.stop()


async def test_a_pool_opens_before_the_database_is_there(own_server: EmbeddedPostgres) -> None:
    async with open_pool(own_server.dsn(), size=2) as pool:
        pool.timeout = 1.0
        with pytest.raises(StoreUnavailable):
            async with connect(pool):
                pass
        await asyncio.to_thread(own_server.start)

        async def ask() -> None:
            async with connect(pool) as conn:
                await conn.execute("SELECT 1")

        await eventually(ask)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
async def test_a_restart_loses_nothing_and_the_pool_recovers(
    own_server: EmbeddedPostgres, how: signal.Signals
) -> None:
    await asyncio.to_thread(own_server.start)
    await migrate(own_server.dsn())
    async with open_pool(own_server.dsn(), size=4) as pool:
        pool.timeout = 1.0
        async with connect(pool) as conn:
            story = Story(pool, await raise_epoch(conn, "cluster", "parley", "operator-0"))
        alice = await story.session()
        task = await story.task(alice)
        await story.queue(alice, task)
        attempt = await story.start(task, session_uid=alice)
        await story.take(task)
        await story.say(attempt, "Hi")

        async def restart_within(begun: asyncio.Event) -> None:
            async with connect(pool) as conn, conn.transaction():
                await tasks.end_task(conn, story.fence, task, phase="Failed", reason="Error", message="")
                begun.set()
                await conn.execute("SELECT pg_sleep(60)")

        begun = asyncio.Event()
        cut = asyncio.create_task(restart_within(begun))
        await begun.wait()
        await asyncio.to_thread(own_server.stop, how)
        with pytest.raises(StoreUnavailable):
            await cut
        with pytest.raises(StoreUnavailable):
            await story.load(task)
        await asyncio.to_thread(own_server.start)

        answer = await eventually(lambda: story.finish(attempt, says("Hello")))
        assert (answer.first_sequence, answer.last_sequence) == (2, 2)
        assert (await story.load(task)).ended is None, "what was not committed is undone"


async def test_a_connection_killed_within_a_transaction_leaves_no_trace(story: Story) -> None:
    alice = await story.session()
    task = await story.task(alice)
    await story.queue(alice, task)
    attempt = await story.start(task, session_uid=alice)
    await story.take(task)

    async def killed() -> None:
        async with story.conn() as conn, conn.transaction():
            await runner_calls.finish(conn, attempt, "pod/1", says("Hello"))
            await story.sql("SELECT pg_terminate_backend(%s)", conn.info.backend_pid)
            await conn.execute("SELECT 1")

    with pytest.raises(StoreUnavailable):
        await killed()
    assert await story.events(alice) == []
    assert (await story.load(task)).attempts[0].state == "Running"
    await story.finish(attempt, says("Hello"))
    assert await story.events(alice) == [(1, "assistant", "Hello")]


async def test_connections_that_broke_while_idle_cost_no_caller_anything(
    own_server: EmbeddedPostgres,
) -> None:
    await asyncio.to_thread(own_server.start)
    async with open_pool(own_server.dsn(), size=8) as pool:

        async def ask() -> None:
            async with connect(pool) as conn:
                await conn.execute("SELECT pg_sleep(0.2)")

        await asyncio.gather(*[ask() for _ in range(8)])
        await asyncio.to_thread(own_server.stop)
        await asyncio.to_thread(own_server.start)
        await asyncio.gather(*[ask() for _ in range(8)])
