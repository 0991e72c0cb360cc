"""Who waits for an attempt of a pool: a notification wakes one, and none is lost on somebody who leaves."""

import asyncio

from parley.gateway.live.pools import Pools

LONG = 30.0


async def test_a_notification_wakes_one_and_each_another() -> None:
    pools = Pools()
    with pools.waiter("a") as first, pools.waiter("a") as second, pools.waiter("b") as other:
        pools.notify("a")
        assert [each.is_woken for each in (first, second, other)] == [True, False, False]
        pools.notify("a")
        assert second.is_woken
        assert await first.wait(LONG)
        assert not first.is_woken, "once it waits again, it waits for the next"


async def test_what_comes_between_a_look_and_the_wait_is_not_lost() -> None:
    pools = Pools()
    with pools.waiter("a") as waiter:
        pools.notify("a")
        assert await waiter.wait(0)
        assert not await waiter.wait(0)


async def test_who_leaves_without_having_looked_passes_it_on() -> None:
    pools = Pools()
    with pools.waiter("a") as stays:
        with pools.waiter("a"):
            # The one that has waited longest is woken first, then the one that leaves.
            pools.notify("a")
            pools.notify("a")
            assert await stays.wait(LONG)
            assert not stays.is_woken
        assert stays.is_woken


async def test_after_a_break_everybody_looks() -> None:
    pools = Pools()
    with pools.waiter("a") as first, pools.waiter("b") as second:
        pools.wake_all()
        assert first.is_woken
        assert second.is_woken


async def test_waiting_without_a_notification_ends() -> None:
    pools = Pools()
    assert not await pools.wait("a", 0.01)
    waiting = asyncio.create_task(pools.wait("a", LONG))
    await asyncio.sleep(0)
    pools.notify("a")
    assert await waiting


async def test_nobody_leaves_anything_behind() -> None:
    pools = Pools()
    with pools.waiter("a"):
        pools.notify("a")
    pools.notify("a")
    assert not pools._waiting
