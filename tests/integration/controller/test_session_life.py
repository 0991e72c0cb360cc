"""A session's life as users see it: its state, its Events, its tasks, and what its transcript says of it."""

from datetime import timedelta
from typing import Any

import pytest
from parley.kube.kinds import SESSION, TASK
from parley.resources.reasons import Reason
from parley.store.pool import connect

from tests.integration.controller.cluster import NAMESPACE, Cluster

ALICE = {"sessionRef": {"name": "alice"}}
ASK: dict[str, Any] = {"name": "confirm", "wait": {"question": "Refund?", "choices": ["approve", "reject"]}}


def shown(cluster: Cluster, name: str = "alice") -> dict[str, Any]:
    return cluster.object(SESSION, name)["status"]


def condition(cluster: Cluster, type_: str = "Active", name: str = "alice") -> tuple[str, str]:
    (found,) = (each for each in shown(cluster, name)["conditions"] if each["type"] == type_)
    return found["status"], found["reason"]


def told(cluster: Cluster, name: str = "alice") -> list[str]:
    return [each.reason for each in cluster.told if (each.kind.kind, each.name) == ("Session", name)]


def edit(cluster: Cluster, name: str = "alice", **fields: Any) -> None:
    def change(body: Any) -> None:
        body["spec"].update(fields)

    cluster.kube.edit(SESSION, NAMESPACE, name, change)


async def sql(cluster: Cluster, statement: Any, *parameters: object) -> list[tuple[Any, ...]]:
    async with connect(cluster.pool) as conn:
        cursor = await conn.execute(statement, parameters or None)
        return await cursor.fetchall() if cursor.description else []


async def states(cluster: Cluster) -> list[str]:
    rows = await sql(cluster, "SELECT content ->> 'state' FROM events WHERE type = 'state' ORDER BY sequence")
    return [state for (state,) in rows]


async def pass_time(cluster: Cluster, by: timedelta) -> None:
    """Let nothing have happened for so long, then let the clocks that were set ring."""
    await sql(cluster, "UPDATE sessions SET active_at = active_at - %s::interval", by)
    await sql(
        cluster,
        "UPDATE tasks SET registered_at = registered_at - %s::interval WHERE ended_at IS NULL",
        by,
    )
    await sql(cluster, "ALTER TABLE tasks DISABLE TRIGGER USER")
    await sql(
        cluster,
        "UPDATE tasks SET registered_at = registered_at - %s::interval, ended_at = ended_at - %s::interval"
        " WHERE ended_at IS NOT NULL",
        by, by,
    )  # fmt: skip
    await sql(cluster, "ALTER TABLE tasks ENABLE TRIGGER USER")
    for kind, _, name in list(cluster.kube.objects):
        if kind == "Session":
            cluster.context.wake("Session", NAMESPACE, name)
    await cluster.settle()


async def begin(cluster: Cluster, **fields: Any) -> None:
    await cluster.agent()
    await cluster.session(**fields)
    await cluster.settle()


async def ask(cluster: Cluster, name: str, text: str = "Hello") -> None:
    await cluster.task(name, {"name": "reply", "prompt": {"text": text}}, **ALICE)
    await cluster.settle()


async def test_a_session_sleeps_and_the_next_message_wakes_it_with_its_context(cluster: Cluster) -> None:
    # Given a conversation that knows something
    await begin(cluster, limits={"idleTimeout": "1h"}, context={"order": "12345"})
    await cluster.task("note", {"name": "note", "set": {"context": {"paid": True}}}, **ALICE)
    await ask(cluster, "first")
    assert (shown(cluster)["phase"], condition(cluster)) == ("Active", ("True", "Active"))

    # When nothing happens for an hour
    await pass_time(cluster, timedelta(minutes=61))
    assert (shown(cluster)["phase"], condition(cluster)) == ("Dormant", ("False", "Dormant"))
    assert condition(cluster, "Ready") == ("True", "Ready")
    assert "dormantSince" in shown(cluster)

    # Then the next message wakes it, and it knows what it knew
    await ask(cluster, "second")
    assert cluster.status("second")["phase"] == "Succeeded"
    assert (shown(cluster)["phase"], condition(cluster)) == ("Active", ("True", "Active"))
    assert "dormantSince" not in shown(cluster)
    assert shown(cluster)["context"] == {"order": "12345", "paid": True}
    assert await states(cluster) == ["Dormant", "Active"]
    types = await sql(cluster, "SELECT type FROM events ORDER BY sequence")
    assert [each for (each,) in types] == ["message", "message", "state", "state", "message", "message"]
    assert told(cluster) == ["Dormant", "Active"]


async def test_the_clock_of_a_session_is_set(cluster: Cluster) -> None:
    """Nobody has to look at it: the queue wakes it when its time has come."""
    await begin(cluster, limits={"idleTimeout": "1s"})

    await cluster.until(lambda: shown(cluster)["phase"] == "Dormant", "the session sleeps")


async def test_the_clock_is_set_again_when_a_task_has_ended(cluster: Cluster) -> None:
    await begin(cluster, limits={"idleTimeout": "1s"})
    await cluster.until(lambda: shown(cluster)["phase"] == "Dormant", "the session sleeps")
    await ask(cluster, "hello")
    assert cluster.status("hello")["phase"] == "Succeeded"

    await cluster.until(lambda: shown(cluster)["phase"] == "Dormant", "the session sleeps again")

    assert await states(cluster) == ["Dormant", "Active", "Dormant"]


async def test_a_session_with_an_open_task_does_not_sleep(cluster: Cluster) -> None:
    await begin(cluster, limits={"idleTimeout": "1h"})
    await cluster.task("refund", ASK, **ALICE)
    await cluster.settle()

    await pass_time(cluster, timedelta(hours=2))

    assert shown(cluster)["phase"] == "WaitingForInput"
    assert await states(cluster) == []


async def test_a_paused_session_starts_no_turn_until_it_goes_on(cluster: Cluster) -> None:
    await begin(cluster, desiredState="Paused")
    await ask(cluster, "hello")
    assert (shown(cluster)["phase"], condition(cluster)) == ("Paused", ("False", "SessionPaused"))
    assert cluster.status("hello")["phase"] == "Queued"
    assert cluster.step("hello", "reply")["reason"] == "SessionPaused"
    assert cluster.jobs() == []

    edit(cluster, desiredState="Active")
    await cluster.settle()

    assert cluster.status("hello")["phase"] == "Succeeded"
    assert shown(cluster)["phase"] == "Active"
    assert await states(cluster) == ["Paused", "Active"]
    assert told(cluster) == ["SessionPaused", "Active"]


@pytest.mark.parametrize(
    ("desired", "phase", "reason"), [("Ended", "Ended", "SessionEnded"), ("Archived", "Archived", "Archived")]
)
async def test_what_waits_ends_with_its_session(
    cluster: Cluster, desired: str, phase: str, reason: str
) -> None:
    await begin(cluster)
    await cluster.task("refund", ASK, **ALICE)
    await cluster.settle()
    assert cluster.status("refund")["phase"] == "WaitingForInput"

    edit(cluster, desiredState=desired)
    await cluster.settle()

    assert (shown(cluster)["phase"], condition(cluster)) == (phase, ("False", reason))
    assert cluster.status("refund")["phase"] == "Failed"
    assert _reason(cluster, "refund") == Reason.SESSION_ENDED
    assert shown(cluster)["tasks"] == {"active": 0, "waiting": 0, "succeeded": 0, "failed": 1}
    await ask(cluster, "late")
    assert (cluster.status("late")["phase"], _reason(cluster, "late")) == ("Failed", Reason.SESSION_ENDED)
    assert cluster.jobs() == []
    assert await states(cluster) == [desired]


def _reason(cluster: Cluster, task: str) -> str:
    (found,) = (each for each in cluster.status(task)["conditions"] if each["type"] == "Succeeded")
    return found["reason"]


async def test_a_running_attempt_ends_first(cluster: Cluster) -> None:
    await begin(cluster)
    cluster.behaviour = lambda _: None
    await cluster.task(
        "hello",
        {"name": "reply", "prompt": {"text": "Hello"}},
        {"name": "again", "prompt": {"text": "Hello again"}},
        **ALICE,
    )
    await cluster.settle()
    (run,) = cluster.running.values()

    edit(cluster, desiredState="Ended")
    await cluster.settle()
    assert (shown(cluster)["phase"], cluster.status("hello")["phase"]) == ("Ended", "Running")
    await cluster.end(run, "the answer")
    await cluster.settle()

    assert (cluster.status("hello")["phase"], _reason(cluster, "hello")) == ("Failed", Reason.SESSION_ENDED)
    said = await sql(cluster, "SELECT content #>> '{}' FROM events WHERE type = 'message' ORDER BY sequence")
    assert [text for (text,) in said] == ["Hello", "the answer"]


async def test_a_session_expires_with_whatever_waits_in_it(cluster: Cluster) -> None:
    await begin(cluster, limits={"expireAfter": "720h"})
    created = {"creationTimestamp": "2020-01-01T00:00:00Z"}
    spec = {"steps": [ASK], **ALICE}
    await cluster.apply(TASK, "refund", spec, **created)
    await cluster.settle()

    # Nothing that anybody writes meanwhile is seen: its tasks are woken by what the session came to.
    watch, cluster.kube.on_change = cluster.kube.on_change, lambda *_: None
    await pass_time(cluster, timedelta(days=31))
    cluster.kube.on_change = watch

    assert (shown(cluster)["phase"], condition(cluster)) == ("Ended", ("False", "Expired"))
    assert (cluster.status("refund")["phase"], _reason(cluster, "refund")) == ("Failed", Reason.SESSION_ENDED)
    edit(cluster, limits={})
    await ask(cluster, "late")
    assert (shown(cluster)["phase"], _reason(cluster, "late")) == ("Ended", Reason.SESSION_ENDED)
    assert told(cluster) == ["Expired"]


async def test_a_full_session_refuses_the_next_turn(cluster: Cluster) -> None:
    await begin(cluster, limits={"maxMessages": 2})
    await ask(cluster, "first")
    assert cluster.status("first")["phase"] == "Succeeded"

    await ask(cluster, "second")

    assert (cluster.status("second")["phase"], _reason(cluster, "second")) == ("Failed", Reason.MESSAGE_LIMIT)
    assert shown(cluster)["events"]["messages"] == 2


async def test_a_new_leader_finds_a_session_where_it_was(cluster: Cluster) -> None:
    await begin(cluster, limits={"idleTimeout": "1h"})
    await ask(cluster, "first")
    await pass_time(cluster, timedelta(hours=2))

    cluster.lead_anew()
    await cluster.settle()

    assert shown(cluster)["phase"] == "Dormant"
    assert await states(cluster) == ["Dormant"]
    assert told(cluster) == ["Dormant"]


async def test_retention_is_copied_into_the_store_as_it_changes(cluster: Cluster) -> None:
    await begin(cluster)
    assert await sql(cluster, "SELECT retention FROM sessions") == [
        ({"transcript": "Delete", "afterSeconds": 720 * 3600.0},)
    ]

    edit(cluster, retention={"transcript": "Retain"})
    await cluster.settle()

    assert await sql(cluster, "SELECT retention FROM sessions") == [({"transcript": "Retain"},)]
