"""A container's files over HTTP, on a real store: who gets and sends them, and what becomes of them."""

import asyncio
import time
from typing import Any, cast

import httpx2
import pytest
from parley.gateway import calling, file_routes
from parley.protocol.messages import MAX_FILE_BYTES
from parley.protocol.request import ContainerRequest, InputFile, TaskSnapshot
from parley.store.attempts import close_attempt

from tests.fake_kube import FakeKube
from tests.integration.store.story import Story, says
from tests.unit.gateway.steps import StepInCluster, add_step

FILE = InputFile(
    path="spec.steps[1].container.inputFile",
    template={"all": "{{ steps.look_up.output }}"},
    scope={"inputs": {"x": 1}},
    steps={"look_up": "look-up", "skipped": "skipped"},
)


class Beside:
    """Parley's own process beside a container, in its pod."""

    def __init__(self, client: httpx2.AsyncClient, step: StepInCluster, store: str) -> None:
        self._client = client
        self._headers = {"Authorization": step.authorization, "Parley-Store": store, "Parley-Nonce": "n1"}

    async def get_input(self) -> httpx2.Response:
        return await self._client.get("/runner/v1/input", headers=self._headers)

    async def put(self, raw: bytes) -> httpx2.Response:
        headers = self._headers | {"Content-Type": "application/octet-stream"}
        return await self._client.put("/runner/v1/output", content=raw, headers=headers)

    async def put_problem(self, problem: str, **more: Any) -> httpx2.Response:
        body = {"problem": problem, **more}
        return await self._client.put("/runner/v1/output/problem", json=body, headers=self._headers)


async def container(
    story: Story, kube: FakeKube, file: InputFile | None = None
) -> tuple[str, int, StepInCluster]:
    """A task whose container runs: task, attempt and pod."""
    task = await story.task()
    request = ContainerRequest(
        task=TaskSnapshot(name="refund", namespace="default"),
        step="score",
        container={"image": "x", "outputFrom": "File"},
        input_file=file,
    ).model_dump(mode="json", by_alias=True)
    attempt = await story.start(task, "score", request=request)
    return task, attempt, await add_step(kube, job=f"{task}-score-1", task_uid=task)


async def uploaded(story: Story) -> list[tuple[Any, ...]]:
    return await story.sql("SELECT value, reason, problem FROM uploads")


async def test_an_input_file_is_made_from_whole_outputs(
    client: httpx2.AsyncClient, story: Story, kube: FakeKube, store: str
) -> None:
    # Given an earlier step with a large output, and one that was skipped
    task, _, step = await container(story, kube, FILE)
    large = "x" * 900_000
    earlier = await story.start(task, "look-up")
    await story.take(task, "look-up")
    await story.finish(earlier, says(large))

    given = await Beside(client, step, store).get_input()

    assert given.status_code == 200, given.text
    assert given.json() == {
        "path": FILE.path,
        "template": FILE.template,
        "scope": {
            "inputs": {"x": 1},
            "steps": {"look_up": {"output": large}, "skipped": {"output": None}},
        },
    }


async def test_a_container_without_an_input_file_gets_none(
    client: httpx2.AsyncClient, story: Story, kube: FakeKube, store: str
) -> None:
    _, _, step = await container(story, kube)

    assert (await Beside(client, step, store).get_input()).status_code == 410


@pytest.mark.parametrize(
    ("raw", "value"), [(b'{"amount": 7}', {"amount": 7}), ("Grüße\n".encode(), "Grüße\n"), (b"", None)]
)
async def test_a_file_is_kept_and_the_first_one_stands(
    client: httpx2.AsyncClient, story: Story, kube: FakeKube, store: str, raw: bytes, value: Any
) -> None:
    task, _, step = await container(story, kube)
    beside = Beside(client, step, store)

    first, again = await beside.put(raw), await beside.put(b'"another"')

    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json()["problem"] is None
    assert await uploaded(story) == [(value, None, None)]
    assert (await story.load(task)).attempts[0].uploaded


async def test_the_largest_file_is_kept_whole_and_a_larger_one_as_what_is_wrong_with_it(
    client: httpx2.AsyncClient, story: Story, kube: FakeKube, store: str
) -> None:
    _, _, fits = await container(story, kube)
    _, _, larger = await container(story, kube)
    # Two bytes are the quotes of the text in JSON.
    await Beside(client, fits, store).put(b"x" * (MAX_FILE_BYTES - 2))
    await Beside(client, larger, store).put(b"x" * (MAX_FILE_BYTES - 1))

    rows = await story.sql(
        "SELECT octet_length(value::text), reason FROM uploads ORDER BY reason NULLS FIRST"
    )
    assert rows == [(MAX_FILE_BYTES, None), (None, "ResultTooLarge")]


async def test_a_body_without_end_is_not_read_to_its_end(
    client: httpx2.AsyncClient, story: Story, kube: FakeKube, store: str
) -> None:
    _, _, step = await container(story, kube)

    refused = await Beside(client, step, store).put(b"x" * (MAX_FILE_BYTES + 1))

    assert refused.status_code == 413


async def test_binary_is_told_and_kept_as_a_problem(
    client: httpx2.AsyncClient, story: Story, kube: FakeKube, store: str
) -> None:
    _, _, step = await container(story, kube)

    answer = await Beside(client, step, store).put(b"\x89PNG")

    assert answer.status_code == 200
    ((value, reason, problem),) = await uploaded(story)
    assert (value, reason, problem) == (None, "Error", answer.json()["problem"])
    assert "binary" in problem


@pytest.mark.parametrize(("too_large", "reason"), [(False, "Error"), (True, "ResultTooLarge")])
async def test_why_there_is_no_file_is_kept_too(
    client: httpx2.AsyncClient, story: Story, kube: FakeKube, store: str, too_large: bool, reason: str
) -> None:
    _, _, step = await container(story, kube)

    await Beside(client, step, store).put_problem("the container wrote no /parley/output", tooLarge=too_large)

    assert await uploaded(story) == [(None, reason, "the container wrote no /parley/output")]


async def test_after_the_attempt_is_closed_nothing_is_given_or_taken(
    client: httpx2.AsyncClient, story: Story, kube: FakeKube, store: str
) -> None:
    _, attempt, step = await container(story, kube, FILE)
    async with story.conn() as conn:
        await close_attempt(conn, story.fence, attempt, "Cancelled", "Cancelled", "As asked.", end_turn=False)
    beside = Beside(client, step, store)

    for answer in (await beside.get_input(), await beside.put(b"1"), await beside.put_problem("none")):
        assert (answer.status_code, answer.json()["stop"]) == (410, True)
    assert await uploaded(story) == []


async def test_a_prompts_pod_and_another_namespace_have_no_files(
    client: httpx2.AsyncClient, story: Story, kube: FakeKube, store: str
) -> None:
    _, _, step = await container(story, kube, FILE)
    forged = await add_step(kube, job=step.job, task_uid=step.task_uid, namespace="elsewhere")
    prompting = await story.task()
    await story.start(prompting)
    runner = await add_step(kube, job=f"{prompting}-reply-1", task_uid=prompting)

    for stranger in (forged, runner):
        beside = Beside(client, stranger, store)
        assert (await beside.get_input()).status_code == 410
        assert (await beside.put(b"1")).status_code == 410
    assert await uploaded(story) == []


async def test_large_files_are_read_one_at_a_time(
    client: httpx2.AsyncClient, story: Story, kube: FakeKube, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As values the largest take half of the gateway's memory; ten at once would be the end of it, again and again."""
    at_work, most = 0, 0

    def read(raw: bytes | bytearray) -> str:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        time.sleep(0.02)
        at_work -= 1
        return f"{len(raw)} bytes"

    monkeypatch.setattr(file_routes, "read_file", read)
    pods = [(await container(story, kube))[2] for _ in range(6)]
    large = b"x" * (file_routes.SMALL_BYTES + 1)

    given = await asyncio.gather(*(Beside(client, pod, store).put(large) for pod in pods))

    assert [answer.status_code for answer in given] == [200] * 6
    assert most == 1


async def test_a_small_file_waits_for_no_large_one(
    client: httpx2.AsyncClient, story: Story, kube: FakeKube, store: str
) -> None:
    backend = cast("Any", client)._transport.app.state.backend
    _, _, pod = await container(story, kube)

    async with backend.room_for_file():
        given = await Beside(client, pod, store).put(b"small")

    assert given.status_code == 200


async def test_who_finds_no_room_for_a_large_file_comes_again(
    client: httpx2.AsyncClient, story: Story, kube: FakeKube, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calling, "_ROOM_SECONDS", 0.01)
    backend = cast("Any", client)._transport.app.state.backend
    _, _, pod = await container(story, kube)
    large = b"x" * (file_routes.SMALL_BYTES + 1)

    async with backend.room_for_file():
        given = await Beside(client, pod, store).put(large)

    assert (given.status_code, given.headers["Retry-After"]) == (503, "2")
    assert (await Beside(client, pod, store).put(large)).status_code == 200


async def test_input_files_are_made_two_at_a_time(
    client: httpx2.AsyncClient, story: Story, kube: FakeKube, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fan-out asks for all its input files at once, each made from outputs of any size."""
    at_work, most, made = 0, 0, file_routes.container_input

    async def make(*arguments: Any, **named: Any) -> Any:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(0.02)
        try:
            return await made(*arguments, **named)
        finally:
            at_work -= 1

    monkeypatch.setattr(file_routes, "container_input", make)
    pods = [(await container(story, kube, FILE))[2] for _ in range(6)]

    given = await asyncio.gather(*(Beside(client, pod, store).get_input() for pod in pods))

    assert [answer.status_code for answer in given] == [200] * 6
    assert most == 2
