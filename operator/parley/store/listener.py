"""The listener: hears of committed results at once."""

import asyncio
from collections.abc import Callable

CHANNEL = "parley"


async def listen(
    dsn: str, on_notify: Callable[[str], None], on_connect: Callable[[], None], stop: asyncio.Event
) -> None:
    """Call ``on_notify(task uid)`` for each notification until ``stop`` is set, over a connection of its own.

    A notification is a hint. After each (re)connect ``on_connect`` is called, when the listening has begun, so that
    the caller reads what it may have missed. Never raises for a database that is away: it tries again, with a
    growing pause of at most 5 s.
    """
    raise NotImplementedError
