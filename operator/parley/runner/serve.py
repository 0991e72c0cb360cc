"""A runner that stays with its task: take an attempt, run it, commit it, take the next, until none comes."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from parley.protocol.messages import RUNNER_LIFE_SECONDS, TakeAnswer
from parley.runner.daemon_thread import in_daemon_thread
from parley.runner.gateway_client import GatewayClient, NotAdmitted, Rejected, StopRunning
from parley.runner.needed_secrets import missing_secret
from parley.runner.step import MakeModel, StepRun, load_model_seam

IDLE_SECONDS = 5
"""How long to wait for the next attempt. Another pod costs a second or two, so waiting longer is worth little."""
HEARTBEAT_SECONDS = 3.0
"""A third of the lease, so that one heartbeat may be lost."""

log = logging.getLogger(__name__)


class Serving:
    """One attempt of a task after the other, each held by a lease that heartbeats keep.

    Args:
        gateway: where attempts are taken from and committed to.
        secrets: models' keys and tools' secrets, by variable.
        load_model: gives the model's constructor; it imports much the first time.
        sleep: between heartbeats, for tests.
    """

    def __init__(
        self,
        gateway: GatewayClient,
        secrets: Mapping[str, str],
        load_model: Callable[[], MakeModel] = load_model_seam,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._gateway = gateway
        self._secrets = secrets
        self._load_model = load_model
        self._sleep = sleep
        self._step: StepRun | None = None
        self._winding_down = False
        self._has_served = False

    @property
    def committing(self) -> bool:
        """An outcome is known and on its way to the store: better not to interrupt it now."""
        return self._step is not None and self._step.committing

    def wind_down(self) -> None:
        """Take no further attempt."""
        self._winding_down = True

    async def run(self) -> None:
        """Run the task's attempts until none is ready for a while.

        Raises:
            StopRunning: the task has ended or is gone.
            NotAdmitted, Rejected: the gateway does not serve this process.
        """
        clock = asyncio.get_running_loop().time
        end = clock() + RUNNER_LIFE_SECONDS
        # For the first attempt; the later ones find everything loaded.
        loading = asyncio.create_task(in_daemon_thread(self._load_model))
        try:
            while not self._winding_down and clock() < end:
                taken = await self._gateway.take_next(IDLE_SECONDS)
                if taken is None:
                    log.info("no attempt is ready, ending")
                    return
                if self._has_served and (missing := missing_secret(taken.request, self._secrets)) is not None:
                    # The Agent has changed since this pod was started. The operator sees the pod end with the attempt
                    # in its hands, and starts another, which has the secret, without counting a failure.
                    log.warning(
                        "another pod must take over", extra={"secret": f"{missing.name}/{missing.key}"}
                    )
                    return
                await self._attempt(taken)
                self._has_served = True
        finally:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)

    async def _attempt(self, taken: TakeAnswer) -> None:
        """Run one attempt; whatever becomes of it, the next may be taken."""
        step = self._step = StepRun(
            self._gateway, self._secrets, self._load_model, _Again(self._gateway, taken)
        )
        work = asyncio.create_task(step.run())
        heart = asyncio.create_task(self._beat(taken.attempt))
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

    async def _beat(self, attempt: int) -> bool:
        """Keep the lease as long as that goes; returns whether the attempt is to stop."""
        try:
            while True:
                await self._sleep(HEARTBEAT_SECONDS)
                await self._gateway.heartbeat(attempt)
        except StopRunning as stop:
            log.info("told to stop the attempt", extra={"attempt": attempt, "why": str(stop)})
            return True
        except (NotAdmitted, Rejected) as error:
            log.warning("the lease cannot be kept", extra={"attempt": attempt, "why": str(error)})
            return False


class _Again:
    """Gives the attempt that was taken, and later what is known of it then."""

    def __init__(self, gateway: GatewayClient, taken: TakeAnswer) -> None:
        self._gateway = gateway
        self._taken: TakeAnswer | None = taken
        self._attempt = taken.attempt

    async def __call__(self) -> TakeAnswer:
        """Return the attempt.

        Raises:
            StopRunning: it is this process's no more.
        """
        taken, self._taken = self._taken, None
        if taken is None:
            taken = await self._gateway.take_next(0)
        if taken is None or taken.attempt != self._attempt:
            raise StopRunning("the attempt was closed")
        return taken
