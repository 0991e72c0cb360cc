"""Point 1: what a model may call: HTTP and MCP tools, from prompts, from steps and in lists; what is wrong goes back to it."""

import json
import re
from typing import Any

import pytest
from parley.runner.tools.mcp_server import KEY_META

from tests.cluster import Cluster, condition, step_of
from tests.e2e.conftest import ONE_RUNNER, Store, agent, say, session, task
from tests.e2e.seen import attempts
from tests.e2e.servers import (
    SHOP_URL,
    TICKETS_URL,
    ask,
    call,
    get_order,
    http_tool,
    model_requests,
    offered,
    refund,
    shop_calls,
    texts_of,
    ticket_calls,
)

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("tools")]

SECRET = "Bearer s3cret-of-the-shop-7713"
SHOP_HOST = SHOP_URL.removeprefix("http://")
SHOP_SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "shop"},
    "stringData": {"authorization": SECRET},
}


def succeeded(cluster: Cluster, namespace: str, name: str) -> dict[str, Any]:
    """Wait until a task has succeeded; returns it."""
    ended = cluster.wait_task(namespace, name)
    assert ended["status"]["phase"] == "Succeeded", cluster.describe(namespace)
    return ended


def told(answer: str) -> list[Any]:
    """The results that the model was told last, from what it answers: JSON where it is JSON."""
    found = answer.removeprefix("The tool says: ").split("; ")
    assert answer.startswith("The tool says: "), answer
    return [json.loads(text) if text[:1] in '{["' else text for text in found]


def events_of(store: Store, namespace: str, name: str) -> list[tuple[str, Any]]:
    """Types and contents of a session's events, in order."""
    return store.rows(
        "SELECT e.type, e.content FROM events e JOIN sessions s ON s.uid = e.session_uid"
        " WHERE s.namespace = %s AND s.name = %s AND s.gone_since IS NULL ORDER BY e.sequence",
        namespace,
        name,
    )


def with_secret(name: str, path: str = "whoami") -> dict[str, object]:
    """A tool that sends a Secret in a header."""
    header = {
        "name": "Authorization",
        "valueFrom": {"secretKeyRef": {"name": "shop", "key": "authorization"}},
    }
    return http_tool(name, path, headers=[header])


def test_http_tools_in_a_conversation(cluster: Cluster, namespace: str, store: Store) -> None:
    # Given an agent whose tools ask a shop, one of them with a key from a Secret
    tools = [get_order(namespace), refund(), with_secret("whoami")]
    cluster.apply(
        namespace, SHOP_SECRET, agent("desk", tools=tools), session("alice", agentRef={"name": "desk"})
    )

    # When the model looks up an order, wrongly twice, and then pays
    payment = call("refund", order=namespace, amount=42.5)
    looks = [
        call("get_order", number="12345"),
        call("get_order", number="x"),
        call("get_order", number="012"),
    ]
    message = f"{' '.join(looks)} [invent nonsense {{}}] [then] {payment} [call whoami {{}}]"
    cluster.apply(namespace, say("buy", "alice", message))
    answer = succeeded(cluster, namespace, "buy")["status"]["output"]

    # Then it was told the results of both rounds, and of each mistake what was wrong
    [paid, who] = told(answer)
    assert paid["order"] == namespace
    requests = model_requests(cluster, namespace)
    assert len(requests) == 3, "it was asked once for each round, and for the answer"
    assert {"get_order", "refund", "whoami"} <= set(offered(requests[0]))
    looked_up, wrong, missing, unknown = [text for role, text in texts_of(requests[1]) if role == "tool"]
    assert json.loads(looked_up) == {"number": "12345", "state": "late", "total": 42.5}
    assert "number" in wrong
    assert "404" in missing
    assert "there is no order 012" in missing
    assert "nonsense" in unknown
    assert "get_order" in unknown

    # And the shop was asked once for each call that could be, with a key of its own
    paths = [entry["path"] for entry in shop_calls(cluster, f"of={namespace}")]
    assert [path.split("?")[0] for path in paths] == ["/orders/12345", "/orders/012"]
    keys = [entry["key"] for entry in shop_calls(cluster, namespace)]
    assert len({key for key in keys if key}) == len(keys) == 3

    # And all of it is in the transcript, each call with its result
    stored = events_of(store, namespace, "alice")
    assert [kind for kind, _ in stored] == [
        "message", *["toolCall"] * 4, *["toolResult"] * 4, *["toolCall"] * 2, *["toolResult"] * 2, "message",
    ]  # fmt: skip
    made = [content["id"] for kind, content in stored if kind == "toolCall"]
    assert made == [content["id"] for kind, content in stored if kind == "toolResult"]
    alice = cluster.get("session", namespace, "alice")
    assert alice is not None
    assert {"toolCall", "toolResult"} <= {event["type"] for event in alice["status"]["recentEvents"]}

    # And the Secret's value reached the shop and stands nowhere else
    assert re.fullmatch(r"[0-9a-f]{64}", who["authorization"])
    kinds = "agents,sessions,tasks,jobs,pods,events"
    assert SECRET.split()[1] not in cluster.kubectl("get", kinds, "-n", namespace, "-o", "yaml")
    assert SECRET.split()[1] not in json.dumps([stored, requests])


def test_what_must_not_be_called_and_what_answers_badly(cluster: Cluster, namespace: str) -> None:
    # Given an agent with tools that go where they must not, and others whose answers are of no use
    strict = get_order(namespace, name="strict", resultSchema={"type": "object", "required": ["nothing"]})
    elsewhere = f"http://{SHOP_HOST}.cluster.local/whoami/{namespace}"
    tools = [
        {"name": "cloud", "http": {"url": "http://169.254.169.254/latest/"}},
        {"name": "inside", "http": {"url": "http://localhost:8080/"}},
        http_tool("away", "away?to=http://169.254.169.254/"),
        with_secret("leak", f"away?to={elsewhere}"),
        http_tool("binary", "binary"),
        http_tool("large", "large/400000"),
        http_tool("broken", "status/503"),
        strict,
    ]
    cluster.apply(namespace, SHOP_SECRET, agent("desk", tools=tools))

    # When its model calls all of them
    names = [str(tool["name"]) for tool in tools]
    calls = " ".join(call(name, **({"number": "7"} if name == "strict" else {})) for name in names)
    cluster.apply(namespace, task("dare", agentRef={"name": "desk"}, message=f"{namespace} {calls}"))

    # Then it is told of each what is wrong, and the turn goes on
    succeeded(cluster, namespace, "dare")
    last = texts_of(model_requests(cluster, namespace)[-1])
    results = [text for role, text in last if role == "tool"]
    said = dict(zip(names, results, strict=True))
    assert all("error" in text for text in results), said
    assert "is a link-local address" in said["cloud"]
    assert "is a loopback address" in said["inside"]
    assert "is a link-local address" in said["away"]
    assert "503" in said["broken"]

    # And no redirect has taken the Secret to another host
    assert "only to the same host" in said["leak"]
    assert [entry for entry in shop_calls(cluster, namespace) if entry["path"].startswith("/whoami/")] == []


def test_tools_in_steps_and_lists(cluster: Cluster, namespace: str, store: Store) -> None:
    # Given an agent with tools, and tasks that call them without its model
    tools = [get_order(namespace), refund(), {"name": "desk", "mcp": {"url": TICKETS_URL}}]
    cluster.apply(namespace, agent("desk", tools=tools, runtime=ONE_RUNNER))
    by = {"agentRef": {"name": "desk"}}
    look = {"name": "look", "tool": {"name": "get_order", "arguments": {"number": "{{ inputs.number }}"}}}
    pay = {
        "name": "pay",
        "tool": {
            "name": "refund",
            "arguments": {"order": namespace, "amount": "{{ steps.look.output.total }}"},
        },
    }
    note = {
        "name": "note",
        "tool": {
            "name": "desk_create",
            "arguments": {"title": f"{namespace} {{{{ steps.pay.output.order }}}}"},
        },
    }
    each = {
        "name": "each",
        "forEach": {"items": ["1", "2", "0", "3"], "parallelism": 2},
        "continueOnError": True,
        "tool": {"name": "get_order", "arguments": {"number": "{{ item }}"}},
    }
    once = {"limit": 1, "backoff": {"initial": "1s"}}
    failing = {"name": "look", "retry": once, "tool": {"name": "get_order", "arguments": {"number": "0"}}}
    wrong = {"name": "look", "retry": once, "tool": {"name": "get_order", "arguments": {"number": 7}}}
    unknown = {"name": "look", "tool": {"name": "get_odrer"}}
    cluster.apply(
        namespace,
        task("chain", **by, inputs={"number": "55"}, steps=[look, pay, note]),
        task("pod", **by, runtime={"mode": "Task"}, inputs={"number": "56"}, steps=[look, pay]),
        task("list", **by, steps=[each]),
        task("fails", **by, steps=[failing]),
        task("wrong", **by, steps=[wrong]),
        task("unknown", **by, steps=[unknown]),
    )

    # Then a step's output is the tool's result, and the next step's arguments are made of it
    chain = succeeded(cluster, namespace, "chain")
    assert step_of(chain, "look")["output"] == {"number": "55", "state": "late", "total": 42.5}
    assert step_of(chain, "pay")["output"]["amount"] == 42.5
    assert chain["status"]["output"]["title"] == f"{namespace} {namespace}"
    succeeded(cluster, namespace, "pod")
    assert (
        len({entry["key"] for entry in shop_calls(cluster, "/orders/5") if namespace in entry["path"]}) == 2
    )

    # And a list gives a list, with the gap where the shop knew nothing
    listed = cluster.wait_task(namespace, "list")
    outputs = listed["status"]["output"]
    assert [one and one["number"] for one in outputs] == ["1", "2", None, "3"]
    assert len(shop_calls(cluster, f"/orders/1?of={namespace}")) == 1

    # And what fails, fails the step in one word, is tried again where asked, and never when it would come again
    failed = cluster.wait_task(namespace, "fails")
    assert step_of(failed, "look")["reason"] == "ToolError"
    assert "404" in step_of(failed, "look")["message"]
    tried = attempts(store, namespace, "fails")
    assert [(attempt.state, attempt.reason) for attempt in tried] == [("Failed", "ToolError")] * 2
    keys = [entry["key"] for entry in shop_calls(cluster, f"/orders/0?of={namespace}")]
    assert len(set(keys)) < len(keys), "a repeated call has the same key"
    refused = cluster.wait_task(namespace, "wrong")
    assert refused["status"]["phase"] == "Failed"
    assert "number" in step_of(refused, "look")["message"]
    assert len(attempts(store, namespace, "wrong")) == 1
    nobody = cluster.wait_task(namespace, "unknown")
    assert nobody["status"]["phase"] == "Failed"
    assert "get_odrer" in condition(nobody, "Succeeded")["message"]
    # No model was asked.
    assert model_requests(cluster, namespace) == []


def test_tools_of_an_mcp_server(cluster: Cluster, namespace: str) -> None:
    # Given two agents with tools of the same server: some of them, and one that will vanish
    some = {"name": "desk", "mcp": {"url": TICKETS_URL, "toolNames": ["create", "search", "close"]}}
    vanishing = {"name": "desk", "mcp": {"url": TICKETS_URL, "toolNames": ["fleeting", "create"]}}
    cluster.apply(
        namespace,
        agent("desk", tools=[some]),
        agent("fragile", tools=[vanishing]),
        session("alice", agentRef={"name": "desk"}),
        session("bob", agentRef={"name": "fragile"}),
    )

    # When the model calls them, one wrongly
    first = f"{call('desk_create', title=namespace)} {call('desk_close', id='nope')} {call('desk_create', titel='x')}"
    again = call("desk_create", title=f"{namespace}-again")
    cluster.apply(
        namespace,
        say("note", "alice", f"{first} [then] {call('desk_search', text=namespace)} {again}"),
        say("there", "bob", f"{namespace}-bob [call desk_fleeting {{}}]"),
    )
    answer = succeeded(cluster, namespace, "note")["status"]["output"]

    # Then it saw only the tools it may have, each under the server's name, and was told what each call gave
    requests = [
        entry for entry in model_requests(cluster, namespace) if f"{namespace}-bob" not in json.dumps(entry)
    ]
    assert sorted(offered(requests[0])) == ["desk_close", "desk_create", "desk_search"]
    made, unknown, wrong = [text for role, text in texts_of(requests[1]) if role == "tool"]
    assert json.loads(made)["title"] == namespace
    assert "there is no ticket nope" in unknown
    assert "title" in wrong
    assert namespace in answer
    calls = ticket_calls(cluster, namespace)
    assert [entry["tool"] for entry in calls] == ["create", "search", "create"]
    assert len({entry["meta"][KEY_META] for entry in calls}) == 3, "each call has a key of its own"

    # When a tool that an agent names has gone, then its turn fails and says which and what there is
    assert "still here" in succeeded(cluster, namespace, "there")["status"]["output"]
    ask(cluster, "tickets", "forget", "POST")
    try:
        cluster.apply(namespace, say("gone", "bob", "hello"))
        gone = cluster.wait_task(namespace, "gone")
    finally:
        ask(cluster, "tickets", "remember", "POST")
    assert step_of(gone, "reply")["reason"] == "ToolError"
    said = condition(gone, "Succeeded")["message"]
    assert "fleeting" in said
    assert "create" in said


def test_rounds_are_bounded_and_calls_may_be_returned(cluster: Cluster, namespace: str, store: Store) -> None:
    # Given an agent that may call tools in two rounds of a turn, and sessions, one of which runs no calls
    cluster.apply(
        namespace,
        agent("desk", tools=[get_order(namespace)], limits={"maxToolRounds": 2}, runtime=ONE_RUNNER),
        session("alice", agentRef={"name": "desk"}),
        session("bob", agentRef={"name": "desk"}, autoRunTools=False),
    )
    look, again = call("get_order", number="31"), '[always get_order {"number": "32"}]'
    prompt = {"text": f"Look. {look}"}
    cluster.apply(
        namespace,
        task(
            "endless",
            sessionRef={"name": "alice"},
            steps=[{"name": "ask", "retry": {"limit": 2}, "prompt": {"text": again}}],
        ),
        say("returned", "bob", f"Look. {look}"),
        task(
            "run",
            sessionRef={"name": "bob"},
            steps=[{"name": "ask", "prompt": {**prompt, "autoRunTools": True}}],
        ),
        task(
            "prompted",
            agentRef={"name": "desk"},
            steps=[{"name": "ask", "prompt": {**prompt, "autoRunTools": False}}],
        ),
    )

    # Then a model that never ends is ended, for good, and its calls have run twice
    endless = cluster.wait_task(namespace, "endless")
    assert step_of(endless, "ask")["reason"] == "ModelError"
    assert "maxToolRounds" in condition(endless, "Succeeded")["message"]
    assert len(attempts(store, namespace, "endless")) == 1
    assert len(shop_calls(cluster, f"/orders/32?of={namespace}")) == 2

    # And a call that is not to be run is the output, as the prompt says, else as the session says
    for name in ("returned", "prompted"):
        output = succeeded(cluster, namespace, name)["status"]["output"]
        assert output["calls"] == [{"name": "get_order", "arguments": {"number": "31"}}], name
    assert told(succeeded(cluster, namespace, "run")["status"]["output"])[0]["number"] == "31"
    assert len(shop_calls(cluster, f"/orders/31?of={namespace}")) == 1
    bob = [kind for kind, _ in events_of(store, namespace, "bob")]
    assert bob[:3] == ["message", "toolCall", "toolResult"]
