"""Attempts as the leader writes them: insert, close, and the result of a container."""

from typing import Literal

from pydantic import JsonValue

from parley.store.leader import Fence
from parley.store.pool import Connection
from parley.store.records import ClosedState, Inserted, NewAttempt, NotGranted


async def insert_attempt(conn: Connection, fence: Fence, new: NewAttempt) -> Inserted | NotGranted:
    """Insert an attempt, close the one it follows and take the session's turn: all or nothing.

    Only after ``Inserted`` may the Job be created.
    """
    raise NotImplementedError


async def insert_failed_attempt(
    conn: Connection, fence: Fence, new: NewAttempt, reason: str, message: str
) -> Inserted | NotGranted:
    """Insert an attempt that failed before it could start (TemplateError), for good: nothing runs.

    Takes no turn; the step's ticket, if any, is withdrawn and its held turn ended.
    """
    raise NotImplementedError


async def close_attempt(
    conn: Connection,
    fence: Fence,
    attempt_id: int,
    state: ClosedState,
    reason: str,
    message: str,
    *,
    end_turn: bool,
) -> bool:
    """Close an attempt that has no outcome; with ``end_turn`` its turn ends too.

    Returns:
        Whether this call closed it. False: it had an outcome already, or ``state`` is TimedOut and its deadline has
        moved. Plan again.
    """
    raise NotImplementedError


async def finish_container(
    conn: Connection,
    fence: Fence,
    attempt_id: int,
    *,
    outcome: Literal["Succeeded", "Failed"],
    reason: str,
    message: str,
    exit_code: int | None,
    output: JsonValue,
    pod_uid: str | None,
) -> bool:
    """Commit a container's outcome as its pod showed it. The output is stored when it Succeeded.

    Returns:
        Whether this call committed it. False: the attempt is not open any more, or its task ended or is gone.

    Raises:
        ResultTooLarge: the output is over MAX_OUTPUT_BYTES as JSON; nothing was written.
    """
    raise NotImplementedError
