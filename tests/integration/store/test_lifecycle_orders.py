"""Speaking, clearing, ageing, sleeping, deleting, restoring and sweeping in any order: a model of it all agrees.

What was erased is found nowhere; what was not is where it was; sequences run on without a gap; nobody else loses a word.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import uuid4

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from parley.store import erasing, lifecycle, restoring, sessions, sweeping, tasks
from parley.store.leader import raise_epoch
from parley.store.pool import connect, open_pool

from tests.integration.store.remains import talk, where
from tests.integration.store.story import Story, says

LONG = timedelta(days=365)
STEPS = [
    "talk",
    "begin",
    "finish",
    "clear_half",
    "clear_all",
    "age",
    "sleep",
    "wake",
    "make_anew",
    "restore",
    "sweep",
]


@dataclass
class World:
    """One conversation under one name, and what should be left of it. A bystander's must never change."""

    story: Story
    session: str
    bystander: str
    said: list[str | None] = field(default_factory=list[str | None])
    """By sequence: a text that must be there; None: it was erased, or a state."""
    erased: set[str] = field(default_factory=set[str])
    before: str | None = None
    """The session that is gone whose transcript could be restored, and what is left of it."""
    kept: list[str | None] = field(default_factory=list[str | None])
    running: tuple[str, int] | None = None
    state: str = "Active"
    words: int = 0

    def word(self) -> str:
        self.words += 1
        return f"word-{self.words}-{self.session}"

    async def talk(self) -> None:
        if self.running is None:
            question, answer = self.word(), self.word()
            await talk(self.story, self.session, question, answer)
            self.said += [question, answer]

    async def begin(self) -> None:
        if self.running is not None:
            return
        task = await self.story.task(self.session)
        await self.story.queue(self.session, task)
        attempt = await self.story.start(task, session_uid=self.session)
        await self.story.take(task)
        question = self.word()
        await self.story.say(attempt, question)
        self.said.append(question)
        self.running = task, attempt

    async def finish(self) -> None:
        if self.running is None:
            return
        task, attempt = self.running
        answer = self.word()
        await self.story.finish(attempt, says(answer))
        await self.story.end(task, output=answer)
        self.said.append(answer)
        self.running = None
        async with self.story.conn() as conn:
            # Its status says so by now: what its turn began with may have been cleared.
            await erasing.finish_erasing(conn, self.story.fence, self.session)

    async def clear_half(self) -> None:
        await self._clear(len(self.said) // 2)

    async def clear_all(self) -> None:
        await self._clear(len(self.said))

    async def _clear(self, through: int) -> None:
        if through == 0:
            return
        async with self.story.conn() as conn:
            reached = await erasing.clear_history(conn, self.story.fence, self.session, through, "maria")
        if reached is not None:
            assert reached == through
            self._forget(through)
            self.said.append(None)

    async def age(self) -> None:
        if self.running is not None:
            return
        await self.story.sql(
            "UPDATE events SET time = time - interval '2 years' WHERE session_uid = %s", self.session
        )
        await self.story.sql(
            "UPDATE tasks SET registered_at = registered_at - interval '2 years' WHERE session_uid = %s",
            self.session,
        )
        async with self.story.conn() as conn:
            await erasing.erase_old(conn, self.story.fence, self.session, LONG)
        self._forget(len(self.said))

    def _forget(self, through: int) -> None:
        self.erased |= {text for text in self.said[:through] if text is not None}
        self.said[:through] = [None] * through

    async def sleep(self) -> None:
        await self._move("Dormant")

    async def wake(self) -> None:
        await self._move("Active")

    async def _move(self, state: str) -> None:
        async with self.story.conn() as conn:
            moved = await lifecycle.set_session_state(conn, self.story.fence, self.session, state, "why")  # type: ignore[arg-type]
        assert (moved is not None) is (state != self.state)
        if moved is not None:
            assert moved == len(self.said) + 1
            self.said.append(None)
            self.state = state

    async def make_anew(self) -> None:
        async with self.story.conn() as conn:
            await sessions.session_gone(conn, self.story.fence, self.session)
            if self.running is not None:
                await tasks.task_gone(conn, self.story.fence, self.running[0])
        await self._drop()
        self.before, self.kept = self.session, self.said
        self.session, self.said = await self.story.session(), []
        self.running, self.state = None, "Active"

    async def restore(self) -> None:
        if self.before is None:
            return
        async with self.story.conn() as conn:
            done = await restoring.restore(conn, self.story.fence, self.session, self.before)
        assert done.now is (not self.said), done
        if done.now:
            self.said = [*self.kept, None]
            self.before, self.kept = None, []

    async def sweep(self) -> None:
        """A year later."""
        await self._drop()
        self.before, self.kept = None, []

    async def _drop(self) -> None:
        """Sweep what is gone, which is the session before the last."""
        for table in ("sessions", "tasks"):
            await self.story.sql(f"ALTER TABLE {table} DISABLE TRIGGER USER")
            await self.story.sql(f"UPDATE {table} SET gone_since = gone_since - interval '1 year' WHERE gone_since IS NOT NULL AND"
                                 f" {'uid' if table == 'sessions' else 'session_uid'} = %s", self.before)  # fmt: skip
            await self.story.sql(f"ALTER TABLE {table} ENABLE TRIGGER USER")
        if self.before is None:
            return
        async with self.story.conn() as conn:
            for due in await sweeping.list_due(conn, self.story.fence, LONG * 10):
                assert due.uid == self.before
                assert await sweeping.erase_gone(conn, self.story.fence, due, LONG * 10)
        self.erased |= {text for text in self.kept if text is not None}

    async def check(self) -> None:
        events = await self.story.events(self.session)
        assert [sequence for sequence, _, _ in events] == list(range(1, len(self.said) + 1))
        assert [content if isinstance(content, str) else None for _, _, content in events] == self.said
        async with self.story.conn() as conn:
            summary = await sessions.session_summary(conn, self.session)
        assert summary is not None
        assert (summary.last_sequence, summary.state) == (len(self.said), self.state)
        allowed = {"inputs.messages"} if self.running is not None else set[str]()
        for text in self.erased:
            assert await where(self.story, text) <= allowed, text
        assert [content for _, _, content in await self.story.events(self.bystander)] == ["Hello", "Hi"]


async def play(database: str, steps: list[str]) -> None:
    async with open_pool(database, size=4) as pool:
        async with connect(pool) as conn:
            story = Story(pool, await raise_epoch(conn, str(uuid4()), "parley", "operator-0"))
            await conn.execute("UPDATE migrations SET applied_at = '2020-01-01'")
        world = World(story, await story.session(), await story.session("bob"))
        await talk(story, world.bystander, "Hello", "Hi")
        for step in steps:
            await getattr(world, step)()
            await world.check()


@settings(
    max_examples=15, deadline=None, derandomize=True, database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(steps=st.lists(st.sampled_from(STEPS), min_size=4, max_size=12))
def test_whatever_happens_the_store_agrees_with_the_model(database: str, steps: list[str]) -> None:
    asyncio.run(play(database, steps))
