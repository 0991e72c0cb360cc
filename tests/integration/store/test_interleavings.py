"""Whatever happens in whatever order, and at once: the store's promises hold.

Hypothesis draws batches of operations of a leader, of runners (also of zombies) and of accidents. A batch runs
concurrently. After each batch the promises are checked on the tables themselves.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from uuid import uuid4

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from parley.protocol.messages import EventDraft, PauseBody, PausedCall
from parley.store import attempts, runner_calls, tasks, turns
from parley.store.errors import OtherHolder, Stopped
from parley.store.leader import Fence, Fenced, raise_epoch, tick
from parley.store.pool import StoreUnavailable, connect, open_pool
from parley.store.records import AttemptRecord
from psycopg import errors

from tests.integration.store.story import Story, fails, prompt_request, says

TASKS = 3
CALL = PausedCall(round=0, call=0, kind="Approval", tool="refund", arguments={})
CALL_EVENT = EventDraft(
    type="toolCall", content={"id": "reply/-1/0/0", "round": 0, "call": 0, "tool": "refund"}, key="call/0/0"
)

PROMISES = {
    "sequences run 1, 2, 3 …": """
        SELECT sequence FROM (SELECT sequence, row_number() OVER (ORDER BY sequence) AS nth
                              FROM events WHERE session_uid = %(s)s) e WHERE sequence <> nth""",
    "the session counts its events": """
        SELECT last_sequence, messages FROM sessions s WHERE uid = %(s)s
        AND (last_sequence, messages) <> (SELECT count(*), count(*) FILTER (WHERE type = 'message')
                                          FROM events WHERE session_uid = s.uid)""",
    "one success for a step": """
        SELECT task_uid FROM attempts a JOIN tasks t ON t.uid = a.task_uid WHERE t.session_uid = %(s)s
        AND a.state = 'Succeeded' GROUP BY task_uid, step, item HAVING count(*) > 1""",
    "one open attempt for a step": """
        SELECT task_uid FROM attempts a JOIN tasks t ON t.uid = a.task_uid WHERE t.session_uid = %(s)s
        AND a.state IN ('Open', 'Running') GROUP BY task_uid, step, item HAVING count(*) > 1""",
    "an output for each success and none else": """
        SELECT a.id FROM attempts a JOIN tasks t ON t.uid = a.task_uid FULL JOIN outputs o
          ON o.task_uid = a.task_uid AND o.step = a.step AND a.state = 'Succeeded'
        WHERE t.session_uid = %(s)s AND (a.state = 'Succeeded') <> (o.task_uid IS NOT NULL)""",
    "at most one turn is held": """
        SELECT count(*) FROM turns WHERE session_uid = %(s)s AND state = 'Held' HAVING count(*) > 1""",
    "turns are granted in the order of their tickets, one after the other": """
        SELECT a.ticket, b.ticket FROM turns a JOIN turns b USING (session_uid)
        WHERE session_uid = %(s)s AND a.ticket < b.ticket AND b.granted_at IS NOT NULL
          AND (a.state = 'Waiting' OR (a.granted_at IS NOT NULL AND (a.ended_at IS NULL OR a.ended_at > b.granted_at)))""",
    "what ended or went has no turn": """
        SELECT t.uid FROM turns u JOIN tasks t ON t.uid = u.task_uid WHERE u.session_uid = %(s)s
        AND u.state IN ('Waiting', 'Held') AND (t.ended_at IS NOT NULL OR t.gone_since IS NOT NULL)""",
    "what went runs nothing": """
        SELECT a.id FROM attempts a JOIN tasks t ON t.uid = a.task_uid WHERE t.session_uid = %(s)s
        AND a.state IN ('Open', 'Running') AND (t.gone_since IS NOT NULL OR t.ended_at IS NOT NULL)""",
    "an open turn attempt has the turn": """
        SELECT a.id FROM attempts a JOIN turns u ON (u.session_uid, u.ticket) = (a.session_uid, a.ticket)
        WHERE a.session_uid = %(s)s AND a.state IN ('Open', 'Running') AND u.state <> 'Held'""",
    "nothing but input and the word that it failed comes from an attempt without a result": """
        SELECT e.sequence FROM events e JOIN attempts a
          ON (a.task_uid, a.step, a.item, a.number) = (e.task_uid, e.step, e.item, e.attempt)
        WHERE e.session_uid = %(s)s AND a.state NOT IN ('Succeeded', 'Paused') AND e.role IS DISTINCT FROM 'user'
          AND e.type <> 'toolResult'""",
    "each success spoke once": """
        SELECT a.id FROM attempts a WHERE a.session_uid = %(s)s AND a.state = 'Succeeded'
        AND 1 <> (SELECT count(*) FROM events e WHERE e.role = 'assistant'
                  AND (e.task_uid, e.step, e.attempt) = (a.task_uid, a.step, a.number))""",
    "each step was asked once at most": """
        SELECT task_uid FROM events WHERE session_uid = %(s)s AND role = 'user'
        GROUP BY task_uid, step HAVING count(*) > 1""",
    "every call of an ended turn has one result": """
        SELECT e.sequence FROM events e JOIN turns u USING (session_uid, ticket)
        WHERE e.session_uid = %(s)s AND u.state = 'Done' AND e.type = 'toolCall'
          AND 1 <> (SELECT count(*) FROM events r WHERE (r.session_uid, r.ticket) = (e.session_uid, e.ticket)
                    AND r.type = 'toolResult')""",
    "every call is told of once": """
        SELECT task_uid FROM events e WHERE session_uid = %(s)s AND type = 'toolCall'
        GROUP BY task_uid, step HAVING count(*) > 1""",
    "an agent's usage is its attempts'": """
        SELECT u.input_tokens FROM sessions s JOIN agent_usage u USING (cluster, namespace) WHERE s.uid = %(s)s
        AND (u.input_tokens, u.output_tokens) <>
          (SELECT sum(a.input_tokens), sum(a.output_tokens) FROM attempts a JOIN tasks t ON t.uid = a.task_uid
           WHERE t.session_uid = s.uid)""",
    "the session's usage is its attempts'": """
        SELECT s.input_tokens FROM sessions s WHERE s.uid = %(s)s AND s.input_tokens <>
          (SELECT coalesce(sum(a.input_tokens), 0) FROM attempts a JOIN tasks t ON t.uid = a.task_uid
           WHERE t.session_uid = s.uid)""",
}  # fmt: skip


@dataclass
class World:
    """A session with a few tasks; each operation looks at the store, then does one thing that may be refused."""

    story: Story
    session: str
    tasks: list[str]
    stale: Fence
    answers: dict[int, str] = field(default_factory=dict)

    async def latest(self, nth: int) -> tuple[str, AttemptRecord | None]:
        task = self.tasks[nth]
        found = (await self.story.load(task)).attempts
        return task, found[-1] if found else None

    async def queue(self, nth: int) -> None:
        ready = self.tasks[nth:] + self.tasks[: max(0, nth - 1)]
        await self.story.queue(self.session, *ready)

    async def start(self, nth: int) -> None:
        task, last = await self.latest(nth)
        number = last.number if last else 0
        close = self.story.close(last.id) if last and last.state in {"Open", "Running"} else None
        request = prompt_request(self.story.names[task], "reply")
        await self.story.insert(
            task, number=number + 1, session_uid=self.session, close=close, request=request,
            cause="Disruption" if close else "First",
        )  # fmt: skip

    async def take(self, nth: int) -> None:
        task, last = await self.latest(nth)
        if last:
            await self.story.take(task, number=last.number, holder=f"pod/{last.number}")

    async def take_as_another(self, nth: int) -> None:
        task, last = await self.latest(nth)
        if last:
            await self.story.take(task, number=last.number, holder=f"twin/{last.number}")

    async def say(self, nth: int) -> None:
        _, last = await self.latest(nth)
        if last:
            await self.story.say(last.id, f"asked by {last.number}", holder=f"pod/{last.number}")

    async def journal(self, nth: int) -> None:
        _, last = await self.latest(nth)
        if last:
            await self.story.respond(last.id, "refund", holder=f"pod/{last.number}")

    async def succeed(self, nth: int) -> None:
        task = self.tasks[nth]
        for attempt in (await self.story.load(task)).attempts:
            await self._finish(attempt, says(f"answered by {attempt.number}"))

    async def fail(self, nth: int) -> None:
        _, last = await self.latest(nth)
        if last:
            await self._finish(last, fails())

    async def _finish(self, attempt: AttemptRecord, body: runner_calls.FinishBody) -> None:
        try:
            answer = await self.story.finish(attempt.id, body, holder=f"pod/{attempt.number}")
        except (OtherHolder, Stopped):
            return
        text = answer.model_dump_json()
        assert self.answers.setdefault(attempt.id, text) == text, "a repeat gets another answer"

    async def pause(self, nth: int) -> None:
        _, last = await self.latest(nth)
        if last:
            await self.story.respond(last.id, "refund", holder=f"pod/{last.number}")
            async with self.story.conn() as conn:
                body = PauseBody(calls=[CALL], events=[CALL_EVENT])
                await runner_calls.pause(conn, last.id, f"pod/{last.number}", body)

    async def close(self, nth: int) -> None:
        _, last = await self.latest(nth)
        if last:
            async with self.story.conn() as conn:
                await attempts.close_attempt(
                    conn, self.story.fence, last.id, "Failed", "OOMKilled", "", end_turn=True
                )

    async def end_turn(self, nth: int) -> None:
        """As the leader does it: after a final failure only."""
        task, last = await self.latest(nth)
        if last and last.state == "Failed":
            async with self.story.conn() as conn:
                await turns.end_turn(conn, self.story.fence, task, "reply")

    async def release(self, nth: int) -> None:
        async with self.story.conn() as conn:
            await turns.release_turn(conn, self.story.fence, self.tasks[nth], "reply")

    async def end(self, nth: int) -> None:
        async with self.story.conn() as conn:
            await tasks.end_task(
                conn, self.story.fence, self.tasks[nth], phase="Cancelled", reason="Cancelled", message="",
                close_attempts="Cancelled",
            )  # fmt: skip

    async def gone(self, nth: int) -> None:
        async with self.story.conn() as conn:
            await tasks.task_gone(conn, self.story.fence, self.tasks[nth])

    async def suspend(self, nth: int) -> None:
        async with self.story.conn() as conn:
            await tasks.set_suspended(conn, self.story.fence, self.tasks[nth], suspended=True)

    async def resume(self, nth: int) -> None:
        async with self.story.conn() as conn:
            await tasks.set_suspended(conn, self.story.fence, self.tasks[nth], suspended=False)

    async def tick(self, _: int) -> None:
        async with self.story.conn() as conn:
            await tick(conn, self.story.fence)

    async def frozen_leader_wakes(self, nth: int) -> None:
        async with self.story.conn() as conn:
            try:
                await tasks.task_gone(conn, self.stale, self.tasks[nth])
            except Fenced:
                return
        raise AssertionError("a leader that was replaced wrote something")

    async def kill_connections(self, _: int) -> None:
        await self.story.sql(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


async def quietly(operation: Awaitable[None]) -> None:
    """Refusals and cut connections are part of life; anything else is a fault."""
    try:
        await operation
    except (OtherHolder, Stopped):
        return
    except StoreUnavailable as error:
        deadlock = isinstance(error.__cause__, errors.DeadlockDetected)
    else:
        return
    assert not deadlock, "two transactions took locks in another order"


async def play(dsn: str, batches: list[list[tuple[str, int]]]) -> None:
    async with open_pool(dsn, size=6) as pool:
        async with connect(pool) as conn:
            cluster = str(uuid4())
            stale = await raise_epoch(conn, cluster, "parley", "operator-0")
            story = Story(pool, await raise_epoch(conn, cluster, "parley", "operator-1"))
        session = await story.session()
        world = World(story, session, [await story.task(session) for _ in range(TASKS)], stale)
        await world.queue(0)
        await world.start(0)
        await world.take(0)
        for batch in batches:
            operations: list[Callable[[int], Awaitable[None]]] = [getattr(world, name) for name, _ in batch]
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


COMMON = ["queue", "start", "take", "say", "succeed", "fail", "start", "take", "queue"]
RARE = [
    "take_as_another", "journal", "pause", "close", "end_turn", "release", "end", "gone", "suspend", "resume", "tick",
    "frozen_leader_wakes", "kill_connections",
]  # fmt: skip
operation = st.tuples(st.sampled_from(COMMON + RARE), st.integers(0, TASKS - 1))


@settings(
    max_examples=40, deadline=None, derandomize=True, database=None,
    phases=[Phase.generate],  # add Phase.shrink to study a failure: it takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(batches=st.lists(st.lists(operation, min_size=1, max_size=5), min_size=4, max_size=14))
def test_the_promises_hold_in_every_order(database: str, batches: list[list[tuple[str, int]]]) -> None:
    asyncio.run(play(database, batches))
