"""A session whose turns call all tools at once, and all that runners, people, leaders and accidents do to it."""

from dataclasses import dataclass
from typing import Any

from parley.engine.names import call_step
from parley.protocol.messages import EventDraft, FinishBody, Usage
from parley.store import attempts, tasks
from parley.store.leader import tick
from parley.store.records import AttemptRecord, WaitRecord

from tests.integration.store import calling
from tests.integration.store.call_promises import NEED_APPROVAL, TOOLS
from tests.integration.store.calling import Kind
from tests.integration.store.story import Story, container_request, fails, says

TASKS = 2
CARRIED_OUT: dict[str, Kind] = {"audit": "Container", "score": "Container", "report": "Task"}


@dataclass
class World:
    """A session with a few turns that call all tools at once; each operation may be refused."""

    story: Story
    session: str
    tasks: list[str]

    async def latest(self, nth: int) -> tuple[str, AttemptRecord | None]:
        task = self.tasks[nth % TASKS]
        found = [attempt for attempt in (await self.story.load(task)).attempts if attempt.step == "reply"]
        return task, found[-1] if found else None

    async def waits(self, nth: int, *kinds: Kind) -> list[tuple[str, WaitRecord]]:
        task = self.tasks[nth % TASKS]
        return [(task, wait) for wait in (await self.story.load(task)).waits if wait.kind in kinds]

    async def go_on(self, nth: int) -> None:
        """The next thing that runner, person or leader would do, if all goes well."""
        task, last = await self.latest(nth)
        if await self.waits(nth, "Approval", "Container", "Task"):
            await (self.expire if nth % 6 == 4 else self.decide_all)(nth)
            for _ in range(3):
                await self.run_container(nth)
            await self.queue_tasks(nth)
        elif last is None or last.state in {"Paused", "Failed", "Lost"}:
            await self.start(nth, last.number + 1 if last else 1)
        elif last.state == "Open" or not await self._asked(task):
            await self.take(nth)
        else:
            await self.run_all(nth)

    async def start(self, nth: int, number: int) -> None:
        await self.story.queue(self.session, *self.tasks)
        task = self.tasks[nth % TASKS]
        await self.story.insert(
            task, number=number, cause="Resume" if number > 1 else "First", session_uid=self.session,
            request=calling.request_of(self.story, task),
        )  # fmt: skip

    async def take(self, nth: int) -> None:
        task, last = await self.latest(nth)
        if last:
            await self.story.take(task, number=last.number, holder=f"pod/{last.number}")
            await self.story.say(last.id, "Please", holder=f"pod/{last.number}")
            await self.story.respond(last.id, *TOOLS, holder=f"pod/{last.number}")

    async def _asked(self, task: str) -> bool:
        return bool(await self.story.sql("SELECT 1 FROM journal WHERE task_uid = %s AND call = -1", task))

    async def run_all(self, nth: int) -> None:
        """Run what may run, then pause for the rest, or finish."""
        task, last = await self.latest(nth)
        if not last:
            return
        done = await calling.journal(self.story, task)
        decided = await self._decided(task)
        holder = f"pod/{last.number}"
        for call, tool in enumerate(TOOLS):
            if (0, call) in done or (call in NEED_APPROVAL and call not in decided):
                continue
            if decided.get(call) == "reject":
                await calling.result(self.story, last.id, {"error": "rejected"}, call, holder=holder)
            elif tool not in CARRIED_OUT:
                await calling.begin(self.story, last.id, call, holder=holder)
                await calling.result(self.story, last.id, f"result of {last.number}", call, holder=holder)
        await (self.succeed if len(await calling.journal(self.story, task)) == len(TOOLS) else self.pause)(
            nth
        )

    async def disrupt(self, nth: int) -> None:
        task, last = await self.latest(nth)
        if last and last.state in {"Open", "Running"}:
            number = last.number + 1
            await self.story.insert(
                task, number=number, cause="Disruption", session_uid=self.session,
                request=calling.request_of(self.story, task), close=self.story.close(last.id),
            )  # fmt: skip
            await self.story.take(task, number=number, holder=f"pod/{number}")

    async def begin(self, nth: int) -> None:
        """Of any call, approved or not."""
        _, last = await self.latest(nth)
        if last:
            await calling.begin(self.story, last.id, nth % len(TOOLS), holder=f"pod/{last.number}")

    async def result(self, nth: int) -> None:
        _, last = await self.latest(nth)
        if last:
            value: Any = {"error": "no"} if nth % 3 == 0 else f"result of {last.number}"
            await calling.result(self.story, last.id, value, nth % len(TOOLS), holder=f"pod/{last.number}")

    async def pause(self, nth: int) -> None:
        """For all that is left to wait for, as an honest runner does it."""
        task, last = await self.latest(nth)
        if not last:
            return
        done = await calling.journal(self.story, task)
        decided = await self._decided(task)
        waiting: list[tuple[int, Kind]] = []
        for call, tool in enumerate(TOOLS):
            if (0, call) in done:
                continue
            if call in NEED_APPROVAL and call not in decided:
                waiting.append((call, "Approval"))
            elif tool in CARRIED_OUT:
                waiting.append((call, CARRIED_OUT[tool]))
        if waiting:
            events = self._events(done)
            await calling.pause(self.story, last.id, *waiting, holder=f"pod/{last.number}", events=events)

    async def pause_for_anything(self, nth: int) -> None:
        _, last = await self.latest(nth)
        if last:
            kind: Kind = ("Approval", "Container", "Task")[nth % 3]  # type: ignore[assignment]
            events = [calling.call_event(TOOLS[nth % len(TOOLS)], nth % len(TOOLS))]
            await calling.pause(
                self.story, last.id, (nth % len(TOOLS), kind), holder=f"pod/{last.number}", events=events
            )

    async def _decided(self, task: str) -> dict[int, str]:
        rows = await self.story.sql(
            "SELECT w.call, coalesce(r.body ->> 'choice', lower(w.body ->> 'onTimeout'))"
            " FROM waits w LEFT JOIN replies r ON r.wait_id = w.id AND r.accepted"
            " WHERE w.task_uid = %s AND w.kind = 'Approval' AND w.state IN ('Answered', 'Expired')",
            task,
        )
        return {row[0]: row[1] for row in rows}

    def _events(self, done: dict[tuple[int, int], Any]) -> list[EventDraft]:
        told = [calling.call_event(tool, call) for call, tool in enumerate(TOOLS)]
        return told + [
            calling.result_event(TOOLS[call], value, call) for (_, call), value in sorted(done.items())
        ]

    async def approve(self, nth: int) -> None:
        await self._reply(nth, "approve")

    async def reject(self, nth: int) -> None:
        await self._reply(nth, "reject")

    async def _reply(self, nth: int, choice: str) -> None:
        task = self.tasks[nth % TASKS]
        # Any wait there ever was, so also late and second replies, and to what is no approval
        rows = await self.story.sql("SELECT id::text FROM waits WHERE task_uid = %s ORDER BY id", task)
        if rows:
            await calling.reply(self.story, task, rows[nth % len(rows)][0], choice)

    async def decide_all(self, nth: int) -> None:
        for task, wait in await self.waits(nth, "Approval"):
            await calling.reply(self.story, task, wait.id, "reject" if nth % 8 == 3 else "approve")

    async def expire(self, nth: int) -> None:
        for _, wait in await self.waits(nth, "Approval"):
            if wait.deadline is not None:
                await calling.expire(self.story, wait.id, overdue=nth % 5 > 0)

    async def run_container(self, nth: int) -> None:
        for task, wait in await self.waits(nth, "Container"):
            step = call_step("reply", wait.id)
            own = [a for a in (await self.story.load(task)).attempts if a.step == step]
            if not own:
                await self.story.insert(task, step, request=container_request("t", step))
            elif own[-1].state == "Open":
                outcome: Any = "Succeeded" if nth % 3 else "Failed"
                async with self.story.conn() as conn:
                    await attempts.finish_container(
                        conn, self.story.fence, own[-1].id, outcome=outcome, reason=outcome, message="",
                        exit_code=0, output={"points": nth}, pod_uid="p",
                    )  # fmt: skip
            else:
                await calling.answer(self.story, wait.id, own[-1].id)

    async def queue_tasks(self, nth: int) -> None:
        for _, wait in await self.waits(nth, "Task"):
            name = f"report-{wait.id[:8]}"
            if nth % 5 == 4:
                await calling.refuse(self.story, wait.id)
            elif isinstance(await calling.queue(self.story, wait.id, name), bool):
                if not await self.story.sql("SELECT 1 FROM tasks WHERE name = %s", name):
                    await calling.register(self.story, name, self.session if nth % 2 else None)
                await calling.queued_now(self.story, wait.id)

    async def end_queued(self, nth: int) -> None:
        for uid, *_ in await self.story.sql("SELECT task_uid FROM queued_tasks WHERE task_uid IS NOT NULL"):
            async with self.story.conn() as conn:
                if nth % 3 == 0:
                    await tasks.task_gone(conn, self.story.fence, uid)
                else:
                    await tasks.end_task(
                        conn,
                        self.story.fence,
                        uid,
                        phase="Succeeded",
                        reason="Succeeded",
                        message="",
                        output=nth,
                    )

    async def succeed(self, nth: int) -> None:
        task, last = await self.latest(nth)
        if last:
            done = await calling.journal(self.story, task)
            events = [*self._events(done), *says("Done").events]
            body = FinishBody(outcome="Succeeded", output="x", events=events, usage=Usage(output_tokens=3))
            await self.story.finish(last.id, body, holder=f"pod/{last.number}")

    async def fail(self, nth: int) -> None:
        _, last = await self.latest(nth)
        if last:
            await self.story.finish(last.id, fails(), holder=f"pod/{last.number}")

    async def end(self, nth: int) -> None:
        await self.story.end(self.tasks[nth % TASKS], "Cancelled")

    async def gone(self, nth: int) -> None:
        async with self.story.conn() as conn:
            await tasks.task_gone(conn, self.story.fence, self.tasks[nth % TASKS])

    async def suspend(self, nth: int) -> None:
        async with self.story.conn() as conn:
            await tasks.set_suspended(conn, self.story.fence, self.tasks[nth % TASKS], suspended=nth % 4 == 0)

    async def tick(self, _: int) -> None:
        async with self.story.conn() as conn:
            await tick(conn, self.story.fence)

    async def kill_connections(self, _: int) -> None:
        await self.story.sql(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
