"""What an Agent's status counts: sessions, open tasks, tokens in all and of the day."""

from datetime import UTC, datetime
from typing import Any

from parley.controller.context import AGENT_KEY
from parley.kube.kinds import AGENT, SESSION, TASK

from tests.integration.controller.cluster import NAMESPACE, Cluster

REPLY: dict[str, Any] = {"name": "reply", "prompt": {"text": "Hello"}}


async def counted(cluster: Cluster, name: str = "support") -> dict[str, Any]:
    """Let ten seconds pass, and what is counted be written."""
    cluster.workers._by_kind[AGENT_KEY].__self__._written.clear()  # type: ignore[attr-defined]
    cluster.context.wake(AGENT_KEY, NAMESPACE, name)
    await cluster.settle()
    return cluster.object(AGENT, name)["status"]


async def test_an_agents_work_is_counted(cluster: Cluster) -> None:
    await cluster.agent()
    await cluster.agent("critic")
    await cluster.session()
    await cluster.apply(SESSION, "panel", {"agents": [{"name": "critic"}, {"name": "support"}]})
    await cluster.task("hello", REPLY, sessionRef={"name": "alice"})
    await cluster.task("alone", REPLY, agentRef={"name": "support"})
    await cluster.settle()

    status = await counted(cluster)
    assert (status["sessions"], status["activeTasks"]) == (2, 0)
    assert status["usage"] == {"inputTokens": 6, "outputTokens": 4}
    today = datetime.now(UTC).date().isoformat()
    assert status["usageToday"] == {"inputTokens": 6, "outputTokens": 4, "day": today}
    assert (await counted(cluster, "critic"))["usage"] == {"inputTokens": 0, "outputTokens": 0}


async def test_open_tasks_are_counted_where_they_belong(cluster: Cluster) -> None:
    cluster.behaviour = lambda _: None
    await cluster.agent()
    await cluster.agent("critic")
    await cluster.session()
    await cluster.apply(SESSION, "panel", {"agents": [{"name": "critic"}, {"name": "support"}]})
    await cluster.task("one", REPLY, sessionRef={"name": "alice"})
    await cluster.task("two", REPLY, agentRef={"name": "support"})
    await cluster.task("three", REPLY, sessionRef={"name": "panel"})
    await cluster.task("four", REPLY, sessionRef={"name": "panel"}, agentRef={"name": "support"})
    await cluster.settle()

    assert (await counted(cluster))["activeTasks"] == 3
    assert (await counted(cluster, "critic"))["activeTasks"] == 1

    await cluster.kube.delete(TASK, NAMESPACE, "two")
    await cluster.settle()
    assert (await counted(cluster))["activeTasks"] == 2


async def test_an_agent_is_counted_again_after_something_changed(cluster: Cluster) -> None:
    await cluster.agent()
    await cluster.settle()
    assert not any(key.kind == AGENT_KEY for key in cluster.context.queue._wakes)

    await cluster.task("alone", REPLY, agentRef={"name": "support"})
    assert any(key.kind == AGENT_KEY for key in cluster.context.queue._wakes)
