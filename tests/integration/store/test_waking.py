"""Whoever must act next hears of it at once, also after the database was away."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from parley.protocol.messages import PauseBody, PausedCall
from parley.store import runner_calls, sessions, tasks
from parley.store.listener import listen

from tests.integration.store.story import Story, says
from tests.postgres import EmbeddedPostgres


class Ear:
    """What a listener heard."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.connected = 0
        self._changed = asyncio.Event()

    def on_notify(self, payload: str) -> None:
        self.heard.append(payload)
        self._changed.set()

    def on_connect(self) -> None:
        self.connected += 1
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(60):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        assert condition(), f"heard {self.heard}, connected {self.connected} times"


@asynccontextmanager
async def listening(dsn: str) -> AsyncIterator[Ear]:
    ear, stop = Ear(), asyncio.Event()
    task = asyncio.create_task(listen(dsn, ear.on_notify, ear.on_connect, stop))
    try:
        yield ear
    finally:
        stop.set()
        async with asyncio.timeout(30):
            await task


async def test_a_committed_result_wakes_its_task_and_the_next_in_the_queue(
    story: Story, database: str
) -> None:
    alice = await story.session()
    first, second, third = [await story.task(alice) for _ in range(3)]
    await story.queue(alice, first, second, third)
    attempt = await story.start(first, session_uid=alice)
    await story.take(first)
    async with listening(database) as ear:
        await ear.until(lambda: ear.connected == 1)
        await story.finish(attempt, says("Hello"))
        await ear.until(lambda: sorted(ear.heard) == sorted([first, second]))


async def test_ends_pauses_and_withdrawals_wake_too(story: Story, database: str) -> None:
    alice = await story.session()
    first, second, third = [await story.task(alice) for _ in range(3)]
    await story.queue(alice, first, second, third)
    attempt = await story.start(first, session_uid=alice)
    await story.take(first)
    async with listening(database) as ear, story.conn() as conn:
        await ear.until(lambda: ear.connected == 1)
        await story.respond(attempt, "refund")
        call = PausedCall(round=0, call=0, kind="Approval", tool="refund", arguments={})
        await runner_calls.pause(conn, attempt, "pod/1", PauseBody(calls=[call]))
        await ear.until(lambda: ear.heard == [first])
        await tasks.task_gone(conn, story.fence, first)
        await ear.until(lambda: sorted(ear.heard[1:]) == sorted([first, second]))
        await tasks.set_suspended(conn, story.fence, second, suspended=True)
        await ear.until(lambda: ear.heard[3:] == [third])


async def test_what_was_rolled_back_wakes_nobody(story: Story, database: str) -> None:
    task, other = await story.task(), await story.task()
    attempts = [await story.start(task), await story.start(other)]
    await story.take(task)
    await story.take(other)
    async with listening(database) as ear:
        await ear.until(lambda: ear.connected == 1)
        async with story.conn() as conn, conn.transaction(force_rollback=True):
            await runner_calls.finish(conn, attempts[0], "pod/1", says("never"))
        await story.finish(attempts[1], says("Hello"))
        await ear.until(lambda: bool(ear.heard))
        assert ear.heard == [other]


async def test_the_listener_comes_back_after_its_connection_was_killed(story: Story, database: str) -> None:
    task = await story.task()
    attempt = await story.start(task)
    await story.take(task)
    async with listening(database) as ear:
        await ear.until(lambda: ear.connected == 1)
        killed = await story.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'parley-listener' AND datname = current_database()"
        )
        assert killed == [(True,)]
        await ear.until(lambda: ear.connected == 2)
        await story.finish(attempt, says("Hello"))
        await ear.until(lambda: ear.heard == [task])


async def test_a_session_that_goes_wakes_the_tasks_that_still_wait_for_it(
    story: Story, database: str
) -> None:
    alice, again = await story.session(), await story.session()
    bound, *moved = [await story.task(alice) for _ in range(3)]
    await story.queue(alice, bound, *moved)
    await story.sql("UPDATE tasks SET session_uid = %s WHERE uid = ANY(%s)", again, moved)
    async with listening(database) as ear:
        await ear.until(lambda: ear.connected == 1)
        async with story.conn() as conn:
            await sessions.session_gone(conn, story.fence, alice)
        await ear.until(lambda: {bound, *moved} <= set(ear.heard))


async def test_a_listener_waits_for_a_database_that_is_not_there_yet() -> None:
    server = EmbeddedPostgres()
    try:
        async with listening(server.dsn()) as ear:
            await asyncio.sleep(0.3)
            assert ear.connected == 0
            await asyncio.to_thread(server.start)
            await ear.until(lambda: ear.connected == 1)
    finally:
        server.remove()


async def test_a_fault_of_the_callback_is_told(database: str) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async with asyncio.timeout(30):
            await listen(database, lambda _: None, broken, asyncio.Event())


async def test_a_runner_that_stays_tells_when_it_takes_a_step(story: Story, database: str) -> None:
    # Given a runner that stays with its task, whose pod will look the same whatever it does
    task = await story.task()
    await story.start(task, runtime="Task")
    async with listening(database) as ear, story.conn() as conn:
        await ear.until(lambda: ear.connected == 1)
        # When it takes a step, then the leader is to look; a repeat and an empty answer tell nothing new
        for _ in range(2):
            await runner_calls.take_next(conn, task_uid=task, namespace="default", holder="pod/1")
        await runner_calls.take_next(conn, task_uid=task, namespace="default", holder="pod/2")
        await story.finish((await story.load(task)).attempts[0].id, says("Hello"))
        await ear.until(lambda: ear.heard == [task, task])
