"""An attempt that is held by a lease: heartbeats keep it, and tell when it is to be stopped."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from parley.protocol.messages import TakeAnswer
from parley.runner.gateway_client import GatewayClient, NotAdmitted, Rejected, StopRunning
from parley.runner.step import StepRun

HEARTBEAT_SECONDS = 3.0
"""A third of the lease, so that one heartbeat may be lost."""

MakeStep = Callable[[GatewayClient, Callable[[], Awaitable[TakeAnswer]]], StepRun]
"""Makes the run of an attempt from where it is committed to and what gives it."""

log = logging.getLogger(__name__)


class LeasedRuns:
    """Runs attempts, one after the other.

    Args:
        make: makes the run of one attempt.
        again: gets the attempt of this holder again; with what it takes instead, that attempt is stopped.
        sleep: between heartbeats, for tests.
    """

    def __init__(
        self,
        make: MakeStep,
        again: Callable[[GatewayClient], Awaitable[TakeAnswer | None]],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._make = make
        self._ask_again = again
        self._sleep = sleep
        self._step: StepRun | None = None

    @property
    def committing(self) -> bool:
        """An outcome is known and on its way to the store: better not to interrupt it now."""
        return self._step is not None and self._step.committing

    async def run(self, gateway: GatewayClient, taken: TakeAnswer) -> None:
        """Run one attempt; whatever becomes of it, the next may be taken.

        Raises:
            NotAdmitted, Rejected: no outcome could be committed.
        """
        step = self._step = self._make(gateway, _Again(gateway, taken, self._ask_again))
        work = asyncio.create_task(step.run())
        heart = asyncio.create_task(self._beat(gateway, taken.attempt))
        try:
            await asyncio.wait({work, heart}, return_when=asyncio.FIRST_COMPLETED)
            if work.done() or step.committing or not await heart:
                await work
        except StopRunning as stop:
            log.info("told to stop the attempt", extra={"attempt": taken.attempt, "why": str(stop)})
        finally:
            self._step = None
            work.cancel()
            heart.cancel()
            await asyncio.gather(work, heart, return_exceptions=True)

    async def _beat(self, gateway: GatewayClient, attempt: int) -> bool:
        """Keep the lease as long as that goes; returns whether the attempt is to stop."""
        try:
            while True:
                await self._sleep(HEARTBEAT_SECONDS)
                await gateway.heartbeat(attempt)
        except StopRunning as stop:
            log.info("told to stop the attempt", extra={"attempt": attempt, "why": str(stop)})
            return True
        except (NotAdmitted, Rejected) as error:
            log.warning("the lease cannot be kept", extra={"attempt": attempt, "why": str(error)})
            return False


class _Again:
    """Gives the attempt that was taken, and later what is known of it then."""

    def __init__(
        self,
        gateway: GatewayClient,
        taken: TakeAnswer,
        ask: Callable[[GatewayClient], Awaitable[TakeAnswer | None]],
    ) -> None:
        self._gateway = gateway
        self._taken: TakeAnswer | None = taken
        self._attempt = taken.attempt
        self._ask = ask

    async def __call__(self) -> TakeAnswer:
        """Return the attempt.

        Raises:
            StopRunning: it is this process's no more.
        """
        taken, self._taken = self._taken, None
        if taken is None:
            taken = await self._ask(self._gateway)
        if taken is None or taken.attempt != self._attempt:
            raise StopRunning("the attempt was closed")
        return taken
