"""A clock that only moves when a test says so."""

import asyncio
import heapq
import itertools


class VirtualClock:
    def __init__(self) -> None:
        self.time = 1000.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.time + seconds, next(self._order), woken))
        await woken

    def freeze(self, seconds: float) -> None:
        """Time passes while nobody runs, as under SIGSTOP."""
        self.time += seconds

    async def advance(self, seconds: float) -> None:
        """Let time pass, waking each sleeper at its time and letting everybody run in between."""
        end = self.time + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            wake_at, _, woken = heapq.heappop(self._sleepers)
            self.time = max(self.time, wake_at)
            if not woken.done():
                woken.set_result(None)
            await settle()
        self.time = max(self.time, end)


async def settle() -> None:
    """Let every task that can run do so."""
    for _ in range(30):
        await asyncio.sleep(0)
