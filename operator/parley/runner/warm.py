"""A runner that stays with its agent: several slots in one process, each with an attempt of its own at a time.

Nothing of an attempt is kept for the next but open connections, compiled templates and imported code.
"""

import asyncio
import logging
import secrets as random_names
from collections.abc import Awaitable, Callable, Mapping

from parley.protocol.messages import TakeAnswer
from parley.runner.gateway_client import GatewayClient, NotAdmitted, Rejected
from parley.runner.guarded import InChild
from parley.runner.kept_models import KeptModels
from parley.runner.leased import LeasedRuns
from parley.runner.needed_secrets import missing_secret
from parley.runner.prompt import DEFAULT_SYSTEM_TEMPLATE
from parley.runner.step import MakeModel, StepRun, load_model_seam
from parley.templates.evaluator import Evaluator, EvaluatorUnavailableError

DRAIN_SECONDS = 585.0
"""How long attempts under way may take after SIGTERM; the pod's grace period is 600 s."""
LISTENING = 2
"""Slots that wait for an attempt at a time. One hears of it as soon as all would, and each costs the gateway a look
into the store every few seconds; two, so that the next is there while the first takes its own."""
WAIT_SECONDS = 10
"""For which a slot waits for an attempt; a pod that is told to end does so after as much."""
LATE_SECONDS = 5.0
FAULT_SECONDS = 1.0
"""Before a slot goes on after a fault of its own."""

log = logging.getLogger(__name__)


class Warm:
    """The slots of one pod.

    Args:
        gateway: where attempts are taken from and committed to; each slot calls as a holder of its own.
        secrets: models' keys and tools' secrets, by variable.
        slots: how many attempts run at a time.
        load_model: gives the model's constructor; it imports much the first time.
        sleep: between heartbeats, for tests.
        evaluator: renders people's templates; started and ended here.
    """

    def __init__(
        self,
        gateway: GatewayClient,
        secrets: Mapping[str, str],
        slots: int,
        load_model: Callable[[], MakeModel] = load_model_seam,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        evaluator: Evaluator | None = None,
    ) -> None:
        self._models = KeptModels(load_model)
        self._evaluator = evaluator or Evaluator()
        self._stopping = asyncio.Event()
        renderer = InChild(self._evaluator, [DEFAULT_SYSTEM_TEMPLATE])
        ears = asyncio.Semaphore(min(LISTENING, slots))

        def make(client: GatewayClient, take: Callable[[], Awaitable[TakeAnswer]]) -> StepRun:
            return StepRun(client, secrets, take=take, renderer=renderer, models=self._models.ready)

        self._slots = [
            Slot(
                gateway,
                secrets,
                LeasedRuns(make, lambda client: client.take_own(), sleep),
                ears,
                self._stopping,
            )
            for _ in range(slots)
        ]

    @property
    def committing(self) -> bool:
        """Some outcome is known and on its way to the store."""
        return any(slot.committing for slot in self._slots)

    def wind_down(self) -> float:
        """Take no further attempt; returns how many seconds those under way may take."""
        self._stopping.set()
        return DRAIN_SECONDS

    async def run(self) -> None:
        """Run the pool's attempts until told to wind down.

        Raises:
            NotAdmitted, Rejected: the gateway does not serve this process; attempts under way were finished first.
        """
        slots: list[asyncio.Task[None]] = []
        try:
            await self._prepare()
            slots = [asyncio.create_task(slot.run()) for slot in self._slots]
            outcomes = await asyncio.gather(*slots, return_exceptions=True)
        finally:
            for task in slots:
                task.cancel()
            await asyncio.gather(*slots, return_exceptions=True)
            await self._evaluator.__aexit__(None, None, None)
            await self._models.close()
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _prepare(self) -> None:
        """Import and start what an attempt needs, before one is asked for: another runner may have it meanwhile."""
        await asyncio.gather(self._models.ready(), self._start_evaluator())

    async def _start_evaluator(self) -> None:
        try:
            await self._evaluator.__aenter__()
        except EvaluatorUnavailableError as error:
            log.warning("templates will be slow at first", extra={"why": str(error)})


class Slot:
    """One attempt after the other.

    Args:
        gateway: whose connections it uses.
        secrets: by variable.
        attempts: runs them.
        ears: held while it waits for an attempt.
        stopping: of all slots; set by a slot too, where no other could go on either.
    """

    def __init__(
        self,
        gateway: GatewayClient,
        secrets: Mapping[str, str],
        attempts: LeasedRuns,
        ears: asyncio.Semaphore,
        stopping: asyncio.Event,
    ) -> None:
        self._connections = gateway
        self._gateway = self._new_holder()
        self._secrets = secrets
        self._attempts = attempts
        self._ears = ears
        self._stopping = stopping

    @property
    def committing(self) -> bool:
        """Its outcome is known and on its way to the store."""
        return self._attempts.committing

    async def run(self) -> None:
        """Run attempts until stopped.

        Raises:
            NotAdmitted, Rejected: the gateway does not serve this process.
        """
        try:
            while not self._stopping.is_set():
                taken = await self._next()
                if taken is not None:
                    await self._run(taken)
        except (NotAdmitted, Rejected):
            self._stopping.set()
            raise

    async def _next(self) -> TakeAnswer | None:
        """Wait for an attempt; None if there is none as yet, or there will be none for this slot."""
        taking = asyncio.create_task(self._take())
        stopped = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({taking, stopped}, return_when=asyncio.FIRST_COMPLETED)
            # What it asked for is waited for: an attempt that is on its way already would be nobody's until its lease
            # lapses. A gateway that is away gives none.
            await asyncio.wait({taking}, timeout=WAIT_SECONDS + LATE_SECONDS)
            return taking.result() if taking.done() else None
        finally:
            taking.cancel()
            stopped.cancel()
            await asyncio.gather(taking, stopped, return_exceptions=True)

    async def _take(self) -> TakeAnswer | None:
        async with self._ears:
            return None if self._stopping.is_set() else await self._gateway.take_next(WAIT_SECONDS)

    async def _run(self, taken: TakeAnswer) -> None:
        if (missing := missing_secret(taken.request, self._secrets)) is not None:
            # Its pool is of pods that have what the Agent needs, so this pod was started from something else. Its lease
            # lapses, and the attempt is another's.
            log.error("this pod lacks a secret, ending", extra={"secret": f"{missing.name}/{missing.key}"})
            self._stopping.set()
            return
        try:
            await self._attempts.run(self._gateway, taken)
        except NotAdmitted:
            raise
        except Exception:
            log.exception("an attempt was given up", extra={"attempt": taken.attempt})
            # As another holder: as this one it would be given the same again. The leader sees the lease lapse.
            self._gateway = self._new_holder()
            await asyncio.sleep(FAULT_SECONDS)

    def _new_holder(self) -> GatewayClient:
        return self._connections.with_nonce(random_names.token_hex(8))
