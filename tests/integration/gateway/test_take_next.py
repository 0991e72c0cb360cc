"""``take`` of a runner that stays with its task: it may wait, and gets what it has before anything new."""

import asyncio
from typing import Any

import httpx2
import pytest

from tests.fake_kube import FakeKube
from tests.integration.gateway.test_calls import SUCCESS, Caller
from tests.integration.store.story import Story, prompt_request
from tests.unit.gateway.steps import StepInCluster, add_step


async def staying(kube: FakeKube, task: str) -> StepInCluster:
    return await add_step(kube, job=f"{task}-serve", task_uid=task, stays=True)


async def insert(story: Story, task: str, step: str) -> int:
    request = prompt_request(task, step, history="None")
    return await story.start(task, step, request=request, runtime="Task")


async def test_with_nothing_ready_there_is_no_content(
    client: httpx2.AsyncClient, story: Story, kube: FakeKube, store: str
) -> None:
    task = await story.task()
    call = Caller(client, await staying(kube, task), store)

    assert (await call("/take")).status_code == 204
    assert (await call("/take", {"wait": 0})).status_code == 204


async def test_what_becomes_ready_while_it_waits_is_given_at_once(
    client: httpx2.AsyncClient, story: Story, kube: FakeKube, store: str
) -> None:
    task = await story.task()
    call = Caller(client, await staying(kube, task), store)

    waiting = asyncio.create_task(call.get("/take", {"wait": 25}))
    assert (await call("/take")).status_code == 204
    attempt = await insert(story, task, "one")

    assert (await waiting)["attempt"] == attempt


async def test_a_repeat_gets_the_same_and_only_after_its_end_the_next(
    client: httpx2.AsyncClient, story: Story, kube: FakeKube, store: str
) -> None:
    # Given two attempts that are ready
    task = await story.task()
    first, second = [await insert(story, task, step) for step in ("one", "two")]
    call = Caller(client, await staying(kube, task), store)

    # When the answer is lost and the runner asks again
    assert [(await call.get("/take"))["attempt"] for _ in range(2)] == [first, first]
    await call.get(f"/attempts/{first}/finish", SUCCESS | {"events": []})

    # Then only the end of the first gives it the second
    assert (await call.get("/take"))["attempt"] == second


async def test_two_processes_never_get_the_same(
    client: httpx2.AsyncClient, story: Story, kube: FakeKube, store: str
) -> None:
    task = await story.task()
    attempts = {await insert(story, task, step) for step in ("one", "two")}
    pod = await staying(kube, task)
    callers = [Caller(client, pod, store, nonce=f"n{number}") for number in range(3)]

    answers = await asyncio.gather(*(call("/take") for call in callers))

    assert {answer.json()["attempt"] for answer in answers if answer.status_code == 200} == attempts
    assert sorted(answer.status_code for answer in answers) == [200, 200, 204]


async def test_a_task_that_has_ended_tells_its_runner_to_stop(
    client: httpx2.AsyncClient, story: Story, kube: FakeKube, store: str
) -> None:
    task = await story.task()
    await insert(story, task, "one")
    call = Caller(client, await staying(kube, task), store)
    assert await story.end(task, "Cancelled")

    stopped = await call("/take", {"wait": 25})

    assert (stopped.status_code, stopped.json()["stop"]) == (410, True)


@pytest.mark.parametrize("body", [{"wait": 26}, {"wait": -1}, {"wait": "long"}])
async def test_nobody_waits_for_ever(
    client: httpx2.AsyncClient, story: Story, kube: FakeKube, store: str, body: Any
) -> None:
    call = Caller(client, await staying(kube, await story.task()), store)

    assert (await call("/take", body)).status_code == 422


async def test_a_jobs_own_runner_is_not_given_what_is_meant_for_others(
    client: httpx2.AsyncClient, story: Story, kube: FakeKube, store: str
) -> None:
    task = await story.task()
    await insert(story, task, "one")
    other = await add_step(kube, job="made-by-hand", task_uid=task)

    assert (await Caller(client, other, store)("/take", {"wait": 5})).status_code == 410
