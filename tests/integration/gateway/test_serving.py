"""Runners that stay with their task, as real processes against a real gateway, store and model."""

import asyncio
import signal
import time
from typing import Any

from tests.integration.gateway.running import LONG, Shop


async def insert(shop: Shop, task: str, step: str, text: str, **changes: Any) -> int:
    """Insert an attempt that a runner which stays may take."""
    request = shop.request(text, step=step, session=None, history="None")
    return await shop.story.start(task, step, request=request, runtime="Task", **changes)


async def ends_as(shop: Shop, attempt: int, state: str) -> None:
    """Wait until an attempt is in a state."""
    end = time.monotonic() + LONG
    while (found := await shop.state_of(attempt)) != state:
        logs = "\n".join(log.read_text() for log in shop.directory.glob("*.log"))
        assert time.monotonic() < end, f"attempt {attempt} is {found}; the runners said:\n{logs}"
        await asyncio.sleep(0.02)


async def test_one_process_runs_a_tasks_steps_one_after_the_other_and_then_ends(shop: Shop) -> None:
    # Given a task with one step ready
    task = await shop.story.task()
    first = await insert(shop, task, "one", "echo: 1")
    runner = await shop.run(await shop.stay(task), "serve")

    # When each further one becomes ready only after the one before has ended
    await ends_as(shop, first, "Succeeded")
    second = await insert(shop, task, "two", "echo: 2")
    await ends_as(shop, second, "Succeeded")
    third = await insert(shop, task, "three", "[refuse] please")
    await ends_as(shop, third, "Failed")
    fourth = await insert(shop, task, "four", "echo: 4")

    # Then one process has run all of them, and ends when none comes any more
    assert await runner.exit_code() == 0, runner.log.read_text()
    await ends_as(shop, fourth, "Succeeded")
    values = {name: output.value for name, output in (await shop.story.load(task)).outputs.items()}
    assert values == {"one": "1", "two": "2", "four": "4"}
    assert len(await shop.story.sql("SELECT DISTINCT holder FROM attempts")) == 1
    assert "no attempt is ready" in runner.log.read_text()


async def test_two_runners_of_a_task_share_its_branches(shop: Shop) -> None:
    task = await shop.story.task()
    attempts = [await insert(shop, task, name, f"[slow 60s] {task}") for name in ("left", "right")]
    runners = [await shop.run(await shop.stay(task), "serve") for _ in attempts]

    for attempt in attempts:
        await ends_as(shop, attempt, "Running")
    assert len(await shop.story.sql("SELECT DISTINCT holder FROM attempts")) == 2

    assert await shop.story.end(task, "Cancelled")
    assert [await runner.exit_code() for runner in runners] == [0, 0]


async def test_a_runner_takes_what_is_its_own_tasks_and_meant_for_it(shop: Shop) -> None:
    # Given an attempt with a Job of its own, and one of another task
    task, other = await shop.story.task(), await shop.story.task()
    alone = await shop.story.start(
        task, "alone", request=shop.request("echo: x", session=None, history="None")
    )
    strange = await insert(shop, other, "one", "echo: x")

    runner = await shop.run(await shop.stay(task), "serve")

    assert await runner.exit_code() == 0
    assert [await shop.state_of(attempt) for attempt in (alone, strange)] == ["Open", "Open"]


async def test_heartbeats_keep_the_lease_of_a_long_step(shop: Shop) -> None:
    task = await shop.story.task()
    attempt = await insert(shop, task, "one", f"[slow 60s] {task}")
    runner = await shop.run(await shop.stay(task), "serve")
    await ends_as(shop, attempt, "Running")
    query = "SELECT lease_until, lease_until > now() FROM attempts WHERE id = %s"
    ((first, _),) = await shop.story.sql(query, attempt)

    end, kept = time.monotonic() + LONG, first
    while kept == first:
        assert time.monotonic() < end, "no heartbeat came"
        await asyncio.sleep(0.05)
        ((kept, alive),) = await shop.story.sql(query, attempt)

    assert alive
    assert await shop.state_of(attempt) == "Running"
    runner.terminate()
    assert await runner.exit_code() == 143


async def test_a_closed_attempt_is_stopped_and_the_next_one_taken(shop: Shop) -> None:
    # Given a runner that waits for the model
    task = await shop.story.task()
    slow = await insert(shop, task, "slow", f"[slow 60s] {task}")
    runner = await shop.run(await shop.stay(task), "serve")
    await ends_as(shop, slow, "Running")

    # When the leader closes that attempt and another step is ready
    retry = await insert(
        shop, task, "slow", "echo: again", number=2, cause="Disruption", close=shop.story.close(slow)
    )

    # Then the runner is told so by its heartbeat, and goes on with the next
    await ends_as(shop, retry, "Succeeded")
    assert await shop.state_of(slow) == "Lost"
    assert "told to stop the attempt" in runner.log.read_text()
    assert await runner.exit_code() == 0


async def test_a_runner_that_is_killed_holds_nobody_up(shop: Shop) -> None:
    task = await shop.story.task()
    first = await insert(shop, task, "one", f"[slow 60s] {task}")
    runner = await shop.run(await shop.stay(task), "serve")
    await ends_as(shop, first, "Running")
    runner.kill()
    assert await runner.exit_code() == -signal.SIGKILL

    # The leader sees the pod's end, or that the lease has lapsed.
    retry = await insert(
        shop, task, "one", "echo: done", number=2, cause="Disruption", close=shop.story.close(first)
    )
    successor = await shop.run(await shop.stay(task), "serve")

    await ends_as(shop, retry, "Succeeded")
    assert await successor.exit_code() == 0


async def test_sigterm_ends_an_idle_runner_and_disrupts_a_busy_one(shop: Shop) -> None:
    idle_task, busy_task = await shop.story.task(), await shop.story.task()
    attempt = await insert(shop, busy_task, "one", f"[slow 60s] {busy_task}")
    idle = await shop.run(await shop.stay(idle_task), "serve")
    busy = await shop.run(await shop.stay(busy_task), "serve")
    await ends_as(shop, attempt, "Running")

    idle.terminate()
    busy.terminate()

    assert (await idle.exit_code(), await busy.exit_code()) == (143, 143)
    assert await shop.state_of(attempt) == "Running"


async def test_a_task_that_has_ended_ends_its_runner(shop: Shop) -> None:
    task = await shop.story.task()
    attempt = await insert(shop, task, "one", f"[slow 60s] {task}")
    runner = await shop.run(await shop.stay(task), "serve")
    await ends_as(shop, attempt, "Running")

    assert await shop.story.end(task, "Cancelled")

    assert await runner.exit_code() == 0, runner.log.read_text()
    assert await shop.state_of(attempt) == "Cancelled"
