"""Questions, fan-outs, children, files and contexts in any order, and at once: the store's promises hold.

As in ``test_interleavings``, hypothesis draws batches of operations; each batch runs concurrently, and after each the
promises are checked on the tables themselves.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from uuid import uuid4

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from parley.store import attempts, children, replies, rounds, runner_calls, tasks, uploads
from parley.store.entries import AskPerson, Done, Enter, Skip
from parley.store.leader import Fence, Fenced, raise_epoch
from parley.store.pool import connect, open_pool
from parley.store.records import ReplyVerdict

from tests.integration.store.story import (
    MINUTE,
    Story,
    child_request,
    container_request,
    prompt_request,
    says,
)
from tests.integration.store.test_interleavings import quietly

TASKS = 2
ITEMS = 3
QUESTION = {"question": "Refund?", "choices": ["approve", "reject"]}

PROMISES = {
    "sequences run 1, 2, 3 …": """
        SELECT sequence FROM (SELECT sequence, row_number() OVER (ORDER BY sequence) AS nth
                              FROM events WHERE session_uid = %(s)s) e WHERE sequence <> nth""",
    "each accepted reply is one event, and each reply event an accepted reply": """
        SELECT coalesce(r.by, e.by) FROM (SELECT by FROM replies WHERE accepted) r
        FULL JOIN (SELECT content ->> 'by' AS by FROM events WHERE session_uid = %(s)s AND type = 'reply') e USING (by)
        WHERE r.by IS NULL OR e.by IS NULL""",
    "a question is answered by one reply or by none": """
        SELECT w.id FROM waits w WHERE (w.state = 'Answered')
          <> ((SELECT count(*) FROM replies r WHERE r.wait_id = w.id AND r.accepted) = 1)""",
    "a question whose time was up has its default": """
        SELECT w.id FROM waits w LEFT JOIN outputs o USING (task_uid, step)
        WHERE w.state = 'Expired' AND o.value ->> 'choice' IS DISTINCT FROM 'reject'""",
    "what a person said is the output": """
        SELECT r.uid FROM replies r JOIN waits w ON w.id = r.wait_id
        LEFT JOIN outputs o ON (o.task_uid, o.step) = (w.task_uid, w.step)
        WHERE r.accepted AND (o.value ->> 'by', o.value ->> 'choice') IS DISTINCT FROM (r.by, r.body ->> 'choice')""",
    "what ended or went asks nobody and runs nothing": """
        SELECT t.uid FROM tasks t WHERE (t.ended_at IS NOT NULL OR t.gone_since IS NOT NULL)
        AND (EXISTS (SELECT FROM waits w WHERE w.task_uid = t.uid AND w.state = 'Open')
             OR EXISTS (SELECT FROM attempts a WHERE a.task_uid = t.uid AND a.ended_at IS NULL))""",
    "a step that has ended runs nothing": """
        SELECT s.step FROM steps s JOIN attempts a USING (task_uid, step)
        WHERE s.ended_at IS NOT NULL AND a.ended_at IS NULL""",
    "what was skipped has no output, what Succeeded has one": """
        SELECT s.step FROM steps s LEFT JOIN outputs o ON (o.task_uid, o.step, o.item) = (s.task_uid, s.step, -1)
        WHERE (s.state = 'Skipped' AND o.step IS NOT NULL) OR (s.state = 'Succeeded' AND o.step IS NULL)""",
    "a list has a place for each item, in order": """
        SELECT o.value FROM steps s JOIN outputs o ON (o.task_uid, o.step, o.item) = (s.task_uid, s.step, -1)
        WHERE s.item_count IS NOT NULL AND o.value::text IS DISTINCT FROM (
          SELECT json_agg(i.value ORDER BY n)::text FROM generate_series(0, s.item_count - 1) n
          LEFT JOIN outputs i ON (i.task_uid, i.step, i.item) = (s.task_uid, s.step, n))""",
    "one success for an item": """
        SELECT task_uid FROM attempts WHERE state = 'Succeeded' GROUP BY task_uid, step, item HAVING count(*) > 1""",
    "a round is whole": """
        SELECT task_uid FROM attempts WHERE step = 'each' GROUP BY task_uid, number HAVING count(*) <> 3""",
    "each change of the context was made once": """
        SELECT context_version FROM sessions WHERE uid = %(s)s AND context_version <>
          (SELECT count(*) FROM steps WHERE step LIKE 'set-%%' AND state = 'Succeeded')""",
    "no change of the context was lost": """
        SELECT step FROM steps, sessions s WHERE s.uid = %(s)s AND step LIKE 'set-%%' AND steps.state = 'Succeeded'
        AND s.context -> (step || task_uid) IS NULL""",
    "a child's success is its parent's": """
        SELECT a.id FROM attempts a
        LEFT JOIN outputs o ON (o.task_uid, o.step, o.item) = (a.task_uid, a.step, a.item)
        WHERE a.child AND a.state = 'Succeeded'
          AND NOT EXISTS (SELECT FROM tasks c WHERE c.parent_attempt = a.id AND c.end_phase = 'Succeeded'
                          AND c.output::text = o.value::text)""",
    "files are kept while their container is open": """
        SELECT u.attempt FROM uploads u JOIN attempts a ON a.id = u.attempt WHERE a.ended_at IS NOT NULL""",
    "a container that Succeeded has an output": """
        SELECT a.id FROM attempts a LEFT JOIN outputs o ON (o.task_uid, o.step, o.item) = (a.task_uid, a.step, a.item)
        WHERE a.step = 'file' AND a.state = 'Succeeded' AND o.step IS NULL""",
}  # fmt: skip

OVER = """
SELECT t.uid, md5(concat(
  (SELECT json_agg(s ORDER BY s.step) FROM steps s WHERE s.task_uid = t.uid),
  (SELECT json_agg(a ORDER BY a.id) FROM attempts a WHERE a.task_uid = t.uid),
  (SELECT json_agg(w ORDER BY w.id) FROM waits w WHERE w.task_uid = t.uid),
  (SELECT json_agg(o ORDER BY o.step, o.item) FROM outputs o WHERE o.task_uid = t.uid),
  (SELECT json_agg(e ORDER BY e.sequence) FROM events e WHERE e.task_uid = t.uid)))
FROM tasks t WHERE t.ended_at IS NOT NULL OR t.gone_since IS NOT NULL
"""
"""All that a task which is over has left: it stays as it is."""


@dataclass
class World:
    """Two tasks of a session, each with a step of every kind; each operation does one thing that may be refused."""

    story: Story
    session: str
    tasks: list[str]
    stale: Fence
    verdicts: dict[str, ReplyVerdict] = field(default_factory=dict)
    waits: dict[str, str] = field(default_factory=dict)
    kids: dict[str, str] = field(default_factory=dict)

    async def _open(self, task: str, step: str) -> int | None:
        found = (await self.story.load(task)).attempts
        return next((a.id for a in found if a.step == step and a.ended_at is None), None)

    async def ask(self, nth: int) -> None:
        task, wait = self.tasks[nth], str(uuid4())
        if await self.story.enter(task, "confirm", AskPerson(wait, QUESTION, MINUTE)):
            self.waits[task] = wait

    async def answer(self, nth: int) -> None:
        await self._answer(nth, str(uuid4()))

    async def answer_again(self, nth: int) -> None:
        await self._answer(nth, f"reply-{nth}")

    async def _answer(self, nth: int, uid: str) -> None:
        task = self.tasks[nth]
        async with self.story.conn() as conn:
            verdict = await replies.answer_wait(
                conn, self.story.fence, reply_uid=uid, task_uid=task, by=uid,
                wait_id=self.waits.get(task, str(uuid4())), body={"choice": "approve"},
            )  # fmt: skip
        assert self.verdicts.setdefault(uid, verdict) == verdict, "a reply gets another verdict"

    async def expire(self, nth: int) -> None:
        await self.story.sql(
            "UPDATE waits SET deadline = now() WHERE task_uid = %s AND state = 'Open'", self.tasks[nth]
        )
        if wait := self.waits.get(self.tasks[nth]):
            async with self.story.conn() as conn:
                await replies.expire_wait(conn, self.story.fence, wait, "reject", has_default=True)

    async def decide(self, nth: int) -> None:
        task = self.tasks[nth]
        for step in ("set-1", "set-2"):
            await self.story.enter(task, step, Done(None, {step + task: 1}, {"order": "12345"}))
        await self.story.enter(task, "maybe", Skip("when is false"))
        await self.story.enter(task, "maybe", Done("not skipped"))

    async def fan_out(self, nth: int) -> None:
        await self.story.enter(self.tasks[nth], "each", Enter(list(range(ITEMS))))

    async def start_round(self, nth: int) -> None:
        task = self.tasks[nth]
        tried = [a for a in (await self.story.load(task)).attempts if a.step == "each"]
        number = 1 + max((a.number for a in tried), default=0)
        new = self.story.attempt(
            task,
            "each",
            number=number,
            job=f"{task}-{number}",
            request=prompt_request("t", "each", history="None"),
        )
        entries = [replace(new, item=item, index=item) for item in range(ITEMS)]
        lost = [self.story.close(a.id) for a in tried if a.ended_at is None]
        async with self.story.conn() as conn:
            await rounds.insert_round(conn, self.story.fence, entries, lost)

    async def run_items(self, nth: int) -> None:
        task = self.tasks[nth]
        for a in (await self.story.load(task)).attempts:
            if a.step == "each" and a.ended_at is None:
                holder = f"pod-{a.id}/1"
                async with self.story.conn() as conn:
                    taken = await runner_calls.take(
                        conn,
                        job=a.job or "",
                        index=a.index,
                        task_uid=task,
                        namespace="default",
                        holder=holder,
                    )
                    await runner_calls.finish(conn, taken.attempt, holder, says(f"item {a.item}"))

    async def end_fan_out(self, nth: int) -> None:
        await self.story.end_step(self.tasks[nth], "each")

    async def make_child(self, nth: int) -> None:
        task = self.tasks[nth]
        tried = [a for a in (await self.story.load(task)).attempts if a.step == "make"]
        if not any(a.ended_at is None for a in tried):
            number = len(tried) + 1
            await self.story.insert(
                task, "make", number=number, job=f"{task}-child-{number}", request=child_request("t", "make")
            )
        if (attempt := await self._open(task, "make")) and f"{attempt}" not in self.kids:
            job = next(a.job for a in (await self.story.load(task)).attempts if a.id == attempt)
            self.kids[f"{attempt}"] = await self.story.child(task, job or "")

    async def end_children(self, _: int) -> None:
        for attempt, child in list(self.kids.items()):
            await self.story.end(child, output={"child": child})
            async with self.story.conn() as conn:
                await children.finish_child(conn, self.story.fence, int(attempt), child)

    async def close_child(self, nth: int) -> None:
        if attempt := await self._open(self.tasks[nth], "make"):
            async with self.story.conn() as conn:
                await attempts.close_attempt(
                    conn, self.story.fence, attempt, "Failed", "Cancelled", "", end_turn=False
                )

    async def start_container(self, nth: int) -> None:
        await self.story.insert(self.tasks[nth], "file", request=container_request("t", "file"))

    async def upload(self, nth: int) -> None:
        task = self.tasks[nth]
        async with self.story.conn() as conn:
            await uploads.put_upload(
                conn, job=f"{task}-file-1", index=0, task_uid=task, namespace="default", value="file"
            )

    async def finish_container(self, nth: int) -> None:
        if attempt := await self._open(self.tasks[nth], "file"):
            async with self.story.conn() as conn:
                await attempts.finish_container(
                    conn, self.story.fence, attempt, outcome="Succeeded", reason="Succeeded", message="",
                    exit_code=0, output="said", pod_uid="p", log="end",
                )  # fmt: skip

    async def serve(self, nth: int) -> None:
        task = self.tasks[nth]
        await self.story.insert(task, "served", runtime="Task")
        async with self.story.conn() as conn:
            taken = await runner_calls.take_next(
                conn, task_uid=task, namespace="default", holder=f"pod/{task}"
            )
            if taken is not None:
                await runner_calls.finish(conn, taken.attempt, f"pod/{task}", says("served"))

    async def suspend(self, nth: int) -> None:
        async with self.story.conn() as conn:
            await tasks.set_suspended(conn, self.story.fence, self.tasks[nth], suspended=True)

    async def resume(self, nth: int) -> None:
        async with self.story.conn() as conn:
            await tasks.set_suspended(conn, self.story.fence, self.tasks[nth], suspended=False)

    async def cancel(self, nth: int) -> None:
        await self.story.end(self.tasks[nth], "Cancelled")

    async def gone(self, nth: int) -> None:
        async with self.story.conn() as conn:
            await tasks.task_gone(conn, self.story.fence, self.tasks[nth])

    async def outage(self, _: int) -> None:
        await self.story.sql("UPDATE leader SET tick = tick - interval '100 s'")

    async def frozen_leader_wakes(self, nth: int) -> None:
        async with self.story.conn() as conn:
            try:
                await replies.answer_wait(
                    conn, self.stale, reply_uid="stale", task_uid=self.tasks[nth], by="stale",
                    wait_id=self.waits.get(self.tasks[nth], ""), body={"choice": "approve"},
                )  # fmt: skip
            except Fenced:
                return
        raise AssertionError("a leader that was replaced took a reply")

    async def kill_connections(self, _: int) -> None:
        await self.story.sql(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


async def play(dsn: str, batches: list[list[tuple[str, int]]]) -> None:
    async with open_pool(dsn, size=6) as pool:
        async with connect(pool) as conn:
            # One database for all examples: each begins with nothing.
            await conn.execute("TRUNCATE sessions, tasks, replies, slots CASCADE")
            cluster = str(uuid4())
            stale = await raise_epoch(conn, cluster, "parley", "operator-0")
            story = Story(pool, await raise_epoch(conn, cluster, "parley", "operator-1"))
        session = await story.session()
        world = World(story, session, [await story.task(session) for _ in range(TASKS)], stale)
        over: dict[str, str] = {}
        for batch in batches:
            operations: list[Callable[[int], Awaitable[None]]] = [getattr(world, name) for name, _ in batch]
            await asyncio.gather(*[quietly(op(nth)) for op, (_, nth) in zip(operations, batch, strict=True)])
            await check(story, session)
            left: dict[str, str] = dict(await story.sql(OVER))  # type: ignore[arg-type]
            changed = [uid for uid, before in over.items() if left.get(uid) != before]
            assert not changed, "something was done for a task that was over"
            over = left


async def check(story: Story, session: str) -> None:
    all_at_once = " UNION ALL ".join(
        f"SELECT $${promise}$$ WHERE EXISTS ({query})" for promise, query in PROMISES.items()
    )
    async with story.conn() as conn:
        cursor = await conn.execute(all_at_once, {"s": session})  # type: ignore[arg-type]
        for (promise,) in await cursor.fetchall():
            rows = await (await conn.execute(PROMISES[promise], {"s": session})).fetchall()  # type: ignore[arg-type]
            raise AssertionError(f"broken: {promise}: {rows}")


COMMON = [
    "ask", "answer", "answer_again", "expire", "decide", "fan_out", "start_round", "run_items", "end_fan_out",
    "make_child", "end_children", "start_container", "upload", "finish_container", "serve",
]  # fmt: skip
RARE = [
    "close_child", "suspend", "resume", "cancel", "gone", "outage", "frozen_leader_wakes", "kill_connections",
]  # fmt: skip
operation = st.tuples(st.sampled_from(COMMON * 3 + RARE), st.integers(0, TASKS - 1))


@settings(
    max_examples=40, deadline=None, derandomize=True, database=None,
    phases=[Phase.generate],  # add Phase.shrink to study a failure: it takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(batches=st.lists(st.lists(operation, min_size=2, max_size=6), min_size=8, max_size=18))
def test_the_promises_of_flows_hold_in_every_order(
    database: str, batches: list[list[tuple[str, int]]]
) -> None:
    asyncio.run(play(database, batches))
