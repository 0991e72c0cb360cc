"""Runners that lie, people who answer late or twice, a leader that is interrupted: calls keep their promises.

Hypothesis draws batches of operations; a batch runs concurrently. After each batch the promises are checked on the
tables themselves.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast
from uuid import uuid4

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from parley.store.errors import NotAllowed, OtherHolder, Stopped
from parley.store.leader import raise_epoch
from parley.store.pool import StoreUnavailable, connect, open_pool
from psycopg import errors

from tests.integration.store.call_promises import PROMISES
from tests.integration.store.call_world import TASKS, World
from tests.integration.store.story import Story


async def quietly(operation: Awaitable[None]) -> None:
    """Refusals and cut connections are part of life; anything else is a fault."""
    try:
        await operation
    except (OtherHolder, Stopped, NotAllowed):
        return
    except StoreUnavailable as error:
        deadlock = isinstance(error.__cause__, errors.DeadlockDetected)
    else:
        return
    assert not deadlock, "two transactions took locks in another order"


async def play(dsn: str, early: list[int], batches: list[list[tuple[str, int]]]) -> None:
    async with open_pool(dsn, size=6) as pool:
        async with connect(pool) as conn:
            story = Story(pool, await raise_epoch(conn, str(uuid4()), "parley", "operator-0"))
        session = await story.session()
        world = World(story, session, [await story.task(session) for _ in range(TASKS)])
        for nth in early:
            await world.go_on(nth)
        for batch in batches:
            operations = [cast("Callable[[int], Awaitable[None]]", getattr(world, name)) for name, _ in batch]
            await asyncio.gather(*[quietly(op(nth)) for op, (_, nth) in zip(operations, batch, strict=True)])
            await check(story, session)


async def check(story: Story, session: str) -> None:
    all_at_once = " UNION ALL ".join(
        f"SELECT $${promise}$$ WHERE EXISTS ({query})" for promise, query in PROMISES.items()
    )
    async with story.conn() as conn:
        cursor = await conn.execute(all_at_once, {"s": session})  # type: ignore[arg-type]
        for (promise,) in await cursor.fetchall():
            rows = await (await conn.execute(PROMISES[promise], {"s": session})).fetchall()  # type: ignore[arg-type]
            raise AssertionError(f"broken: {promise}: {rows}")


RARE = [
    "begin", "result", "pause", "decide_all", "approve", "reject", "disrupt", "pause_for_anything", "expire",
    "run_container", "queue_tasks", "end_queued", "succeed", "fail", "take", "tick", "kill_connections",
]  # fmt: skip
RAREST = ["end", "gone", "suspend"]
# How far the first turn has come before accidents begin: mostly approved, at times by nobody.
EARLY = st.lists(st.sampled_from([2, 2, 4, 6]), min_size=5, max_size=16)
NAMES = ["go_on"] * 24 + RARE * 2 + RAREST
operation = st.tuples(st.sampled_from(NAMES), st.integers(0, 23))


@settings(
    max_examples=25, deadline=None, derandomize=True, database=None,
    phases=[Phase.generate],  # add Phase.shrink to study a failure: it takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(
    early=EARLY,
    batches=st.lists(st.lists(operation, min_size=1, max_size=4), min_size=6, max_size=14),
)
def test_calls_keep_their_promises_in_every_order(
    database: str, early: list[int], batches: list[list[tuple[str, int]]]
) -> None:
    asyncio.run(play(database, early, batches))
