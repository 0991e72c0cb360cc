"""A leader that loses its Lease, or gives it back, or may not write any more."""

import asyncio

import pytest
from parley.kube.client import JsonObject
from parley.kube.fenced import FencedKube
from parley.kube.kinds import CONFIG_MAP, LEASE, Kind
from parley.kube.lease import LeaseElector, LeaseTiming, LostLease

from tests.fake_kube import FakeKube
from tests.unit.kube.lease_processes import NAMESPACE, Process, lease_spec
from tests.unit.kube.virtual_clock import VirtualClock, settle


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
