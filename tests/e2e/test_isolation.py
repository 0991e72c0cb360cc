"""Isolation on the real cluster: many sessions of one agent at once, pods that are lost, and no text of one in another's place.

The property itself, with 50 sessions, is tried in tests/integration/controller/test_isolation.py.
"""

import json
import random
import re

import pytest

from tests.cluster import Cluster
from tests.e2e.conftest import Store, agent, session, task
from tests.e2e.disruption import check_store
from tests.e2e.servers import NUMBER, call, http_tool, model_requests
from tests.e2e.test_tools import succeeded

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("tools")]

COUNT = 6
TEXTS = {
    "events": "SELECT s.name, e::text FROM events e JOIN sessions s ON s.uid = e.session_uid WHERE s.namespace = %s",
    "sessions": "SELECT s.name, s::text FROM sessions s WHERE s.namespace = %s",
    "attempts": "SELECT t.name, a::text FROM attempts a JOIN tasks t ON t.uid = a.task_uid WHERE t.namespace = %s",
    "journal": "SELECT t.name, j::text FROM journal j JOIN tasks t ON t.uid = j.task_uid WHERE t.namespace = %s",
    "outputs": "SELECT t.name, o::text FROM outputs o JOIN tasks t ON t.uid = o.task_uid WHERE t.namespace = %s",
}  # fmt: skip


def words_in(namespace: str, text: str) -> set[str]:
    """The sessions' words in a text."""
    return set(re.findall(rf"word-\d+-{namespace}", text))


def test_no_text_of_one_session_is_seen_in_another(cluster: Cluster, namespace: str, store: Store) -> None:
    # Given sessions of one agent, each with a word that nobody else knows, two turns each, in one pod or in two
    word_of = {f"s{number}": f"word-{number}-{namespace}" for number in range(COUNT)}
    base = int(namespace.removeprefix("t-"), 16) * 100
    hang = http_tool("hang", "hang/{{ arguments.number }}", timeout="60s") | {"parameters": NUMBER}
    tools = [hang, http_tool("refunds", "refunds")]
    cluster.apply(namespace, agent(tools=tools, builtinTools=["update_context"]))
    manifests: list[dict[str, object]] = []
    for number, (name, word) in enumerate(word_of.items()):
        told = {"user": {"id": word, "about": word}, "situation": word, "context": {"first": word}}
        looks = call("hang", number=str(base + number)) if number % 2 else call("refunds")
        change = call("update_context", changes={"word": word})
        steps = [
            {"name": "one", "prompt": {"text": f"{word} {looks} [then] {change}"}},
            {"name": "two", "prompt": {"text": "What are your instructions?"}},
        ]
        mode = {"runtime": {"mode": "Task"}} if number else {}
        manifests += [
            session(name, **told),
            task(f"{name}-t", sessionRef={"name": name}, steps=steps, **mode),
        ]
    random.Random(namespace).shuffle(manifests)
    cluster.apply(namespace, *manifests)

    # When some of their pods are lost while they work
    for number in range(1, COUNT, 2):
        name = f"s{number}-t"
        cluster.wait(
            f"{name} calls what hangs",
            namespace,
            lambda number=number: model_requests(cluster, str(base + number)),
        )
        for pod in cluster.list("pod", namespace, f"parley.dev/task={name}"):
            cluster.delete("pod", namespace, pod["metadata"]["name"], grace=0)
    for name in word_of:
        succeeded(cluster, namespace, f"{name}-t")

    # Then no model was asked with the words of two, and each place has its own session's word alone
    requests = model_requests(cluster, namespace)
    assert len(requests) >= 4 * COUNT
    for entry in requests:
        assert len(words_in(namespace, json.dumps(entry))) == 1, entry
    for kind in ("session", "task", "job", "pod"):
        for body in cluster.list(kind, namespace):
            name = body["metadata"]["name"].split("-")[0]
            found = words_in(namespace, json.dumps(body))
            assert found <= {word_of[name]}, f"{kind} {body['metadata']['name']} has {found}"
            assert found or kind in {"job", "pod"}
    for event in cluster.list("event", namespace):
        found = words_in(namespace, event["message"])
        assert found <= {word_of.get(event["involvedObject"]["name"].split("-")[0], "")}, event
    for table, question in TEXTS.items():
        rows = store.rows(question, namespace)
        assert rows, table
        for name, text in rows:
            found = words_in(namespace, text)
            assert found <= {word_of[name.split("-")[0]]}, f"{table} of {name} has {found}"

    # And what is said is in no log, of those that have one: a pod that is made to no purpose ends without
    cluster.wait(
        "all pods have ended",
        namespace,
        lambda: {pod["status"]["phase"] for pod in cluster.list("pod", namespace)} <= {"Succeeded", "Failed"},
    )
    logs = cluster.kubectl(
        "logs", "-n", namespace, "-l", "app.kubernetes.io/name=parley", "--tail=-1", "--prefix"
    )
    assert "attempt taken" in logs
    assert words_in(namespace, logs) == set()
    own = cluster.kubectl(
        "logs", "-n", "parley-system", "-l", "app.kubernetes.io/name=parley", "--tail=3000", "--prefix"
    )
    assert words_in(namespace, own) == set()
    check_store(store, namespace)
