"""The runner's calls over HTTP, on a real store: who may make them, and that a repeat changes nothing."""

from typing import Any
from uuid import uuid4

import httpx2
import pytest
from parley.gateway.app import create_app
from parley.gateway.settings import GatewaySettings
from parley.store.attempts import close_attempt
from parley.store.pool import open_pool

from tests.fake_kube import FakeKube
from tests.integration.store.story import Story, fails
from tests.unit.gateway.steps import StepInCluster, add_step

ANSWER = {"type": "message", "role": "assistant", "content": "Hello, Alice."}
SUCCESS = {"outcome": "Succeeded", "output": "Hello, Alice.", "events": [ANSWER], "usage": {"inputTokens": 5}}
INPUT = {"messages": [{"role": "user", "content": "Hello"}]}


class Caller:
    """A process in a step's pod."""

    def __init__(
        self, client: httpx2.AsyncClient, step: StepInCluster, store: str, nonce: str = "n1"
    ) -> None:
        self._client = client
        self._headers = {"Authorization": step.authorization, "Parley-Store": store, "Parley-Nonce": nonce}

    async def __call__(self, path: str, body: Any = None, method: str = "POST") -> httpx2.Response:
        return await self._client.request(method, f"/runner/v1{path}", json=body, headers=self._headers)

    async def get(self, path: str, body: Any = None, method: str = "POST") -> Any:
        """The answer of a call that must succeed."""
        response = await self(path, body, method)
        assert response.status_code == 200, response.text
        return response.json()


async def turn(story: Story, kube: FakeKube) -> tuple[str, int, StepInCluster]:
    """A session, and a task in it whose turn it is: session, attempt and pod."""
    session = await story.session()
    task = await story.task(session, "hello")
    await story.queue(session, task)
    attempt = await story.start(task, session_uid=session)
    return session, attempt, await add_step(kube, job=f"{task}-reply-1", task_uid=task)


async def test_a_turn_from_take_to_finish(
    client: httpx2.AsyncClient, story: Story, kube: FakeKube, store: str
) -> None:
    session, attempt, step = await turn(story, kube)
    call = Caller(client, step, store)

    taken = await call.get("/take")
    stored = await call.get(f"/attempts/{attempt}/input", INPUT)
    finished = await call.get(f"/attempts/{attempt}/finish", SUCCESS)

    assert taken["attempt"] == attempt
    assert taken["request"]["agent"]["name"] == "support"
    assert stored == {"messages": INPUT["messages"], "nextPosition": 1}
    assert finished == {"firstSequence": 2, "lastSequence": 2}
    assert await story.events(session) == [(1, "user", "Hello"), (2, "assistant", "Hello, Alice.")]


async def test_a_forged_job_in_another_namespace_takes_nothing(
    client: httpx2.AsyncClient, story: Story, kube: FakeKube, store: str
) -> None:
    # Given a Job elsewhere with name and owner of a task's Job, and a pod of it
    _, attempt, step = await turn(story, kube)
    forged = await add_step(kube, job=step.job, task_uid=step.task_uid, namespace="elsewhere")

    refused = await Caller(client, forged, store)("/take")

    # Then it is told that there is nothing, and the task's own pod takes the attempt
    assert (refused.status_code, refused.json()["reason"]) == (410, "Gone")
    assert await story.sql("SELECT state, holder FROM attempts") == [("Open", None)]
    assert (await Caller(client, step, store).get("/take"))["attempt"] == attempt


REFUND = {"response": {"text": "", "calls": [{"id": "c", "name": "refund", "arguments": {"amount": 7}}]}}


async def test_each_call_may_be_repeated(
    client: httpx2.AsyncClient, story: Story, kube: FakeKube, store: str
) -> None:
    session, attempt, step = await turn(story, kube)
    call = Caller(client, step, store)
    response = {
        "response": {"text": "", "calls": [{"id": "c", "name": "get_order"}]},
        "usage": {"outputTokens": 2},
    }
    calls: list[tuple[str, Any, str]] = [
        ("/take", None, "POST"),
        (f"/attempts/{attempt}/input", INPUT, "POST"),
        (f"/attempts/{attempt}/journal/0", response, "PUT"),
        (f"/attempts/{attempt}/journal/0/calls/0", {"begun": {"tool": "get_order"}}, "PUT"),
        (f"/attempts/{attempt}/journal/0/calls/0", {"result": {"found": True}}, "PUT"),
        (f"/attempts/{attempt}/finish", SUCCESS, "POST"),
    ]

    for path, body, method in calls:
        first = await call.get(path, body, method)
        assert await call.get(path, body, method) == first

    assert len(await story.events(session)) == 2
    assert await story.sql("SELECT input_tokens, output_tokens FROM attempts WHERE id = %s", attempt) == [
        (5, 2)
    ]


async def test_the_first_write_of_the_journal_wins(
    client: httpx2.AsyncClient, story: Story, kube: FakeKube, store: str
) -> None:
    _, attempt, step = await turn(story, kube)
    call = Caller(client, step, store)
    await call.get("/take")
    path = f"/attempts/{attempt}/journal/0"

    response = {"text": "first", "calls": [{"id": "c", "name": "get_order"}]}
    await call.get(path, {"response": response}, "PUT")
    again = await call.get(path, {"response": {"text": "second"}}, "PUT")
    done = await call.get(f"{path}/calls/0", {"result": "first"}, "PUT")
    done_again = await call.get(f"{path}/calls/0", {"result": "second"}, "PUT")

    assert again["stored"] == response
    assert (done_again["stored"], done_again["key"]) == ("first", done["key"])
    journal = (await call.get("/take"))["journal"]
    assert [(entry["round"], entry["call"], entry["result"]) for entry in journal] == [
        (0, -1, response),
        (0, 0, "first"),
    ]


async def test_a_paused_attempt_waits_for_its_calls_and_keeps_the_turn(
    client: httpx2.AsyncClient, story: Story, kube: FakeKube, store: str
) -> None:
    session, attempt, step = await turn(story, kube)
    call = Caller(client, step, store)
    await call.get("/take")
    await call.get(f"/attempts/{attempt}/heartbeat")
    await call.get(f"/attempts/{attempt}/journal/0", REFUND, "PUT")
    body = {
        "calls": [{"round": 0, "call": 0, "kind": "Approval", "tool": "refund", "arguments": {"amount": 7}}]
    }

    paused = await call.get(f"/attempts/{attempt}/pause", body)

    assert await call.get(f"/attempts/{attempt}/pause", body) == paused
    assert len(paused["waits"]) == 1
    assert await story.sql("SELECT state FROM turns WHERE session_uid = %s", session) == [("Held",)]
    assert (await call(f"/attempts/{attempt}/finish", SUCCESS)).status_code == 410


@pytest.mark.parametrize(
    ("path", "body", "method", "why"),
    [
        ("journal/0/calls/0", {"begun": {"tool": "refund"}}, "PUT", "Nobody has approved"),
        ("journal/0/calls/0", {"result": {"refund": "r-1"}}, "PUT", "Nobody has approved"),
        ("journal/0/calls/1", {"begun": {"tool": "get_order"}}, "PUT", "no call 1 in round 0"),
        ("journal/0/calls/0/context", {"changes": {"a": 1}}, "PUT", ""),
        (
            "pause",
            {"calls": [{"round": 0, "call": 0, "kind": "Task", "tool": "x", "arguments": {}}]},
            "POST",
            "",
        ),
        (
            "finish",
            {"outcome": "Succeeded", "events": [{"type": "reply", "content": {}}]},
            "POST",
            "type reply",
        ),
    ],
)
async def test_what_a_runner_may_not_do_is_refused_for_good(
    client: httpx2.AsyncClient,
    story: Story,
    kube: FakeKube,
    store: str,
    path: str,
    body: Any,
    method: str,
    why: str,
) -> None:
    # Given a model that has asked for a call which a person must approve
    session, attempt, step = await turn(story, kube)
    call = Caller(client, step, store)
    await call.get("/take")
    await call.get(f"/attempts/{attempt}/journal/0", REFUND, "PUT")

    response = await call(f"/attempts/{attempt}/{path}", body, method)

    assert response.status_code == 422
    assert response.json()["reason"] == "NotAllowed"
    assert why in response.json()["detail"]
    assert await story.sql("SELECT count(*) FROM journal WHERE call >= 0") == [(0,)]
    assert await story.events(session) == []


CALLS: list[tuple[str, Any, str]] = [
    ("/attempts/{}/journal/0/calls/0/context", {"changes": {"a": 1}}, "PUT"),
    ("/attempts/{}/input", INPUT, "POST"),
    ("/attempts/{}/journal/0", {"response": {}}, "PUT"),
    ("/attempts/{}/journal/0/calls/0", {"begun": 1}, "PUT"),
    ("/attempts/{}/heartbeat", None, "POST"),
    ("/attempts/{}/finish", SUCCESS, "POST"),
    (
        "/attempts/{}/pause",
        {"calls": [{"round": 0, "call": 0, "kind": "Task", "tool": "x", "arguments": {}}]},
        "POST",
    ),
]


@pytest.mark.parametrize(("path", "body", "method"), CALLS)
async def test_neither_another_process_nor_another_pod_may_write(
    client: httpx2.AsyncClient, story: Story, kube: FakeKube, store: str, path: str, body: Any, method: str
) -> None:
    # Given an attempt held by one process
    session, attempt, step = await turn(story, kube)
    await Caller(client, step, store).get("/take")
    # And another process of that pod, a second pod of that Job, the pod of another task
    other_task = await story.task(None, "other")
    await story.start(other_task)
    stranger = await add_step(kube, job=f"{other_task}-reply-1", task_uid=other_task)
    await Caller(client, stranger, store).get("/take")
    others = [
        Caller(client, step, store, nonce="n2"),
        Caller(client, await add_step(kube, job=step.job, task_uid=step.task_uid), store),
        Caller(client, stranger, store),
    ]

    for other in others:
        # When it writes to the attempt
        refused = await other(path.format(attempt), body, method)
        # Then it is told to stop
        assert refused.status_code == 409
        assert refused.json()["stop"] is True

    # And nothing was written
    assert await story.events(session) == []
    assert await story.sql("SELECT state FROM attempts WHERE id = %s", attempt) == [("Running",)]


async def test_a_second_take_by_another_process_is_told_to_stop(
    client: httpx2.AsyncClient, story: Story, kube: FakeKube, store: str
) -> None:
    _, _, step = await turn(story, kube)
    await Caller(client, step, store).get("/take")

    assert (await Caller(client, step, store, nonce="n2")("/take")).status_code == 409


@pytest.mark.parametrize(("path", "body", "method"), CALLS)
async def test_a_closed_attempts_token_is_told_to_stop(
    client: httpx2.AsyncClient, story: Story, kube: FakeKube, store: str, path: str, body: Any, method: str
) -> None:
    session, attempt, step = await turn(story, kube)
    call = Caller(client, step, store)
    await call.get("/take")
    async with story.conn() as conn:
        await close_attempt(
            conn, story.fence, attempt, "Lost", "PodLost", "The pod was lost.", end_turn=False
        )

    stopped = await call(path.format(attempt), body, method)

    assert stopped.status_code == 410
    assert stopped.json()["stop"] is True
    assert stopped.json()["reason"] == "PodLost"
    assert await story.events(session) == []


async def test_a_job_without_an_attempt_is_told_to_stop(
    client: httpx2.AsyncClient, kube: FakeKube, store: str
) -> None:
    step = await add_step(kube, job="made-by-hand", task_uid=str(uuid4()))

    stopped = await Caller(client, step, store)("/take")

    assert (stopped.status_code, stopped.json()["stop"]) == (410, True)


async def test_a_job_of_another_task_under_the_same_name_gets_nothing(
    client: httpx2.AsyncClient, story: Story, kube: FakeKube, store: str
) -> None:
    session = await story.session()
    task = await story.task(session, "hello")
    await story.queue(session, task)
    await story.start(task, session_uid=session)
    impostor = await add_step(kube, job=f"{task}-reply-1", task_uid=str(uuid4()))

    assert (await Caller(client, impostor, store)("/take")).status_code == 410


@pytest.mark.parametrize(("path", "body", "method"), [("/take", None, "POST"), *CALLS])
async def test_another_store_is_503_never_404_or_stop(
    client: httpx2.AsyncClient, story: Story, kube: FakeKube, path: str, body: Any, method: str
) -> None:
    _, attempt, step = await turn(story, kube)

    refused = await Caller(client, step, str(uuid4()))(path.format(attempt), body, method)

    assert refused.status_code == 503
    assert refused.headers["Retry-After"] == "2"
    assert refused.json()["title"] == "Another store"
    assert not refused.json()["stop"]


async def test_an_output_the_store_does_not_take_is_413_and_changes_nothing(
    client: httpx2.AsyncClient, story: Story, kube: FakeKube, store: str
) -> None:
    session, attempt, step = await turn(story, kube)
    call = Caller(client, step, store)
    await call.get("/take")

    refused = await call(f"/attempts/{attempt}/finish", SUCCESS | {"output": "x" * (1024 * 1024)})

    assert refused.status_code == 413
    assert refused.json()["reason"] == "ResultTooLarge"
    assert await story.events(session) == []
    assert (await call.get(f"/attempts/{attempt}/finish", SUCCESS))["lastSequence"] == 1


FAILURE = {"outcome": "Failed", "reason": "ModelError", "message": "no luck"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (FAILURE | {"retryAfter": 2**31}, "retryAfter"),
        (FAILURE | {"usage": {"inputTokens": 10**20}}, "inputTokens"),
        (FAILURE | {"usage": {"outputTokens": -1}}, "outputTokens"),
        (FAILURE | {"reason": "Foo"}, "reason"),
    ],
)
async def test_what_no_status_could_show_is_malformed(
    client: httpx2.AsyncClient, story: Story, kube: FakeKube, store: str, body: dict[str, Any], field: str
) -> None:
    _, attempt, step = await turn(story, kube)
    call = Caller(client, step, store)
    await call.get("/take")

    refused = await call(f"/attempts/{attempt}/finish", body)

    assert refused.status_code == 422
    assert field in refused.json()["detail"]
    assert await story.sql("SELECT state FROM attempts") == [("Running",)]


async def test_a_sum_that_the_store_cannot_hold_is_refused_for_good(
    client: httpx2.AsyncClient, story: Story, kube: FakeKube, store: str
) -> None:
    session, attempt, step = await turn(story, kube)
    await story.sql("UPDATE sessions SET input_tokens = %s WHERE uid = %s", 2**63 - 2, session)
    call = Caller(client, step, store)
    await call.get("/take")

    refused = await call(f"/attempts/{attempt}/finish", SUCCESS)

    assert refused.status_code == 422
    assert "22003" in refused.json()["detail"]
    assert await story.sql("SELECT state FROM attempts") == [("Running",)]


async def test_a_failure_keeps_its_first_word(
    client: httpx2.AsyncClient, story: Story, kube: FakeKube, store: str
) -> None:
    _, attempt, step = await turn(story, kube)
    call = Caller(client, step, store)
    await call.get("/take")
    failure = fails().model_dump(mode="json", by_alias=True)

    await call.get(f"/attempts/{attempt}/finish", failure)
    late = await call(f"/attempts/{attempt}/finish", SUCCESS)

    assert late.status_code == 200
    assert await story.sql("SELECT state, reason FROM attempts WHERE id = %s", attempt) == [
        ("Failed", "ModelError")
    ]


async def test_ready_once_the_store_has_its_schema(
    client: httpx2.AsyncClient, store: str, empty_database: str, kube: FakeKube
) -> None:
    ready = await client.get("/readyz")
    async with open_pool(empty_database, size=1) as empty:
        app = create_app(GatewaySettings(database_url=""), empty, kube)
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as other:
            not_ready = await other.get("/readyz")

    assert ready.json() == {"status": "ok", "store": store}
    assert not_ready.status_code == 503
    assert "parley-migrate" in not_ready.json()["detail"]
