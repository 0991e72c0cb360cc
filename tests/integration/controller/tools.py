"""An agent with a tool of each kind, and what people say to its calls."""

from typing import Any

from parley.kube.kinds import REPLY, TASK_TEMPLATE

from tests.integration.controller.cluster import Cluster

NUMBER: dict[str, Any] = {"type": "object", "properties": {"number": {}}}
ORDERS: dict[str, Any] = {
    "name": "get_order",
    "parameters": NUMBER,
    "http": {"url": "http://orders/{{ arguments.number }}"},
}
PAY: dict[str, Any] = {
    "name": "pay",
    "parameters": {"type": "object"},
    "http": {"url": "http://bank/pay", "method": "POST"},
    "approval": "Required",
}
SCORE: dict[str, Any] = {
    "name": "score",
    "parameters": NUMBER,
    "container": {"image": "score:1", "args": ["{{ arguments.number }}"], "timeout": "5m"},
}
REPORT: dict[str, Any] = {"name": "report", "task": {"templateRef": {"name": "long-report"}}}
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TEMPLATE: dict[str, Any] = {
    "inputSchema": SCHEMA,
    "task": {
        "steps": [{"name": "write", "container": {"image": "i", "args": ["{{ inputs.city }}"]}}],
        "output": {"about": "{{ inputs.city }}"},
    },
}


async def conversation(cluster: Cluster, *tools: dict[str, Any], **session: Any) -> None:
    """A session with an agent that has these tools."""
    await cluster.agent(tools=list(tools))
    await cluster.session(**session)


async def say(cluster: Cluster, name: str = "refund", **fields: Any) -> None:
    """A message of the session; everybody works until nobody has anything to do."""
    await cluster.task(name, message="Refund me.", sessionRef={"name": "alice"}, **fields)
    await cluster.settle()


async def reply(
    cluster: Cluster, name: str, wait_id: str, choice: str, *, task: str = "refund", **said: Any
) -> tuple[str, str]:
    """Answer, as bob; return the verdict's status and reason."""
    spec = {"taskRef": {"name": task}, "waitID": wait_id, "by": "bob@company.com", "choice": choice, **said}
    await cluster.apply(REPLY, name, spec)
    await cluster.settle()
    conditions = cluster.object(REPLY, name)["status"]["conditions"]
    (accepted,) = [each for each in conditions if each["type"] == "Accepted"]
    return accepted["status"], accepted["reason"]


async def template(cluster: Cluster, **spec: Any) -> None:
    """The template whose Tasks the tool ``report`` queues."""
    await cluster.apply(TASK_TEMPLATE, "long-report", {**TEMPLATE, **spec})


def waiting(cluster: Cluster, task: str = "refund") -> list[dict[str, Any]]:
    return list(cluster.status(task).get("waiting") or ())


def results(cluster: Cluster) -> dict[tuple[int, int], Any]:
    """The results that the newest runner found in its journal, by round and call."""
    return {
        (entry.round, entry.call): entry.result
        for entry in cluster.taken[-1].journal
        if entry.call >= 0 and entry.done
    }


def told(cluster: Cluster, reason: str) -> list[str]:
    """What Events of this reason say, about Tasks."""
    return [each.note for each in cluster.told if each.kind.kind == "Task" and each.reason == reason]
