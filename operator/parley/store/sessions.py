"""Sessions: their registration, their end and what their status shows."""

from parley.store.leader import Fence
from parley.store.pool import Connection
from parley.store.records import SessionSummary


async def register_session(
    conn: Connection, fence: Fence, *, uid: str, cluster: str, namespace: str, name: str
) -> None:
    """Make the session's row, or find it made already."""
    raise NotImplementedError


async def session_gone(conn: Connection, fence: Fence, uid: str) -> bool:
    """Close a session whose object is gone, and with it the tasks bound to it, in one transaction.

    A task that has attempts is bound: it ends Failed, SessionDeleted, its open attempts are Cancelled, its turn ends.
    A task without attempts loses its ticket only and may be registered with another Session of that name.

    Returns:
        Whether this call did it; False when it was done before or the session is unknown.
    """
    raise NotImplementedError


async def session_summary(conn: Connection, uid: str, recent: int = 10) -> SessionSummary | None:
    """Return what the session's status shows, None for an unknown session."""
    raise NotImplementedError
