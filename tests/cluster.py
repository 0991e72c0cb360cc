"""The real cluster, as tests use it: apply as a user would, read, wait, and print what was seen when a wait fails."""

import base64
import json
import os
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx2
import yaml

ROOT = Path(__file__).resolve().parent.parent
SYSTEM_NAMESPACE = "parley-system"
GROUP = "/apis/parley.dev/v1alpha1"
PATHS = {
    "agent": GROUP,
    "session": GROUP,
    "task": GROUP,
    "tasktemplate": GROUP,
    "schedule": GROUP,
    "reply": GROUP,
    "job": "/apis/batch/v1",
    "pod": "/api/v1",
    "secret": "/api/v1",
    "configmap": "/api/v1",
    "event": "/api/v1",
    "deployment": "/apis/apps/v1",
    "lease": "/apis/coordination.k8s.io/v1",
}
PLURALS = {"reply": "replies"}
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 0.3
LONG = 240.0
"""Seconds that anything which should take a few may take on a busy machine."""


def collection(kind: str, namespace: str) -> str:
    """Return the path of a namespace's objects of a kind."""
    return f"{PATHS[kind]}/namespaces/{namespace}/{PLURALS.get(kind, kind + 's')}"


class Refused(AssertionError):
    """kubectl refused; the message is what a user would read."""


class Cluster:
    """kubectl for what users do, the API directly for quick reads."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        config = yaml.safe_load(kubeconfig.read_text())
        context = next(c for c in config["contexts"] if c["name"] == config["current-context"])["context"]
        cluster = next(c for c in config["clusters"] if c["name"] == context["cluster"])["cluster"]
        user = next(u for u in config["users"] if u["name"] == context["user"])["user"]
        verify = ssl.create_default_context(
            cadata=base64.b64decode(cluster["certificate-authority-data"]).decode()
        )
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as pem:
            pem.write(base64.b64decode(user["client-certificate-data"]).decode())
            pem.write(base64.b64decode(user["client-key-data"]).decode())
            pem.flush()
            verify.load_cert_chain(pem.name)
        self._http = httpx2.Client(base_url=cluster["server"], verify=verify, timeout=60.0)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def kubectl(
        self, *arguments: str, stdin: str | None = None, check: bool = True, timeout: float = 360
    ) -> str:
        """Run kubectl; raises Refused with what it said."""
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig)}
        environment["PATH"] = f"{ROOT / 'cluster' / 'bin'}:{environment['PATH']}"
        done = subprocess.run(
            ["kubectl", *arguments],
            input=stdin,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
        if check and done.returncode != 0:
            raise Refused(done.stderr.strip() or done.stdout.strip())
        return done.stdout + ("" if check else done.stderr)

    def apply(self, namespace: str, *manifests: Mapping[str, Any] | str) -> None:
        """``kubectl apply`` manifests given as objects or YAML."""
        texts = [m if isinstance(m, str) else json.dumps(m) for m in manifests]
        self.kubectl("apply", "-n", namespace, "-f", "-", stdin="\n---\n".join(texts))

    def request(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """Ask the API server directly."""
        return self._http.request(method, path, **options)

    def watch(self, kind: str, namespace: str, version: str, seconds: int) -> Iterator[dict[str, Any]]:
        """Yield what the API server tells of a kind's objects since a resourceVersion, for some seconds."""
        params = {"watch": "1", "resourceVersion": version, "timeoutSeconds": str(seconds)}
        path = collection(kind, namespace)
        with self._http.stream("GET", path, params=params, timeout=seconds + 20.0) as answer:
            answer.raise_for_status()
            for line in answer.iter_lines():
                yield json.loads(line)

    def stream(self, method: str, path: str, **options: Any) -> AbstractContextManager[httpx2.Response]:
        """Ask the API server for a watch."""
        return self._http.stream(method, path, **options)

    def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        """Read one object; None if there is none."""
        answer = self.request("GET", f"{collection(kind, namespace)}/{name}")
        if answer.status_code == 404:
            return None
        answer.raise_for_status()
        return answer.json()

    def list(self, kind: str, namespace: str, labels: str = "") -> list[dict[str, Any]]:
        """Read the objects of a kind."""
        params = {"labelSelector": labels} if labels else None
        answer = self.request("GET", collection(kind, namespace), params=params)
        answer.raise_for_status()
        return answer.json()["items"]

    def delete(self, kind: str, namespace: str, name: str, grace: int | None = None) -> None:
        """Delete an object; it may be gone."""
        body: dict[str, Any] = {"propagationPolicy": "Background"}
        if grace is not None:
            body["gracePeriodSeconds"] = grace
        self.request("DELETE", f"{collection(kind, namespace)}/{name}", json=body)

    def wait(
        self,
        what: str,
        namespace: str,
        probe: Callable[[], Any],
        *,
        timeout: float = LONG,
        every: float = 0.0,
    ) -> Any:
        """Wait until ``probe`` returns something true; when it does not, fail with all that the namespace shows.

        Args:
            every: seconds between looks; 0: short ones at first, longer ones later, as every look costs the machine.
        """
        end = time.monotonic() + timeout
        last: Any = None
        pause = every or FIRST_PAUSE
        while time.monotonic() < end:
            try:
                last = probe()
            except httpx2.HTTPError:
                # The API server may be away for a moment, in some tests on purpose.
                last = None
            if last:
                return last
            time.sleep(pause)
            pause = every or min(pause * 1.2, LONGEST_PAUSE)
        raise AssertionError(f"waited {timeout:.0f} s in vain for: {what}\n{self.describe(namespace)}")

    def wait_task(self, namespace: str, name: str, *phases: str, timeout: float = LONG) -> dict[str, Any]:
        """Wait until a task is in one of the phases; by default until it has ended."""
        wanted = phases or ("Succeeded", "Failed", "Cancelled")

        def probe() -> dict[str, Any] | None:
            task = self.get("task", namespace, name)
            return task if task and task["status"].get("phase") in wanted else None

        return self.wait(f"Task {name} is {' or '.join(wanted)}", namespace, probe, timeout=timeout)

    def describe(self, namespace: str) -> str:
        """Return what a person would look at: objects, events, logs of the step pods and of Parley's own."""
        looks = (
            ("get", "agents,sessions,tasks,replies,schedules,jobs,pods", "-n", namespace, "-o", "wide"),
            (
                "get",
                "tasks,sessions,replies,schedules",
                "-n",
                namespace,
                "-o",
                "yaml",
                "--show-managed-fields=false",
            ),
            ("get", "events", "-n", namespace, "--sort-by=.lastTimestamp"),
            ("logs", "-n", namespace, "-l", "app.kubernetes.io/name=parley", "--tail=30", "--prefix"),
            ("get", "pods", "-n", SYSTEM_NAMESPACE, "-o", "wide"),
            ("logs", "-n", SYSTEM_NAMESPACE, "-l", "app.kubernetes.io/name=parley", "--tail=60", "--prefix"),
        )
        parts = [f"$ kubectl {' '.join(look)}\n{self.kubectl(*look, check=False)}" for look in looks]
        return "\n".join(parts)[-40_000:]


def condition(obj: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return one of an object's conditions; empty if it has none of that type."""
    conditions = obj.get("status", {}).get("conditions", [])
    return next((c for c in conditions if c["type"] == kind), {})


def step_of(task: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the status of one of a task's steps."""
    return next(s for s in task["status"]["steps"] if s["name"] == name)


def desire(cluster: Cluster, namespace: str, name: str, state: str) -> None:
    """Patch a task's desired state."""
    path = f"{collection('task', namespace)}/{name}"
    headers = {"Content-Type": "application/merge-patch+json"}
    changed = cluster.request("PATCH", path, headers=headers, json={"spec": {"desiredState": state}})
    assert changed.status_code == 200, changed.text


def wait_step(cluster: Cluster, namespace: str, name: str, step: str, reason: str) -> dict[str, Any]:
    """Wait until a step says why it is where it is; returns the task."""

    return _wait_step(cluster, namespace, name, step, "reason", reason)


def wait_step_phase(cluster: Cluster, namespace: str, name: str, step: str, phase: str) -> dict[str, Any]:
    """Wait until a step is in a phase; returns the task."""
    return _wait_step(cluster, namespace, name, step, "phase", phase)


def _wait_step(
    cluster: Cluster, namespace: str, name: str, step: str, field: str, wanted: str
) -> dict[str, Any]:
    def probe() -> dict[str, Any] | None:
        task = cluster.get("task", namespace, name)
        steps = task["status"].get("steps", []) if task else []
        return task if any(s["name"] == step and s.get(field) == wanted for s in steps) else None

    return cluster.wait(f"step {step} of Task {name} says {wanted}", namespace, probe)


def wait_condition(
    cluster: Cluster, kind: str, namespace: str, name: str, of: str, **fields: str
) -> dict[str, Any]:
    """Wait until a condition of an object has a status or a reason; returns the object."""

    def probe() -> dict[str, Any] | None:
        found = cluster.get(kind, namespace, name)
        said = condition(found, of) if found else {}
        return found if said and fields.items() <= said.items() else None

    return cluster.wait(f"{kind} {name} says {of} {fields}", namespace, probe)
