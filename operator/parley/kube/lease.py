"""Leader election by a Lease.

The rules are client-go's: the times in a Lease are for people to read; a candidate takes a Lease over only
after it has itself seen no change of it for the whole lease duration, by its own clock. A leader is fresh for
a while from the moment it *sent* its last successful renewal, on a clock that also runs while it is frozen.
"""

import asyncio
import logging
import random
import time
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol, cast

from parley.kube.client import JsonObject, KubeApi
from parley.kube.errors import AlreadyExists, Conflict, KubeError, NotFound
from parley.kube.kinds import LEASE

log = logging.getLogger(__name__)


class LostLease(Exception):
    """This process is not, or no longer provably, the leader: it must stop and write nothing more."""


class Clock(Protocol):
    """Time as the elector sees it; tests bring their own."""

    def now(self) -> float:
        """Seconds that never go back and count also while the process or the machine is frozen."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class BootClock:
    """CLOCK_BOOTTIME."""

    def now(self) -> float:
        """See ``Clock``."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    async def sleep(self, seconds: float) -> None:
        """See ``Clock``."""
        await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True)
class LeaseTiming:
    """Seconds. After a kill the next leader starts within duration + 2.4 retry, after a release 1.2 retry.

    Attributes:
        duration: How long the others wait after the last change they saw.
        deadline: How long a leader may act after its last renewal; a write sent just before has
            ``duration - deadline`` to arrive before anybody else leads.
        renew: Between renewals.
        retry: Between looks of a candidate, and between attempts of a leader that cannot renew.
        request: Limit of one request, so that a hanging one leaves time for another before the deadline.
        stop: How long to wait for the leader's work to end once it is told to.
    """

    duration: float = 12.0
    deadline: float = 8.0
    renew: float = 2.0
    retry: float = 1.0
    request: float = 3.0
    stop: float = 20.0


def process_identity(pod_name: str) -> str:
    """A holder's name that no other process has, not even the same pod's after a container restart."""
    return f"{pod_name}_{uuid.uuid4()}"


class LeaseElector:
    """One candidate for one Lease. ``lead`` runs its whole life; ``assert_fresh`` guards each write."""

    def __init__(
        self,
        kube: KubeApi,
        *,
        namespace: str,
        identity: str,
        name: str = "parley-operator",
        timing: LeaseTiming | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.identity = identity
        self._kube = kube
        self._namespace = namespace
        self._name = name
        self._timing = timing or LeaseTiming()
        self._clock = clock or BootClock()
        self._seen: JsonObject | None = None
        self._seen_at = 0.0
        self._renewed_at: float | None = None

    @property
    def leading(self) -> bool:
        """Whether this process may write now."""
        return self._left() > 0

    def assert_fresh(self) -> None:
        """Let a write pass.

        Raises:
            LostLease: The last successful renewal is older than the deadline, or there was none.
        """
        if not self.leading:
            raise LostLease(f"{self.identity} does not hold {self._title} or could not renew it in time")

    async def still_holder(self) -> bool:
        """Read the Lease: is this process its holder? For a leader whose epoch the store refused.

        Raises:
            KubeError: It could not be read.
        """
        lease = await self._kube.get(LEASE, self._namespace, self._name)
        return lease is not None and _holder(lease) == self.identity

    async def lead(self, on_started: Callable[[], Coroutine[object, object, None]]) -> None:
        """Wait for the Lease, run ``on_started`` while it holds, then give the Lease back.

        Returns when ``on_started`` returns; its exception passes through. Cancelling ``lead`` first ends
        ``on_started``, then releases the Lease, so that the next leader can start at once.

        Raises:
            LostLease: The Lease was not renewed in time, or somebody else has it. ``on_started`` is cancelled
                and the Lease left alone; the process should end.
        """
        await self._acquire()
        log.info("%s leads: it holds %s", self.identity, self._title)
        # Kopf cancels every task that is younger than itself when it stops: the renewal must be older.
        renewal = asyncio.create_task(self._keep(), name="lease-renewal")
        work = asyncio.create_task(on_started(), name="leader")
        try:
            await asyncio.wait({renewal, work}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                renewal.result()
            await work
        finally:
            ended = await _end(work, self._timing.stop)
            await _end(renewal, self._timing.stop)
            # Work that does not end may still write; then the Lease runs out instead of being handed on.
            if ended and self.leading:
                await self._release()
            self._renewed_at = None

    async def _acquire(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._timing.request):
                    if await self._try_acquire():
                        return
            except (KubeError, TimeoutError) as error:
                log.warning("cannot read or take %s, trying on: %r", self._title, error)
            # Jitter keeps candidates that started together from looking together for ever.
            await self._clock.sleep(self._timing.retry * random.uniform(0.8, 1.2))  # noqa: S311

    async def _try_acquire(self) -> bool:
        lease = await self._kube.get(LEASE, self._namespace, self._name)
        if lease is None:
            return await self._create()
        if self._seen is None or _version(lease) != _version(self._seen):
            self._seen, self._seen_at = lease, self._clock.now()
        held = _holder(lease) not in {"", self.identity}
        if held and self._clock.now() - self._seen_at < self._others_duration(lease):
            return False
        now = _wall_time()
        transitions = _spec(lease).get("leaseTransitions")
        count = transitions if isinstance(transitions, int) else 0
        return await self._replace(
            lease, {"acquireTime": now, "renewTime": now, "leaseTransitions": count + 1}
        )

    def _others_duration(self, lease: JsonObject) -> float:
        declared = _spec(lease).get("leaseDurationSeconds")
        return max(self._timing.duration, declared if isinstance(declared, int) else 0)

    async def _keep(self) -> None:
        """Renew for ever; raises LostLease."""
        while True:
            await self._clock.sleep(self._timing.renew)
            while not await self._renew():
                await self._clock.sleep(self._timing.retry)

    async def _renew(self) -> bool:
        self.assert_fresh()
        try:
            async with asyncio.timeout(min(self._timing.request, self._left())):
                return await self._try_renew()
        except (KubeError, TimeoutError) as error:
            log.warning("cannot renew %s, %.1f s left: %r", self._title, self._left(), error)
            return False

    async def _try_renew(self) -> bool:
        if self._seen is not None and await self._replace(self._seen, {"renewTime": _wall_time()}):
            return True
        # Somebody wrote it: this process, when the answer to its own renewal was lost, or another.
        lease = await self._kube.get(LEASE, self._namespace, self._name)
        if lease is None:
            return await self._create()
        if _holder(lease) != self.identity:
            self._renewed_at = None
            raise LostLease(f"{_holder(lease) or 'nobody'} holds {self._title} now, not {self.identity}")
        return await self._replace(lease, {"renewTime": _wall_time()})

    async def _create(self) -> bool:
        now = _wall_time()
        spec: JsonObject = {"acquireTime": now, "renewTime": now, "leaseTransitions": 0, **self._terms()}
        sent = self._clock.now()
        try:
            body: JsonObject = {"metadata": {"name": self._name}, "spec": spec}
            self._seen = await self._kube.create(LEASE, self._namespace, body)
        except AlreadyExists:
            return False
        self._renewed_at = sent
        return True

    async def _replace(self, lease: JsonObject, changes: JsonObject) -> bool:
        """Write the Lease as held by this process; False if it is no longer as ``lease`` was read."""
        sent = self._clock.now()
        try:
            body: JsonObject = {**lease, "spec": {**_spec(lease), **changes, **self._terms()}}
            self._seen = await self._kube.replace(LEASE, self._namespace, body)
        except (Conflict, NotFound):
            return False
        self._renewed_at = sent
        return True

    async def _release(self) -> None:
        if self._seen is None:
            return
        # No holder rather than an empty one: newer API servers refuse the empty name.
        spec = {key: value for key, value in _spec(self._seen).items() if key != "holderIdentity"}
        spec |= {"renewTime": _wall_time(), "leaseDurationSeconds": 1}
        try:
            async with asyncio.timeout(self._timing.request):
                await self._kube.replace(LEASE, self._namespace, {**self._seen, "spec": spec})
        except (KubeError, TimeoutError) as error:
            log.warning("cannot release %s, it runs out by itself: %r", self._title, error)
        else:
            log.info("%s released %s", self.identity, self._title)

    def _terms(self) -> JsonObject:
        return {"holderIdentity": self.identity, "leaseDurationSeconds": int(self._timing.duration)}

    def _left(self) -> float:
        if self._renewed_at is None:
            return 0.0
        return max(0.0, self._renewed_at + self._timing.deadline - self._clock.now())

    @property
    def _title(self) -> str:
        return f"Lease {self._namespace}/{self._name}"


async def _end(task: "asyncio.Task[None]", seconds: float) -> bool:
    """Cancel a task and wait for it; False if it has not ended by then."""
    was_running = task.cancel()
    done, _ = await asyncio.wait({task}, timeout=seconds)
    if not done:
        log.error("%s did not end within %.0f s", task.get_name(), seconds)
    elif not task.cancelled() and (error := task.exception()) and was_running:
        log.error("%s failed while it was stopped", task.get_name(), exc_info=error)
    return bool(done)


def _spec(lease: JsonObject) -> JsonObject:
    return cast("JsonObject", lease.get("spec") or {})


def _holder(lease: JsonObject) -> str:
    return str(_spec(lease).get("holderIdentity") or "")


def _version(lease: JsonObject) -> str:
    return str(cast("JsonObject", lease["metadata"]).get("resourceVersion"))


def _wall_time() -> str:
    """Kubernetes MicroTime: RFC 3339 in UTC with exactly six decimals."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
