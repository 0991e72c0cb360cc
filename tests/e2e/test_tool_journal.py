"""Point 1: a turn whose pod dies in the middle of its calls goes on: nothing is called twice, and the model is not asked again."""

import pytest

from tests.cluster import Cluster
from tests.e2e.conftest import Store, agent, say, session, task
from tests.e2e.disruption import check_store
from tests.e2e.seen import attempts, pods
from tests.e2e.servers import NUMBER, SHOP_URL, call, http_tool, model_requests, refund, shop_calls
from tests.e2e.test_tools import events_of, succeeded

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("tools")]

HANG = http_tool("hang", "hang/{{ arguments.number }}", timeout="90s") | {"parameters": NUMBER}


@pytest.mark.parametrize("mode", ["Job", "Task"])
def test_a_runner_that_is_lost_between_a_call_and_its_result(
    cluster: Cluster, namespace: str, store: Store, mode: str
) -> None:
    # Given a turn that pays and then calls what does not answer the first time, and a tool step that does so
    number = str(int(namespace.removeprefix("t-"), 16))
    cluster.apply(namespace, agent("clerk", tools=[refund(), HANG], runtime={"mode": mode}))
    cluster.apply(namespace, session("alice", agentRef={"name": "clerk"}))
    message = f"{call('refund', order=namespace, amount=1)} [then] {call('hang', number=number)}"
    cluster.apply(namespace, say("buy", "alice", message))
    step = {"name": "hang", "tool": {"name": "hang", "arguments": {"number": f"{number}0"}}}
    cluster.apply(namespace, task("step", agentRef={"name": "clerk"}, steps=[step]))

    # When their pods are lost while the calls hang
    for name, hung in (("buy", f"/hang/{number}"), ("step", f"/hang/{number}0")):
        cluster.wait(
            f"{hung} is called",
            namespace,
            lambda hung=hung: [entry for entry in shop_calls(cluster, hung) if entry["path"] == hung],
        )
        [pod] = pods(cluster, namespace, name)
        cluster.delete("pod", namespace, pod["metadata"]["name"], grace=0)

    # Then both go on in another pod, and the call that had no result is repeated under the same key
    succeeded(cluster, namespace, "buy")
    assert succeeded(cluster, namespace, "step")["status"]["output"] == {"answered": f"{number}0"}
    for hung in (f"/hang/{number}", f"/hang/{number}0"):
        keys = [entry["key"] for entry in shop_calls(cluster, hung) if entry["path"] == hung]
        assert len(keys) == 2, keys
        assert len(set(keys)) == 1, "a repeat bears the key of the first"
        assert keys[0]

    # And what had a result is not called again, nor the model asked for what it had said
    assert len([entry for entry in shop_calls(cluster, namespace) if entry["method"] == "POST"]) == 1
    assert len(model_requests(cluster, namespace)) == 3
    stored = events_of(store, namespace, "alice")
    assert [kind for kind, _ in stored] == ["message", *["toolCall", "toolResult"] * 2, "message"]
    for name in ("buy", "step"):
        tried = attempts(store, namespace, name)
        assert [attempt.cause for attempt in tried] == ["First", "Disruption"], tried
    check_store(store, namespace)


def test_a_step_waits_for_its_tools_secret(cluster: Cluster, namespace: str) -> None:
    # Given a tool whose Secret is missing
    key = {"name": "Authorization", "valueFrom": {"secretKeyRef": {"name": "late", "key": "key"}}}
    tool = {"name": "whoami", "http": {"url": f"{SHOP_URL}/whoami", "headers": [key]}}
    cluster.apply(namespace, agent("clerk", tools=[tool]))
    cluster.apply(
        namespace,
        task("who", agentRef={"name": "clerk"}, steps=[{"name": "who", "tool": {"name": "whoami"}}]),
    )

    # When it comes, then the step that said so goes on by itself
    def says() -> bool:
        found = cluster.get("task", namespace, "who")
        return any(s.get("reason") == "SecretNotFound" for s in (found or {})["status"].get("steps", []))

    cluster.wait("the step says that the Secret is missing", namespace, says)
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "late"},
        "stringData": {"key": "Bearer late"},
    }
    cluster.apply(namespace, secret)
    assert len(succeeded(cluster, namespace, "who")["status"]["output"]["authorization"]) == 64
