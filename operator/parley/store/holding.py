"""Holding an attempt: who may write to it, and what anybody else is told."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from pydantic import JsonValue

from parley.protocol.messages import Usage
from parley.store.errors import OtherHolder, Stopped
from parley.store.events import Origin
from parley.store.locks import LOCK_SESSION_OF_ATTEMPT
from parley.store.pool import Connection
from parley.store.records import AttemptState
from parley.store.rows import Statement, ask, beginning
from parley.store.usage import count_agent_usage

SHARE_TASK = """
SELECT name, session_uid, gone_since, ended_at, end_reason
FROM tasks WHERE uid = (SELECT task_uid FROM attempts WHERE id = %(attempt_id)s) FOR SHARE
"""
LOCK_ATTEMPT = """
SELECT id, task_uid, step, item, number, state, holder, session_uid, ticket, deadline, reason, request, answer
FROM attempts WHERE id = %(attempt_id)s FOR NO KEY UPDATE
"""
COUNT_USAGE = """
UPDATE attempts SET input_tokens = input_tokens + %(input)s, output_tokens = output_tokens + %(output)s
WHERE id = %(attempt_id)s
"""
COUNT_SESSION_USAGE = """
UPDATE sessions SET input_tokens = input_tokens + %(input)s, output_tokens = output_tokens + %(output)s
WHERE uid = %(session_uid)s
"""


@dataclass(frozen=True, slots=True)
class LockedTask:
    """The task of an attempt, locked in share mode: it neither ends nor goes before the transaction ends."""

    name: str
    session_uid: str | None
    gone_since: datetime | None
    ended_at: datetime | None
    end_reason: str | None

    @property
    def stop_reason(self) -> str | None:
        """Why no attempt of the task may write any more; None while they may."""
        if self.gone_since is not None:
            return "Gone"
        return self.end_reason


@dataclass(frozen=True, slots=True)
class LockedAttempt:
    """An attempt's row, locked. ``session_uid`` and ``ticket`` are set while it runs a turn."""

    id: int
    task_uid: str
    step: str
    item: int
    number: int
    state: AttemptState
    holder: str | None
    session_uid: str | None
    ticket: int | None
    deadline: datetime
    reason: str | None
    request: dict[str, JsonValue]
    answer: JsonValue

    @property
    def place(self) -> dict[str, object]:
        """The step whose journal, input and output this attempt continues, as parameters."""
        return {"task_uid": self.task_uid, "step": self.step, "item": self.item, "attempt_id": self.id}

    @property
    def agent(self) -> dict[str, JsonValue]:
        """The agent of the attempt's request; empty for a request without one."""
        agent = self.request.get("agent")
        return agent if isinstance(agent, dict) else {}


@dataclass(frozen=True, slots=True)
class Held:
    """An attempt that its holder is writing to, and its task. ``is_new``: nobody has held it before this call."""

    attempt: LockedAttempt
    task: LockedTask
    is_new: bool = False

    @property
    def origin(self) -> Origin | None:
        """Where its events come from; None when it runs no turn and writes none."""
        attempt = self.attempt
        if attempt.session_uid is None or attempt.ticket is None:
            return None
        return Origin(
            session_uid=attempt.session_uid,
            ticket=attempt.ticket,
            task_uid=attempt.task_uid,
            task_name=self.task.name,
            step=attempt.step,
            attempt=attempt.number,
            item=attempt.item,
        )

    def require_running(self) -> None:
        """Check that the attempt may be written to.

        Raises:
            Stopped: it is closed, or its task ended or is gone.
        """
        reason = self.task.stop_reason
        if reason is not None:
            raise Stopped(reason)
        if self.attempt.state != "Running":
            raise Stopped(self.attempt.reason or self.attempt.state)


@asynccontextmanager
async def holding(conn: Connection, attempt_id: int, holder: str, *, session: bool) -> AsyncGenerator[Held]:
    """Run the block in a transaction that locks an attempt for its holder: the frame of every write of a runner.

    Before the attempt its task is locked and, when asked, before that the task's session. The attempt may be closed:
    the block looks for a stored answer first, then calls ``require_running``.

    Raises:
        OtherHolder: another process holds it, or none has taken it.
        Stopped: it does not exist, or was closed before anybody took it.
    """
    parameters = {"attempt_id": attempt_id}
    async with AsyncExitStack() as transaction:
        async with beginning(conn, transaction):
            if session:
                await conn.execute(LOCK_SESSION_OF_ATTEMPT, parameters)
            tasks = await ask(conn, LockedTask, SHARE_TASK, parameters)
            attempts = await ask(conn, LockedAttempt, LOCK_ATTEMPT, parameters)
        task, attempt = await tasks.fetchone(), await attempts.fetchone()
        if task is None or attempt is None:
            raise Stopped("Gone")
        require_holder(attempt, holder)
        yield Held(attempt, task)


def require_holder(attempt: LockedAttempt, holder: str) -> None:
    """Refuse everybody but the holder.

    Raises:
        OtherHolder: another process holds it, or none has taken it.
        Stopped: it was closed before anybody took it.
    """
    if attempt.holder == holder:
        return
    if attempt.holder is None and attempt.state != "Open":
        raise Stopped(attempt.reason or attempt.state)
    raise OtherHolder(
        "Another process holds this attempt." if attempt.holder else "Nobody has taken this attempt."
    )


def count_usage(held: Held, usage: Usage) -> list[Statement]:
    """Return what adds tokens to an attempt, its session and its agent. The session is locked."""
    parameters = {
        "attempt_id": held.attempt.id,
        "session_uid": held.task.session_uid,
        "input": usage.input_tokens,
        "output": usage.output_tokens,
    }
    statements: list[Statement] = [(COUNT_USAGE, parameters)]
    if held.task.session_uid is not None:
        statements.append((COUNT_SESSION_USAGE, parameters))
    agent = held.attempt.agent.get("name")
    if isinstance(agent, str) and usage.input_tokens + usage.output_tokens > 0:
        tokens = usage.input_tokens, usage.output_tokens
        statements.append(count_agent_usage(held.attempt.task_uid, agent, *tokens))
    return statements
