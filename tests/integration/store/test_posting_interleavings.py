"""Messages posted by gateways that die at any step, while leaders and runners work: each is said once, in its place.

As ``test_interleavings``: batches of operations run concurrently, the promises are checked on the tables after each.
At the end whoever is left brings all of it to its end, and every message that could be answered was.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import uuid4

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from parley.store.errors import KeyReused, StoreUnavailable
from parley.store.leader import raise_epoch
from parley.store.pool import connect, open_pool
from parley.store.posting import list_orphans

from tests.integration.store.posts import note, post
from tests.integration.store.story import Story, prompt_request, says
from tests.integration.store.test_interleavings import PROMISES, World, quietly

KEYS = 4
POSTED = {
    "each task was asked once at most": """
        SELECT task_uid FROM events WHERE session_uid = %(s)s AND role = 'user' AND task_uid IS NOT NULL
        GROUP BY task_uid, step HAVING count(*) > 1""",
    "each key is one event": """
        SELECT p.key FROM posts p LEFT JOIN events e ON (e.session_uid, e.id) = (p.session_uid, p.event_id)
        WHERE p.session_uid = %(s)s AND (e.sequence IS NULL OR e.sequence <> p.sequence)""",
    "each posted text is said once": """
        SELECT content::text FROM events WHERE session_uid = %(s)s AND role = 'user'
        GROUP BY content::text HAVING count(*) > 1""",
    "what a posted task says is what was posted": """
        SELECT e.sequence FROM events e JOIN posts p USING (session_uid)
        WHERE e.session_uid = %(s)s AND e.role = 'user' AND e.task = p.task_name AND e.id <> p.event_id""",
    "a message stands where its turn does": """
        SELECT p.key FROM posts p JOIN events e ON (e.session_uid, e.id) = (p.session_uid, p.event_id)
        JOIN turns u ON (u.session_uid, u.ticket) = (p.session_uid, p.ticket)
        WHERE p.session_uid = %(s)s AND (e.ticket <> p.ticket OR e.task_uid IS DISTINCT FROM u.task_uid)""",
    "a message that has a turn waiting or held is in it": """
        SELECT u.ticket FROM turns u JOIN posts p ON (p.session_uid, p.task_name) = (u.session_uid, u.task_name)
        WHERE u.session_uid = %(s)s AND u.state = 'Waiting' AND p.ticket <> u.ticket
          AND NOT EXISTS (SELECT FROM turns d WHERE (d.session_uid, d.task_uid) = (u.session_uid, u.task_uid)
                            AND d.state = 'Done')""",
}
ORDER = "turns are granted in the order of their tickets, one after the other"
ONCE = "each step was asked once at most"
"""Not of notes, whose turns are over at once: nobody holds them; nor of what waits for its Task."""


@dataclass
class PostingWorld(World):
    """``tasks`` are the posts' Tasks once somebody made them, by key."""

    made: dict[int, str] = field(default_factory=dict[int, str])
    texts: dict[int, str] = field(default_factory=dict[int, str])

    async def post(self, nth: int) -> None:
        """A gateway commits a message, and dies."""
        await self._post(nth, f"message {nth}")

    async def post_another(self, nth: int) -> None:
        """The same key with other words: whichever comes second is refused."""
        await self._post(nth, f"another {nth}")

    async def _post(self, nth: int, text: str) -> None:
        try:
            posted = await post(self.story, self.session, f"k{nth}", text)
        except KeyReused:
            return
        assert posted.task_name == f"m-k{nth}"
        assert self.texts.setdefault(nth, text) == text, "both were taken"

    async def write(self, nth: int) -> None:
        await note(self.story, self.session, f"n{nth}", f"note {nth}")

    async def make(self, nth: int) -> None:
        """A gateway, or the leader, makes the Task of what is committed; the operator registers it."""
        rows = await self.story.sql(
            "SELECT 1 FROM posts WHERE session_uid = %s AND key = %s", self.session, f"k{nth}"
        )
        if not rows:
            return
        uid = self.made.setdefault(nth, str(uuid4()))
        self.story.names[uid] = f"m-k{nth}"
        await self.story.register(uid, self.session)

    async def queue(self, nth: int) -> None:
        ready = [uid for key, uid in sorted(self.made.items()) if key != nth and await self.is_open(uid)]
        await self.story.queue(self.session, *ready)

    async def is_open(self, uid: str) -> bool:
        rows = await self.story.sql(
            "SELECT 1 FROM tasks WHERE uid = %s AND ended_at IS NULL AND suspended_since IS NULL"
            " AND NOT EXISTS (SELECT FROM outputs o WHERE o.task_uid = uid)",
            uid,
        )
        return bool(rows)

    async def latest(self, nth: int) -> Any:
        uid = self.made.get(nth)
        if uid is None or not await self.story.sql("SELECT 1 FROM tasks WHERE uid = %s", uid):
            return "", None
        found = (await self.story.load(uid)).attempts
        return uid, found[-1] if found else None

    async def start(self, nth: int) -> None:
        task, last = await self.latest(nth)
        if not task:
            return
        number = last.number if last else 0
        close = self.story.close(last.id) if last and last.state in {"Open", "Running"} else None
        await self.story.insert(
            task, number=number + 1, session_uid=self.session, close=close,
            request=prompt_request(self.story.names[task], "reply"), cause="Disruption" if close else "First",
        )  # fmt: skip

    async def succeed(self, nth: int) -> None:
        task, last = await self.latest(nth)
        if task and last:
            await self._finish(last, says(f"answer {nth}"))

    async def release(self, nth: int) -> None:
        if nth in self.made:
            self.tasks = [self.made.get(key, "") for key in range(KEYS)]
            await super().release(nth)

    async def suspend(self, nth: int) -> None:
        if nth in self.made:
            self.tasks = [self.made.get(key, "") for key in range(KEYS)]
            await super().suspend(nth)

    async def resume(self, nth: int) -> None:
        if nth in self.made:
            self.tasks = [self.made.get(key, "") for key in range(KEYS)]
            await super().resume(nth)

    async def drain(self) -> None:
        """Somebody is there again: the leader makes what is missing, and all is answered."""
        for nth in range(KEYS):
            await self.resume(nth)
        async with self.story.conn() as conn:
            for orphan in await list_orphans(conn, self.story.fence, timedelta(0)):
                await self.make(int(orphan.task_name.removeprefix("m-k")))
        for nth in self.made:
            await self.make(nth)
        for _ in range(3 * KEYS):
            ready = [uid for _, uid in sorted(self.made.items()) if await self.is_open(uid)]
            queue = await self.story.queue(self.session, *ready)
            if not queue:
                break
            nth = next(key for key, uid in self.made.items() if uid == queue[0][0])
            await self.start(nth)
            task, last = await self.latest(nth)
            holder = f"pod/{last.number}"
            await self.story.take(task, number=last.number, holder=holder)
            await self.story.say(last.id, "never seen", holder=holder)
            await self.story.finish(last.id, says(f"answer {nth}"), holder=holder)
        async with self.story.conn() as conn:
            assert await list_orphans(conn, self.story.fence, timedelta(0)) == []


async def play(dsn: str, batches: list[list[tuple[str, int]]]) -> None:
    async with open_pool(dsn, size=6) as pool:
        async with connect(pool) as conn:
            cluster = str(uuid4())
            stale = await raise_epoch(conn, cluster, "parley", "operator-0")
            story = Story(pool, await raise_epoch(conn, cluster, "parley", "operator-1"))
        world = PostingWorld(story, await story.session(), [], stale)
        for batch in batches:
            operations: list[Callable[[int], Awaitable[None]]] = [getattr(world, name) for name, _ in batch]
            await asyncio.gather(*[quietly(op(nth)) for op, (_, nth) in zip(operations, batch, strict=True)])
            await check(story, world.session)
    # By connections that nobody has killed.
    async with open_pool(dsn, size=6) as pool:
        world.story.pool = pool
        posted = {nth for nth in range(KEYS) if await said(world, nth)}
        await world.drain()
        await check(story, world.session)
        answers = [text for _, role, text in await story.events(world.session) if role == "assistant"]
        assert sorted(answers) == sorted(f"answer {nth}" for nth in posted), "each message has its answer"


async def said(world: PostingWorld, nth: int) -> bool:
    rows = await world.story.sql(
        "SELECT 1 FROM posts WHERE session_uid = %s AND key = %s", world.session, f"k{nth}"
    )
    return bool(rows)


async def check(story: Story, session: str) -> None:
    promises = {name: query for name, query in PROMISES.items() if name not in {ORDER, ONCE}} | POSTED
    for promise, query in promises.items():
        rows = await looked(story, query, session)
        assert not rows, f"broken: {promise}: {rows}"


async def looked(story: Story, query: str, session: str) -> list[Any]:
    """Ask through connections of which some were killed."""
    for _ in range(20):
        with suppress(StoreUnavailable):
            async with story.conn() as conn:
                return await (await conn.execute(query, {"s": session})).fetchall()  # type: ignore[arg-type]
    raise AssertionError("the store is away")


COMMON = ["post", "post", "make", "queue", "start", "take", "say", "succeed", "queue"]
RARE = [
    "post_another",
    "write",
    "release",
    "suspend",
    "resume",
    "take_as_another",
    "kill_connections",
    "tick",
]
operation = st.tuples(st.sampled_from(COMMON + RARE), st.integers(0, KEYS - 1))


@settings(
    max_examples=20, deadline=None, derandomize=True, database=None,
    phases=[Phase.generate],  # add Phase.shrink to study a failure: it takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(batches=st.lists(st.lists(operation, min_size=1, max_size=6), min_size=4, max_size=14))
def test_a_message_is_said_once_whatever_happens(database: str, batches: list[list[tuple[str, int]]]) -> None:
    asyncio.run(play(database, batches))
