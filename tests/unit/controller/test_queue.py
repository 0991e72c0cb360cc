"""The work queue: each key once, never twice at a time, nothing lost, and patience with what fails."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parley.controller.queue import Key, KeyedQueue

from tests.unit.controller.virtual_time import run

A, B, C = (Key("Task", "team", name) for name in "abc")


def now() -> float:
    return asyncio.get_running_loop().time()


async def waiting(queue: KeyedQueue) -> list[Key]:
    """Take and finish all keys that are ready now."""
    found: list[Key] = []
    while len(queue):
        key = await queue.get()
        queue.done(key)
        found.append(key)
    return found


Story = Callable[[KeyedQueue], Coroutine[Any, Any, None]]


def in_virtual_time(story: Story) -> Callable[[], None]:
    async def with_queue() -> None:
        await story(KeyedQueue(jitter=lambda: 1.0))

    def test() -> None:
        run(with_queue())

    test.__name__, test.__doc__ = story.__name__, story.__doc__
    return test


@in_virtual_time
async def test_keys_come_in_the_order_they_were_added(queue: KeyedQueue) -> None:
    for key in (B, A, C):
        queue.add(key)

    assert await waiting(queue) == [B, A, C]


@in_virtual_time
async def test_a_key_that_waits_is_not_queued_twice(queue: KeyedQueue) -> None:
    for key in (A, B, A, A):
        queue.add(key)

    assert len(queue) == 2
    assert await waiting(queue) == [A, B]


@in_virtual_time
async def test_a_key_is_never_worked_on_twice_at_a_time(queue: KeyedQueue) -> None:
    """Given a worker that has a key, when it is added again, then it comes back once that worker is done."""
    queue.add(A)
    assert await queue.get() == A
    queue.add(A)
    queue.add(A)
    other = asyncio.ensure_future(queue.get())
    await asyncio.sleep(60)
    assert not other.done()
    assert len(queue) == 1

    queue.done(A)

    assert await other == A
    queue.done(A)
    assert len(queue) == 0, "two additions meanwhile are one more round"


@in_virtual_time
async def test_a_key_that_is_done_stays_away(queue: KeyedQueue) -> None:
    queue.add(A)
    queue.done(await queue.get())

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3600):
            await queue.get()


@in_virtual_time
async def test_a_worker_that_waits_is_woken(queue: KeyedQueue) -> None:
    worker = asyncio.ensure_future(queue.get())
    await asyncio.sleep(1)

    queue.add(A)

    assert await worker == A


@in_virtual_time
async def test_each_of_several_waiting_workers_gets_a_key(queue: KeyedQueue) -> None:
    workers = [asyncio.ensure_future(queue.get()) for _ in range(3)]
    await asyncio.sleep(1)

    for key in (A, B, C):
        queue.add(key)

    assert {await worker for worker in workers} == {A, B, C}


@in_virtual_time
async def test_a_cancelled_worker_takes_no_key_with_it(queue: KeyedQueue) -> None:
    worker = asyncio.ensure_future(queue.get())
    await asyncio.sleep(1)
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)

    queue.add(A)

    assert await queue.get() == A


# Later.


@in_virtual_time
async def test_a_key_can_be_woken_later(queue: KeyedQueue) -> None:
    start = now()
    queue.add_after(A, 90)
    assert len(queue) == 0

    assert await queue.get() == A

    assert now() - start == pytest.approx(90)


@in_virtual_time
async def test_a_worker_that_waits_already_notices_a_nearer_wake(queue: KeyedQueue) -> None:
    start = now()
    queue.add_after(A, 90)
    worker = asyncio.ensure_future(queue.get())
    await asyncio.sleep(10)

    queue.add_after(B, 5)

    assert await worker == B
    assert now() - start == pytest.approx(15)


@pytest.mark.parametrize("waits", [(60, 5), (5, 60), (5, 5)])
def test_the_earliest_wake_wins_and_is_the_only_one(waits: tuple[int, int]) -> None:
    async def story() -> None:
        queue, start = KeyedQueue(), now()
        for seconds in waits:
            queue.add_after(A, seconds)

        queue.done(await queue.get())
        assert now() - start == pytest.approx(5)

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3600):
                await queue.get()

    run(story())


@in_virtual_time
async def test_a_key_added_now_needs_no_later_wake(queue: KeyedQueue) -> None:
    """Whoever reconciles it now asks for the next wake by itself."""
    queue.add_after(A, 60)
    queue.add(A)
    queue.done(await queue.get())

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3600):
            await queue.get()


@in_virtual_time
async def test_a_later_wake_may_be_asked_for_again_after_it_was_dropped(queue: KeyedQueue) -> None:
    start = now()
    queue.add_after(A, 60)
    queue.add(A)
    queue.done(await queue.get())

    queue.add_after(A, 90)

    assert await queue.get() == A
    assert now() - start == pytest.approx(90), "the dropped wake at 60 s must not come back"


@pytest.mark.parametrize("seconds", [0, -5])
def test_a_wake_that_is_due_is_an_addition(seconds: int) -> None:
    async def story() -> None:
        queue, start = KeyedQueue(), now()
        queue.add_after(A, seconds)
        assert await queue.get() == A
        assert now() == start

    run(story())


@in_virtual_time
async def test_a_wake_while_it_is_worked_on_comes_after_the_work(queue: KeyedQueue) -> None:
    queue.add(A)
    await queue.get()
    queue.add_after(A, 5)
    other = asyncio.ensure_future(queue.get())
    await asyncio.sleep(60)
    assert not other.done()

    queue.done(A)

    assert await other == A


@in_virtual_time
async def test_wakes_that_were_replaced_are_not_kept_for_days(queue: KeyedQueue) -> None:
    """A key is reconciled often and asks each time to be woken at its far deadline."""
    queue.add_after(B, 7200)
    for _ in range(1000):
        queue.add_after(A, 3600)
        queue.add(A)
        queue.done(await queue.get())

    assert len(queue._heap) < 100
    assert await queue.get() == B, "and none that still counts is lost"


# Failures.


@in_virtual_time
async def test_failures_back_off_per_key_and_doubling_up_to_half_a_minute(queue: KeyedQueue) -> None:
    delays = [queue.retry(A) for _ in range(12)]

    assert delays[:4] == pytest.approx([0.1, 0.2, 0.4, 0.8])
    assert delays[-3:] == [30.0, 30.0, 30.0]
    assert queue.retry(B) == pytest.approx(0.1), "another key's failures are its own"


@pytest.mark.parametrize(("jitter", "share"), [(0.0, 0.5), (0.5, 0.75), (1.0, 1.0)])
def test_jitter_takes_up_to_half_of_a_backoff(jitter: float, share: float) -> None:
    async def story() -> None:
        queue = KeyedQueue(jitter=lambda: jitter)
        assert [queue.retry(A) for _ in range(3)] == pytest.approx([0.1 * share, 0.2 * share, 0.4 * share])

    run(story())


@in_virtual_time
async def test_a_retry_comes_after_its_backoff(queue: KeyedQueue) -> None:
    start = now()
    delay = queue.retry(A)

    assert await queue.get() == A

    assert now() - start == pytest.approx(delay)


@in_virtual_time
async def test_the_api_servers_wish_to_wait_is_kept(queue: KeyedQueue) -> None:
    assert queue.retry(A, at_least=7.0) == 7.0
    assert queue.retry(A, at_least=0.01) == pytest.approx(0.2), "and counts as a failure"


@in_virtual_time
async def test_a_success_resets_the_backoff(queue: KeyedQueue) -> None:
    for _ in range(5):
        queue.retry(A)

    queue.forget(A)

    assert queue.retry(A) == pytest.approx(0.1)


@in_virtual_time
async def test_news_do_not_wait_for_a_backoff(queue: KeyedQueue) -> None:
    start = now()
    for _ in range(9):
        queue.retry(A)

    queue.add(A)

    assert await queue.get() == A
    assert now() == start


# All of it at once.


@settings(max_examples=60, deadline=None)
@given(
    adds=st.lists(
        st.tuples(st.sampled_from([A, B, C]), st.integers(0, 20), st.sampled_from(["add", "later", "retry"])),
        max_size=30,
    ),
    works=st.lists(st.integers(0, 5), min_size=1, max_size=8),
)
def test_whatever_is_added_is_worked_on_afterwards_and_never_by_two(
    adds: list[tuple[Key, int, str]], works: list[int]
) -> None:
    async def story() -> None:
        queue = KeyedQueue(jitter=lambda: 0.5)
        at_work: set[Key] = set()
        last_start: dict[Key, float] = {}
        count = 0

        async def work() -> None:
            nonlocal count
            while True:
                key = await queue.get()
                assert key not in at_work, f"two workers have {key}"
                at_work.add(key)
                last_start[key] = now()
                count += 1
                await asyncio.sleep(works[count % len(works)])
                at_work.remove(key)
                queue.done(key)

        workers = [asyncio.ensure_future(work()) for _ in range(3)]
        added: dict[Key, float] = {}
        for key, pause, how in adds:
            await asyncio.sleep(pause)
            added[key] = now()
            if how == "add":
                queue.add(key)
            elif how == "later":
                queue.add_after(key, pause)
            else:
                queue.retry(key)
        await asyncio.sleep(3600)
        assert not [w for w in workers if w.done()], [w.exception() for w in workers if w.done()]
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        assert len(queue) == 0
        missed = [key for key, time in added.items() if last_start.get(key, 0) < time]
        assert not missed, f"added, and never worked on since: {missed}"

    run(story())
