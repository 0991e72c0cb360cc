"""Steps as the leader decides them: entered, skipped, asked, slept, and the end of a fan-out."""

from typing import Literal

from parley.store.entries import Entry
from parley.store.leader import Fence
from parley.store.pool import Connection


async def enter_step(conn: Connection, fence: Fence, task_uid: str, step: str, entry: Entry) -> bool:
    """Write down what was decided about a step before any attempt. The first decision stands.

    Returns:
        Whether this call did it. False: the step was decided or has an attempt, or the task is gone, ended,
        suspended or unknown. Plan again.

    Raises:
        ResultTooLarge: items or output are over 16 MiB, or the context over 256 KiB; nothing was written.
        LookupError: ``Done`` with a context for a task without a session.
    """
    raise NotImplementedError


async def end_step(
    conn: Connection,
    fence: Fence,
    task_uid: str,
    step: str,
    phase: Literal["Succeeded", "Failed"],
    reason: str,
    message: str,
) -> bool:
    """End a step that was entered: a fan-out whose items are through, or a sleep that is over.

    Both ends of a fan-out store its output: the list in the order of the items, null where an item has none (a Failed
    one whose list is over 16 MiB has none). A sleep's output is null.

    Returns:
        Whether this call ended it. False: it had ended, was never entered, its sleep is not over, or the task ended.

    Raises:
        ResultTooLarge: the list of a Succeeded fan-out is over 16 MiB; nothing was written.
    """
    raise NotImplementedError
