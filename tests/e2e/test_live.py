"""Sessions at the speed of a conversation: through the gateway, while parts of it are killed."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator

import pytest
from parley.api.events import EventView
from parley.api.messages import MessageAccepted
from parley.api.stream import DeltaView, Done
from parley.client import AsyncParley, ChatItem, Retries, StreamItem

from tests.cluster import LONG, SYSTEM_NAMESPACE, Cluster
from tests.e2e.conftest import Store, agent, session
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
