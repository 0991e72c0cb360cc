"""What is tried again, how often, how late and why; what a disruption costs; and what is kept of each attempt."""

from datetime import timedelta
from itertools import pairwise

import pytest

from tests.cluster import Cluster, condition, desire, step_of, wait_step
from tests.e2e.conftest import LONG_SCRIPT, MODEL_URL, Store, container, session, task
from tests.e2e.seen import Attempt, attempts, pods, running

pytestmark = pytest.mark.cluster

LATER = {"limit": 1, "backoff": {"initial": "1h", "max": "1h"}}
SOON = {"initial": "1s", "factor": 2, "max": "2s"}
GREEDY = {
    "image": "parley:dev",
    "command": ["python3", "-c", "b'x' * (256 << 20)"],
    "resources": {"limits": {"memory": "32Mi"}},
}
FLAKY = f"""
import json, sys, urllib.request
body = {{"model": "scripted", "messages": [{{"role": "user", "content": sys.argv[1]}}]}}
headers = {{"Content-Type": "application/json"}}
request = urllib.request.Request("{MODEL_URL}/chat/completions", json.dumps(body).encode(), headers)
answer = json.load(urllib.request.urlopen(request, timeout=30))
open("/dev/termination-log", "w").write(answer["choices"][0]["message"]["content"])
"""
"""Fails with exit code 1 as often as the scripted model is told to fail."""


def one(name: str, body: dict[str, object], limit: int = 0, **fields: object) -> dict[str, object]:
    """A task of one container step that is tried again."""
    causes = {"causes": fields.pop("causes")} if "causes" in fields else {}
    retry = {"retry": {"limit": limit, "backoff": SOON, **causes}} if limit else {}
    return task(name, steps=[{"name": "try", "container": body, **retry, **fields}])


def pauses(rows: list[Attempt]) -> list[timedelta]:
    """How long it took from each attempt's end to the next one."""
    return [later.created - earlier.ended for earlier, later in pairwise(rows) if earlier.ended]


def test_retries_by_limit_backoff_and_cause(cluster: Cluster, namespace: str, store: Store) -> None:
    # Given steps that fail always, that recover, that are told not to try again, and that fail for other causes
    flaky = {
        "image": "parley:dev",
        "command": ["python3", "-c", FLAKY, f"[fail 503 x2 {namespace}] echo: paid"],
    }
    late = container(LONG_SCRIPT)
    bad = container("true") | {"args": ["{{ inputs.a.b }}"]}
    undefined = {"name": "try", "retry": {"limit": 3, "backoff": SOON}, "container": bad}
    cluster.apply(
        namespace,
        one("never", container("echo no luck; exit 3"), 4),
        one("recovers", flaky, 3),
        one("hopeless", container("exit 64"), 3),
        one("greedy", GREEDY, 1),
        one("greedy-again", GREEDY, 1, causes=["OOMKilled"]),
        # Time enough for a pod to run, so that nothing else can be the reason.
        one("late-again", late, 1, causes=["Timeout"], timeout="12s"),
        one("late", late, 1, causes=["Error"], timeout="12s"),
        task(
            "patient", steps=[{"name": "try", "container": container("echo no luck; exit 3"), "retry": LATER}]
        ),
        task("undefined", inputs={"a": {}}, steps=[undefined]),
    )

    # When one waits for its next attempt, then it says so, and runs no pod
    waiting = wait_step(cluster, namespace, "patient", "try", "Retrying")
    assert step_of(waiting, "try")["phase"] == "Waiting"
    assert "exit code 3" in step_of(waiting, "try")["message"]
    cluster.wait("its pod has ended", namespace, lambda: not running(cluster, namespace, "patient"))
    assert len(pods(cluster, namespace, "patient")) == 1

    # Then each was tried as often as its retry says
    names = ("never", "recovers", "hopeless", "greedy", "greedy-again", "late-again", "late", "undefined")
    ended = {name: cluster.wait_task(namespace, name) for name in names}
    rows = {name: attempts(store, namespace, name) for name in ended}
    verdicts = {
        name: (body["status"]["phase"], condition(body, "Succeeded")["reason"], len(rows[name]))
        for name, body in ended.items()
    }
    assert verdicts == {
        "never": ("Failed", "ExitCode", 5),
        "recovers": ("Succeeded", "Succeeded", 3),
        "hopeless": ("Failed", "ExitCode", 1),
        "greedy": ("Failed", "OOMKilled", 1),
        "greedy-again": ("Failed", "OOMKilled", 2),
        "late-again": ("Failed", "StepTimeout", 2),
        "late": ("Failed", "StepTimeout", 1),
        "undefined": ("Failed", "TemplateError", len(rows["undefined"])),
    }
    assert len(rows["undefined"]) <= 1
    assert ended["recovers"]["status"]["output"] == "paid"

    # And no sooner than its backoff says: 1 s, 2 s, and no more than 2 s from there on
    planned = [timedelta(seconds=s) for s in (1, 2, 2, 2)]
    found = pauses(rows["never"])
    assert len(found) == 4
    assert all(pause >= plan for pause, plan in zip(found, planned, strict=True)), found

    # And all attempts are in Postgres, with cause, reason and exit code
    assert [(a.number, a.cause, a.state, a.reason, a.exit_code) for a in rows["never"]] == [
        (number, "First" if number == 1 else "Retry", "Failed", "ExitCode", 3) for number in range(1, 6)
    ]

    # And the newest three are in the status, with their times
    shown = step_of(ended["never"], "try")["attempts"]
    assert [(a["number"], a["reason"], a["exitCode"]) for a in shown] == [
        (n, "ExitCode", 3) for n in (3, 4, 5)
    ]
    assert all(a["startTime"] <= a["completionTime"] for a in shown), shown
    assert all("no luck" in a["message"] for a in shown), shown
    assert step_of(ended["hopeless"], "try")["attempts"][0]["exitCode"] == 64


def test_a_lost_pod_uses_no_retry_and_five_are_the_end(
    cluster: Cluster, namespace: str, store: Store
) -> None:
    # Given a step without any retry
    steps = [{"name": "try", "container": container(f"[ -e /nowhere ] || {LONG_SCRIPT}")}]
    cluster.apply(namespace, task("unlucky", steps=steps))

    # When its pod is deleted again and again
    lost: set[str] = set()
    for _ in range(6):
        [name] = cluster.wait(
            "another pod runs",
            namespace,
            lambda: [n for n in running(cluster, namespace, "unlucky") if n not in lost],
        )
        lost.add(name)
        cluster.delete("pod", namespace, name, grace=0)

    # Then it was begun anew five times, and given up after that
    ended = cluster.wait_task(namespace, "unlucky")
    assert (ended["status"]["phase"], condition(ended, "Succeeded")["reason"]) == ("Failed", "PodLost")
    rows = attempts(store, namespace, "unlucky")
    assert [a.cause for a in rows] == ["First"] + ["Disruption"] * 5
    assert {a.state for a in rows} == {"Lost"}


def test_a_long_backoff_holds_neither_the_session_nor_a_pod(cluster: Cluster, namespace: str) -> None:
    # Given a turn that failed and will be tried again in an hour
    cluster.apply(namespace, session("alice"))
    step = {
        "name": "ask",
        "prompt": {"text": "[fail 503] Hello"},
        "retry": {"limit": 1, "backoff": {"initial": "1h", "max": "1h"}},
    }
    cluster.apply(namespace, task("patient", sessionRef={"name": "alice"}, steps=[step]))
    wait_step(cluster, namespace, "patient", "ask", "Retrying")

    # When somebody else has a turn in the same session, then it goes ahead
    cluster.apply(namespace, task("brisk", sessionRef={"name": "alice"}, message="echo: here I am"))
    assert cluster.wait_task(namespace, "brisk")["status"]["output"] == "here I am"
    cluster.wait("no pod runs", namespace, lambda: not running(cluster, namespace))

    # And the other can be cancelled meanwhile
    desire(cluster, namespace, "patient", "Cancelled")
    assert cluster.wait_task(namespace, "patient")["status"]["phase"] == "Cancelled"
    assert len(pods(cluster, namespace, "patient")) == 1
