"""Leader election: who may act when, told with a clock that the test moves."""

import asyncio
import re

import pytest
from parley.kube.kinds import LEASE
from parley.kube.lease import LeaseElector, LostLease, process_identity

from tests.fake_kube import FakeKube
from tests.unit.kube.lease_processes import NAMESPACE, Process, held_by, lease_spec
from tests.unit.kube.virtual_clock import VirtualClock, settle

MICRO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


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


def test_two_processes_of_one_pod_are_two_candidates() -> None:
    assert process_identity("parley-operator-1").startswith("parley-operator-1_")
    assert process_identity("parley-operator-1") != process_identity("parley-operator-1")
