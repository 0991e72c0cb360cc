"""A round: the attempts of many items of one step, which one Indexed Job runs."""

from collections.abc import Sequence

from parley.store.leader import Fence
from parley.store.pool import Connection
from parley.store.records import Close, Inserted, NewAttempt, NotGranted


async def insert_round(
    conn: Connection, fence: Fence, round_: Sequence[NewAttempt], close: Sequence[Close] = ()
) -> list[Inserted] | NotGranted:
    """Insert the attempts of a round, in order, and close those that they follow: all or nothing.

    They are of one task and one step, without a turn, with the same job and indexes of their own.

    Raises:
        ValueError: they are not, or there are none.
    """
    raise NotImplementedError
