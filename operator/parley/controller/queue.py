"""The keyed work queue, with client-go's rules.

A key is queued at most once; a key added while it is worked on is queued again afterwards; failures back off per
key, with jitter, up to a minute; a key can be woken later, and the earliest wake wins.
"""

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

_FIRST_BACKOFF = 0.1
_LONGEST_BACKOFF = 30.0


class Key(NamedTuple):
    """What is reconciled: an object by kind and name, or rows by the uid of an object that is gone."""

    kind: str
    namespace: str
    name: str


class KeyedQueue:
    """One queue for all workers of one event loop."""

    def __init__(
        self, clock: Callable[[], float] | None = None, jitter: Callable[[], float] = random.random
    ) -> None:
        self._clock = clock or asyncio.get_running_loop().time
        self._jitter = jitter
        self._ready: deque[Key] = deque()
        self._queued: set[Key] = set()
        self._working: set[Key] = set()
        self._dirty: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._wakes: dict[Key, float] = {}
        self._heap: list[tuple[float, Key]] = []
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._queued) + len(self._dirty)

    def add(self, key: Key) -> None:
        """Queue a key now, or again once the worker that has it is done."""
        self._wakes.pop(key, None)
        if key in self._working:
            self._dirty.add(key)
        elif key not in self._queued:
            self._queued.add(key)
            self._ready.append(key)
            self._changed.set()

    def add_after(self, key: Key, seconds: float) -> None:
        """Queue a key ``seconds`` from now, unless it is to be woken earlier."""
        if seconds <= 0:
            self.add(key)
            return
        due = self._clock() + seconds
        if due < self._wakes.get(key, float("inf")):
            self._wakes[key] = due
            heapq.heappush(self._heap, (due, key))
            if len(self._heap) > 2 * len(self._wakes) + 64:
                # Wakes that were replaced by earlier ones would else stay until they are due, some for days.
                self._heap = [(at, each) for each, at in self._wakes.items()]
                heapq.heapify(self._heap)
            self._changed.set()

    def drop_wake(self, key: Key) -> None:
        """Wake a key no more at the time that was set: what it was for is done."""
        self._wakes.pop(key, None)

    def retry(self, key: Key, at_least: float = 0.0) -> float:
        """Queue a key after its backoff; returns the seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        longest = min(_FIRST_BACKOFF * 2.0**failures, _LONGEST_BACKOFF)
        delay = max(at_least, longest * (0.5 + self._jitter() / 2))
        self.add_after(key, delay)
        return delay

    def forget(self, key: Key) -> None:
        """Reset a key's backoff after a success."""
        self._failures.pop(key, None)

    async def get(self) -> Key:
        """Wait for the next key; ``done`` must follow."""
        while True:
            self._queue_due()
            if self._ready:
                key = self._ready.popleft()
                self._queued.discard(key)
                self._working.add(key)
                return key
            self._changed.clear()
            timeout = max(0.0, self._heap[0][0] - self._clock()) if self._heap else None
            try:
                async with asyncio.timeout(timeout):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def done(self, key: Key) -> None:
        """Say that the worker is done with a key it got."""
        self._working.discard(key)
        if key in self._dirty:
            self._dirty.discard(key)
            self.add(key)

    def _queue_due(self) -> None:
        now = self._clock()
        while self._heap and self._heap[0][0] <= now:
            due, key = heapq.heappop(self._heap)
            if self._wakes.get(key) == due:
                self.add(key)
