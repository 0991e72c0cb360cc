"""A gateway that dies after it has committed a message: the leader goes on where it stopped."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from parley.controller import observation
from parley.controller.posted_tasks import PostedTasks
from parley.kube.errors import Forbidden, Invalid, KubeError, KubeUnavailable, error_for
from parley.kube.kinds import SESSION, TASK, Kind
from parley.resources.posted_task import posted_task, posted_task_name
from parley.store.errors import SessionNotReady
from parley.store.leader import Fence
from parley.store.pool import Connection
from parley.store.posting import Posted, TurnWanted, post_message
from parley.store.records import TaskRecord
from parley.store.turns import queue_turns

from tests.integration.controller.cluster import NAMESPACE, Cluster

AT_ONCE = timedelta(0)


async def talking(cluster: Cluster, **fields: Any) -> str:
    await cluster.agent()
    await cluster.session(**fields)
    await cluster.settle()
    return str(cluster.object(SESSION, "alice")["metadata"]["uid"])


async def commit(
    cluster: Cluster, session_uid: str, key: str, text: str = "Hi", session: str = "alice"
) -> Posted:
    """What a gateway does first."""
    spec: dict[str, Any] = {"sessionRef": {"name": session}, "message": text}
    async with cluster.context.store() as conn:
        return await post_message(
            conn,
            session_uid=session_uid,
            key=key,
            body_hash=text,
            content=text,
            turn=TurnWanted(posted_task_name(session_uid, key), "reply", spec),
        )


async def make(cluster: Cluster, session_uid: str, key: str, text: str = "Hi") -> None:
    """What a gateway does then."""
    spec: dict[str, Any] = {"sessionRef": {"name": "alice"}, "message": text}
    name = posted_task_name(session_uid, key)
    await cluster.kube.create(TASK, NAMESPACE, posted_task(name, NAMESPACE, "alice", session_uid, spec))


async def adopt(cluster: Cluster, older: timedelta = AT_ONCE) -> int:
    made = await PostedTasks(cluster.context, cluster.sights).adopt(older)
    await cluster.settle()
    return made


async def said(cluster: Cluster) -> list[tuple[str | None, Any]]:
    async with cluster.context.store() as conn:
        cursor = await conn.execute(
            "SELECT role, content FROM events WHERE type = 'message' ORDER BY sequence"
        )
        return [(row[0], row[1]) for row in await cursor.fetchall()]


async def test_a_session_is_there_as_soon_as_it_is_seen(cluster: Cluster) -> None:
    uid = await talking(cluster)
    assert (await commit(cluster, uid, "k1")).sequence == 1


async def test_the_leader_makes_the_task_that_a_gateway_left(cluster: Cluster) -> None:
    # Given a message whose gateway died before it made the Task
    uid = await talking(cluster)
    posted = await commit(cluster, uid, "k1")
    await cluster.settle()
    assert cluster.tasks() == []
    # When it is young, then it is the gateway's
    assert await adopt(cluster, timedelta(hours=1)) == 0
    # When it is old enough, then the leader makes it, once, and it is answered
    assert await adopt(cluster) == 1
    assert await adopt(cluster) == 0
    (name,) = cluster.tasks()
    assert name == posted.task_name
    metadata = cluster.object(TASK, name)["metadata"]
    assert metadata["labels"] == {"parley.dev/posted": "true"}
    assert [owner["uid"] for owner in metadata["ownerReferences"]] == [uid]
    assert "controller" not in metadata["ownerReferences"][0]
    assert cluster.status(name)["phase"] == "Succeeded", cluster.status(name)
    assert await said(cluster) == [("user", "Hi"), ("assistant", "answer of reply")]


@pytest.mark.parametrize("maker", ["gateway", "leader"])
async def test_messages_are_answered_in_their_order_whoever_makes_their_tasks(
    cluster: Cluster, maker: str
) -> None:
    # Given three messages, of which the first one's gateway died
    uid = await talking(cluster)
    for text in ("one", "two", "three"):
        await commit(cluster, uid, text, text)
    for text in ("three", "two"):
        await make(cluster, uid, text, text)
    await cluster.settle()
    assert [each for each in await said(cluster) if each[0] == "assistant"] == [], (
        "the first one is waited for"
    )
    # When its Task comes, from the leader or late from the gateway
    if maker == "leader":
        assert await adopt(cluster) == 1
    else:
        await make(cluster, uid, "one", "one")
        assert await adopt(cluster) == 0
    await cluster.settle()
    # Then all are answered, and the model saw them in their order
    assert [taken.request.prompt.text for taken in cluster.taken] == ["one", "two", "three"]  # type: ignore[union-attr]
    assert [event.content for event in cluster.taken[-1].history] == [
        "one", "answer of reply", "two", "answer of reply"
    ]  # fmt: skip


async def test_a_look_at_the_queue_from_before_its_task_costs_no_turn(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a look that began when the session had no task, and that ends when the task has its message's ticket
    uid = await talking(cluster)
    await commit(cluster, uid, "k1")
    register = observation.register_task

    async def registered(conn: Connection, fence: Fence, **fields: Any) -> TaskRecord:
        record = await register(conn, fence, **fields)
        async with cluster.context.store() as other:
            assert await queue_turns(other, fence, uid, []) == [], "it takes the ticket back"
        return record

    monkeypatch.setattr(observation, "register_task", registered)
    await make(cluster, uid, "k1")
    await cluster.settle()
    # Then the task asks for another one
    assert await said(cluster) == [("user", "Hi"), ("assistant", "answer of reply")]


async def test_gateway_and_leader_at_once_make_one_task(cluster: Cluster) -> None:
    uid = await talking(cluster)
    await commit(cluster, uid, "k1")
    posted = PostedTasks(cluster.context, cluster.sights)
    await asyncio.gather(posted.adopt(AT_ONCE), make(cluster, uid, "k1"), return_exceptions=True)
    await cluster.settle()
    assert len(cluster.tasks()) == 1
    assert await said(cluster) == [("user", "Hi"), ("assistant", "answer of reply")]


async def test_a_task_that_the_leader_has_not_seen_yet_is_taken_in(cluster: Cluster) -> None:
    # Given a Task that was made while the watch was away
    uid = await talking(cluster)
    await commit(cluster, uid, "k1")
    watch, cluster.kube.on_change = cluster.kube.on_change, lambda *_: None
    await make(cluster, uid, "k1")
    cluster.kube.on_change = watch
    # When the leader looks, then it makes no other
    assert await adopt(cluster) == 0
    assert [text for _, text in await said(cluster)] == ["Hi", "answer of reply"]


async def test_a_message_in_a_session_that_ended_meanwhile_gets_no_task(cluster: Cluster) -> None:
    uid = await talking(cluster)
    await commit(cluster, uid, "k1")
    cluster.kube.edit(SESSION, NAMESPACE, "alice", lambda body: body["spec"].update(desiredState="Ended"))  # type: ignore[union-attr]
    await cluster.settle()
    assert await adopt(cluster) == 0
    assert cluster.tasks() == []
    assert await waiting(cluster) == []
    assert await said(cluster) == [("user", "Hi")]


async def waiting(cluster: Cluster) -> list[str]:
    async with cluster.context.store() as conn:
        cursor = await conn.execute("SELECT task_name FROM turns WHERE state = 'Waiting' ORDER BY ticket")
        return [str(row[0]) for row in await cursor.fetchall()]


@pytest.mark.parametrize(
    ("error", "waits"),
    [
        (Forbidden(403, "Forbidden", "exceeded quota: tasks"), True),
        (Invalid(422, "Invalid", "spec.message: Too long"), False),
    ],
)
async def test_what_the_api_server_refuses_for_good_holds_up_nobody(
    cluster: Cluster, error: KubeError, waits: bool
) -> None:
    uid = await talking(cluster)
    first = await commit(cluster, uid, "k1", "one")
    await commit(cluster, uid, "k2", "two")
    await make(cluster, uid, "k2", "two")
    cluster.kube.fail(error, verb="create", kind="Task")
    assert await adopt(cluster) == 0
    assert (first.task_name in await waiting(cluster)) is waits
    answers = [text for role, text in await said(cluster) if role == "assistant"]
    assert len(answers) == (0 if waits else 1)


@pytest.mark.parametrize(
    ("error", "made"),
    [
        (Forbidden(403, "Forbidden", "exceeded quota: tasks"), 0),
        (Forbidden(403, "Forbidden", "denied by a policy"), 1),
        (KubeError(405, "MethodNotAllowed", "not here"), 1),
        (error_for(500, "InternalError", "failed calling webhook: connection refused"), 1),
        (error_for(429, "TooManyRequests", "too many requests"), 1),
    ],
)
async def test_a_message_that_cannot_be_taken_in_yet_holds_up_the_others_only_if_it_must(
    cluster: Cluster, error: KubeError, made: int
) -> None:
    # Given two messages that gateways left, and an API server that refuses the first one's Task for now
    uid = await talking(cluster)
    for text in ("one", "two"):
        await commit(cluster, uid, text, text)
    cluster.kube.fail(error, verb="create", kind="Task")
    # When the leader looks, then the other is tried unless it would find the same quota
    assert await adopt(cluster) == made
    assert await adopt(cluster) == 2 - made
    assert [text for role, text in await said(cluster) if role == "assistant"] == ["answer of reply"] * 2


@dataclass
class Bouncer:
    """A policy of the cluster that lets no Task into a Session, as long as it is there."""

    cluster: Cluster
    monkeypatch: pytest.MonkeyPatch
    session: str
    refused: list[str] = field(default_factory=list)
    is_there: bool = True

    def __post_init__(self) -> None:
        let_in = self.cluster.kube.create

        async def create(kind: Kind, namespace: str | None, body: Any, **options: Any) -> Any:
            if self.is_there and kind is TASK and body["spec"]["sessionRef"]["name"] == self.session:
                self.refused.append(body["metadata"]["name"])
                raise Forbidden(403, "Forbidden", "denied by a policy")
            return await let_in(kind, namespace, body, **options)

        self.monkeypatch.setattr(self.cluster.kube, "create", create)


async def test_messages_that_are_refused_for_ever_hold_up_no_others_of_their_namespace(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given more messages than are looked at at a time in a Session whose Tasks a policy refuses, then one in another
    alice = await talking(cluster)
    await cluster.session("bob")
    await cluster.settle()
    refused = [(await commit(cluster, alice, f"k{n}", f"message {n}")).task_name for n in range(25)]
    bob = str(cluster.object(SESSION, "bob")["metadata"]["uid"])
    let_in = await commit(cluster, bob, "k", "hello", "bob")
    bouncer = Bouncer(cluster, monkeypatch, "alice")
    now = [0.0]
    posted = PostedTasks(cluster.context, cluster.sights, clock=lambda: now[0])

    # When the leader has looked twice, then that one has its turn, though the others still wait
    assert [await posted.adopt(AT_ONCE) for _ in range(2)] == [0, 1]
    assert cluster.tasks() == [let_in.task_name]
    assert sorted(bouncer.refused) == sorted(str(name) for name in refused)

    # They are tried again, after pauses that grow
    tries: list[int] = []
    for _ in range(4):
        before = len(bouncer.refused)
        for _ in range(30):
            now[0] += 10
            assert await posted.adopt(AT_ONCE) == 0
        tries.append(len(bouncer.refused) - before)
    assert tries[0] > tries[-1] >= 0, tries
    assert sum(tries) > len(refused)

    # and made once the policy is gone
    bouncer.is_there = False
    made = 0
    for _ in range(100):
        now[0] += 10
        made += await posted.adopt(AT_ONCE)
    assert made == len(refused)


async def test_another_task_of_that_name_holds_up_nobody(cluster: Cluster) -> None:
    uid = await talking(cluster)
    posted = await commit(cluster, uid, "k1")
    watch, cluster.kube.on_change = cluster.kube.on_change, lambda *_: None
    await cluster.task(posted.task_name or "", message="mine", sessionRef={"name": "bob"})
    cluster.kube.on_change = watch
    assert await adopt(cluster) == 0
    assert await waiting(cluster) == []


@pytest.mark.parametrize("status", [0, 502, 503, 504])
async def test_an_api_server_that_is_away_is_asked_again(cluster: Cluster, status: int) -> None:
    uid = await talking(cluster)
    await commit(cluster, uid, "k1")
    cluster.kube.fail(error_for(status, "ServiceUnavailable", "away"), verb="create", kind="Task")
    with pytest.raises(KubeUnavailable):
        await adopt(cluster)
    assert await adopt(cluster) == 1


async def test_posts_wait_while_the_session_is_paused_and_go_on_in_their_order(cluster: Cluster) -> None:
    # Given messages posted into a paused session, whose Tasks' names say nothing of their order
    uid = await talking(cluster, desiredState="Paused")
    texts = [f"message {n}" for n in range(4)]
    for text in texts:
        await commit(cluster, uid, text, text)
        await make(cluster, uid, text, text)
    await cluster.settle()
    assert {cluster.status(name)["phase"] for name in cluster.tasks()} == {"Queued"}
    # When it goes on
    cluster.kube.edit(SESSION, NAMESPACE, "alice", lambda body: body["spec"].update(desiredState="Active"))  # type: ignore[union-attr]
    await cluster.settle()
    # Then they are answered in the order in which they were said
    assert [taken.request.prompt.text for taken in cluster.taken] == texts  # type: ignore[union-attr]


async def test_a_session_nobody_has_seen_takes_no_message(cluster: Cluster) -> None:
    with pytest.raises(SessionNotReady):
        await commit(cluster, "unknown", "k1")


async def test_a_message_to_a_session_that_was_made_anew_is_not_said_in_the_new_one(cluster: Cluster) -> None:
    # Given a Session that was deleted and made anew, which a gateway has not noticed
    before = await talking(cluster)
    await commit(cluster, before, "k1", "old")
    await cluster.kube.delete(SESSION, NAMESPACE, "alice")
    await cluster.settle()
    await cluster.session()
    await cluster.settle()
    # When it makes the Task of a message that was said in the one before
    await make(cluster, before, "k1", "old")
    await cluster.settle()
    # Then the Task waits for the garbage collector, and the new Session has only what is said in it
    (name,) = cluster.tasks()
    (ready,) = [each for each in cluster.status(name)["conditions"] if each["type"] == "Ready"]
    assert (cluster.status(name)["phase"], ready["reason"]) == ("Pending", "SessionNotFound")
    assert before in ready["message"]
    new = str(cluster.object(SESSION, "alice")["metadata"]["uid"])
    await commit(cluster, new, "k1", "new")
    await make(cluster, new, "k1", "new")
    await cluster.settle()
    assert [taken.request.prompt.text for taken in cluster.taken] == ["new"]  # type: ignore[union-attr]
    assert [text for _, text in await said(cluster) if text != "old"] == ["new", "answer of reply"]


async def test_messages_that_wait_count_when_their_turn_comes(cluster: Cluster) -> None:
    # Given a session that may hold four messages, into which three are posted at once
    uid = await talking(cluster, limits={"maxMessages": 4})
    for text in ("one", "two", "three"):
        await commit(cluster, uid, text, text)
    for text in ("one", "two", "three"):
        await make(cluster, uid, text, text)
    await cluster.settle()
    # Then two are answered, as if each had come after the turn before it, and the third meets the limit
    phases = {name: cluster.status(name)["phase"] for name in cluster.tasks()}
    assert [phases[posted_task_name(uid, text)] for text in ("one", "two", "three")] == [
        "Succeeded", "Succeeded", "Failed"
    ]  # fmt: skip
