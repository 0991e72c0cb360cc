"""What the parts of a cluster with warm runners have had of the machine's CPU."""

from collections.abc import Mapping
from pathlib import Path

from tests.bench.bench import say
from tests.cluster import SYSTEM_NAMESPACE, Cluster
from tests.e2e.disruption import processes

_PARTS = {
    "operator": (SYSTEM_NAMESPACE, "app.kubernetes.io/component=operator"),
    "gateway": (SYSTEM_NAMESPACE, "app.kubernetes.io/component=gateway"),
    "scripted model": (SYSTEM_NAMESPACE, "app.kubernetes.io/name=scripted-model"),
}
_TICKS = 100
"""Of the clock in which the kernel counts a process's time, a second (proc(5))."""


def spent(cluster: Cluster, namespace: str) -> dict[str, float]:
    """Seconds of CPU that each part has had, all its processes together; the runners are a namespace's."""
    pods = {**_PARTS, "runner": (namespace, "parley.dev/runtime=warm")}
    found: dict[str, float] = {}
    for part, (where, labels) in pods.items():
        names = [pod["metadata"]["name"] for pod in cluster.list("pod", where, labels)]
        pids = [pid for name in names for pid in processes(cluster, where, name)]
        found[part] = sum(map(_cpu_seconds, pids))
    for part, word in (("API server", b"kube-apiserver"), ("etcd", b"etcd"), ("Postgres", b"postgres")):
        found[part] = sum(map(_cpu_seconds, _called(word)))
    return found


def say_spent(before: Mapping[str, float], after: Mapping[str, float], count: int, what: str) -> None:
    """Print the CPU of each part between two looks, for one of ``count`` tasks or turns."""
    for part, used in after.items():
        say(f"  CPU of the {part}: {1000 * (used - before.get(part, 0.0)) / count:.1f} ms a {what}")


def _called(word: bytes) -> list[int]:
    """The processes of this machine, which is the node, that were started by a command of this name."""
    found: list[int] = []
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = cmdline.read_bytes().partition(b"\0")[0]
        except OSError:
            continue
        if command.rpartition(b"/")[2].startswith(word):
            found.append(int(cmdline.parent.name))
    return found


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    # With those of its children that have ended: Postgres's connections come and go.
    return sum(int(fields[index]) for index in (11, 12, 13, 14)) / _TICKS
