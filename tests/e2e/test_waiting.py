"""A task asks a person: how the question shows, which answers count, and when it is too late."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.cluster import SYSTEM_NAMESPACE, Cluster, condition, desire, step_of, wait_condition, wait_step
from tests.e2e.conftest import LONG_SCRIPT, Store, container, gives, reply, session, task
from tests.e2e.disruption import all_ready, holder
from tests.e2e.seen import attempts, happened, pods, running
from tests.kstatus import kstatus

pytestmark = pytest.mark.cluster

CHOICES = ["approve", "reject"]


def ask(question: str = "Refund?", **fields: object) -> dict[str, object]:
    """A step that asks."""
    return {"name": "confirm", "wait": {"question": question, **fields}}


def waiting(cluster: Cluster, namespace: str, name: str) -> dict[str, Any]:
    """Wait until a task asks; returns the first entry of what it asks."""
    asked = cluster.wait_task(namespace, name, "WaitingForInput")
    return asked["status"]["waiting"][0]


def verdict(cluster: Cluster, namespace: str, name: str) -> tuple[str, str, str]:
    """Wait until a Reply is judged: whether it was accepted, the reason and the sentence."""

    def probe() -> dict[str, Any] | None:
        found = cluster.get("reply", namespace, name)
        said = condition(found, "Accepted") if found else {}
        return said if said.get("status") in {"True", "False"} else None

    judged = cluster.wait(f"Reply {name} is judged", namespace, probe)
    return judged["status"], judged["reason"], judged["message"]


def refused(cluster: Cluster, namespace: str, name: str, reason: str) -> str:
    """Assert that a Reply is refused for good and for that reason; returns the sentence."""
    status, why, message = verdict(cluster, namespace, name)
    assert (status, why) == ("False", reason), message
    body = cluster.get("reply", namespace, name)
    assert body is not None
    assert kstatus(body).status == "Failed", body["status"]
    return message


def accepted(cluster: Cluster, namespace: str, name: str) -> dict[str, Any]:
    """Assert that a Reply is accepted; returns it."""
    status, why, message = verdict(cluster, namespace, name)
    assert (status, why) == ("True", "Accepted"), message
    body = cluster.get("reply", namespace, name)
    assert body is not None
    assert kstatus(body).status == "Current", body["status"]
    return body


def metric(cluster: Cluster, name: str) -> list[str]:
    """The lines of a metric, of all operators."""
    lines: list[str] = []
    for pod in cluster.list("pod", SYSTEM_NAMESPACE, "app.kubernetes.io/component=operator"):
        path = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/pods/{pod['metadata']['name']}:8081/proxy/metrics"
        answer = cluster.request("GET", path)
        lines += [line for line in answer.text.splitlines() if line.startswith(f"{name}{{")]
    return lines


def assert_shown(cluster: Cluster, namespace: str, entry: dict[str, Any]) -> None:
    """Assert that the question of the task ``refund`` is in status, conditions, columns, an Event and a metric."""
    asked = cluster.get("task", namespace, "refund")
    assert asked is not None
    assert (entry["step"], entry["kind"], entry["question"]) == ("confirm", "Question", "Refund 40?")
    assert entry["choices"] == CHOICES
    assert entry["since"] < entry["deadline"]
    assert condition(asked, "WaitingForInput")["status"] == "True"
    assert "Refund 40?" in condition(asked, "WaitingForInput")["message"]
    assert (step_of(asked, "confirm")["phase"], step_of(asked, "confirm")["reason"]) == (
        "Waiting",
        "WaitingForInput",
    )
    assert kstatus(asked).status == "InProgress"
    table = cluster.kubectl("get", "tasks", "-n", namespace, "-o", "wide")
    assert "WAITING" in table
    assert "Refund 40?" in table
    assert "WaitingForInput" in table
    picked = cluster.kubectl(
        "get", "tasks", "-n", namespace, "--field-selector", "status.phase=WaitingForInput", "-o", "name"
    )
    assert picked.split() == ["task.parley.dev/refund"]

    def events() -> list[tuple[str, str]]:
        return [e for e in happened(cluster, namespace, "Task", "refund") if e[0] == "WaitingForInput"]

    said = cluster.wait("an Event says it", namespace, events)
    assert "Refund 40?" in said[0][1]
    assert cluster.wait(
        "a metric counts it",
        namespace,
        lambda: [line for line in metric(cluster, "parley_tasks_waiting") if not line.endswith(" 0.0")],
    )


def test_a_question_shows_everywhere_and_a_reply_answers_it(
    cluster: Cluster, namespace: str, store: Store
) -> None:
    # Given a task of a conversation that asks whether to go on
    cluster.apply(namespace, session("alice"))
    steps = [
        {"name": "score", "container": gives({"amount": 40})},
        ask("Refund {{ steps.score.output.amount }}?", choices=CHOICES, timeout="24h"),
        {"name": "pay", "when": "{{ steps.confirm.output.choice == 'approve' }}", "container": gives("paid")},
        {"name": "tell", "prompt": {"text": "echo: {{ steps.pay.output }} by {{ steps.confirm.output.by }}"}},
    ]
    cluster.apply(namespace, task("refund", sessionRef={"name": "alice"}, steps=steps))

    # When it asks
    entry = waiting(cluster, namespace, "refund")

    # Then every place where one would look says so
    assert_shown(cluster, namespace, entry)

    # And the session says so, holds no turn, and goes on talking meanwhile; no pod runs
    shown = cluster.wait(
        "the session shows who waits",
        namespace,
        lambda: (cluster.get("session", namespace, "alice") or {})["status"].get("tasks", {}).get("waiting"),
    )
    assert shown == 1
    cluster.wait("no pod runs", namespace, lambda: not running(cluster, namespace))
    cluster.apply(namespace, task("chat", sessionRef={"name": "alice"}, message="echo: meanwhile"))
    assert cluster.wait_task(namespace, "chat")["status"]["output"] == "meanwhile"

    # When a Reply names no choice of it, or no question, then it is refused for good and says why
    cluster.apply(
        namespace,
        reply("maybe", "refund", entry["id"], choice="maybe"),
        reply("valued", "refund", entry["id"], value=7),
        reply("astray", "refund", "1b4e28ba-2fa1-11d2-883f-0016d3cca427", choice="approve"),
        reply("elsewhere", "nobody", entry["id"], choice="approve"),
        reply("early", "nobody", "1b4e28ba-2fa1-11d2-883f-0016d3cca428", choice="approve"),
    )
    sentence = refused(cluster, namespace, "maybe", "UnknownChoice")
    assert "approve" in sentence
    assert "reject" in sentence
    refused(cluster, namespace, "valued", "UnknownChoice")
    refused(cluster, namespace, "astray", "NotWaiting")
    refused(cluster, namespace, "elsewhere", "NotWaiting")
    early = wait_condition(cluster, "reply", namespace, "early", "Ready", status="False")
    assert kstatus(early).status == "InProgress"
    assert "nobody" in condition(early, "Ready")["message"]

    # When one names a choice, then the task goes on with it
    cluster.apply(namespace, reply("yes", "refund", entry["id"], choice="approve", message="It came late."))
    body = accepted(cluster, namespace, "yes")
    by = body["spec"]["by"]
    ended = cluster.wait_task(namespace, "refund")
    answer = step_of(ended, "confirm")["output"]
    assert ended["status"]["output"] == f"paid by {by}"
    assert (answer["choice"], answer["by"], answer["message"]) == ("approve", by, "It came late.")
    assert entry["since"] <= answer["at"]
    assert condition(ended, "WaitingForInput").get("status") != "True"
    assert not ended["status"].get("waiting")

    # And a second one comes too late, and a table shows both
    cluster.apply(namespace, reply("again", "refund", entry["id"], choice="reject"))
    refused(cluster, namespace, "again", "AlreadyAnswered")
    rows = cluster.kubectl("get", "replies", "-n", namespace)
    assert {"TASK", "BY", "ACCEPTED", "REASON"} <= set(rows.splitlines()[0].split())
    assert "AlreadyAnswered" in rows

    # And the reply is an event of the conversation, with who and when
    events_of = store.rows(
        "SELECT e.type, e.content, e.time FROM events e JOIN sessions s ON s.uid = e.session_uid"
        " WHERE s.namespace = %s AND s.name = 'alice' AND e.task = 'refund' ORDER BY e.sequence",
        namespace,
    )
    assert [kind for kind, _, _ in events_of] == ["reply", "message", "message"]
    content = events_of[0][1]
    assert (content["question"], content["choice"], content["by"]) == ("Refund 40?", "approve", by)
    assert content["message"] == "It came late."
    alice = cluster.get("session", namespace, "alice")
    assert alice is not None
    assert "reply" in {event["type"] for event in alice["status"]["recentEvents"]}


def test_an_old_reply_never_answers_a_task_made_again(cluster: Cluster, namespace: str) -> None:
    # Given a task that was answered, and its Reply as Git keeps it
    question = task("deploy", steps=[ask("Deploy?", choices=CHOICES)])
    cluster.apply(namespace, question)
    first = waiting(cluster, namespace, "deploy")
    kept = reply("yes", "deploy", first["id"], choice="approve")
    cluster.apply(namespace, kept)
    accepted(cluster, namespace, "yes")
    cluster.wait_task(namespace, "deploy")

    # When the task is made again, and Git applies the Reply again
    cluster.kubectl("delete", "task", "deploy", "-n", namespace)
    cluster.wait("its Reply goes with it", namespace, lambda: cluster.get("reply", namespace, "yes") is None)
    cluster.apply(namespace, question)
    second = waiting(cluster, namespace, "deploy")
    cluster.apply(namespace, kept)

    # Then it is refused, and the task still asks
    refused(cluster, namespace, "yes", "NotWaiting")
    assert second["id"] != first["id"]
    assert waiting(cluster, namespace, "deploy")["id"] == second["id"]


def test_when_nobody_answers_in_time(cluster: Cluster, namespace: str) -> None:
    # Given questions with a deadline, with and without a default, and a value as the default
    go_on = {"name": "after", "return": {"value": "{{ steps.confirm.output }}"}}
    pause = {"name": "linger", "needs": [], "sleep": {"duration": "1h"}}
    cluster.apply(
        namespace,
        task("fallback", steps=[ask(choices=CHOICES, timeout="15s", onTimeout="reject"), go_on]),
        task("discount", steps=[ask(schema={"type": "integer"}, timeout="15s", onTimeout=0), go_on]),
        task("strict", steps=[ask(choices=CHOICES, timeout="15s"), go_on]),
        task(
            "tolerant",
            steps=[pause, ask(choices=CHOICES, timeout="15s") | {"needs": [], "continueOnError": True}],
        ),
    )
    late = wait_step(cluster, namespace, "tolerant", "confirm", "WaitingForInput")["status"]["waiting"][0]

    # Then the default is the answer, of nobody
    output = cluster.wait_task(namespace, "fallback")["status"]["output"]
    assert (output["choice"], output["by"], output["message"]) == ("reject", None, "")
    assert cluster.wait_task(namespace, "discount")["status"]["output"]["value"] == 0

    # And without one the step fails
    strict = cluster.wait_task(namespace, "strict")
    assert (strict["status"]["phase"], condition(strict, "Succeeded")["reason"]) == ("Failed", "WaitTimeout")
    assert "step confirm" in condition(strict, "Succeeded")["message"]

    # And a Reply that comes after it is too late
    wait_step(cluster, namespace, "tolerant", "confirm", "WaitTimeout")
    cluster.apply(namespace, reply("late", "tolerant", late["id"], choice="approve"))
    refused(cluster, namespace, "late", "TooLate")


def test_a_value_must_fit_its_schema(cluster: Cluster, namespace: str) -> None:
    # Given a question for a value of a shape, and one for any value
    shape = {
        "type": "object",
        "properties": {"percent": {"type": "integer", "maximum": 30}},
        "required": ["percent"],
    }
    cluster.apply(
        namespace,
        task(
            "discount",
            steps=[ask("How much?", schema=shape)],
            output={"p": "{{ steps.confirm.output.value.percent }}"},
        ),
        task("anything", steps=[ask("What?")]),
    )
    entry = waiting(cluster, namespace, "discount")
    other = waiting(cluster, namespace, "anything")

    # When a value does not fit, then the Reply says where
    cluster.apply(
        namespace,
        reply("greedy", "discount", entry["id"], value={"percent": 90}),
        reply("unasked", "discount", entry["id"], choice="approve"),
    )
    assert "percent" in refused(cluster, namespace, "greedy", "SchemaMismatch")
    refused(cluster, namespace, "unasked", "SchemaMismatch")

    # When it fits, then the task has it
    cluster.apply(
        namespace,
        reply("modest", "discount", entry["id"], value={"percent": 10}),
        reply("free", "anything", other["id"], value=["a", {"b": 1}]),
    )
    assert cluster.wait_task(namespace, "discount")["status"]["output"] == {"p": 10}
    assert cluster.wait_task(namespace, "anything")["status"]["output"]["value"] == ["a", {"b": 1}]


def test_waiting_beside_work_and_beside_another_question(
    cluster: Cluster, namespace: str, store: Store
) -> None:
    # Given a branch that runs beside two that ask
    steps = [
        {"name": "work", "needs": [], "container": container(LONG_SCRIPT)},
        ask("First?", choices=CHOICES) | {"name": "first", "needs": []},
        ask("Second?", choices=CHOICES) | {"name": "second", "needs": []},
    ]
    cluster.apply(namespace, task("busy", steps=steps))
    cluster.wait("its pod runs", namespace, lambda: running(cluster, namespace, "busy"))

    # Then it is Running while its pod is, and says that it waits as well
    body = wait_step(cluster, namespace, "busy", "second", "WaitingForInput")
    assert body["status"]["phase"] == "Running"
    assert condition(body, "WaitingForInput")["status"] == "True"
    assert [entry["question"] for entry in body["status"]["waiting"]] == ["First?", "Second?"]

    # When one is answered, the other still waits
    first, second = (entry["id"] for entry in body["status"]["waiting"])
    cluster.apply(namespace, reply("one", "busy", first, choice="approve"))
    accepted(cluster, namespace, "one")
    left = cluster.wait(
        "one question is left",
        namespace,
        lambda: [
            entries
            for entries in [(cluster.get("task", namespace, "busy") or {})["status"].get("waiting", [])]
            if len(entries) == 1
        ],
    )
    assert [entry["id"] for entry in left[0]] == [second]

    # When the task is cancelled, then nobody can answer any more
    desire(cluster, namespace, "busy", "Cancelled")
    assert cluster.wait_task(namespace, "busy")["status"]["phase"] == "Cancelled"
    cluster.apply(namespace, reply("two", "busy", second, choice="approve"))
    refused(cluster, namespace, "two", "NotWaiting")
    assert [a.state for a in attempts(store, namespace, "busy")] == ["Cancelled"]


def test_the_deadline_of_a_question_stands_still_while_suspended(cluster: Cluster, namespace: str) -> None:
    cluster.apply(namespace, task("paused", steps=[ask(choices=CHOICES, timeout="40s")]))
    entry = waiting(cluster, namespace, "paused")
    desire(cluster, namespace, "paused", "Suspended")
    cluster.wait_task(namespace, "paused", "Suspended")
    cluster.apply(namespace, task("clock", steps=[{"name": "tick", "sleep": {"duration": "4s"}}]))
    cluster.wait_task(namespace, "clock")
    desire(cluster, namespace, "paused", "Running")
    later = waiting(cluster, namespace, "paused")
    assert later["id"] == entry["id"]
    moved = datetime.fromisoformat(later["deadline"]) - datetime.fromisoformat(entry["deadline"])
    # Times in status are whole seconds.
    assert moved >= timedelta(seconds=3)
    cluster.apply(namespace, reply("yes", "paused", entry["id"], choice="approve"))
    assert cluster.wait_task(namespace, "paused")["status"]["output"]["choice"] == "approve"


def test_who_may_reply_need_not_be_able_to_change_tasks(cluster: Cluster, namespace: str) -> None:
    # Given somebody who may answer and nothing else, by the chart's role
    cluster.kubectl(
        "create", "rolebinding", "maria", "-n", namespace, "--clusterrole=parley-approver", "--user=maria"
    )
    cluster.apply(namespace, task("deploy", steps=[ask("Deploy?", choices=CHOICES)]))
    entry = waiting(cluster, namespace, "deploy")
    cluster.wait(
        "the right is there",
        namespace,
        lambda: (
            "yes"
            in cluster.kubectl(
                "auth", "can-i", "create", "replies.parley.dev", "-n", namespace, "--as=maria", check=False
            )
        ),
    )
    denied = cluster.kubectl(
        "patch", "task", "deploy", "-n", namespace, "--as=maria", "--type=merge", "-p", '{"spec":{"desiredState":"Cancelled"}}',
        check=False,
    )  # fmt: skip
    assert "forbidden" in denied

    # When she replies, then the answer bears her name, which nobody asked her for
    body = json.dumps(reply("yes", "deploy", entry["id"], choice="approve"))
    cluster.kubectl("create", "-n", namespace, "--as=maria", "-f", "-", stdin=body)
    assert cluster.wait_task(namespace, "deploy")["status"]["output"]["by"] == "maria"


@pytest.mark.disruptive
def test_a_question_and_its_answer_outlast_the_operator(cluster: Cluster, namespace: str) -> None:
    # Given a task that asks
    cluster.apply(namespace, task("deploy", steps=[ask("Deploy?", choices=CHOICES, timeout="1h")]))
    entry = waiting(cluster, namespace, "deploy")
    assert pods(cluster, namespace) == []

    # When it is answered while no operator runs
    cluster.kubectl("scale", "deployment/parley-operator", "-n", SYSTEM_NAMESPACE, "--replicas=0")
    try:
        cluster.wait("no operator runs", namespace, lambda: not holder(cluster))
        cluster.apply(namespace, reply("yes", "deploy", entry["id"], choice="approve"))
    finally:
        cluster.kubectl("scale", "deployment/parley-operator", "-n", SYSTEM_NAMESPACE, "--replicas=2")

    # Then the next one takes the answer
    assert cluster.wait_task(namespace, "deploy")["status"]["output"]["choice"] == "approve"
    accepted(cluster, namespace, "yes")
    all_ready(cluster)
