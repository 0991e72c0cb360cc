"""Point 6: how a session lives: asleep and awake, paused, ended, archived, expired; and what its status keeps to itself."""

import json
from typing import Any

import pytest

from tests.cluster import Cluster, Refused, condition, step_of, wait_step
from tests.e2e.conftest import ONE_RUNNER, Store, agent, say, session, task
from tests.e2e.seen import becomes, happened
from tests.e2e.servers import call, refund, shop_calls
from tests.e2e.test_tool_approval import GUARDED, asked
from tests.e2e.test_tools import events_of, succeeded
from tests.kstatus import kstatus

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("tools")]


def wish(cluster: Cluster, namespace: str, name: str, state: str) -> None:
    """Patch a session's desired state."""
    patch = json.dumps({"spec": {"desiredState": state}})
    cluster.kubectl("patch", "session", name, "-n", namespace, "--type=merge", "-p", patch)


def assert_told(cluster: Cluster, namespace: str, body: dict[str, Any], active: tuple[str, str]) -> None:
    """Assert that condition, kstatus and an Event say how a session is."""
    name = body["metadata"]["name"]
    said = condition(body, "Active")
    assert (said["status"], said["reason"]) == active, body["status"]
    assert condition(body, "Ready")["status"] == "True"
    assert kstatus(body).status == "Current"
    cluster.wait(
        f"an Event says that {name} is {active[1]}",
        namespace,
        lambda: [
            reason for reason, _ in happened(cluster, namespace, "Session", name) if reason == active[1]
        ],
    )


def states(store: Store, namespace: str, name: str) -> list[str]:
    """The states that a session's events tell, in order."""
    return [content["state"] for kind, content in events_of(store, namespace, name) if kind == "state"]


def test_a_session_falls_asleep_and_wakes_and_expires(cluster: Cluster, namespace: str, store: Store) -> None:
    # Given a session that falls asleep soon, and one that ends soon
    cluster.apply(
        namespace,
        agent(runtime=ONE_RUNNER),
        session("sleepy", limits={"idleTimeout": "2s"}, context={"room": "7"}),
        session("brief", limits={"expireAfter": "10s"}),
        say("hello", "sleepy", "My name is Sam."),
        task(
            "move", sessionRef={"name": "sleepy"}, steps=[{"name": "move", "set": {"context": {"desk": "3"}}}]
        ),
        say("hi", "brief", "echo: hi"),
    )

    # And others whose turns take longer than that
    cluster.apply(
        namespace,
        session("busy", limits={"idleTimeout": "2s"}),
        session("slow", limits={"expireAfter": "10s"}),
        say("think", "busy", "[slow 8s] echo: thought"),
        say("brood", "slow", "[slow 16s] echo: brooded"),
    )

    # And one in which somebody is asked, and never answers
    question = {"name": "ask", "wait": {"question": "Well?", "choices": ["yes", "no"]}}
    cluster.apply(
        namespace,
        session("unheard", limits={"expireAfter": "10s"}),
        task("asks", sessionRef={"name": "unheard"}, steps=[question]),
    )

    # When nothing happens any more, then it is asleep, and the other has ended for good
    for name in ("hello", "move"):
        succeeded(cluster, namespace, name)
    asleep = becomes(cluster, namespace, "sleepy", "Dormant")
    assert_told(cluster, namespace, asleep, ("False", "Dormant"))
    assert asleep["status"]["dormantSince"]
    succeeded(cluster, namespace, "hi")
    expired = becomes(cluster, namespace, "brief", "Ended")
    assert_told(cluster, namespace, expired, ("False", "Expired"))
    cluster.apply(namespace, say("late", "brief", "echo: still there?"))
    late = cluster.wait_task(namespace, "late")
    assert (late["status"]["phase"], condition(late, "Succeeded")["reason"]) == ("Failed", "SessionEnded")

    # And with it ended what was asked in vain
    becomes(cluster, namespace, "unheard", "Ended")
    asks = cluster.wait_task(namespace, "asks")
    assert condition(asks, "Succeeded")["reason"] == "SessionEnded"

    # And nobody fell asleep or ended at work
    assert succeeded(cluster, namespace, "think")["status"]["output"] == "thought"
    assert succeeded(cluster, namespace, "brood")["status"]["output"] == "brooded"
    at_work = store.rows(
        "SELECT s.name, e.content FROM events e JOIN sessions s ON s.uid = e.session_uid"
        " JOIN tasks t ON t.session_uid = s.uid JOIN attempts a ON a.task_uid = t.uid"
        " WHERE s.namespace = %s AND s.name IN ('busy', 'slow') AND e.type = 'state'"
        " AND e.content ->> 'state' IN ('Dormant', 'Expired') AND e.time BETWEEN a.created_at AND a.ended_at",
        namespace,
    )
    assert at_work == []

    # When somebody speaks, then it wakes and knows what it knew
    cluster.apply(namespace, say("who", "sleepy", "What is my name?"))
    assert succeeded(cluster, namespace, "who")["status"]["output"] == "Your name is Sam."
    sleepy = becomes(cluster, namespace, "sleepy", "Dormant")
    assert sleepy["status"]["context"] == {"room": "7", "desk": "3"}
    cluster.wait(
        "the transcript tells that it slept, woke and slept",
        namespace,
        lambda: states(store, namespace, "sleepy")[:3] == ["Dormant", "Active", "Dormant"],
    )
    cluster.wait(
        "an Event tells that it woke",
        namespace,
        lambda: "Active" in [reason for reason, _ in happened(cluster, namespace, "Session", "sleepy")],
    )


def test_pause_end_and_archive(cluster: Cluster, namespace: str, store: Store) -> None:
    # Given sessions at work: one answers, one asks for an approval
    cluster.apply(namespace, agent("cashier", tools=[refund(**GUARDED)]))
    cluster.apply(namespace, agent(runtime=ONE_RUNNER))
    cluster.apply(namespace, session("kim"), session("lee", agentRef={"name": "cashier"}), session("max"))
    cluster.apply(
        namespace,
        say("running", "kim", "[slow 10s] echo: I was at it"),
        say("pay", "lee", call("refund", order=namespace, amount=1)),
    )
    cluster.wait_task(namespace, "running", "Running")

    # When one is paused, then what runs goes on to its end, and the next waits and says why
    wish(cluster, namespace, "kim", "Paused")
    assert_told(cluster, namespace, becomes(cluster, namespace, "kim", "Paused"), ("False", "SessionPaused"))
    cluster.apply(namespace, say("next", "kim", "echo: at last"))
    wait_step(cluster, namespace, "next", "reply", "SessionPaused")
    assert succeeded(cluster, namespace, "running")["status"]["output"] == "I was at it"
    cluster.apply(
        namespace,
        say("never", "max", "echo: x"),
        task("apart", agentRef={"name": "support"}, message="echo: y"),
    )
    succeeded(cluster, namespace, "apart")
    assert (
        step_of(wait_step(cluster, namespace, "next", "reply", "SessionPaused"), "reply")["phase"] == "Queued"
    )

    # When it is active again, then it goes on
    wish(cluster, namespace, "kim", "Active")
    assert succeeded(cluster, namespace, "next")["status"]["output"] == "at last"

    # When the others end while work waits in them, then that fails, and nobody is asked any more
    asked(cluster, namespace, "pay")
    wish(cluster, namespace, "lee", "Ended")
    pay = cluster.wait_task(namespace, "pay")
    assert (pay["status"]["phase"], condition(pay, "Succeeded")["reason"]) == ("Failed", "SessionEnded")
    assert not pay["status"].get("waiting")
    assert shop_calls(cluster, namespace) == []

    def no_call_is_open() -> bool:
        kinds = [kind for kind, _ in events_of(store, namespace, "lee")]
        return kinds.count("toolCall") == kinds.count("toolResult") == 1

    cluster.wait("no call is left without a result", namespace, no_call_is_open)
    assert_told(cluster, namespace, becomes(cluster, namespace, "lee", "Ended"), ("False", "SessionEnded"))

    # And an end is final, but for the archive
    with pytest.raises(Refused, match="final"):
        wish(cluster, namespace, "lee", "Active")
    wish(cluster, namespace, "lee", "Archived")
    assert_told(cluster, namespace, becomes(cluster, namespace, "lee", "Archived"), ("False", "Archived"))
    with pytest.raises(Refused, match="final"):
        wish(cluster, namespace, "lee", "Ended")
    cluster.apply(namespace, say("after", "lee", "echo: hello?"))
    after = cluster.wait_task(namespace, "after")
    assert condition(after, "Succeeded")["reason"] == "SessionEnded"
    assert states(store, namespace, "kim") == ["Paused", "Active"]
    assert states(store, namespace, "lee") == ["Ended", "Archived"]


def test_a_status_that_keeps_texts_to_itself(cluster: Cluster, namespace: str) -> None:
    # Given a conversation of which the status shows no text
    cluster.apply(namespace, session("quiet", statusText="Hide"))
    cluster.apply(namespace, say("hello", "quiet", "My name is Rumpelstiltskin."))
    succeeded(cluster, namespace, "hello")
    keep = {"name": "keep", "set": {"context": {"name": "Rumpelstiltskin"}}}
    cluster.apply(namespace, task("keep", sessionRef={"name": "quiet"}, steps=[keep]))
    succeeded(cluster, namespace, "keep")

    def shows_version() -> bool:
        return (cluster.get("session", namespace, "quiet") or {})["status"].get("contextVersion") == 1

    cluster.wait("the status knows of the context", namespace, shows_version)

    # Then who may read Sessions sees who spoke when, and nothing of what was said
    quiet = cluster.get("session", namespace, "quiet")
    assert quiet is not None
    assert [event["role"] for event in quiet["status"]["recentEvents"]] == ["user", "assistant"]
    assert "Rumpelstiltskin" not in json.dumps(quiet)
    assert "Rumpelstiltskin" not in str(cluster.list("event", namespace))

    # And when it changes its mind, all is there
    patch = '{"spec":{"statusText":"Show"}}'
    cluster.kubectl("patch", "session", "quiet", "-n", namespace, "--type=merge", "-p", patch)
    cluster.wait(
        "the status shows the texts",
        namespace,
        lambda: "Rumpelstiltskin" in json.dumps(cluster.get("session", namespace, "quiet")),
    )
