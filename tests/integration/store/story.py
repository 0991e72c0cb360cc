"""Words to tell a store's story with: sessions, tasks, turns and runners, over a real database."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from parley.protocol.messages import (
    EventDraft,
    FinishAnswer,
    FinishBody,
    InputAnswer,
    InputBody,
    InputMessage,
    ResponseBody,
    TakeAnswer,
    Usage,
)
from parley.protocol.request import (
    AgentSnapshot,
    ContainerRequest,
    PromptRequest,
    SessionSnapshot,
    TaskRequest,
    TaskSnapshot,
)
from parley.resources.agent import ModelSpec
from parley.resources.reasons import Reason
from parley.resources.task import PromptStep
from parley.store import attempts, reading, runner_calls, sessions, steps, tasks, turns
from parley.store.entries import AskPerson, Entry
from parley.store.leader import Fence
from parley.store.pool import Connection, Pool, connect
from parley.store.records import (
    Close,
    Inserted,
    NewAttempt,
    NewParent,
    NotGranted,
    ReadyTurn,
    StepRecord,
    TaskRecord,
)
from pydantic import JsonValue

MINUTE = timedelta(minutes=1)
TOOLS: list[dict[str, Any]] = [
    {"name": "get_order", "http": {"url": "http://orders/{{ arguments.number }}"}},
    {"name": "refund", "approval": "Required", "http": {"method": "POST", "url": "http://orders/refunds"}},
]


def prompt_request(
    task: str,
    step: str,
    *,
    history: str = "Session",
    window: int | None = None,
    tools: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    model = ModelSpec(provider="OpenAI", name="scripted")
    agent = {
        "name": "support",
        "model": model.to_json(),
        "tools": [*TOOLS, *tools],
        "builtinTools": ["update_context"],
    }
    request = PromptRequest(
        task=TaskSnapshot(name=task, namespace="default"),
        step=step,
        path="spec.steps[0]",
        prompt=PromptStep(text="Hello"),
        literal=True,
        history=history,  # type: ignore[arg-type]
        agent=AgentSnapshot.model_validate(agent),
        session=SessionSnapshot(name="alice", context_window=window),
    )
    return request.model_dump(mode="json", by_alias=True)


def container_request(task: str, step: str) -> dict[str, Any]:
    request = ContainerRequest(
        task=TaskSnapshot(name=task, namespace="default"), step=step, container={"image": "x"}
    )
    return request.model_dump(mode="json", by_alias=True)


def says(text: str) -> FinishBody:
    """A success whose only event is the answer."""
    event = EventDraft(type="message", role="assistant", content=text)
    return FinishBody(
        outcome="Succeeded", output=text, events=[event], usage=Usage(input_tokens=10, output_tokens=5)
    )


def asks(text: str) -> InputBody:
    return InputBody(messages=[InputMessage(role="user", content=text)])


def fails(reason: Reason = Reason.MODEL_ERROR) -> FinishBody:
    return FinishBody(
        outcome="Failed", reason=reason, message="no luck", usage=Usage(input_tokens=3, output_tokens=0)
    )


def child_request(task: str, step: str) -> dict[str, Any]:
    request = TaskRequest(
        task=TaskSnapshot(name=task, namespace="default"), step=step, spec={"message": "Hello"}
    )
    return request.model_dump(mode="json", by_alias=True)


@dataclass
class Story:
    """One cluster's leader and its objects; every name is unique to the story."""

    pool: Pool
    fence: Fence
    names: dict[str, str] = field(default_factory=dict)

    @asynccontextmanager
    async def conn(self) -> AsyncIterator[Connection]:
        async with connect(self.pool) as conn:
            yield conn

    async def session(self, name: str = "alice") -> str:
        uid = str(uuid4())
        async with self.conn() as conn:
            await sessions.register_session(
                conn, self.fence, uid=uid, cluster=self.fence.cluster, namespace="default", name=name
            )
        self.names[uid] = name
        return uid

    async def task(
        self, session: str | None = None, name: str | None = None, *, lasts: timedelta | None = None
    ) -> str:
        uid = str(uuid4())
        self.names[uid] = name or f"task-{len(self.names)}"
        await self.register(uid, session, lasts=lasts)
        return uid

    async def register(
        self,
        uid: str,
        session: str | None,
        *,
        lasts: timedelta | None = None,
        parent: NewParent | None = None,
    ) -> None:
        async with self.conn() as conn:
            await tasks.register_task(
                conn, self.fence, uid=uid, cluster=self.fence.cluster, namespace="default", name=self.names[uid],
                session_uid=session, spec={"message": "Hello"}, timeout=lasts, created_at=datetime.now(UTC), parent=parent,
            )  # fmt: skip

    async def queue(self, session: str, *ready: str, step: str = "reply") -> list[tuple[str, str]]:
        """Queue the tasks' step; return who waits or holds, as (task uid, state)."""
        wanted = [ReadyTurn(uid, self.names[uid], step) for uid in ready]
        async with self.conn() as conn:
            found = await turns.queue_turns(conn, self.fence, session, wanted)
        return [(turn.task_uid or "", turn.state) for turn in found]

    def attempt(self, task: str, step: str = "reply", **changes: Any) -> NewAttempt:
        request: Mapping[str, JsonValue] = changes.pop("request", prompt_request(self.names[task], step))
        number = changes.pop("number", 1)
        return NewAttempt(
            task_uid=task, step=step, number=number, cause=changes.pop("cause", "First"),
            job=changes.pop("job", f"{task}-{step}-{number}"), request=request, timeout=changes.pop("timeout", MINUTE),
            **changes,
        )  # fmt: skip

    async def insert(self, task: str, step: str = "reply", **changes: Any) -> Inserted | NotGranted:
        async with self.conn() as conn:
            return await attempts.insert_attempt(conn, self.fence, self.attempt(task, step, **changes))

    async def start(self, task: str, step: str = "reply", **changes: Any) -> int:
        inserted = await self.insert(task, step, **changes)
        assert isinstance(inserted, Inserted), inserted
        return inserted.id

    async def enter(self, task: str, step: str, entry: Entry) -> bool:
        async with self.conn() as conn:
            return await steps.enter_step(conn, self.fence, task, step, entry)

    async def end_step(
        self, task: str, step: str, phase: Any = "Succeeded", reason: str = "Succeeded"
    ) -> bool:
        async with self.conn() as conn:
            return await steps.end_step(conn, self.fence, task, step, phase, reason, reason)

    async def step(self, task: str, step: str) -> StepRecord:
        (found,) = [row for row in (await self.load(task)).steps if row.step == step]
        return found

    async def ask(
        self, task: str, step: str = "confirm", *, patience: timedelta | None = None, **body: JsonValue
    ) -> str:
        """Let a step ask a person; return the wait's id."""
        wait = str(uuid4())
        question: dict[str, JsonValue] = {"question": "Refund?", "choices": ["approve", "reject"]}
        assert await self.enter(task, step, AskPerson(wait, body or question, patience))
        return wait

    async def suspend(self, task: str, *, suspended: bool = True) -> None:
        async with self.conn() as conn:
            assert await tasks.set_suspended(conn, self.fence, task, suspended=suspended)

    async def end(self, task: str, phase: Any = "Succeeded", **changes: Any) -> bool:
        fields = {"reason": phase, "message": "as asked", "close_attempts": phase} | changes
        async with self.conn() as conn:
            return await tasks.end_task(conn, self.fence, task, phase=phase, **fields)

    async def child(
        self, parent: str, name: str, *, session: str | None = None, attempt: int | None = None
    ) -> str:
        """Register the Task of an open attempt of this name; return its uid."""
        uid = str(uuid4())
        self.names[uid] = name
        await self.register(uid, session, parent=NewParent(parent, attempt))
        return uid

    async def take(
        self, task: str, step: str = "reply", *, number: int = 1, holder: str = "pod/1"
    ) -> TakeAnswer:
        async with self.conn() as conn:
            return await runner_calls.take(
                conn,
                job=f"{task}-{step}-{number}",
                index=0,
                task_uid=task,
                namespace="default",
                holder=holder,
            )

    async def say(self, attempt: int, text: str, holder: str = "pod/1") -> InputAnswer:
        async with self.conn() as conn:
            return await runner_calls.record_input(conn, attempt, holder, asks(text))

    async def respond(self, attempt: int, *names: str, round_number: int = 0, holder: str = "pod/1") -> None:
        """Journal a response that calls these tools."""
        calls = [{"id": f"c{nth}", "name": name, "arguments": {"nth": nth}} for nth, name in enumerate(names)]
        body = ResponseBody(response={"text": "", "calls": calls}, usage=Usage(input_tokens=2))
        async with self.conn() as conn:
            await runner_calls.put_response(conn, attempt, holder, round_number, body)

    async def finish(self, attempt: int, body: FinishBody, holder: str = "pod/1") -> FinishAnswer:
        async with self.conn() as conn:
            return await runner_calls.finish(conn, attempt, holder, body)

    async def converse(
        self, session: str, question: str, answer: str, *, window: int | None = None
    ) -> TakeAnswer:
        """A whole turn: queued, granted, taken, asked and answered; return what its runner was given."""
        task = await self.task(session)
        await self.queue(session, task)
        request = prompt_request(self.names[task], "reply", window=window)
        attempt = await self.start(task, session_uid=session, request=request)
        taken = await self.take(task)
        await self.say(attempt, question)
        await self.finish(attempt, says(answer))
        return taken

    async def load(self, task: str) -> TaskRecord:
        async with self.conn() as conn:
            record = await tasks.load_task(conn, task)
        assert record is not None
        return record

    async def spec(self, task: str) -> dict[str, JsonValue] | None:
        """Return the spec the task was registered with."""
        async with self.conn() as conn:
            return await reading.registered_spec(conn, task)

    async def outputs(self, task: str) -> dict[str, JsonValue]:
        """Return the outputs of the task's steps, whole."""
        async with self.conn() as conn:
            record = await tasks.load_task(conn, task)
            return await reading.load_outputs(conn, task, list(record.outputs) if record else [])

    async def events(self, session: str) -> list[tuple[int, str | None, Any]]:
        async with self.conn() as conn:
            cursor = await conn.execute(
                "SELECT sequence, role, content FROM events WHERE session_uid = %s ORDER BY sequence",
                [session],
            )
            return [(row[0], row[1], row[2]) for row in await cursor.fetchall()]

    async def sql(self, statement: Any, *parameters: object) -> list[tuple[Any, ...]]:
        async with self.conn() as conn:
            cursor = await conn.execute(statement, parameters or None)
            return await cursor.fetchall() if cursor.description else []

    def close(self, attempt: int, state: Any = "Lost", reason: str = "PodLost") -> Close:
        return Close(attempt, state, reason, "The pod was lost.")
