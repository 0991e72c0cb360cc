"""Warm runners as real processes against a real gateway, store and model."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol
from uuid import uuid4

import pytest
from parley.store import posting

from tests.integration.gateway.running import LONG, RunnerProcess, Shop
from tests.unit.gateway.steps import StepInCluster, add_warm

POOL = "warm-support-1"


async def insert(
    shop: Shop, task: str, text: str, *, step: str = "reply", pool: str = POOL, **more: Any
) -> int:
    """Insert an attempt that the pool's runners may take; ``session`` is the task's."""
    session = more.pop("session", None)
    fields = {} if session else {"session": None, "history": "None"}
    request = shop.request(text, step=step, **fields, **more.pop("asked", {}))
    return await shop.story.start(
        task, step, request=request, runtime="Warm", pool=pool, job=None, session_uid=session, **more
    )


async def turn(shop: Shop, session: str, text: str, **more: Any) -> tuple[str, int]:
    """Give a task the session's turn, with an attempt for the pool."""
    task = await shop.story.task(session)
    await shop.story.queue(session, task)
    return task, await insert(shop, task, text, session=session, **more)


class Start(Protocol):
    async def __call__(self, slots: int = 3, pod: StepInCluster | None = None) -> RunnerProcess: ...


@pytest.fixture
async def warm(shop: Shop) -> AsyncIterator[Start]:
    """Starts warm runners; those that still run at the end are killed."""
    started: list[RunnerProcess] = []

    async def start(slots: int = 3, pod: StepInCluster | None = None) -> RunnerProcess:
        pod = pod or await add_warm(shop.kube, POOL)
        started.append(await shop.run(pod, "warm", PARLEY_CONCURRENCY=str(slots), PARLEY_LIVENESS_PORT="0"))
        return started[-1]

    yield start
    for runner in started:
        if runner.process.returncode is None:
            runner.kill()
        await runner.exit_code()


def logs(shop: Shop) -> str:
    return "\n".join(log.read_text() for log in shop.directory.glob("*.log"))


async def until(
    shop: Shop, what: str, ready: Callable[[list[tuple[Any, ...]]], bool], sql: Any
) -> list[tuple[Any, ...]]:
    """Wait until rows are as they should be."""
    end = time.monotonic() + LONG
    while not ready(rows := await shop.story.sql(sql)):
        assert time.monotonic() < end, f"{what} never comes: {rows}; the runners said:\n{logs(shop)}"
        await asyncio.sleep(0.02)
    return rows


async def ends_as(shop: Shop, attempt: int, state: str) -> None:
    await until(
        shop,
        f"attempt {attempt} as {state}",
        lambda rows: (attempt, state) in rows,
        "SELECT id, state FROM attempts",
    )


async def test_one_pod_answers_many_sessions_and_goes_on(shop: Shop, warm: Start) -> None:
    # Given a warm runner that waits, with two slots
    runner = await warm(slots=2)
    sessions = [await shop.story.session(f"session-{number}") for number in range(5)]

    # When people of five sessions say something at once, and once more
    for round_number in (1, 2):
        asked = [
            await turn(shop, session, f"echo: {round_number} of {number}")
            for number, session in enumerate(sessions)
        ]
        for _, attempt in asked:
            await ends_as(shop, attempt, "Succeeded")

    # Then each session holds its own conversation, and one process has held all of it
    for number, session in enumerate(sessions):
        said = [content for _, _, content in await shop.story.events(session)]
        assert said == [f"echo: 1 of {number}", f"1 of {number}", f"echo: 2 of {number}", f"2 of {number}"]
    holders = await shop.story.sql("SELECT DISTINCT split_part(holder, '/', 1) FROM attempts")
    assert len(holders) == 1

    # And when it is told to end, having nothing to do, it ends in order
    runner.terminate()
    assert await runner.exit_code() == 0, runner.log.read_text()


async def test_as_many_attempts_run_at_once_as_there_are_slots(shop: Shop, warm: Start) -> None:
    runner = await warm(slots=2)
    tasks = [await shop.story.task() for _ in range(3)]
    for task in tasks:
        await insert(shop, task, f"[slow 60s] {task}")

    await until(
        shop,
        "two attempts that run",
        lambda rows: [state for (state,) in rows].count("Running") == 2,
        "SELECT state FROM attempts",
    )
    await shop.story.end(tasks[0], "Cancelled")

    # Its heartbeat tells the slot, which takes the third.
    await until(
        shop,
        "the third",
        lambda rows: sorted(state for (state,) in rows) == ["Cancelled", "Running", "Running"],
        "SELECT state FROM attempts",
    )
    assert runner.process.returncode is None


async def test_a_pod_that_is_told_to_end_finishes_what_it_has_and_loses_nothing(
    shop: Shop, warm: Start
) -> None:
    # Given a slot at work and one that waits
    session = await shop.story.session()
    runner = await warm(slots=2)
    _, slow = await turn(shop, session, "[slow 3s] echo: done")
    await ends_as(shop, slow, "Running")

    # When the pod is told to end, and other attempts are ready
    runner.terminate()
    await runner.said("asked to terminate")
    later = [await insert(shop, await shop.story.task(), "echo: later") for _ in range(3)]

    # Then it ends once the turn is over, and what it was given at the last moment
    assert await runner.exit_code() == 0, runner.log.read_text()
    assert await shop.state_of(slow) == "Succeeded"
    assert {await shop.state_of(attempt) for attempt in later} <= {"Open", "Succeeded"}

    # And what it was not is left to another pod
    await warm()
    for attempt in later:
        await ends_as(shop, attempt, "Succeeded")


async def test_a_pod_that_is_killed_is_followed_by_another_and_nothing_is_lost(
    shop: Shop, warm: Start
) -> None:
    session = await shop.story.session()
    runner = await warm()
    task, first = await turn(shop, session, "[slow 60s] who are you?")
    await until(shop, "what was asked", bool, "SELECT 1 FROM inputs")
    runner.kill()
    assert await runner.exit_code() == -signal.SIGKILL

    # When its lease has lapsed, the leader puts another attempt in its place
    await until(
        shop, "the end of the lease", lambda rows: rows[0][0], "SELECT lease_until < now() FROM attempts"
    )
    request = {"cause": "Disruption", "number": 2, "close": shop.story.close(first)}
    second = await insert(shop, task, "echo: again", session=session, **request)
    successor = await warm()

    # Then that one says what the first one was asked, once
    await ends_as(shop, second, "Running")
    await successor.said("attempt taken")
    said = [content for _, role, content in await shop.story.events(session) if role == "user"]
    assert said == ["[slow 60s] who are you?"]


async def test_heartbeats_keep_the_leases_of_all_slots(shop: Shop, warm: Start) -> None:
    runner = await warm(slots=3)
    for _ in range(3):
        task = await shop.story.task()
        await insert(shop, task, f"[slow 60s] {task}")
    query = "SELECT lease_until FROM attempts WHERE state = 'Running' ORDER BY id"
    first = await until(shop, "three that run", lambda rows: len(rows) == 3, query)

    kept = await until(
        shop,
        "a heartbeat of each",
        lambda rows: len(rows) == 3 and all(now > then for now, then in zip(rows, first, strict=True)),
        query,
    )

    assert len(kept) == 3
    assert runner.process.returncode is None


async def test_attempts_of_other_pools_namespaces_and_suspended_tasks_are_left_alone(
    shop: Shop, warm: Start
) -> None:
    task, suspended = await shop.story.task(), await shop.story.task()
    other = await insert(shop, task, "echo: x", pool="warm-support-2")
    held_up = await insert(shop, suspended, "echo: x")
    await shop.story.suspend(suspended)
    stranger = await add_warm(shop.kube, POOL, namespace="elsewhere")
    await warm(pod=stranger)
    await warm()

    mine = await insert(shop, await shop.story.task(), "echo: x")
    await ends_as(shop, mine, "Succeeded")
    assert [await shop.state_of(attempt) for attempt in (other, held_up)] == ["Open", "Open"]

    # And it is taken once its task goes on, though nothing is notified then
    await shop.story.suspend(suspended, suspended=False)
    await ends_as(shop, held_up, "Succeeded")


async def test_what_was_posted_is_not_stored_again_by_the_runner(shop: Shop, warm: Start) -> None:
    session = await shop.story.session()
    task, attempt = await post(shop, session, "echo: hello")
    await warm()

    await ends_as(shop, attempt, "Succeeded")

    assert [content for *_, content in await shop.story.events(session)] == ["echo: hello", "hello"]
    ((messages,),) = await shop.story.sql("SELECT messages FROM inputs WHERE task_uid = %s", task)
    assert messages == [{"role": "user", "content": "echo: hello"}]


async def post(shop: Shop, session: str, text: str) -> tuple[str, int]:
    """Post a message, and do what the operator does next; returns its task and attempt."""
    async with shop.story.conn() as conn:
        posted = await posting.post_message(
            conn,
            session_uid=session,
            key=text,
            body_hash="x",
            content=text,
            turn=posting.TurnWanted(f"m-{uuid4().hex[:12]}", "reply", {"message": text}),
        )
    assert posted.task_name is not None
    task = await shop.story.task(session, posted.task_name)
    await shop.story.queue(session, task)
    return task, await insert(shop, task, text, session=session)


async def test_an_answer_is_told_while_it_is_given_to_whoever_reads_along(shop: Shop, warm: Start) -> None:
    # Given a session that somebody reads at another gateway
    session = await shop.story.session()
    await shop.story.sql(
        "INSERT INTO readers (session_uid, gateway, until) VALUES (%s, 'another', now() + interval '1 h')",
        session,
    )
    pieces: list[dict[str, Any]] = []
    async with shop.story.conn() as conn:
        await conn.execute("LISTEN parley_deltas")
        await warm()

        # When a model takes its time over an answer
        _, attempt = await turn(shop, session, "[pace 0.4s] echo: one two three four")
        async for notice in conn.notifies(timeout=LONG):
            pieces.append(json.loads(notice.payload))
            if pieces[-1]["offset"] > 0:
                break
        await conn.execute("UNLISTEN *")

    # Then its beginning is told before its end is known, and the answer is stored as a whole
    told = "".join(piece["text"] for piece in pieces)
    assert "one two three four".startswith(told)
    assert pieces[0]["offset"] == 0
    await ends_as(shop, attempt, "Succeeded")
    assert [content for *_, content in await shop.story.events(session)][-1] == "one two three four"
