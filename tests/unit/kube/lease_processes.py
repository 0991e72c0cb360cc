"""Replicas of the operator before one API server, on a clock that the test moves."""

import asyncio
from collections.abc import Callable

from parley.kube.client import JsonObject
from parley.kube.errors import KubeUnavailable
from parley.kube.kinds import Kind
from parley.kube.lease import LeaseElector, LeaseTiming

from tests.fake_kube import FakeKube
from tests.unit.kube.virtual_clock import VirtualClock

NAMESPACE = "parley-system"
AWAY = KubeUnavailable(0, "Unreachable", "connection refused")


class Wire(FakeKube):
    """One process's way to the shared API server: it may be cut, be slow, or lose the answers to writes."""

    def __init__(self, server: FakeKube) -> None:
        super().__init__()
        self.objects = server.objects
        self._server = server
        self.cut = False
        self.loses_answers = False
        self.delay: Callable[[], object] | None = None

    async def get(self, kind: Kind, namespace: str | None, name: str) -> JsonObject | None:
        await self._travel("get", kind)
        found = await self._server.get(kind, namespace, name)
        await asyncio.sleep(0)
        return found

    async def create(self, kind: Kind, namespace: str | None, body: JsonObject) -> JsonObject:
        await self._travel("create", kind)
        return self._answer(await self._server.create(kind, namespace, body))

    async def replace(self, kind: Kind, namespace: str | None, body: JsonObject) -> JsonObject:
        await self._travel("update", kind)
        return self._answer(await self._server.replace(kind, namespace, body))

    async def _travel(self, verb: str, kind: Kind) -> None:
        await asyncio.sleep(0)
        if self.cut:
            raise AWAY
        self._arrive(verb, kind, NAMESPACE, "parley-operator")

    def _answer(self, body: JsonObject) -> JsonObject:
        if self.loses_answers:
            raise AWAY
        return body


class Process:
    """A replica: its elector, the work it does as leader, and what became of it."""

    def __init__(
        self, name: str, server: FakeKube, clock: VirtualClock, timing: LeaseTiming | None = None
    ) -> None:
        self.name = name
        self.clock = clock
        self.wire = Wire(server)
        self.elector = LeaseElector(
            self.wire, namespace=NAMESPACE, identity=name, clock=clock, timing=timing or LeaseTiming()
        )
        self.started_at: float | None = None
        self.ended_at: float | None = None
        self.leading_at_end: bool | None = None
        self.finish = asyncio.Event()
        self.life = asyncio.create_task(self.elector.lead(self.work))

    async def work(self) -> None:
        self.started_at = self.clock.now()
        try:
            await self.finish.wait()
        finally:
            self.ended_at = self.clock.now()
            self.leading_at_end = self.elector.leading

    async def end(self) -> BaseException | None:
        self.life.cancel()
        return (await asyncio.gather(self.life, return_exceptions=True))[0]


def lease_spec(server: FakeKube) -> JsonObject:
    return server.objects["Lease", NAMESPACE, "parley-operator"]["spec"]  # type: ignore[return-value]


def held_by(holder: str, **spec: object) -> JsonObject:
    return {
        "metadata": {"name": "parley-operator"},
        "spec": {
            "holderIdentity": holder,
            "leaseDurationSeconds": 12,
            "leaseTransitions": 4,
            "renewTime": "2026-01-01T00:00:00.000000Z",
            **spec,
        },  # type: ignore[dict-item]
    }
