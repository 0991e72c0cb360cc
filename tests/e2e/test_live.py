"""Sessions at the speed of a conversation: through the gateway, while parts of it are killed."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator

import httpx2
import pytest
from parley.api.events import EventView
from parley.api.messages import MessageAccepted
from parley.api.stream import LAST_EVENT_ID_HEADER, DeltaView, Done
from parley.client import AsyncParley, ChatItem, ParleyError, Retries, StreamItem
from parley.client.base import content_of
from parley.client.operation import Endpoint, Request
from parley.client.operations import CHAT, STREAM, message

from tests.cluster import LONG, SYSTEM_NAMESPACE, Cluster, collection
from tests.e2e.conftest import ONE_RUNNER, Store, agent, session, task
from tests.e2e.disruption import all_ready, parts, processes, send

pytestmark = pytest.mark.cluster

PATIENT = Retries(attempts=1000, seconds=LONG)


def client(cluster: Cluster, namespace: str) -> AsyncParley:
    """A person with the role ``admin`` in the namespace, who may import, at the gateway's Service."""
    cluster.kubectl("create", "serviceaccount", "person", "-n", namespace)
    cluster.kubectl(
        "create", "rolebinding", "person", "-n", namespace,
        "--clusterrole=parley-admin", f"--serviceaccount={namespace}:person",
    )  # fmt: skip
    token = cluster.kubectl("create", "token", "person", "-n", namespace).strip()
    address = cluster.kubectl(
        "get",
        "service",
        "parley-gateway",
        "-n",
        SYSTEM_NAMESPACE,
        "-o",
        "jsonpath={.spec.clusterIP}:{.spec.ports[0].port}",
    )
    return AsyncParley(f"http://{address}", token, namespace=namespace, retries=PATIENT)


async def chat(parley: AsyncParley, name: str, text: str) -> list[ChatItem]:
    """A whole turn, as it was told."""
    told: list[ChatItem] = []
    try:
        async with asyncio.timeout(LONG):
            async for item in parley.chat(name, text):
                told.append(item)  # noqa: PERF401 - what came is to be told at a timeout
    except TimeoutError:
        raise AssertionError(f"the turn does not end, after {told}") from None
    return told


async def until_event(items: AsyncIterator[StreamItem], sequence: int) -> list[EventView]:
    """Read events until one with this sequence."""
    seen: list[EventView] = []
    try:
        async with asyncio.timeout(LONG):
            async for item in items:
                if isinstance(item, EventView):
                    seen.append(item)
                    if item.sequence >= sequence:
                        break
    except TimeoutError:
        raise AssertionError(f"event {sequence} does not come, after {seen}") from None
    return seen


async def told_again(parley: AsyncParley, endpoint: Endpoint, request: Request, until: int) -> list[int]:
    """The sequences that a new connection brings to who has seen 2 last: up to one, or to the end of a turn."""
    seen: list[int] = []
    headers = parley.headers(endpoint, request, {LAST_EVENT_ID_HEADER: "2"})
    url, query, body = parley.url_of(endpoint, request), request.parameters(), content_of(request)
    try:
        async with (
            asyncio.timeout(LONG),
            httpx2.AsyncClient(timeout=LONG) as http,
            http.stream(endpoint.method, url, params=query, headers=headers, content=body) as answer,
        ):
            assert answer.is_success, await answer.aread()
            async for told in httpx2.EventSource(answer):
                if told.event == "event":
                    seen.append(int(told.id))
                if told.event == "done" or until in seen:
                    break
    except TimeoutError:
        raise AssertionError(f"neither event {until} nor the end of a turn comes, after {seen}") from None
    return seen


def output(told: list[ChatItem]) -> object:
    done = told[-1]
    assert isinstance(done, Done), told
    assert done.phase == "Succeeded", done
    return done.output


async def test_a_conversation_is_heard_by_all_who_read_and_is_one_in_the_store(
    cluster: Cluster, namespace: str, store: Store
) -> None:
    # Given somebody who reads along
    cluster.apply(
        namespace, agent(runtime={"mode": "Warm"}), session("alice", user={"id": "a", "name": "Alice"})
    )
    async with client(cluster, namespace) as parley:
        reading = asyncio.create_task(until_event(parley.stream("alice", after=0), 4))

        # When two turns go by
        first = await chat(parley, "alice", "My name is Alice.")
        second = await chat(parley, "alice", "What is my name?")

        # Then each was told from the message to its end, and pieces of an answer are its beginning
        assert (output(first), output(second)) == ("Nice to meet you, Alice.", "Your name is Alice.")
        assert isinstance(first[0], MessageAccepted)
        pieces = "".join(item.text for item in second if isinstance(item, DeltaView))
        assert "Your name is Alice.".find(pieces) >= 0
        # And the reader heard the same, in order
        texts = [(event.sequence, event.role, event.content) for event in await reading]
        assert texts == [
            (1, "user", "My name is Alice."), (2, "assistant", "Nice to meet you, Alice."),
            (3, "user", "What is my name?"), (4, "assistant", "Your name is Alice."),
        ]  # fmt: skip
        listed = await parley.list_events("alice")
        assert [(event.sequence, event.role, event.content) for event in listed.items] == texts

        # And it goes into another session, whose agent knows the name from then on
        lines = b"".join([chunk async for chunk in parley.export_session("alice")])
        assert json.loads(lines.splitlines()[-1]) == {"end": True, "events": 4}
        cluster.apply(namespace, session("again"))
        for imported in (4, 0):
            result = await parley.import_session("again", lines)
            assert (result.imported, result.last_sequence) == (imported, 4)
        assert output(await chat(parley, "again", "What is my name?")) == "Your name is Alice."
    assert store.rows(
        "SELECT s.name, count(*), max(e.sequence) FROM events e JOIN sessions s ON s.uid = e.session_uid"
        " WHERE s.namespace = %s GROUP BY 1 ORDER BY 1",
        namespace,
    ) == [("again", 6, 6), ("alice", 4, 4)]


async def test_a_connection_goes_on_after_what_was_seen_last(cluster: Cluster, namespace: str) -> None:
    # Given two turns, the first of them one whose end its caller may not have heard
    cluster.apply(namespace, agent(runtime=ONE_RUNNER), session("alice"))
    first = message(
        "alice", "echo: one", turn=True, user=None, agent=None, runtime=None, key="said-once-by-alice"
    )
    async with client(cluster, namespace) as parley:
        async with asyncio.timeout(LONG):
            told = [item async for item in parley.chat("alice", "echo: one", key=first.key)]
        assert output(told) == "one"
        assert output(await chat(parley, "alice", "echo: two")) == "two"

        # When connections are made again, as they were first and with the id that was seen last
        stream = Request({"name": "alice"}, query=[("after", 0)])
        follows = await told_again(parley, STREAM, stream, until=4)
        chats = await told_again(parley, CHAT, first, until=4)

        # Then they bring what came after that, and nothing again
        assert (follows, chats) == ([3, 4], [])

        # And the key stands for no other words
        with pytest.raises(ParleyError) as refused:
            await parley.post_message("alice", "echo: three", key=first.key)
        assert (refused.value.status, refused.value.reason) == (409, "IdempotencyKeyReused")
        assert [event.sequence for event in (await parley.list_events("alice")).items] == [1, 2, 3, 4]


async def test_an_answer_is_shown_while_it_is_given(cluster: Cluster, namespace: str) -> None:
    # Given a model that takes its time for each word
    cluster.apply(namespace, agent(runtime=ONE_RUNNER), session("alice"))
    words = " ".join(f"word-{number}" for number in range(20))
    pieces: list[DeltaView] = []
    async with client(cluster, namespace) as parley:
        # When somebody reads answers along; none of them waits for its pieces, so one may come without
        for _ in range(6):
            told = await chat(parley, "alice", f"[pace 0.5s] echo: {words}")
            answer = output(told)
            pieces = [item for item in told if isinstance(item, DeltaView)]
            if pieces:
                break

    # Then pieces came, each of them what the answer has in that place
    assert pieces, f"six answers, and not a piece of any; the last one: {told}"
    assert answer == words
    shown = [(piece.offset, piece.text) for piece in pieces]
    assert shown == [(offset, words[offset : offset + len(text)]) for offset, text in shown]


async def test_a_message_that_got_no_task_at_once_is_answered_later(cluster: Cluster, namespace: str) -> None:
    # Given a namespace that has no room for Tasks
    quota = {"hard": {"count/tasks.parley.dev": "0"}}
    cluster.apply(
        namespace,
        agent(runtime=ONE_RUNNER),
        session("alice"),
        {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "no-tasks"}, "spec": quota},
    )
    tasks, tried = collection("task", namespace), task("tried", sessionRef={"name": "alice"}, message="Hello")

    def refused() -> bool:
        return cluster.request("POST", tasks, params={"dryRun": "All"}, json=tried).status_code == 403

    cluster.wait("the quota counts", namespace, refused)
    async with client(cluster, namespace) as parley:
        # When something is said, then it is kept, though its Task cannot be made
        accepted = await parley.post_message("alice", "echo: late")
        assert accepted.task is not None
        assert cluster.list("task", namespace) == []

        # When there is room again, then nobody has to repeat it
        cluster.kubectl("delete", "quota", "no-tasks", "-n", namespace)
        ended = await asyncio.to_thread(cluster.wait_task, namespace, accepted.task)
        assert (ended["status"]["phase"], ended["status"]["output"]) == ("Succeeded", "late")
        said = (await parley.list_events("alice")).items
        assert [(event.role, event.content) for event in said] == [
            ("user", "echo: late"), ("assistant", "late"),
        ]  # fmt: skip


@pytest.mark.disruptive
async def test_a_killed_gateway_neither_loses_nor_doubles_what_is_said(
    cluster: Cluster, namespace: str, store: Store
) -> None:
    # Given people who chat in sessions of their own
    names = [f"person-{n}" for n in range(4)]
    cluster.apply(namespace, agent(runtime={"mode": "Warm"}), *[session(name) for name in names])
    async with client(cluster, namespace) as parley:
        assert output(await chat(parley, names[0], "echo: warm")) == "warm"

        async def talk(name: str) -> list[object]:
            return [output(await chat(parley, name, f"[slow 1s] echo: {name} {n}")) for n in range(3)]

        talking = asyncio.gather(*[talk(name) for name in names])

        # When the gateway is killed while they speak
        try:
            for _ in range(2):
                await asyncio.sleep(2)
                for pod in parts(cluster, "gateway"):
                    send(processes(cluster, SYSTEM_NAMESPACE, pod), signal.SIGKILL)
            answers = await talking
        finally:
            talking.cancel()
            await asyncio.to_thread(all_ready, cluster)

    # Then each got its answers, and each message and answer is there once
    assert answers == [[f"{name} {n}" for n in range(3)] for name in names]
    rows = store.rows(
        "SELECT s.name, count(*), count(DISTINCT e.content::text), max(e.sequence) FROM events e"
        " JOIN sessions s ON s.uid = e.session_uid WHERE s.namespace = %s AND e.type = 'message' GROUP BY 1 ORDER BY 1",
        namespace,
    )
    said = dict.fromkeys(names, 6) | {names[0]: 8}
    assert rows == [(name, count, count, count) for name, count in said.items()]
