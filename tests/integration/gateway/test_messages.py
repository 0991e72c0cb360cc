"""What people say arrives once: over HTTP, with keys, whoever fails in between."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from parley.gateway.api import readiness
from parley.kube.errors import KubeUnavailable
from parley.kube.kinds import SESSION, TASK
from parley.store import sessions, tasks
from parley.store.lifecycle import set_session_state
from parley.store.pool import Pool
from parley.store.posting import list_orphans, withdraw_post

from tests.fake_kube import FakeKube
from tests.integration.gateway.people import EVERYTHING, NAMESPACE, problem
from tests.integration.gateway.running import LONG
from tests.integration.gateway.streams import Gateway, Replicas
from tests.integration.store.posts import answer
from tests.integration.store.story import Story

MESSAGES = "/sessions/alice/messages"
CHAT = "/sessions/alice/chat"
TOKEN = "token-of-alice"
TWO_USERS: dict[str, Any] = {
    "agents": [{"name": "support"}, {"name": "billing"}],
    "users": [{"id": "alice", "name": "Alice"}, {"id": "bob"}],
}


@pytest.fixture
async def replicas(pool: Pool, kube: FakeKube, story: Story) -> AsyncIterator[Replicas]:
    async with Replicas(pool, kube, story) as made:
        await made.start()
        await made.start()
        yield made


@pytest.fixture
def gateway(replicas: Replicas) -> Gateway:
    return replicas.gateways[0]


@pytest.fixture
async def alice(gateway: Gateway) -> str:
    return await gateway.desk.session("alice")


async def say(gateway: Gateway, text: str = "Hi", key: str | None = None, **body: Any) -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    return await gateway.desk.ask(TOKEN, "POST", MESSAGES, json={"content": text, **body}, headers=headers)


def tasks_of(kube: FakeKube) -> list[dict[str, Any]]:
    return [body for (kind, _, _), body in kube.objects.items() if kind == "Task"]  # type: ignore[misc]


async def test_a_message_is_an_event_and_a_task_that_the_session_owns(
    gateway: Gateway, kube: FakeKube, story: Story, alice: str
) -> None:
    said = await say(gateway, "Hi", "k1")
    assert said.status_code == 201, said.text
    name = said.json()["task"]
    assert said.json()["sequence"] == 1
    (task,) = tasks_of(kube)
    assert task["metadata"]["name"] == name
    assert task["metadata"]["ownerReferences"][0]["uid"] == alice
    assert task["spec"] == {"sessionRef": {"name": "alice"}, "message": "Hi"}
    listed = await gateway.desk.ask(TOKEN, "GET", "/sessions/alice/events")
    assert listed.json() == {
        "items": [
            {
                "sequence": 1, "id": said.json()["eventId"], "time": listed.json()["items"][0]["time"],
                "type": "message", "role": "user", "content": "Hi", "task": name, "step": "reply",
            }
        ],
        "lastSequence": 1,
    }  # fmt: skip
    assert await story.events(alice) == [(1, "user", "Hi")]


async def test_repeats_at_all_gateways_at_once_are_one_message(
    replicas: Replicas, kube: FakeKube, story: Story, alice: str
) -> None:
    answers = await asyncio.gather(*[say(gateway, "Hi", "k1") for gateway in replicas.gateways * 8])
    assert sorted(each.status_code for each in answers) == [200] * 15 + [201]
    assert len({each.text for each in answers}) == 1
    assert await story.events(alice) == [(1, "user", "Hi")]
    assert len(tasks_of(kube)) == 1
    other = await say(replicas.gateways[1], "Hello", "k1")
    assert (other.status_code, other.json()["reason"]) == (409, "IdempotencyKeyReused")
    # Without a key each request is a message of its own.
    for _ in range(2):
        assert (await say(replicas.gateways[0], "Hi")).status_code == 201
    assert len(await story.events(alice)) == 3


async def test_a_key_is_its_callers(gateway: Gateway, story: Story, alice: str) -> None:
    # Given two people and a backend that acts for two users, who all count their messages from one
    desk = gateway.desk
    right = ("get sessions", "create sessions/messages")
    anna, ben = desk.person("anna", *right), desk.person("ben", *right)
    backend = desk.person("backend", *right, "act-for users")
    desk.kube.edit(SESSION, NAMESPACE, "alice", lambda body: body["spec"].update(users=TWO_USERS["users"]))  # type: ignore[union-attr]
    sent = [(anna, {}), (ben, {}), (backend, {"Parley-User": "alice"}), (backend, {"Parley-User": "bob"})]
    # When each says the same words under the same key, twice
    for expected in (201, 200):
        for token, user in sent:
            said = await desk.ask(
                token, "POST", MESSAGES, json={"content": "Hi"}, headers={"Idempotency-Key": "1", **user}
            )
            assert said.status_code == expected, said.text
    # Then each said it once
    assert [text for _, _, text in await story.events(alice)] == ["Hi"] * 4
    # And whoever says other words under it is told of the key as he sent it
    other = await desk.ask(anna, "POST", MESSAGES, json={"content": "Ho"}, headers={"Idempotency-Key": "1"})
    assert (other.status_code, other.json()["reason"]) == (409, "IdempotencyKeyReused")
    assert "key '1' was used" in other.json()["detail"]


async def test_a_task_that_was_seen_is_never_made_again(
    gateway: Gateway, kube: FakeKube, story: Story, alice: str
) -> None:
    said = (await say(gateway, "Hi", "k1")).json()
    task = await story.task(alice, said["task"])
    await story.queue(alice, task)
    await answer(story, alice, task, "Hello")
    await kube.delete(TASK, NAMESPACE, said["task"])
    assert (await say(gateway, "Hi", "k1")).status_code == 200
    assert tasks_of(kube) == []


async def test_a_message_stands_though_its_task_cannot_be_made(
    gateway: Gateway, kube: FakeKube, story: Story, alice: str
) -> None:
    kube.fail(KubeUnavailable(503, "ServiceUnavailable", "away"), verb="create", kind="Task")
    said = await say(gateway, "Hi", "k1")
    assert said.status_code == 201
    assert await story.events(alice) == [(1, "user", "Hi")]
    async with story.conn() as conn:
        (orphan,) = await list_orphans(conn, story.fence, timedelta(0))
    assert orphan.task_name == said.json()["task"]
    # Whoever repeats it makes what is missing.
    assert (await say(gateway, "Hi", "k1")).status_code == 200
    assert [task["metadata"]["name"] for task in tasks_of(kube)] == [said.json()["task"]]


async def test_who_speaks_and_who_answers(gateway: Gateway, kube: FakeKube, story: Story) -> None:
    uid = await gateway.desk.session("alice", spec={"agentRef": None, **TWO_USERS})
    assert (await say(gateway, "first")).status_code == 201
    chosen = await say(gateway, "second", user="bob", agent="billing", runtime={"mode": "Task"})
    assert chosen.status_code == 201, chosen.text
    specs = {task["spec"]["message"]: task["spec"] for task in tasks_of(kube)}
    assert specs["first"] == {"sessionRef": {"name": "alice"}, "message": "first"}
    assert specs["second"] == {
        "sessionRef": {"name": "alice"}, "message": "second", "user": "bob",
        "agentRef": {"name": "billing"}, "runtime": {"mode": "Task"},
    }  # fmt: skip
    speakers = await story.sql("SELECT speaker FROM events WHERE session_uid = %s ORDER BY sequence", uid)
    assert speakers == [("Alice",), ("bob",)]
    for wrong, field in (({"user": "eve"}, "body.user"), ({"agent": "sales"}, "body.agent")):
        refused = await say(gateway, "third", **wrong)
        assert (refused.status_code, refused.json()["field"]) == (422, field)
        assert "support" in refused.text or "alice" in refused.text, "it names those there are"
    # Who reaches only own sessions speaks as himself.
    token = gateway.desk.person("bob", *(f"{right}/own" for right in ("get sessions", "create sessions")))
    own = await gateway.desk.ask(token, "POST", MESSAGES, json={"content": "mine"})
    assert own.status_code == 201, own.text
    as_other = await gateway.desk.ask(token, "POST", MESSAGES, json={"content": "mine", "user": "alice"})
    assert (as_other.status_code, as_other.json()["field"]) == (422, "body.user")
    assert (await story.sql("SELECT speaker FROM events ORDER BY sequence DESC LIMIT 1")) == [("bob",)]


@pytest.mark.parametrize(
    "body",
    [
        {"content": ""},
        {"content": "x" * 32_769},
        {"content": "Hi", "turn": False, "agent": "support"},
        {"content": "Hi", "extra": 1},
        {"content": 1},
    ],
)
async def test_what_is_no_message_is_refused(gateway: Gateway, story: Story, alice: str, body: Any) -> None:
    refused = await gateway.desk.ask(TOKEN, "POST", MESSAGES, json=body)
    assert refused.status_code == 422, refused.text
    assert await story.events(alice) == []


async def test_a_session_that_has_ended_says_so(gateway: Gateway, story: Story, alice: str) -> None:
    async with story.conn() as conn:
        await set_session_state(conn, story.fence, alice, "Archived", "as asked")
    refused = await say(gateway)
    assert (refused.status_code, refused.json()["reason"]) == (409, "SessionOver")
    assert "Archived" in refused.json()["detail"]


async def test_a_session_made_a_moment_ago_is_waited_for(
    gateway: Gateway, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "_READY_SECONDS", LONG)
    uid = await gateway.desk.session("alice", registered=False)
    saying = asyncio.create_task(say(gateway, "Hi", "k1"))
    await asyncio.sleep(0.3)
    async with story.conn() as conn:
        await sessions.register_session(
            conn, story.fence, uid=uid, cluster=story.fence.cluster, namespace=NAMESPACE, name="alice"
        )
    assert (await saying).status_code == 201


@pytest.mark.usefixtures("story")
async def test_an_operator_that_does_not_come_is_waited_for_by_the_caller(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "_READY_SECONDS", 0.2)
    await gateway.desk.session("alice", registered=False)
    refused = await say(gateway, "Hi", "k1")
    assert (refused.status_code, refused.json()["reason"]) == (503, "SessionNotReady")
    assert int(refused.headers["Retry-After"]) > 0


async def begin(story: Story, session: str, name: str) -> str:
    """What the operator does with a message's Task."""
    task = await story.task(session, name)
    await story.queue(session, task)
    return task


async def test_a_chat_is_a_message_and_its_turn(gateway: Gateway, story: Story, alice: str) -> None:
    # Given somebody else's talk in the same session
    before = (await say(gateway, "earlier", "k0")).json()
    async with chatting(gateway, "Hi", "k1") as stream:
        accepted = await stream.until("accepted")
        assert accepted.data["sequence"] == 2
        earlier = await begin(story, alice, before["task"])
        await answer(story, alice, earlier, "no news")
        task = await begin(story, alice, accepted.data["task"])
        await stream.until("task", phase="Queued")
        await answer(story, alice, task, "Hello")
        await story.end(task, output="Hello")
        rest = await stream.rest()
        # Then it brings its own turn, and ends with it
        assert rest[-1].event == "done"
        assert rest[-1].data == {
            "task": accepted.data["task"], "phase": "Succeeded", "reason": "Succeeded",
            "message": "as asked", "output": "Hello",
        }  # fmt: skip
        assert [each.data["content"] for each in stream.frames if each.event == "event"] == ["Hello"]


async def test_a_chat_goes_on_at_another_gateway(replicas: Replicas, story: Story, alice: str) -> None:
    first, second = replicas.gateways
    async with chatting(first, "Hi", "k1") as stream:
        accepted = await stream.until("accepted")
    task = await begin(story, alice, accepted.data["task"])
    await answer(story, alice, task, "Hello")
    async with chatting(second, "Hi", "k1", after=accepted.id) as stream:
        assert (await stream.until("accepted")).data == accepted.data
        hello = await stream.until("event", content="Hello")
    await story.end(task, output="Hello")
    async with chatting(first, "Hi", "k1", after=hello.id) as stream:
        assert [each.event for each in await stream.rest()] == ["accepted", "task", "done"]
    assert len(await story.events(alice)) == 2


async def test_a_key_stands_for_one_body_also_in_a_chat(gateway: Gateway, story: Story, alice: str) -> None:
    async with chatting(gateway, "Hi", "k1") as stream:
        await stream.until("accepted")

    # When the key comes again with other words, another way, or without a turn
    for path, body in (
        (CHAT, {"content": "Hello"}),
        (CHAT, {"content": "Hi", "turn": False}),
        (MESSAGES, {"content": "Hello"}),
    ):
        headers = {"Idempotency-Key": "k1"}
        refused = await gateway.desk.ask(TOKEN, "POST", path, json=body, headers=headers)
        assert problem(refused) == (409, "IdempotencyKeyReused", "Idempotency-Key"), (path, body)
    assert await story.events(alice) == [(1, "user", "Hi")]


async def test_who_has_too_many_streams_is_told_when_to_come_back(replicas: Replicas, alice: str) -> None:
    narrow = await replicas.start(streams_per_caller=1)
    async with narrow.stream("/sessions/alice/stream") as stream:
        await stream.until("hello")
        for method, path, body in (
            ("GET", "/sessions/alice/stream", None),
            ("POST", CHAT, {"content": "Hi"}),
        ):
            refused = await narrow.desk.ask(TOKEN, method, path, json=body)
            assert problem(refused)[:2] == (429, "TooManyRequests"), path
            assert int(refused.headers["Retry-After"]) >= 1
        # Others have streams of their own, and so does a user for whom somebody acts
        bob = narrow.desk.person("bob", *EVERYTHING)
        async with narrow.stream("/sessions/alice/stream", bob) as his:
            await his.until("hello")
    assert alice


async def test_a_chat_without_a_turn_is_done_at_once(gateway: Gateway, story: Story, alice: str) -> None:
    async with chatting(gateway, "By the way", "k1", turn=False) as stream:
        assert [(each.event, each.data) for each in await stream.rest()][-1] == (
            "done",
            {"phase": "Succeeded"},
        )
    assert await story.events(alice) == [(1, "user", "By the way")]


async def test_a_chat_whose_task_is_deleted_or_never_comes_ends(
    gateway: Gateway, story: Story, alice: str
) -> None:
    async with chatting(gateway, "one", "k1") as stream:
        task = await begin(story, alice, (await stream.until("accepted")).data["task"])
        async with story.conn() as conn:
            await tasks.task_gone(conn, story.fence, task)
        assert (await stream.rest())[-1].data["phase"] == "Cancelled"
    async with chatting(gateway, "two", "k2") as stream:
        await stream.until("accepted")
        async with story.conn() as conn:
            await set_session_state(conn, story.fence, alice, "Ended", "as asked")
            for orphan in await list_orphans(conn, story.fence, timedelta(0)):
                await withdraw_post(conn, story.fence, orphan)
        done = (await stream.rest())[-1]
        assert (done.data["phase"], done.data["reason"]) == ("Failed", "SessionEnded")


async def test_a_chat_needs_both_rights(gateway: Gateway, story: Story, alice: str) -> None:
    for missing, status in (("create sessions/messages", 403), ("get sessions/events", 403)):
        token = gateway.desk.person("carol", *(right for right in EVERYTHING if right != missing))
        refused = await gateway.desk.ask(token, "POST", CHAT, json={"content": "Hi"})
        assert refused.status_code == status, missing
    assert await story.events(alice) == []


def chatting(gateway: Gateway, text: str, key: str, *, after: str | None = None, **body: Any) -> Any:
    headers = {"Idempotency-Key": key} | ({"Last-Event-ID": after} if after else {})
    return gateway.stream(CHAT, method="POST", json={"content": text, **body}, headers=headers)
