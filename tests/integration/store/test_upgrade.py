"""A store of an earlier version is taken over with its rows, and that version works on while it is replaced."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any, LiteralString, cast
from uuid import uuid4

import pytest
from parley.store import migrate as migrations
from parley.store import sessions
from parley.store.entries import Done
from parley.store.leader import raise_epoch
from parley.store.migrate import migrate, require_schema, shipped_migrations
from parley.store.pool import Pool, StoreUnavailable, connect, open_pool
from parley.store.records import Inserted, OutputRecord

from tests.integration.store import earlier, earlier_flow
from tests.integration.store.story import Story, container_request

LARGE = json.dumps("x" * 500_000)


def names(output: str = '{"amount": 10}') -> dict[str, str]:
    return {
        "session_uid": str(uuid4()), "task_uid": str(uuid4()), "cluster": "c", "install": "parley",
        "step": "score", "wait": str(uuid4()), "output": output,
    }  # fmt: skip


async def say(pool: Pool, statement: str, parameters: dict[str, str]) -> list[tuple[Any, ...]]:
    async with connect(pool) as conn:
        cursor = await conn.execute(cast("LiteralString", statement), parameters)
        return await cursor.fetchall() if cursor.description else []


async def story_of(pool: Pool) -> Story:
    async with connect(pool) as conn:
        return Story(pool, await raise_epoch(conn, "c", "parley", "operator-1"))


async def run(pool: Pool, parameters: dict[str, str]) -> None:
    for transaction in earlier.RUN:
        async with connect(pool) as conn, conn.transaction():
            for statement in transaction:
                await conn.execute(cast("LiteralString", statement), parameters)


LABELS = [f"{migration.number:04}_{migration.name}" for migration in shipped_migrations()]


@pytest.fixture
def versions() -> int:
    """How many migrations the earlier version ships."""
    return 1


@pytest.fixture
def only_the_first(monkeypatch: pytest.MonkeyPatch, versions: int) -> Iterator[pytest.MonkeyPatch]:
    """As the earlier version ships them."""
    first = shipped_migrations()[:versions]
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "shipped_migrations", lambda: first)
        yield patch


async def test_a_store_with_rows_is_taken_over(
    empty_database: str, only_the_first: pytest.MonkeyPatch
) -> None:
    # Given a store of the earlier version, with a task that has run a step and one that ended
    assert await migrate(empty_database) == ["0001_store"]
    running, ended = names(LARGE), names(json.dumps({"amount": 10}))
    async with open_pool(empty_database, size=4) as pool:
        for task in (running, ended):
            await run(pool, task)
        await say(pool, earlier.END, ended)

        # When this version comes
        only_the_first.undo()
        with pytest.raises(StoreUnavailable, match=f"is at 1, this version needs {len(LABELS)}"):
            async with connect(pool) as conn:
                await require_schema(conn)
        assert await migrate(empty_database) == LABELS[1:]
        assert await migrate(empty_database) == []

        # Then it reads what is there
        async with connect(pool) as conn:
            await require_schema(conn)
            story = Story(pool, await raise_epoch(conn, "c", "parley", "operator-1"))
            summary = await sessions.session_summary(conn, running["session_uid"])
        assert summary is not None
        assert (summary.context, summary.context_version, summary.tasks_waiting) == (None, 0, 1)
        record = await story.load(running["task_uid"])
        (attempt,) = record.attempts
        assert (attempt.state, attempt.runtime, attempt.uploaded) == ("Succeeded", "Job", False)
        assert record.outputs == {"score": OutputRecord("x" * 2000, cut=True)}
        assert (record.depth, record.parent, record.steps, record.children) == (0, None, [], [])
        assert await story.spec(running["task_uid"]) == {"message": "Hello"}
        before = (await story.load(ended["task_uid"])).ended
        assert before is not None
        assert before.output == OutputRecord({"amount": 10})

        # And goes on with it
        story.names[running["task_uid"]] = "refund"
        request = container_request("refund", "pay")
        assert isinstance(await story.insert(running["task_uid"], "pay", request=request), Inserted)
        assert await story.enter(
            running["task_uid"], "note", Done("noted", {"paid": True}, {"order": "12345"})
        )


async def test_the_earlier_version_works_on_after_the_migration(database: str) -> None:
    async with open_pool(database, size=4) as pool:
        task = names(LARGE)
        await run(pool, task)
        await say(pool, earlier.MOVE_WAITS, task)
        [[loaded]] = await say(pool, earlier.LOAD, task)
        assert json.loads(loaded)["outputs"] == {"score": json.loads(LARGE)}
        assert [row["state"] for row in json.loads(loaded)["attempts"]] == ["Succeeded"]
        assert await say(pool, earlier.SUMMARY, task) == [('{"last_sequence" : 0, "messages" : 0}',)]
        await say(pool, earlier.END, task)
        story = await story_of(pool)
        record = await story.load(task["task_uid"])
        assert record.outputs == {"score": OutputRecord("x" * 2000, cut=True)}
        assert record.ended is not None
        assert record.ended.output == OutputRecord("x" * 8000, cut=True)


async def test_the_version_before_calls_works_on_too(database: str) -> None:
    async with open_pool(database, size=4) as pool:
        parent = names() | {"name": "parent", "parent_uid": ""}
        await run(pool, parent)
        child = names() | {
            "name": "child",
            "parent_uid": parent["task_uid"],
            "session_uid": parent["session_uid"],
        }
        await say(pool, earlier_flow.INSERT_CHILD, child)
        for statement in earlier_flow.RUN:
            await say(pool, statement, child)
        assert await say(pool, earlier_flow.COUNT_TREE, child) == [(2,)]
        story = await story_of(pool)
        record = await story.load(child["task_uid"])
        assert record.depth == 1
        assert record.parent is not None
        assert [wait.kind for wait in record.waits] == ["Approval"]
        assert await story.events(child["session_uid"]) == [(1, "user", "Hello")]
        assert await say(pool, earlier_flow.GONE, child) == [(child["task_uid"],)]


@pytest.mark.parametrize("versions", [1, 2])
async def test_it_migrates_under_load(
    empty_database: str, only_the_first: pytest.MonkeyPatch, versions: int
) -> None:
    """Whoever writes meanwhile waits a moment; nobody is turned away."""
    await migrate(empty_database)
    done: list[dict[str, str]] = []
    stop, more = asyncio.Event(), asyncio.Semaphore(0)

    async def work(pool: Pool) -> None:
        while not stop.is_set():
            task = names()
            await run(pool, task)
            done.append(task)
            more.release()

    async with open_pool(empty_database, size=6) as pool:
        workers = [asyncio.create_task(work(pool)) for _ in range(4)]
        only_the_first.undo()
        async with asyncio.timeout(60):
            await more.acquire()
            assert await migrate(empty_database) == LABELS[versions:]
            for _ in range(len(done) + 10):
                await more.acquire()
        stop.set()
        failures = [result for result in await asyncio.gather(*workers, return_exceptions=True) if result]
        assert failures == []
        story = await story_of(pool)
        for task in done:
            record = await story.load(task["task_uid"])
            assert record.outputs == {"score": OutputRecord({"amount": 10})}


def test_released_migrations_never_change() -> None:
    """What a database has applied is compared by checksum: a changed file would stop every upgrade."""
    assert [migration.checksum for migration in shipped_migrations()[:2]] == [
        "ce71411019ba1f394960f0b74fd5ba686c0e9d7c8fcb7bbddd3a0387dd21898c",
        "fbec6bf65b7f97b6b29ed79e6fe3fe150ea303be4b0ad5bb55cec2b13559b3b2",
    ]
