"""Point 1: tools that take long: a container in a Job, a Task that is queued; and what a turn does meanwhile."""

import json

import pytest

from tests.cluster import Cluster, condition, step_of
from tests.e2e.conftest import Store, agent, container, gives, say, session, task, template
from tests.e2e.seen import attempts, pods, running
from tests.e2e.servers import SHOP_URL, ask, call, model_requests, refund, shop_calls, texts_of
from tests.e2e.test_tools import events_of, succeeded, told

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("tools")]

WORD = {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}
ORDER = {"type": "object", "properties": {"order": {"type": "string"}}, "required": ["order"]}
COUNT = (
    'printf \'{"length": %s, "key": "%s"}\' "$(printf %s "$0" | wc -c)" "$PARLEY_IDEMPOTENCY_KEY"'
    " > /dev/termination-log"
)
PASS = (
    f"""python3 -c 'import sys, urllib.request; urllib.request.urlopen("{SHOP_URL}/gate/" + sys.argv[1])'"""
)
"""Ends once somebody has opened the shop's gate of that name, or after a minute."""


def count(gate: str = "") -> dict[str, object]:
    """A tool that counts a word's letters in a Job, behind a gate if one is named."""
    script = f"{PASS} {gate}; {PASS} {gate}; {COUNT}" if gate else COUNT
    runs = container(script, args=["{{ arguments.word }}"])
    return {"name": "count", "parameters": WORD, "resultSchema": {"type": "object"}, "container": runs}


def payments(cluster: Cluster, namespace: str) -> list[object]:
    """What the shop was asked to pay."""
    return [entry for entry in shop_calls(cluster, namespace) if entry["method"] == "POST"]


SEND = {"name": "send", "task": {"templateRef": {"name": "send"}}}
SENDS = template("send", {"steps": [{"name": "only", "container": gives("sent")}]}, inputSchema=ORDER)


def test_a_turn_pauses_for_a_job_and_hears_of_a_queued_tasks_end(
    cluster: Cluster, namespace: str, store: Store
) -> None:
    # Given an agent that counts in a Job, pays by HTTP, and sends by a Task of a template
    lost = {"name": "lost", "task": {"templateRef": {"name": "nowhere"}}}
    cluster.apply(
        namespace,
        SENDS,
        agent("clerk", tools=[count(gate=namespace), refund(), SEND, lost]),
        session("alice", agentRef={"name": "clerk"}),
    )

    # When the model calls all of them in one response, one with arguments that the template refuses
    paying = call("refund", order=namespace, amount=1)
    calls = [
        call("count", word="lighthouse"),
        paying,
        call("send", order="7"),
        call("send", odrer=7),
        call("lost"),
    ]
    cluster.apply(namespace, say("work", "alice", " ".join(calls)))

    # Then while the Job runs, which no runner's end depends on, no runner does; what could run at once has run
    def only_the_job_runs() -> bool:
        components = [
            pod["metadata"]["labels"]["app.kubernetes.io/component"]
            for pod in pods(cluster, namespace, "work")
            if any("running" in c["state"] for c in pod["status"].get("containerStatuses", []))
        ]
        return components == ["step"]

    cluster.wait("the tool's Job runs, and no runner beside it", namespace, only_the_job_runs)

    def says_so() -> bool:
        body = cluster.get("task", namespace, "work") or {}
        return body["status"]["phase"] == "Running" and "count" in step_of(body, "reply")["message"]

    cluster.wait("the task says what it waits for", namespace, says_so)
    assert len(payments(cluster, namespace)) == 1
    ask(cluster, "shop", f"open/{namespace}")

    # And the turn goes on with all results, without asking the model for its calls again
    answer = succeeded(cluster, namespace, "work")["status"]["output"]
    assert len(model_requests(cluster, namespace)) == 2
    results = [text for role, text in texts_of(model_requests(cluster, namespace)[1]) if role == "tool"]
    counted, paid, sent, refused, nowhere = [json.loads(text) for text in results]
    assert counted["length"] == 10
    [(wait_id,)] = store.rows(
        "SELECT w.id::text FROM waits w JOIN tasks t ON t.uid = w.task_uid"
        " WHERE t.namespace = %s AND t.name = 'work' AND w.kind = 'Container'",
        namespace,
    )
    assert counted["key"] == wait_id, "the call's own, which is the same for each pod that runs it"
    assert paid["order"] == namespace
    assert "order" in refused["error"]
    assert "nowhere" in nowhere["error"]
    assert sent["task"] in answer
    assert len(payments(cluster, namespace)) == 1
    states = [(a.step, a.state, a.cause) for a in attempts(store, namespace, "work")]
    assert states[0] == ("reply", "Paused", "First")
    assert states[-1] == ("reply", "Succeeded", "Resume")
    assert [step for step, state, _ in states if step != "reply" and state == "Succeeded"] != []
    shown = cluster.wait_task(namespace, "work")
    assert [step["name"] for step in shown["status"]["steps"]] == ["reply"]

    # And the queued Task says who queued it, belongs to the Session, and runs by itself
    [queued] = cluster.list("task", namespace, "parley.dev/queued-by=work")
    assert queued["metadata"]["name"] == sent["task"]
    assert [
        (o["kind"], o["name"], o.get("controller", False)) for o in queued["metadata"]["ownerReferences"]
    ] == [("Session", "alice", False)]
    assert succeeded(cluster, namespace, sent["task"])["status"]["output"] == "sent"

    # And the conversation hears of its end
    def heard() -> bool:
        return any(
            kind == "state" and sent["task"] in json.dumps(c)
            for kind, c in events_of(store, namespace, "alice")
        )

    cluster.wait("the session hears of the Task's end", namespace, heard)
    cluster.apply(namespace, say("ask", "alice", "Which tasks have ended?"))
    told_end = succeeded(cluster, namespace, "ask")["status"]["output"]
    assert told_end == f"{sent['task']} ended: Succeeded."


def test_jobs_and_tasks_as_tools_of_steps(cluster: Cluster, namespace: str) -> None:
    # Given tasks whose steps call such tools, one by one and for a list, well and badly
    crash = {"name": "crash", "container": container("echo no luck >&2; exit 3")}
    number = {"name": "number", "resultSchema": {"type": "string"}, "container": gives(7)}
    cluster.apply(namespace, SENDS, agent("clerk", tools=[count(), SEND, crash, number]))
    by = {"agentRef": {"name": "clerk"}}
    each = {
        "name": "each",
        "forEach": {"items": ["a", "bb", "ccc"], "parallelism": 2},
        "tool": {"name": "count", "arguments": {"word": "{{ item }}"}},
    }
    send = {"name": "send", "tool": {"name": "send", "arguments": {"order": "8"}}}
    cluster.apply(
        namespace,
        task("list", **by, steps=[each]),
        task("queue", **by, steps=[send]),
        task("crashes", **by, steps=[{"name": "crash", "tool": {"name": "crash"}}]),
        task("misfits", **by, steps=[{"name": "number", "tool": {"name": "number"}}]),
        say("asks", "none", "x") | {"spec": {**by, "message": f"{namespace} [call crash {{}}]"}},
    )

    # Then results are outputs, in the order of the list
    lengths = [one["length"] for one in succeeded(cluster, namespace, "list")["status"]["output"]]
    assert lengths == [1, 2, 3]
    queued = succeeded(cluster, namespace, "queue")["status"]["output"]["task"]
    assert succeeded(cluster, namespace, queued)["status"]["output"] == "sent"
    [body] = cluster.list("task", namespace, "parley.dev/queued-by=queue")
    assert body["metadata"]["ownerReferences"][0]["name"] == "queue", "without a Session, its Task owns it"

    # And what fails fails a step in one word, and is told to a model
    for name, what in (("crashes", "no luck"), ("misfits", "string")):
        ended = cluster.wait_task(namespace, name)
        assert (ended["status"]["phase"], ended["status"]["steps"][0]["reason"]) == ("Failed", "ToolError"), (
            name
        )
        assert what in condition(ended, "Succeeded")["message"]
    [said] = told(succeeded(cluster, namespace, "asks")["status"]["output"])
    assert "no luck" in said["error"]
    cluster.wait("no pod is left", namespace, lambda: running(cluster, namespace) == [])
