"""Tasks: registration, the one read that planning needs, and their end."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from pydantic import JsonValue

from parley.store.leader import Fence
from parley.store.pool import Connection
from parley.store.records import EndPhase, OpenObject, TaskRecord


async def register_task(
    conn: Connection,
    fence: Fence,
    *,
    uid: str,
    cluster: str,
    namespace: str,
    name: str,
    session_uid: str | None,
    spec: Mapping[str, JsonValue],
    timeout: timedelta | None,
    created_at: datetime,
) -> None:
    """Make the task's row, or find it made already.

    The deadline (``timeout`` from now) is set by the first registration. ``session_uid`` may change until the task
    has an attempt: by its first step a task is bound to its session's uid for good.
    """
    raise NotImplementedError


async def load_task(conn: Connection, uid: str) -> TaskRecord | None:
    """Return all that planning needs, in one round trip; None for an unknown task."""
    raise NotImplementedError


async def end_task(
    conn: Connection,
    fence: Fence,
    uid: str,
    *,
    phase: EndPhase,
    reason: str,
    message: str,
    output: JsonValue = None,
    close_attempts: str | None = None,
) -> bool:
    """End a task; the first end stands. Ends its held turn, withdraws its tickets and waits.

    Args:
        close_attempts: reason with which attempts still open are closed as Cancelled; None leaves them as they are,
            and what they write is refused from now on.

    Returns:
        Whether this call ended it. False: it had ended before (``load_task`` says how), it is gone or unknown, or
        ``reason`` is TaskTimeout and its deadline has moved.
    """
    raise NotImplementedError


async def task_gone(conn: Connection, fence: Fence, uid: str) -> bool:
    """Close a task whose object is gone: open attempts are Cancelled, its turn ends, tickets and waits are withdrawn.

    Runners are told to stop from now on; what had been committed stands.

    Returns:
        Whether this call did it; False when it was done before or the task is unknown.
    """
    raise NotImplementedError


async def set_suspended(conn: Connection, fence: Fence, uid: str, *, suspended: bool) -> bool:
    """Suspend a task (its waiting tickets are withdrawn, nothing new starts) or resume it.

    Resuming moves the deadlines of the task and of its waits by the time it was suspended. Running attempts and
    their deadlines go on in both cases, and a held turn stays held.

    Returns:
        Whether anything changed.
    """
    raise NotImplementedError


async def list_open(conn: Connection, cluster: str) -> list[OpenObject]:
    """Return all sessions and tasks of a cluster that have not been closed as gone, ended tasks included."""
    raise NotImplementedError
