"""A runner that stays with its task: take an attempt, run it, commit it, take the next, until none comes."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from parley.protocol.messages import RUNNER_LIFE_SECONDS
from parley.runner.daemon_thread import in_daemon_thread
from parley.runner.gateway_client import GatewayClient
from parley.runner.leased import LeasedRuns
from parley.runner.needed_secrets import missing_secret
from parley.runner.step import COMMIT_GRACE_SECONDS, MakeModel, StepRun, load_model_seam

IDLE_SECONDS = 5
"""How long to wait for the next attempt. Another pod costs a second or two, so waiting longer is worth little."""

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
        self._attempts = LeasedRuns(
            lambda client, take: StepRun(client, secrets, load_model, take),
            lambda client: client.take_next(0),
            sleep,
        )
        self._winding_down = False
        self._has_served = False

    @property
    def committing(self) -> bool:
        """An outcome is known and on its way to the store: better not to interrupt it now."""
        return self._attempts.committing

    def wind_down(self) -> float:
        """Take no further attempt; returns how many seconds the one under way may take."""
        self._winding_down = True
        return COMMIT_GRACE_SECONDS if self.committing else 0.0

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
                await self._attempts.run(self._gateway, taken)
                self._has_served = True
        finally:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
