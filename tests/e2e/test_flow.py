"""Branches that run at once, steps left out, early ends, a session's context, and sleep."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.cluster import SYSTEM_NAMESPACE, Cluster, condition, desire, step_of, wait_step
from tests.e2e.conftest import LONG_SCRIPT, MODEL_URL, Store, container, gives, session, task
from tests.e2e.disruption import all_ready, holder, leader
from tests.e2e.seen import attempts, pods, ran, running

pytestmark = pytest.mark.cluster


def phases(body: dict[str, Any]) -> dict[str, str]:
    """Phase of each step."""
    return {step["name"]: step["phase"] for step in body["status"]["steps"]}


MEETS = """
import json, sys, time, urllib.request
url, me, other, value = sys.argv[1:]
body = {"model": "scripted", "messages": [{"role": "user", "content": me}]}
headers = {"Content-Type": "application/json"}
urllib.request.urlopen(urllib.request.Request(url + "/v1/chat/completions", json.dumps(body).encode(), headers))
while not json.load(urllib.request.urlopen(url + "/requests?contains=" + other))["count"]:
    time.sleep(0.2)
open("/dev/termination-log", "w").write(value)
"""
"""Leaves a word with the scripted model, and ends once another container has left its own."""


def meets(me: str, other: str, value: int) -> dict[str, object]:
    """A container that ends only while, or after, the other one runs."""
    words = [MODEL_URL.removesuffix("/v1"), me, other, str(value)]
    return {"image": "parley:dev", "command": ["python3", "-c", MEETS, *words]}


def test_branches_run_at_once_and_meet_again(cluster: Cluster, namespace: str, store: Store) -> None:
    # Given two branches, each of which ends only once the other has begun, and a step that needs both
    left, right = f"left-{namespace}", f"right-{namespace}"
    steps = [
        {"name": "left", "needs": [], "timeout": "3m", "container": meets(left, right, 1)},
        {"name": "right", "needs": [], "timeout": "3m", "container": meets(right, left, 2)},
        {
            "name": "meet",
            "needs": ["left", "right"],
            "container": container('printf "$0" > /dev/termination-log')
            | {"args": ["{{ steps.left.output + steps.right.output }}"]},
        },
    ]
    cluster.apply(namespace, task("diamond", steps=steps))

    # When they have run
    ended = cluster.wait_task(namespace, "diamond")
    assert (ended["status"]["phase"], ended["status"]["output"]) == ("Succeeded", 3), ended["status"]

    # Then the containers of both branches ran at the same time
    times = {step: ran(pods(cluster, namespace, "diamond", step)[0]) for step in ("left", "right", "meet")}
    assert max(times["left"][0], times["right"][0]) <= min(times["left"][1], times["right"][1]), times

    # And the step that needs both was begun after the results of both
    rows = {a.step: a for a in attempts(store, namespace, "diamond")}
    for branch in ("left", "right"):
        ended_at = rows[branch].ended
        assert ended_at is not None
        assert rows["meet"].created >= ended_at


def test_a_task_takes_the_way_that_its_values_say(cluster: Cluster, namespace: str) -> None:
    # Given steps left out, one that may fail, early ends, good and bad, and conditions that are none
    quick = container("true")
    ways = [
        {"name": "weigh", "container": gives({"kilos": 3})},
        {"name": "crane", "when": "{{ steps.weigh.output.kilos > 100 }}", "container": quick},
        {"name": "hand", "when": "{{ steps.crane.output is none }}", "container": gives("by hand")},
        {"name": "photo", "continueOnError": True, "container": container("exit 3")},
        {"name": "album", "container": quick | {"args": ["{{ steps.photo.output }}"]}},
        {
            "name": "done",
            "when": "{{ inputs.stop }}",
            "return": {"value": {"how": "{{ steps.hand.output }}"}},
        },
        {"name": "more", "container": gives("more")},
    ]
    refuse = [
        {
            "name": "check",
            "when": "{{ inputs.amount > 10 }}",
            "fail": {"message": "{{ inputs.amount }} is too much"},
        },
        {"name": "pay", "container": gives("paid")},
    ]
    torn = [
        {"name": "long", "needs": [], "container": container(LONG_SCRIPT)},
        {"name": "broken", "needs": [], "container": container("sleep 2; exit 4")},
        {"name": "after", "needs": ["long", "broken"], "container": quick},
    ]
    cluster.apply(
        namespace,
        task("stops-early", inputs={"stop": True}, steps=ways),
        task("goes-on", inputs={"stop": False}, steps=ways),
        task("refused", inputs={"amount": 11}, steps=refuse),
        task("allowed", inputs={"amount": 9}, steps=refuse),
        task("torn", steps=torn),
        task("unsure", steps=[{"name": "only", "when": "{{ 'perhaps' }}", "return": {"value": 1}}]),
        task(
            "lost",
            inputs={"a": {}},
            steps=[{"name": "only", "when": "{{ inputs.a.b }}", "return": {"value": 1}}],
        ),
    )

    # Then a step whose condition is false is left out, with no pod, and its output is null to those after it
    early = cluster.wait_task(namespace, "stops-early")
    assert early["status"]["phase"] == "Succeeded", cluster.describe(namespace)
    assert early["status"]["output"] == {"how": "by hand"}
    assert phases(early) == {
        "weigh": "Succeeded",
        "crane": "Skipped",
        "hand": "Succeeded",
        "photo": "Failed",
        "album": "Succeeded",
        "done": "Succeeded",
        "more": "Skipped",
    }
    jobs = cluster.list("job", namespace, "parley.dev/task=stops-early")
    begun = {job["metadata"]["labels"]["parley.dev/step"] for job in jobs}
    assert begun == {"weigh", "hand", "photo", "album"}

    # And one that may fail says why, and fails nothing
    assert step_of(early, "photo")["reason"] == "ExitCode"

    # And without the early end the task goes to its last step
    on = cluster.wait_task(namespace, "goes-on")
    assert (on["status"]["phase"], on["status"]["output"]) == ("Succeeded", "more")
    assert phases(on)["done"] == "Skipped"
    assert on["status"]["progress"] == "7/7"

    # And `fail` fails the task with its own sentence, before anything else runs
    refused = cluster.wait_task(namespace, "refused")
    assert refused["status"]["phase"] == "Failed"
    assert "step check" in condition(refused, "Succeeded")["message"]
    assert "11 is too much" in condition(refused, "Succeeded")["message"]
    assert phases(refused)["pay"] == "Skipped"
    assert cluster.wait_task(namespace, "allowed")["status"]["output"] == "paid"

    # And a branch that fails ends the others at once
    failed = cluster.wait_task(namespace, "torn")
    assert (failed["status"]["phase"], condition(failed, "Succeeded")["reason"]) == ("Failed", "ExitCode")
    cluster.wait("the other branch's pod ends", namespace, lambda: not running(cluster, namespace, "torn"))
    assert phases(failed)["long"] == "Cancelled"

    # And a condition must be true or false
    for name, word in (("unsure", "perhaps"), ("lost", "b")):
        odd = cluster.wait_task(namespace, name)
        said = condition(odd, "Succeeded")
        assert (odd["status"]["phase"], said["reason"]) == ("Failed", "TemplateError"), odd["status"]
        assert "spec.steps[0].when" in said["message"]
        assert word in said["message"]


def test_what_a_step_sets_is_there_for_the_session_s_next_task(cluster: Cluster, namespace: str) -> None:
    # Given a session with first values, and another
    cluster.apply(
        namespace,
        session("alice", context={"guest": "Alice", "floor": 1}),
        session("bob", context={"floor": 9}),
    )
    tell = (
        "echo: {{ session.context.room }} {{ session.context.floor }} {{ session.context.guest is defined }}"
    )
    steps = [
        {"name": "find", "container": gives(42)},
        {"name": "remember", "set": {"context": {"room": "{{ steps.find.output }}", "guest": "{{ none }}"}}},
        {"name": "tell", "prompt": {"text": tell}},
    ]

    # When a task sets one, takes one away, and asks
    cluster.apply(namespace, task("check-in", sessionRef={"name": "alice"}, steps=steps))
    assert cluster.wait_task(namespace, "check-in")["status"]["output"] == "42 1 false", cluster.describe(
        namespace
    )

    # Then the next task knows it, the other session does not, and the spec is what it was
    ask = [{"name": "ask", "prompt": {"text": "echo: {{ session.context.room | default('none') }}"}}]
    cluster.apply(
        namespace,
        task("next", sessionRef={"name": "alice"}, steps=ask),
        task("other", sessionRef={"name": "bob"}, steps=ask),
    )
    assert cluster.wait_task(namespace, "next")["status"]["output"] == "42"
    assert cluster.wait_task(namespace, "other")["status"]["output"] == "none"
    alice = cluster.get("session", namespace, "alice")
    assert alice is not None
    assert alice["spec"]["context"] == {"guest": "Alice", "floor": 1}
    cluster.wait(
        "the session shows its context",
        namespace,
        lambda: (
            (cluster.get("session", namespace, "alice") or {})["status"].get("context")
            == {"floor": 1, "room": 42}
        ),
    )


def test_sleep_holds_no_pod_and_ends_in_time(cluster: Cluster, namespace: str, store: Store) -> None:
    # Given sleeps of seconds and of weeks, until a moment and until one that has passed, and one that is no time
    soon = (datetime.now(UTC) + timedelta(seconds=10)).isoformat()

    def nap(**sleep: object) -> list[dict[str, object]]:
        return [{"name": "nap", "sleep": sleep}, {"name": "up", "return": {"value": "up"}}]

    cluster.apply(
        namespace,
        task("short", steps=nap(duration="3s")),
        task("until", inputs={"soon": soon}, steps=nap(until="{{ inputs.soon }}")),
        task("past", steps=nap(until="2020-01-01T00:00:00Z")),
        task("weeks", steps=nap(duration="504h")),
        task("never", inputs={"when": "tomorrow"}, steps=nap(until="{{ inputs.when }}")),
    )

    # When one sleeps for long
    asleep = wait_step(cluster, namespace, "weeks", "nap", "Sleeping")

    # Then it says until when, and runs no pod
    assert step_of(asleep, "nap")["phase"] == "Waiting"
    assert condition(asleep, "Ready")["status"] == "False"
    until = datetime.fromisoformat(step_of(asleep, "nap")["startTime"]) + timedelta(hours=504)
    assert until.strftime("%Y-%m-%d") in step_of(asleep, "nap")["message"], step_of(asleep, "nap")

    # And the others wake in their time, and not before
    for name in ("short", "until", "past"):
        assert cluster.wait_task(namespace, name)["status"]["output"] == "up", cluster.describe(namespace)
    rows = store.rows(
        "SELECT t.name, s.entered_at, s.until, s.ended_at FROM steps s JOIN tasks t ON t.uid = s.task_uid"
        " WHERE t.namespace = %s AND s.step = 'nap' AND t.name IN ('short', 'until')",
        namespace,
    )
    assert len(rows) == 2
    for name, entered, planned, woke in rows:
        assert woke >= planned, name
        assert planned == (
            entered + timedelta(seconds=3) if name == "short" else datetime.fromisoformat(soon)
        )

    # And what is no time says so
    never = cluster.wait_task(namespace, "never")
    assert never["status"]["phase"] == "Failed"
    assert "spec.steps[0].sleep.until" in condition(never, "Succeeded")["message"]
    assert pods(cluster, namespace) == []

    # And who sleeps for weeks can still be cancelled
    desire(cluster, namespace, "weeks", "Cancelled")
    assert cluster.wait_task(namespace, "weeks")["status"]["phase"] == "Cancelled"


@pytest.mark.disruptive
def test_sleep_outlasts_the_operator(cluster: Cluster, namespace: str) -> None:
    # Given a task that sleeps
    steps = [{"name": "nap", "sleep": {"duration": "10s"}}, {"name": "up", "return": {"value": "up"}}]
    cluster.apply(namespace, task("sleeper", steps=steps))
    asleep = wait_step(cluster, namespace, "sleeper", "nap", "Sleeping")

    # When its operator goes and another takes over
    name, before = leader(cluster), holder(cluster)
    assert name is not None
    cluster.delete("pod", SYSTEM_NAMESPACE, name, grace=0)
    cluster.wait("another leads", namespace, lambda: holder(cluster) not in {"", before})

    # Then it wakes once, and the sleep did not begin anew
    ended = cluster.wait_task(namespace, "sleeper")
    assert ended["status"]["output"] == "up"
    assert step_of(ended, "nap")["startTime"] == step_of(asleep, "nap")["startTime"]
    assert pods(cluster, namespace) == []
    all_ready(cluster)
