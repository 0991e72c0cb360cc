"""An agent of mode Warm, what it is asked, and what is looked at."""

from typing import Any

from parley.controller.context import WARM_KEY
from parley.kube.kinds import AGENT
from parley.store.pool import connect

from tests.integration.controller.cluster import NAMESPACE, Cluster

WARM: dict[str, Any] = {"mode": "Warm"}
SECRET: dict[str, Any] = {
    "name": "orders",
    "description": "Look it up.",
    "parameters": {"type": "object"},
    "http": {
        "url": "http://orders/",
        "headers": [
            {"name": "Authorization", "valueFrom": {"secretKeyRef": {"name": "orders", "key": "token"}}}
        ],
    },
}


def ask(name: str = "ask", **fields: Any) -> dict[str, Any]:
    return {"name": name, "prompt": {"text": "Hi"}, **fields}


async def start(cluster: Cluster, name: str = "t", *steps: dict[str, Any], **fields: Any) -> None:
    await cluster.task(name, *(steps or (ask(),)), agentRef={"name": "support"}, **fields)
    await cluster.settle()


async def tells(cluster: Cluster, reason: str, says: str = "", *, name: str = "t", step: str = "ask") -> None:
    """Wait until a step shows a reason: what may be over in no time is not shown at once."""

    def shown() -> bool:
        steps = {each["name"]: each for each in cluster.status(name).get("steps", ())}
        found = steps.get(step, {})
        return found.get("reason") == reason and says in found.get("message", "")

    await cluster.until(shown, f"{step} of {name} says {reason}: {says}")


def warm(cluster: Cluster) -> dict[str, Any]:
    return cluster.object(AGENT, "support")["status"]["warm"]


async def pass_time(cluster: Cluster, seconds: float) -> None:
    """Let an agent's runners stand idle for so long."""
    demand = cluster.context.demand
    before = demand._clock
    demand._clock = lambda: before() + seconds
    cluster.context.wake(WARM_KEY, NAMESPACE, "support")
    await cluster.settle()


async def end_leases(cluster: Cluster, name: str) -> None:
    """Let all who hold something of a task have been silent for too long."""
    async with connect(cluster.pool) as connection:
        await connection.execute(
            "UPDATE attempts SET lease_until = now() - interval '1 ms' WHERE task_uid = %s AND state = 'Running'",
            [cluster.object_uid(name)],
        )
        await connection.execute("SELECT pg_notify('parley', %s)", [cluster.object_uid(name)])
    await cluster.settle()


async def rows(cluster: Cluster, name: str) -> list[tuple[str, str, str | None]]:
    async with connect(cluster.pool) as connection:
        found = await connection.execute(
            "SELECT state, cause, pool FROM attempts WHERE task_uid = %s ORDER BY id",
            [cluster.object_uid(name)],
        )
        return [(str(state), str(cause), pool) for state, cause, pool in await found.fetchall()]
