"""Who waits for an attempt of a pool of warm runners."""

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Generator
from contextlib import contextmanager, suppress


class PoolWaiter:
    """One runner's place in the queue for its pool's attempts."""

    def __init__(self) -> None:
        self._woken = asyncio.Event()

    @property
    def is_woken(self) -> bool:
        """Whether a notification was given to it that it has not looked after yet."""
        return self._woken.is_set()

    def wake(self) -> None:
        """Give it a notification."""
        self._woken.set()

    async def wait(self, seconds: float) -> bool:
        """Wait for a notification, or take the one that came since the last wait; False after so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        woken = self._woken.is_set()
        self._woken.clear()
        return woken


class Pools:
    """Who waits, by pool. A notification wakes one of them, who has waited longest."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, OrderedDict[PoolWaiter, None]] = defaultdict(OrderedDict)

    @contextmanager
    def waiter(self, pool: str) -> Generator[PoolWaiter]:
        """Wait in line from now on: look into the store after this, then wait, and look again."""
        waiter = PoolWaiter()
        self._waiting[pool][waiter] = None
        try:
            yield waiter
        finally:
            waiting = self._waiting[pool]
            waiting.pop(waiter, None)
            if not waiting:
                del self._waiting[pool]
            if waiter.is_woken:
                # It leaves without having looked: what it was woken for may still be there.
                self.notify(pool)

    async def wait(self, pool: str, seconds: float) -> bool:
        """Wait for a notification of a pool; False after so many seconds. Those from before are not known."""
        with self.waiter(pool) as waiter:
            return await waiter.wait(seconds)

    def notify(self, pool: str) -> None:
        """Wake one who waits. With nobody there it is lost: whoever comes looks first."""
        for waiter in self._waiting.get(pool, ()):
            if not waiter.is_woken:
                waiter.wake()
                self._waiting[pool].move_to_end(waiter)
                return

    def wake_all(self) -> None:
        """Let everybody look: notifications may have been missed."""
        for waiting in self._waiting.values():
            for waiter in waiting:
                waiter.wake()
