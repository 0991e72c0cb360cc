"""What is killed: parts of Parley, pods of steps, Postgres."""

import random
import signal
from collections.abc import Callable

from tests.cluster import SYSTEM_NAMESPACE, Cluster
from tests.e2e.disruption import component, leader, parts, processes, send


def _kill(cluster: Cluster, names: list[str]) -> str:
    for name in names:
        send(processes(cluster, SYSTEM_NAMESPACE, name), signal.SIGKILL)
    return ", ".join(names) or "nobody"


def kill_leader(cluster: Cluster, _namespace: str, _dice: random.Random) -> str:
    """Kill the operator that leads."""
    name = leader(cluster)
    return _kill(cluster, [name] if name else [])


def kill_operators(cluster: Cluster, _namespace: str, _dice: random.Random) -> str:
    """Kill all operators."""
    return _kill(cluster, parts(cluster, "operator"))


def delete_leader(cluster: Cluster, _namespace: str, _dice: random.Random) -> str:
    """Delete the pod of the operator that leads, as a node's drain does."""
    name = leader(cluster)
    if name:
        cluster.delete("pod", SYSTEM_NAMESPACE, name)
    return name or "nobody"


def kill_gateway(cluster: Cluster, _namespace: str, dice: random.Random) -> str:
    """Kill a gateway, or all of them."""
    names = parts(cluster, "gateway")
    return _kill(cluster, names if dice.random() < 0.5 else names[:1])


def _pods(cluster: Cluster, namespace: str, kind: str) -> list[str]:
    found = cluster.list("pod", namespace, f"app.kubernetes.io/component={kind}")
    return sorted(pod["metadata"]["name"] for pod in found if pod["status"].get("phase") == "Running")


def kill_runner(cluster: Cluster, namespace: str, dice: random.Random) -> str:
    """Kill the process of a runner."""
    names = _pods(cluster, namespace, "runner")
    if not names:
        return "nobody"
    name = dice.choice(names)
    send(processes(cluster, namespace, name), signal.SIGKILL)
    return name


def delete_pods(cluster: Cluster, namespace: str, dice: random.Random) -> str:
    """Delete some of the steps' pods.

    Their processes are not killed: a container that ends with 137 has failed, by what Kubernetes says of it.
    """
    names = _pods(cluster, namespace, "step") + _pods(cluster, namespace, "runner")
    chosen = dice.sample(names, min(len(names), dice.randrange(1, 4)))
    for name in chosen:
        cluster.delete("pod", namespace, name, grace=0)
    return ", ".join(chosen) or "nobody"


def kill_postgres(_cluster: Cluster, _namespace: str, _dice: random.Random) -> str:
    """Kill Postgres, and start it again."""
    component("kill", "postgres")
    component("start", "postgres")
    return "postgres"


Kill = Callable[[Cluster, str, random.Random], str]
KILLS: tuple[Kill, ...] = (
    kill_leader, kill_operators, delete_leader, kill_gateway, kill_runner, delete_pods, delete_pods, kill_postgres,
)  # fmt: skip
