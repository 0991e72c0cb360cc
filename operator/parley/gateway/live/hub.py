"""The gateway's one listener, and what it wakes."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from uuid import uuid4

from parley.gateway.live.deltas import Deltas
from parley.gateway.live.pools import Pools
from parley.gateway.live.readers import Reader, Readers
from parley.store.errors import StoreUnavailable
from parley.store.listener import DELTAS_CHANNEL, EVENTS_CHANNEL, POOLS_CHANNEL, PROGRESS_CHANNEL, listen_to
from parley.store.pool import Pool, connect, url_of
from parley.store.readers import forget_old_readers, forget_readers, note_readers

_NOTE_SECONDS = 5.0
_AGAIN_SECONDS = 1.0

log = logging.getLogger(__name__)


class Live:
    """What happens now, over all gateways of a store.

    Attributes:
        gateway: this process's name among all gateways.
        pools: who waits for an attempt.
        readers: who reads a session along.
        deltas: pieces of answers under way.

    Args:
        pool: connections to the store; the listener has one of its own, to the same database.
    """

    def __init__(self, pool: Pool) -> None:
        self.gateway = uuid4().hex
        self.pools = Pools()
        self.readers = Readers()
        self.deltas = Deltas(pool, self.readers, self.gateway)
        self._pool = pool
        self._newcomers: set[str] = set()
        self._to_note = asyncio.Event()
        self._ending = False

    @property
    def is_ending(self) -> bool:
        """Whether streams are to say goodbye: this gateway is about to end."""
        return self._ending

    def end_streams(self) -> None:
        """Let all streams say goodbye, and runners wait elsewhere; those that come later do so at once."""
        self._ending = True
        self.readers.notice_all()
        self.pools.wake_all()

    @asynccontextmanager
    async def reading(self, session_uid: str, *, up_to_date: bool = False) -> AsyncGenerator[Reader]:
        """Read a session along from now on: events by looking into the store when woken, pieces as they come.

        A reader that is up to date knows what the session has until now: the first look has time.
        """
        with self.readers.reader(session_uid) as reader:
            if up_to_date:
                reader.take_changed()
                reader.notice_soon()
            # At once, else a turn that runs already sends no pieces for some seconds.
            self._newcomers.add(session_uid)
            self._to_note.set()
            yield reader

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Listen while the block runs."""
        parts = [self._listen, self._note, self.deltas.run]
        tasks = [asyncio.create_task(_again_and_again(part)) for part in parts]
        try:
            yield
        finally:
            self.end_streams()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with suppress(StoreUnavailable):
                async with connect(self._pool) as conn:
                    await forget_readers(conn, self.gateway)

    async def _listen(self) -> None:
        hears: dict[str, Callable[[str], None]] = {
            EVENTS_CHANNEL: self.readers.notice,
            PROGRESS_CHANNEL: self.readers.notice_soon,
            POOLS_CHANNEL: self.pools.notify,
            DELTAS_CHANNEL: self.deltas.hear,
        }

        def on_notify(channel: str, payload: str) -> None:
            hears[channel](payload)

        def on_connect() -> None:
            self.readers.notice_all()
            self.pools.wake_all()

        await listen_to(url_of(self._pool), list(hears), on_notify, on_connect, asyncio.Event())

    async def _note(self) -> None:
        """Keep it known which sessions are read here, so that their answers are sent as they come."""
        clock = asyncio.get_running_loop().time
        due = clock()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(due - clock()):
                    await self._to_note.wait()
            self._to_note.clear()
            sessions, self._newcomers = self._newcomers, set()
            if is_due := clock() >= due:
                sessions, due = set(self.readers.sessions), clock() + _NOTE_SECONDS
            try:
                if sessions:
                    async with connect(self._pool) as conn:
                        await note_readers(conn, self.gateway, sorted(sessions))
                        if is_due:
                            await forget_old_readers(conn)
            except StoreUnavailable as error:
                log.warning("who reads here could not be noted: %s", error)


async def _again_and_again(part: Callable[[], Awaitable[None]]) -> None:
    """Run a part until cancelled; a fault of it must not leave the gateway deaf."""
    while True:
        try:
            await part()
        except Exception:
            log.exception("a fault in %s, going on", part.__qualname__)
        await asyncio.sleep(_AGAIN_SECONDS)
