"""Readers that come and go as they like, over two gateways, while others speak: each sequence once, in order."""

import asyncio
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from uuid import uuid4

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from parley.gateway.calling import Backend
from parley.gateway.live.hub import Live
from parley.gateway.live.stream import SessionStream
from parley.store.leader import raise_epoch
from parley.store.pool import Pool, connect, open_pool
from parley.store.transcript import EventRow

from tests.integration.gateway.running import LONG
from tests.integration.gateway.test_streams import eventually
from tests.integration.store.posts import note
from tests.integration.store.story import Story

GATEWAYS = 2


@dataclass
class Reading:
    """One reader: what it has got, over all its streams. It holds only the last sequence, as a client does."""

    got: list[int] = field(default_factory=list[int])

    async def read(
        self, pool: Pool, live: Live, session: str, stop_after: int | None, last: int | None
    ) -> None:
        """Read some events, or up to the last, and leave."""
        after = self.got[-1] if self.got else 0
        stream = SessionStream(_backend(pool), live, session, after, silence=1.0)
        taken = 0
        async with aclosing(stream.items()) as items:
            if last is not None and after >= last:
                return
            async for item in items:
                if isinstance(item, EventRow):
                    self.got.append(item.sequence)
                    taken += 1
                if taken == stop_after or (last is not None and self.got and self.got[-1] >= last):
                    return
                if stop_after is not None and live.is_ending:
                    return


def _backend(pool: Pool) -> Backend:
    return Backend(None, pool, 25.0)  # type: ignore[arg-type]


@dataclass
class World:
    story: Story
    session: str
    lives: list[Live]
    notes: int = 0

    async def speak(self, times: int) -> None:
        for _ in range(times):
            self.notes += 1
            key = f"n{self.notes}"
            await eventually(lambda key=key: note(self.story, self.session, key))

    async def kill_listeners(self, _: int) -> None:
        await eventually(
            lambda: self.story.sql(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'parley-listener'"
            )
        )

    async def kill_connections(self, _: int) -> None:
        await eventually(
            lambda: self.story.sql(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )


async def play(dsn: str, acts: list[tuple[str, int]], breaks: list[tuple[int, int]]) -> None:
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(open_pool(dsn, size=8))
        async with connect(pool) as conn:
            story = Story(pool, await raise_epoch(conn, str(uuid4()), "parley", "operator-0"))
        lives = [Live(pool) for _ in range(GATEWAYS)]
        for live in lives:
            await stack.enter_async_context(live.running())
        world = World(story, await story.session(), lives)
        reader = Reading()

        async def happen() -> None:
            for act, number in acts:
                await getattr(world, act)(number)

        async def come_and_go() -> None:
            for gateway, stop_after in breaks:
                # Who waits for more than is ever said leaves when everything was.
                with_end = asyncio.create_task(
                    reader.read(pool, lives[gateway], world.session, stop_after, None)
                )
                await asyncio.wait({with_end, happening}, return_when=asyncio.FIRST_COMPLETED)
                if happening.done():
                    with_end.cancel()
                await asyncio.gather(with_end, return_exceptions=True)

        async with asyncio.timeout(LONG):
            happening = asyncio.create_task(happen())
            await come_and_go()
            await happening
            await reader.read(pool, lives[0], world.session, None, world.notes)
        assert reader.got == list(range(1, world.notes + 1))


act = st.one_of(
    st.tuples(st.just("speak"), st.integers(1, 30)),
    st.tuples(st.just("speak"), st.integers(1, 3)),
    st.tuples(st.sampled_from(["kill_listeners", "kill_connections"]), st.just(0)),
)


@settings(
    max_examples=15, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(
    acts=st.lists(act, min_size=3, max_size=10),
    breaks=st.lists(st.tuples(st.integers(0, GATEWAYS - 1), st.integers(1, 40)), max_size=8),
)
def test_each_sequence_comes_once_and_in_order(
    database: str, acts: list[tuple[str, int]], breaks: list[tuple[int, int]]
) -> None:
    asyncio.run(play(database, acts, breaks))
