"""Waiting for an attempt to become ready, without a connection to the store meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from fastapi import Request

from parley.gateway.identity import StepPod, WarmPod
from parley.gateway.live.hub import Live
from parley.protocol.messages import TakeAnswer

FIRST_LOOK_SECONDS = 0.05
LONGEST_LOOK_SECONDS = 0.4
"""How often the store is asked for a task's next attempt. Mostly it comes at once: the runner's last commit woke the
operator, which inserts it within milliseconds."""
MISSED_SECONDS = 2.0
"""How often a pool is looked at although nothing was heard of it: of a task that goes on after a pause, nothing is."""


class Waiter(Protocol):
    """Returns from ``wait`` when it is worth looking again: it was woken since the last look, or the time is over."""

    async def wait(self, seconds: float) -> object:
        """Wait for at most so long."""
        ...

    def wake(self) -> None:
        """Take note that there may be something; who leaves without having looked passes that on."""
        ...


class Paced:
    """Looks again after a pause that grows."""

    def __init__(self) -> None:
        self._pause = FIRST_LOOK_SECONDS

    async def wait(self, seconds: float) -> None:
        """Wait for the pause."""
        await asyncio.sleep(min(self._pause, seconds))
        self._pause = min(self._pause * 2, LONGEST_LOOK_SECONDS)

    def wake(self) -> None:
        """Nothing: others look by themselves."""


def pool_waiter(request: Request, pod: StepPod | WarmPod) -> AbstractContextManager[Waiter]:
    """What tells a waiting runner to look again: for a pool's, the store itself."""
    if not isinstance(pod, WarmPod):
        return nullcontext(Paced())
    live: Live = request.app.state.live
    return live.pools.waiter(pod.pool)


async def next_attempt(
    request: Request,
    waiting: AbstractContextManager[Waiter],
    look: Callable[[], Awaitable[TakeAnswer | None]],
    seconds: float,
) -> TakeAnswer | None:
    """Look until there is an attempt, the time is over, the runner has gone, or this gateway is about to."""
    live: Live = request.app.state.live
    clock = asyncio.get_running_loop().time
    end = clock() + seconds
    with waiting as waiter:
        while True:
            found = await look()
            left = end - clock()
            if found is not None or left <= 0 or live.is_ending:
                return found
            await waiter.wait(min(left, MISSED_SECONDS))
            # An attempt that is given to a runner that has gone is lost until its lease lapses.
            if await request.is_disconnected():
                waiter.wake()
                return None
