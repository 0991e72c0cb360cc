"""Point 4: what a session knows beside what was said: steps and the model change it, everybody sees it, no change is lost."""

import json

import pytest

from tests.cluster import Cluster
from tests.e2e.conftest import Store, agent, say, session, task
from tests.e2e.servers import NUMBER, ask, call, http_tool, model_requests, shop_calls, texts_of
from tests.e2e.test_tools import succeeded

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("tools")]

KEEPER = "{% for key, value in context | dictsort %}{{ key }}={{ value }} {% endfor %}"
GATE = http_tool("gate", "gate/{{ arguments.number }}", timeout="90s") | {"parameters": NUMBER}


def stored(store: Store, namespace: str, name: str) -> tuple[object, int]:
    """The context of a session as Postgres has it, and its version."""
    [row] = store.rows(
        "SELECT context, context_version FROM sessions WHERE namespace = %s AND name = %s AND gone_since IS NULL",
        namespace,
        name,
    )
    return row[0], row[1]


def test_two_writers_never_lose_a_change(cluster: Cluster, namespace: str, store: Store) -> None:
    # Given two tasks whose steps count in the same session's context, ten times each
    cluster.apply(namespace, session("alice", context={"count": 0, "first": "kept"}))
    steps = [
        {"name": f"s{number}", "set": {"context": {"count": "{{ session.context.count + 1 }}"}}}
        for number in range(10)
    ]
    by = {"sessionRef": {"name": "alice"}}
    cluster.apply(namespace, *(task(f"count-{n}", **by, steps=steps) for n in range(3)))

    # When both have ended, then every change counts
    for number in range(3):
        succeeded(cluster, namespace, f"count-{number}")
    context, version = stored(store, namespace, "alice")
    assert context == {"count": 30, "first": "kept"}
    assert version >= 30

    # And the status has it, with its version, while the spec is what it was
    def shown() -> bool:
        status = (cluster.get("session", namespace, "alice") or {})["status"]
        return (status.get("context"), status.get("contextVersion")) == (context, version)

    cluster.wait("the status shows the context", namespace, shown)
    alice = cluster.get("session", namespace, "alice")
    assert alice is not None
    assert alice["spec"]["context"] == {"count": 0, "first": "kept"}


def test_a_model_changes_what_it_has_seen_and_nothing_else(
    cluster: Cluster, namespace: str, store: Store
) -> None:
    # Given a model that may change the context, and is kept from it until a step has changed it meanwhile
    number = str(int(namespace.removeprefix("t-"), 16))
    keeper = agent("keeper", tools=[GATE], builtinTools=["update_context"], systemTemplate=KEEPER)
    cluster.apply(
        namespace, keeper, session("alice", agentRef={"name": "keeper"}, context={"room": "none", "floor": 1})
    )
    change = call("update_context", changes={"room": "model"})
    elsewhere = call("update_context", changes={"guest": "Bea", "floor": None})
    message = f"{namespace} {call('gate', number=number)} [then] {change} [then] {elsewhere} [then] {change}"
    cluster.apply(namespace, say("model", "alice", message))
    cluster.wait("the model waits at the gate", namespace, lambda: shop_calls(cluster, f"/gate/{number}"))
    step = {"name": "set", "set": {"context": {"room": "step"}}}
    cluster.apply(namespace, task("step", sessionRef={"name": "alice"}, steps=[step]))
    succeeded(cluster, namespace, "step")
    ask(cluster, "shop", f"open/{number}")

    # Then its change of what it had not seen is refused and tells it what is there; its next changes count
    succeeded(cluster, namespace, "model")
    results = [
        json.loads(t) for role, t in texts_of(model_requests(cluster, namespace)[-1]) if role == "tool"
    ]
    _, conflict, other, knowing = results
    assert "error" in conflict
    assert conflict["context"]["room"] == "step"
    assert "error" not in other
    assert other["context"] == {"room": "step", "guest": "Bea"}
    assert knowing["context"] == {"room": "model", "guest": "Bea"}
    context, _ = stored(store, namespace, "alice")
    assert context == {"room": "model", "guest": "Bea"}

    # And templates and prompts of the next tasks see it
    steps = [{"name": "ask", "prompt": {"text": "What are your instructions?"}}]
    seen = {"room": "{{ session.context.room }}", "told": "{{ steps.ask.output }}"}
    cluster.apply(namespace, task("seen", sessionRef={"name": "alice"}, steps=steps, output=seen))
    output = succeeded(cluster, namespace, "seen")["status"]["output"]
    assert (output["room"], output["told"].strip()) == ("model", "guest=Bea room=model")
