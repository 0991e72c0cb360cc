"""What ten thousand finished tasks cost the operator that do nothing but lie there, and how soon it works after a restart.

One task is run; the others are made like it by their status, with a Job, a pod and rows in the store each. Meanwhile
the operator is away, for it would run them.
"""

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from psycopg import sql

from tests.bench.bench import Bench, say
from tests.bench.manifests import bench_task, container_steps
from tests.bench.measure import all_at_once, create, operator_cost, task_succeeded, until
from tests.bench.simulated import MARK, NODES, simulated_nodes
from tests.cluster import SYSTEM_NAMESPACE, Cluster, collection

FINISHED = 10_000
REST = 60.0
"""Seconds of doing nothing before the memory is read."""
_OPERATOR = "app.kubernetes.io/component=operator"
_MERGE = {"Content-Type": "application/merge-patch+json"}
_RSS = (
    "import glob; print(sum(int(line.split()[1]) for name in glob.glob('/proc/[0-9]*/status')"
    " for line in open(name) if line.startswith('VmRSS')))"
)
# Tables with rows of a task, and the columns in which a copied row differs beside the task's uid.
_TABLES = {"tasks": ("name",), "attempts": ("job", "pod_uid"), "outputs": (), "steps": ()}


class Sample:
    """A task that ran, and how to make others that look as if they had."""

    def __init__(self, bench: Bench, namespace: str) -> None:
        self._bench = bench
        self._namespace = namespace
        cluster = bench.cluster
        name = bench.run_task(namespace, container_steps(1))
        task = cluster.get("task", namespace, name)
        assert task
        self._task = task
        labels = f"parley.dev/task={name}"

        def finished(kind: str) -> dict[str, Any] | None:
            found = cluster.list(kind, namespace, labels)
            return found[0] if found and found[0]["status"].get("succeeded", 1) == 1 else None

        # The Job says so a second after the task.
        self._job = cluster.wait("the Job is Complete", namespace, partial(_complete, finished))
        self._pod = cluster.list("pod", namespace, labels)[0]

    def copy(self, number: int) -> tuple[str, str, str]:
        """Make one more; returns the task's uid and name, and the Job's name."""
        cluster, namespace, name = self._bench.cluster, self._namespace, f"finished-{number:05}"
        made = self._send("task", {"metadata": {"name": name}, "spec": self._task["spec"]})
        cluster.request(
            "PATCH",
            f"{collection('task', namespace)}/{name}/status",
            json={"status": self._task["status"]},
            headers=_MERGE,
        ).raise_for_status()
        uid = made["metadata"]["uid"]
        labels = {
            key: value
            for key, value in self._job["metadata"]["labels"].items()
            if "batch.kubernetes.io" not in key and key not in {"controller-uid", "job-name"}
        } | {"parley.dev/task": name, "parley.dev/task-uid": uid}
        job_name = f"{name}-s0-{number:010x}"
        spec = copy.deepcopy(self._job["spec"])
        # The Job controller leaves it alone.
        spec["managedBy"] = f"{MARK}-past"
        del spec["selector"], spec["template"]["metadata"]["labels"]
        job = self._send("job", _owned(job_name, labels, spec, "parley.dev/v1alpha1", "Task", made))
        cluster.request(
            "PATCH",
            f"{collection('job', namespace)}/{job_name}/status",
            json={"status": self._job["status"]},
            headers=_MERGE,
        ).raise_for_status()
        self._send("pod", _owned(f"{job_name}-0", labels, self._pod_spec(number), "batch/v1", "Job", job))
        return uid, name, job_name

    def _pod_spec(self, number: int) -> dict[str, Any]:
        spec = copy.deepcopy(self._pod["spec"])
        # The rest of what the API server filled in is the same for all.
        return {**spec, "nodeName": f"simulated-{number % NODES}"}

    def _send(self, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        head = {key: self._kinds[kind][key] for key in ("apiVersion", "kind")}
        path = collection(kind, self._namespace)
        answer = self._bench.cluster.request("POST", path, json={**head, **body})
        assert answer.status_code == 201, answer.text
        return answer.json()

    @property
    def _kinds(self) -> dict[str, dict[str, Any]]:
        return {
            "task": self._task,
            "job": {"apiVersion": "batch/v1", "kind": "Job"},
            "pod": {"apiVersion": "v1", "kind": "Pod"},
        }

    def copy_rows(self, made: list[tuple[str, str, str]]) -> None:
        """Give each of the others the rows of the first."""
        values = {
            "uid": [uid for uid, _, _ in made],
            "name": [name for _, name, _ in made],
            "job": [job for _, _, job in made],
            # Unlike any pod's: what matters is how many rows there are.
            "pod_uid": [f"{uid}-pod" for uid, _, _ in made],
        }
        for table, columns in _TABLES.items():
            changed = {"uid" if table == "tasks" else "task_uid": "uid"} | dict(
                zip(columns, columns, strict=True)
            )
            pairs: list[sql.Composable] = [
                sql.SQL("{}, n.{}").format(sql.Literal(column), sql.Identifier(value))
                for column, value in changed.items()
            ]
            if table == "attempts":
                pairs.append(sql.SQL("'id', nextval(pg_get_serial_sequence('attempts', 'id'))"))
            statement = sql.SQL(
                "INSERT INTO {table} OVERRIDING SYSTEM VALUE"
                " SELECT (json_populate_record(t, json_build_object({pairs}))).* FROM {table} t,"
                " unnest({uid}::text[], {name}::text[], {job}::text[], {pod_uid}::text[]) n(uid, name, job, pod_uid)"
                " WHERE t.{key} = {sample}"
            ).format(
                table=sql.Identifier(table),
                pairs=sql.SQL(", ").join(pairs),
                key=sql.Identifier("uid" if table == "tasks" else "task_uid"),
                sample=sql.Literal(self._task["metadata"]["uid"]),
                **{key: sql.Literal(column) for key, column in values.items()},
            )
            self._bench.store.execute(statement)


def _complete(finished: Any) -> Any:
    job = finished("job")
    return job if job and "completionTime" in job["status"] else None


def _owned(
    name: str, labels: dict[str, str], spec: dict[str, Any], version: str, kind: str, owner: dict[str, Any]
) -> dict[str, Any]:
    reference = {
        "apiVersion": version,
        "kind": kind,
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {"metadata": {"name": name, "labels": labels, "ownerReferences": [reference]}, "spec": spec}


@contextmanager
def operator_away(cluster: Cluster) -> Iterator[None]:
    """No operator, as long as the ``with`` lasts."""
    path = f"{collection('deployment', SYSTEM_NAMESPACE)}/parley-operator"
    replicas = cluster.request("GET", path).raise_for_status().json()["spec"]["replicas"]

    def scale(count: int) -> None:
        body = {"spec": {"replicas": count}}
        cluster.request("PATCH", f"{path}/scale", json=body, headers=_MERGE).raise_for_status()

    scale(0)
    try:
        cluster.wait(
            "the operator's pods end",
            SYSTEM_NAMESPACE,
            lambda: not cluster.list("pod", SYSTEM_NAMESPACE, _OPERATOR),
        )
        yield
    finally:
        scale(replicas)


def memory(bench: Bench) -> str:
    """What the leader has resident: its own process, and all processes of its pod."""
    cost = operator_cost(bench.cluster)
    kilobytes = bench.cluster.kubectl("exec", "-n", SYSTEM_NAMESPACE, cost.pod, "--", "python3", "-c", _RSS)
    return f"{cost.memory_bytes / 2**20:.0f} MiB, with its evaluator {int(kilobytes) / 1024:.0f} MiB"


def first_work(bench: Bench, namespace: str, name: str) -> tuple[float, float]:
    """Seconds until a task that is created now is acted upon, and until it has Succeeded."""
    start = time.monotonic()
    version = create(bench.cluster, "task", namespace, bench_task(name, container_steps(1)))
    until(
        bench.cluster, "task", namespace, name, version, lambda task: task["status"]["observedGeneration"] > 0
    )
    seen = time.monotonic() - start
    until(bench.cluster, "task", namespace, name, version, task_succeeded)
    return seen, time.monotonic() - start


def run(bench: Bench) -> None:
    """Print memory at rest and the time of a restart."""
    count = bench.sized(FINISHED, 20)
    cluster = bench.cluster
    before = memory(bench)
    with simulated_nodes(cluster), bench.namespace() as elsewhere, bench.namespace() as namespace:
        sample = Sample(bench, namespace)
        with operator_away(cluster):
            start = time.monotonic()
            made: list[tuple[str, str, str]] = []
            all_at_once([lambda n=n: made.append(sample.copy(n)) for n in range(count)])
            sample.copy_rows(made)
            cluster.wait(
                "the pods of the past have ended",
                elsewhere,
                lambda: (
                    not cluster.request(
                        "GET",
                        collection("pod", namespace),
                        params={"limit": "1", "fieldSelector": "status.phase!=Succeeded"},
                    ).json()["items"]
                ),
                timeout=900,
                every=1.0,
            )
            say(f"  {count} finished tasks made in {time.monotonic() - start:.0f} s")
        seen, ended = first_work(bench, elsewhere, "after-the-start")
        say(
            f"  after the operator was away: a new task acted upon after {seen:.1f} s, Succeeded after {ended:.1f} s"
        )
        time.sleep(REST)
        say(f"operator at rest: {memory(bench)} resident with {count} finished tasks ({before} without)")
        cluster.kubectl("delete", "pod", "-n", SYSTEM_NAMESPACE, "-l", _OPERATOR, "--wait=false")
        seen, ended = first_work(bench, elsewhere, "after-the-restart")
        say(
            f"restart of all operator pods with {count} finished tasks: a new task acted upon after {seen:.1f} s,"
            f" Succeeded after {ended:.1f} s"
        )
