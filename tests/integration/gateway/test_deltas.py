"""A runner's call for pieces of an answer: shown to who reads along, kept by nobody, of one's own turn only."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from parley.store.lifecycle import set_session_state
from parley.store.pool import Pool

from tests.fake_kube import FakeKube
from tests.integration.gateway.streams import Gateway, Replicas
from tests.integration.store.story import Story, says
from tests.unit.gateway.steps import StepInCluster, add_step

ALICE = "/sessions/alice/stream"


@pytest.fixture
async def gateway(pool: Pool, kube: FakeKube, story: Story) -> AsyncIterator[Gateway]:
    async with Replicas(pool, kube, story) as made:
        yield await made.start()


async def send(
    gateway: Gateway, step: StepInCluster, store: str, attempt: int, text: str, offset: int = 0
) -> httpx2.Response:
    headers = {"Authorization": f"Bearer {step.token}", "Parley-Store": store, "Parley-Nonce": "n1"}
    body = {"round": 0, "offset": offset, "text": text}
    return await gateway.desk.http.post(f"/runner/v1/attempts/{attempt}/deltas", headers=headers, json=body)


async def running(story: Story, kube: FakeKube, session: str | None) -> tuple[str, int, StepInCluster]:
    """A turn, or a step without one, that a runner's pod has taken."""
    task = await story.task(session)
    if session is not None:
        await story.queue(session, task)
    attempt = await story.start(task, session_uid=session)
    step = await add_step(kube, job=f"{task}-reply-1", task_uid=task)
    await story.take(task, holder=f"{step.pod_uid}/n1")
    return task, attempt, step


async def test_pieces_are_wanted_while_somebody_reads(
    gateway: Gateway, story: Story, kube: FakeKube, store: str
) -> None:
    alice = await gateway.desk.session("alice")
    task, attempt, step = await running(story, kube, alice)
    assert (await send(gateway, step, store, attempt, "Hel")).json() == {"wanted": False}
    async with gateway.stream(ALICE) as stream:
        await stream.until("session")
        assert (await send(gateway, step, store, attempt, "Hello")).json() == {"wanted": True}
        delta = await stream.until("delta")
        assert delta.data == {
            "task": story.names[task], "step": "reply", "attempt": 1, "round": 0, "offset": 0, "text": "Hello",
        }  # fmt: skip
        assert delta.id is None, "nobody goes on from a piece"
        await story.finish(attempt, says("Hello"), holder=f"{step.pod_uid}/n1")
        assert (await stream.until("event")).data["content"] == "Hello"
    assert await story.sql("SELECT count(*) FROM events WHERE session_uid = %s", alice) == [(1,)]


async def test_only_the_holder_of_a_turn_is_heard(
    gateway: Gateway, story: Story, kube: FakeKube, store: str
) -> None:
    alice = await gateway.desk.session("alice")
    _, attempt, _ = await running(story, kube, alice)
    _, alone, without = await running(story, kube, None)
    async with gateway.stream(ALICE) as stream:
        await stream.until("session")
        # Another step's pod, with its own token, and a step that has no turn.
        assert (await send(gateway, without, store, attempt, "I am Alice's")).json() == {"wanted": False}
        assert (await send(gateway, without, store, alone, "mine")).json() == {"wanted": False}
        async with story.conn() as conn:
            await set_session_state(conn, story.fence, alice, "Dormant", "asleep")
        await stream.until("session", state="Dormant")
        assert [each for each in stream.frames if each.event == "delta"] == []


@pytest.mark.parametrize("body", [{"text": ""}, {"text": "x" * 16_385}, {"offset": -1}, {"round": 1001}])
async def test_what_is_no_piece_is_refused(
    gateway: Gateway, story: Story, kube: FakeKube, store: str, body: dict[str, object]
) -> None:
    alice = await gateway.desk.session("alice")
    _, attempt, step = await running(story, kube, alice)
    headers = {"Authorization": f"Bearer {step.token}", "Parley-Store": store, "Parley-Nonce": "n1"}
    given = {"round": 0, "offset": 0, "text": "Hi"} | body
    refused = await gateway.desk.http.post(
        f"/runner/v1/attempts/{attempt}/deltas", headers=headers, json=given
    )
    assert refused.status_code == 422
