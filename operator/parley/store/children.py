"""Children: Tasks that a ``task`` step made, and how their ends come back to it."""

from parley.store.leader import Fence
from parley.store.pool import Connection

MAX_DEPTH = 5
"""Levels of children below the first task."""
MAX_TREE = 500
"""Tasks in a family: the first one and all below it, those included that were made for retries."""


async def finish_child(conn: Connection, fence: Fence, attempt_id: int, child_uid: str) -> bool:
    """Commit the end of a child as the outcome of the attempt that made it: phase, reason, message, whole output.

    A child that was Cancelled makes the attempt Failed, Cancelled.

    Returns:
        Whether this call committed it. False: the attempt is closed, its task ended, or the child is not this
        attempt's or has not ended.
    """
    raise NotImplementedError


async def count_tree(conn: Connection, root_uid: str) -> int:
    """Return how many tasks a family has, the first one included."""
    raise NotImplementedError
