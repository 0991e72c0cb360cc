"""Leader election: who may act when, told with a clock that the test moves."""

import asyncio
import re
from collections.abc import Callable

import pytest
from parley.kube.client import JsonObject
from parley.kube.errors import KubeUnavailable
from parley.kube.fenced import FencedKube
from parley.kube.kinds import CONFIG_MAP, LEASE, Kind
from parley.kube.lease import LeaseElector, LeaseTiming, LostLease, process_identity

from tests.fake_kube import FakeKube
from tests.unit.kube.virtual_clock import VirtualClock, settle

NAMESPACE = "parley-system"
AWAY = KubeUnavailable(0, "Unreachable", "connection refused")
MICRO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


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


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def server() -> FakeKube:
    return FakeKube()


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


async def test_the_only_candidate_leads_at_once(server: FakeKube, clock: VirtualClock) -> None:
    first = Process("a", server, clock)
    await settle()
    assert first.started_at == clock.now()
    assert first.elector.leading
    first.elector.assert_fresh()
    assert await first.elector.still_holder()
    spec = lease_spec(server)
    assert (spec["holderIdentity"], spec["leaseDurationSeconds"], spec["leaseTransitions"]) == ("a", 12, 0)
    assert MICRO_TIME.fullmatch(str(spec["renewTime"]))
    assert MICRO_TIME.fullmatch(str(spec["acquireTime"]))
    await first.end()


async def test_a_second_candidate_waits_while_the_first_renews(server: FakeKube, clock: VirtualClock) -> None:
    first = Process("a", server, clock)
    await settle()
    second = Process("b", server, clock)
    for _ in range(120):
        await clock.advance(1)
        assert first.elector.leading
        assert not second.elector.leading
    assert second.started_at is None
    assert not await second.elector.still_holder()
    with pytest.raises(LostLease, match="b does not hold Lease parley-system/parley-operator"):
        second.elector.assert_fresh()
    await first.end()
    await second.end()


async def test_after_a_clean_stop_the_next_one_leads_at_once(server: FakeKube, clock: VirtualClock) -> None:
    # given a leader and a standby
    first = Process("a", server, clock)
    await settle()
    second = Process("b", server, clock)
    await clock.advance(30)
    # when the leader is told to stop
    stopped_at = clock.now()
    assert isinstance(await first.end(), asyncio.CancelledError)
    # then its work has ended, the Lease has no holder, and the standby leads at its next look
    assert first.ended_at == stopped_at
    assert first.leading_at_end is True
    assert "holderIdentity" not in lease_spec(server)
    await clock.advance(3)
    assert second.started_at is not None
    assert second.started_at - stopped_at <= 1.2
    assert lease_spec(server)["leaseTransitions"] == 1
    await second.end()


async def test_the_leader_can_still_write_while_it_is_stopping(server: FakeKube, clock: VirtualClock) -> None:
    wrote: list[bool] = []
    elector = LeaseElector(server, namespace=NAMESPACE, identity="a", clock=clock)

    async def work() -> None:
        try:
            await clock.sleep(3600)
        finally:
            await clock.sleep(10)  # longer than the deadline: the renewal must go on
            wrote.append(elector.leading)

    life = asyncio.create_task(elector.lead(work))
    await clock.advance(5)
    life.cancel()
    await clock.advance(20)
    assert wrote == [True]
    assert life.cancelled()
    assert "holderIdentity" not in lease_spec(server)


async def test_after_a_kill_the_next_one_leads_within_20_seconds(
    server: FakeKube, clock: VirtualClock
) -> None:
    # given a leader and a standby
    first = Process("a", server, clock)
    await settle()
    second = Process("b", server, clock)
    await clock.advance(31)
    # when the leader is cut off (for the others: dead)
    first.wire.cut = True
    cut_at = clock.now()
    last_seen = lease_spec(server)["renewTime"]
    while second.started_at is None and clock.now() < cut_at + 60:
        await clock.advance(0.1)
        # then never do both lead
        assert not (first.elector.leading and second.elector.leading)
    # and the standby leads after the lease duration, not before, while the old one has stopped by itself
    assert second.started_at is not None
    assert 12 - 2 <= second.started_at - cut_at <= 12 + 2.4
    assert isinstance(first.life.exception(), LostLease)
    assert first.ended_at is not None
    assert first.ended_at < second.started_at
    assert lease_spec(server)["renewTime"] != last_seen
    await second.end()


@pytest.mark.parametrize("renewed", ["1999-01-01T00:00:00.000000Z", "2199-01-01T00:00:00.000000Z"])
async def test_the_times_in_the_lease_decide_nothing(
    server: FakeKube, clock: VirtualClock, renewed: str
) -> None:
    await server.create(LEASE, NAMESPACE, held_by("gone", renewTime=renewed))
    candidate = Process("b", server, clock)
    await clock.advance(11.9)
    assert candidate.started_at is None
    await clock.advance(1.4)
    assert candidate.started_at is not None
    assert lease_spec(server)["leaseTransitions"] == 5
    await candidate.end()


async def test_a_longer_duration_in_the_lease_is_respected(server: FakeKube, clock: VirtualClock) -> None:
    await server.create(LEASE, NAMESPACE, held_by("other-version", leaseDurationSeconds=40))
    candidate = Process("b", server, clock)
    await clock.advance(39)
    assert candidate.started_at is None
    await clock.advance(3)
    assert candidate.started_at is not None
    await candidate.end()


async def test_any_change_starts_the_wait_anew(server: FakeKube, clock: VirtualClock) -> None:
    await server.create(LEASE, NAMESPACE, held_by("a"))
    candidate = Process("b", server, clock)
    for _ in range(5):
        await clock.advance(10)
        server.edit(LEASE, NAMESPACE, "parley-operator", lambda _: None)
    assert candidate.started_at is None
    await candidate.end()


async def test_of_several_candidates_exactly_one_leads(server: FakeKube, clock: VirtualClock) -> None:
    candidates = [Process(name, server, clock) for name in "abcdef"]
    await clock.advance(5)
    leaders = [candidate for candidate in candidates if candidate.elector.leading]
    assert len(leaders) == 1
    assert lease_spec(server)["holderIdentity"] == leaders[0].name
    for candidate in candidates:
        await candidate.end()


async def test_a_leader_survives_a_short_outage(server: FakeKube, clock: VirtualClock) -> None:
    first = Process("a", server, clock)
    await clock.advance(11)
    first.wire.cut = True
    await clock.advance(5)
    assert first.elector.leading
    first.wire.cut = False
    await clock.advance(10)
    assert first.elector.leading
    assert first.ended_at is None
    await first.end()


async def test_a_renewal_whose_answer_was_lost_is_no_loss(server: FakeKube, clock: VirtualClock) -> None:
    first = Process("a", server, clock)
    await clock.advance(11)
    first.wire.loses_answers = True
    await clock.advance(4)
    first.wire.loses_answers = False
    await clock.advance(10)
    assert first.elector.leading
    assert first.ended_at is None
    await first.end()


async def test_a_leader_that_cannot_renew_stops_at_its_deadline(
    server: FakeKube, clock: VirtualClock
) -> None:
    first = Process("a", server, clock)
    await settle()
    renewed_at = clock.now()
    first.wire.cut = True
    await clock.advance(7.9)
    first.elector.assert_fresh()
    await clock.advance(2)
    assert isinstance(first.life.exception(), LostLease)
    assert first.ended_at is not None
    assert first.ended_at - renewed_at <= 8 + 1
    # the Lease was not touched: it runs out for the others by itself
    assert lease_spec(server)["holderIdentity"] == "a"


async def test_freshness_counts_from_when_the_renewal_was_sent(server: FakeKube, clock: VirtualClock) -> None:
    first = Process("a", server, clock)
    await settle()
    replace = first.wire.replace

    async def slow(kind: Kind, namespace: str | None, body: JsonObject) -> JsonObject:
        answer = await replace(kind, namespace, body)
        await clock.sleep(5)
        return answer

    first.wire.replace = slow  # type: ignore[method-assign]
    await clock.advance(2 + 5)  # sent after 2 s, answered after 7 s, so good until 10 s after the start
    first.wire.cut = True
    first.wire.replace = replace  # type: ignore[method-assign]
    await clock.advance(2.5)
    assert first.elector.leading
    await clock.advance(1)
    assert not first.elector.leading
    await first.end()


async def test_a_leader_that_wakes_from_a_freeze_writes_nothing(
    server: FakeKube, clock: VirtualClock
) -> None:
    # given a leader
    first = Process("a", server, clock)
    await clock.advance(11)
    before = len(server.requests)
    # when it is stopped for longer than its deadline and woken
    clock.freeze(20)
    # then no write passes, from the first moment on
    with pytest.raises(LostLease):
        first.elector.assert_fresh()
    await clock.advance(5)
    assert isinstance(first.life.exception(), LostLease)
    assert [request.verb for request in server.requests[before:]] == []


async def test_a_leader_stops_when_it_sees_another_holder(server: FakeKube, clock: VirtualClock) -> None:
    first = Process("a", server, clock)
    await clock.advance(3)

    def take(lease: JsonObject) -> None:
        lease["spec"]["holderIdentity"] = "b"  # type: ignore[index,call-overload]

    taken = server.edit(LEASE, NAMESPACE, "parley-operator", take)
    await clock.advance(3)
    error = first.life.exception()
    assert isinstance(error, LostLease)
    assert "b holds Lease" in str(error)
    assert first.leading_at_end is False
    assert not await first.elector.still_holder()
    assert server.objects["Lease", NAMESPACE, "parley-operator"] == taken


async def test_a_deleted_lease_is_made_again_by_its_holder(server: FakeKube, clock: VirtualClock) -> None:
    first = Process("a", server, clock)
    await clock.advance(3)
    await server.delete(LEASE, NAMESPACE, "parley-operator")
    await clock.advance(3)
    assert first.elector.leading
    assert lease_spec(server)["holderIdentity"] == "a"
    await first.end()


async def test_candidates_wait_for_an_api_server_that_is_away(server: FakeKube, clock: VirtualClock) -> None:
    first = Process("a", server, clock)
    first.wire.cut = True
    await clock.advance(100)
    assert first.started_at is None
    first.wire.cut = False
    await clock.advance(2)
    assert first.started_at is not None
    await first.end()


async def test_lead_returns_when_the_work_is_done_and_releases(server: FakeKube, clock: VirtualClock) -> None:
    first = Process("a", server, clock)
    await settle()
    first.finish.set()
    await first.life
    assert "holderIdentity" not in lease_spec(server)
    assert not first.elector.leading


async def test_what_the_work_raises_passes_through(server: FakeKube, clock: VirtualClock) -> None:
    async def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await LeaseElector(server, namespace=NAMESPACE, identity="a", clock=clock).lead(work)
    assert "holderIdentity" not in lease_spec(server)


async def test_work_that_does_not_end_keeps_the_others_waiting(server: FakeKube, clock: VirtualClock) -> None:
    # given a leader whose work ignores being cancelled
    let_go = asyncio.Event()
    ended = asyncio.Event()

    async def stubborn() -> None:
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue
        ended.set()

    elector = LeaseElector(
        server, namespace=NAMESPACE, identity="a", clock=clock, timing=LeaseTiming(stop=0.01)
    )
    life = asyncio.create_task(elector.lead(stubborn))
    await settle()
    # when it is told to stop
    life.cancel()
    await asyncio.gather(life, return_exceptions=True)
    # then the Lease is not handed on while that work may still write
    assert lease_spec(server)["holderIdentity"] == "a"
    let_go.set()
    await ended.wait()


async def test_a_failed_release_is_no_failure(server: FakeKube, clock: VirtualClock) -> None:
    first = Process("a", server, clock)
    await settle()
    first.wire.cut = True
    assert isinstance(await first.end(), asyncio.CancelledError)


async def test_only_a_fresh_leader_writes_and_its_writes_are_counted(
    server: FakeKube, clock: VirtualClock
) -> None:
    # given a leader and its guarded client
    first = Process("a", server, clock)
    await settle()
    counted: list[tuple[str, str]] = []
    fenced = FencedKube(server, first.elector.assert_fresh, lambda verb, kind: counted.append((verb, kind)))
    made = await fenced.create(CONFIG_MAP, NAMESPACE, {"metadata": {"name": "parley-store"}})
    await fenced.replace(CONFIG_MAP, NAMESPACE, made)
    # when it was frozen past its deadline
    clock.freeze(9)
    writes = [
        fenced.create(CONFIG_MAP, NAMESPACE, {"metadata": {"name": "other"}}),
        fenced.replace(CONFIG_MAP, NAMESPACE, made),
        fenced.apply_status(CONFIG_MAP, NAMESPACE, "parley-store", {}, resource_version="1"),
        fenced.delete(CONFIG_MAP, NAMESPACE, "parley-store"),
    ]
    # then no write leaves, and reading goes on
    for write in writes:
        with pytest.raises(LostLease):
            await write
    assert await fenced.get(CONFIG_MAP, NAMESPACE, "parley-store") is not None
    assert len((await fenced.list(CONFIG_MAP)).items) == 1
    assert counted == [("create", "ConfigMap"), ("update", "ConfigMap")]
    await first.end()


def test_two_processes_of_one_pod_are_two_candidates() -> None:
    assert process_identity("parley-operator-1").startswith("parley-operator-1_")
    assert process_identity("parley-operator-1") != process_identity("parley-operator-1")
