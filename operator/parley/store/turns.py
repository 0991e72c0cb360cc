"""Turns: the queue of prompt steps for a session."""

from collections.abc import Sequence

from parley.store.leader import Fence
from parley.store.pool import Connection
from parley.store.records import ReadyTurn, TurnRecord


async def queue_turns(
    conn: Connection, fence: Fence, session_uid: str, ready: Sequence[ReadyTurn]
) -> list[TurnRecord]:
    """Bring the queue in line with all steps that are ready for the session's turn.

    Those without a ticket get one, in the order given, at the end; waiting tickets of steps that are not ready any
    more are withdrawn. A held turn stays held. Tasks that are unknown, ended, gone, suspended or of another session
    get no ticket.

    Returns:
        The turns that wait or are held now, by ticket.
    """
    raise NotImplementedError


async def session_turns(conn: Connection, session_uid: str) -> list[TurnRecord]:
    """Return the turns that wait or are held, by ticket. The first waiting one is next once none is held."""
    raise NotImplementedError


async def end_turn(conn: Connection, fence: Fence, task_uid: str, step: str) -> bool:
    """End a step's turn after its final failure, or withdraw its ticket.

    Calls left open get a ``toolResult`` that says so. A success ends the turn by itself.

    Returns:
        Whether there was a turn or a ticket.
    """
    raise NotImplementedError
