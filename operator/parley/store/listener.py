"""The listener: hears of committed results at once."""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence

from psycopg import AsyncConnection, Error
from psycopg.sql import SQL, Identifier

from parley.store.pool import Connection, conninfo, first_line

CHANNEL = "parley"
"""The operator's: uids of tasks to look at."""
EVENTS_CHANNEL = "parley_events"
"""Uids of sessions in which something was said, or one of whose tasks ended or asks something."""
PROGRESS_CHANNEL = "parley_progress"
"""Uids of sessions one of whose tasks got further: worth a look soon."""
POOLS_CHANNEL = "parley_pools"
"""Pools of warm runners that there is something to take for."""
DELTAS_CHANNEL = "parley_deltas"
"""Pieces of answers under way, as JSON."""
CHECK_EVERY = 10.0
"""Seconds of silence after which the connection is tried, so that a dead one is noticed."""
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0

logger = logging.getLogger(__name__)


async def listen(
    dsn: str, on_notify: Callable[[str], None], on_connect: Callable[[], None], stop: asyncio.Event
) -> None:
    """Call ``on_notify(task uid)`` for each notification of the operator's channel, as ``listen_to`` does."""
    await listen_to(dsn, (CHANNEL,), lambda _, payload: on_notify(payload), on_connect, stop)


async def listen_to(
    dsn: str,
    channels: Sequence[str],
    on_notify: Callable[[str, str], None],
    on_connect: Callable[[], None],
    stop: asyncio.Event,
) -> None:
    """Call ``on_notify(channel, payload)`` for each notification until ``stop`` is set, over a connection of its own.

    A notification is a hint. After each (re)connect ``on_connect`` is called, when the listening has begun, so
    that the caller reads what it may have missed. Never raises for a database that is away: it tries again, with
    a growing pause of at most 5 s.
    """
    listening = asyncio.create_task(_listen_on(dsn, channels, on_notify, on_connect))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({listening, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        listening.cancel()
        outcomes = await asyncio.gather(listening, stopping, return_exceptions=True)
    for outcome in outcomes:
        # Only a callback's own fault gets here.
        if isinstance(outcome, Exception):
            raise outcome


async def _listen_on(
    dsn: str, channels: Sequence[str], on_notify: Callable[[str, str], None], on_connect: Callable[[], None]
) -> None:
    pause = FIRST_PAUSE
    target = conninfo(dsn, "parley-listener")
    while True:
        try:
            async with await AsyncConnection.connect(target, autocommit=True) as conn:
                for channel in channels:
                    await conn.execute(SQL("LISTEN {}").format(Identifier(channel)))
                pause = FIRST_PAUSE
                on_connect()
                await _hear(conn, on_notify)
        except (Error, OSError) as error:
            logger.warning("The listener lost the database, trying again: %s", first_line(error))
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load, hides nothing
        pause = min(pause * 2, LONGEST_PAUSE)


async def _hear(conn: Connection, on_notify: Callable[[str, str], None]) -> None:
    """Pass notifications on until the connection breaks."""
    while True:
        async for notification in conn.notifies(timeout=CHECK_EVERY):
            on_notify(notification.channel, notification.payload)
        await asyncio.wait_for(conn.execute("SELECT 1"), CHECK_EVERY)
