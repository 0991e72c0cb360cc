"""Fixtures for tests on the real cluster, brought up by ``make up``."""

import fcntl
import json
import re
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql

from tests.cluster import ROOT, SYSTEM_NAMESPACE, Cluster, collection

ONE_RUNNER = {"mode": "Warm"}
"""An Agent's runtime where a test is not about pods: one runner for all that is asked, however much that is."""
MODEL_URL = f"http://model.{SYSTEM_NAMESPACE}.svc/v1"


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The cluster; it must be up."""
    done = subprocess.run(["make", "-s", "kubeconfig"], cwd=ROOT, capture_output=True, text=True, check=True)
    kubeconfig = Path(done.stdout.strip())
    assert kubeconfig.is_file(), "no cluster: run `make up`"
    cluster = Cluster(kubeconfig)
    serve(cluster, "model", "scripted-model")
    yield cluster
    cluster.close()


@contextmanager
def _one_at_a_time(what: str) -> Iterator[None]:
    """Keep the other workers of a run out: two who create the same objects at once, and one of them fails."""
    with (Path(tempfile.gettempdir()) / f"parley-tests-{what}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def serve(cluster: Cluster, folder: str, *deployments: str) -> None:
    """Have an example's servers run in the system's namespace, where all tests share them."""
    with _one_at_a_time(folder):
        cluster.kubectl("apply", "-n", SYSTEM_NAMESPACE, "-k", str(ROOT / "examples" / folder))
    for name in deployments:
        cluster.kubectl("rollout", "status", "-n", SYSTEM_NAMESPACE, f"deployment/{name}", "--timeout=300s")


@pytest.fixture(scope="session")
def tools(cluster: Cluster) -> None:
    """The shop and the ticket desk run."""
    serve(cluster, "tools", "shop", "tickets")


@contextmanager
def new_namespace(cluster: Cluster, test: str) -> Iterator[str]:
    """A namespace with Pod Security restricted, holding the agent ``support``."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    labels = {
        "pod-security.kubernetes.io/enforce": "restricted",
        "parley-test": re.sub(r"[^A-Za-z0-9]+", "-", test)[:60].strip("-"),
    }
    # Not by kubectl: every test does this, and each kubectl takes a while to start.
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    cluster.request("POST", "/api/v1/namespaces", json=body).raise_for_status()
    cluster.request("POST", collection("agent", name), json=agent()).raise_for_status()
    account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
    cluster.wait("pods can be made", name, lambda: cluster.request("GET", account).is_success)
    yield name
    gone = cluster.request("DELETE", f"/api/v1/namespaces/{name}")
    assert gone.status_code in {200, 202, 404}, gone.text


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own, as ``new_namespace`` makes it."""
    with new_namespace(cluster, request.node.name) as name:
        yield name


class Store:
    """The cluster's Postgres, to see what is stored; a connection a question, as some tests restart it."""

    def __init__(self, url: str) -> None:
        self._url = url

    def rows(self, query: LiteralString, *parameters: object) -> list[tuple[Any, ...]]:
        """Ask a question."""
        with psycopg.connect(self._url, autocommit=True, connect_timeout=10) as connection:
            return connection.execute(query, parameters).fetchall()

    def execute(self, statement: sql.Composed) -> None:
        """Change something, as the superuser."""
        with psycopg.connect(self._url, autocommit=True, connect_timeout=10) as connection:
            connection.execute(statement)

    def rewrite(self, statement: LiteralString, *parameters: object) -> None:
        """Change what stands, past every trigger: to make something older than a test can wait."""
        with psycopg.connect(self._url, connect_timeout=10) as connection:
            connection.execute("SET LOCAL session_replication_role = replica")
            connection.execute(statement, parameters)


@pytest.fixture(scope="session")
def store() -> Store:
    """See Store."""
    done = subprocess.run(
        [ROOT / "cluster" / "cluster", "database-url"], capture_output=True, text=True, check=True
    )
    return Store(done.stdout.strip())


def agent(name: str = "support", **spec: object) -> dict[str, object]:
    """An Agent that answers through the scripted model."""
    model = {"provider": "OpenAI", "name": "scripted", "baseURL": MODEL_URL}
    return {
        "apiVersion": "parley.dev/v1alpha1",
        "kind": "Agent",
        "metadata": {"name": name},
        "spec": {"instructions": "Be brief.", "model": model, **spec},
    }


def session(name: str, **spec: object) -> dict[str, object]:
    """A Session with the agent ``support``, unless others are named."""
    body = spec if "agents" in spec else {"agentRef": {"name": "support"}, **spec}
    kind = {"apiVersion": "parley.dev/v1alpha1", "kind": "Session"}
    return {**kind, "metadata": {"name": name}, "spec": body}


def task(name: str, **spec: object) -> dict[str, object]:
    """A Task."""
    return {"apiVersion": "parley.dev/v1alpha1", "kind": "Task", "metadata": {"name": name}, "spec": spec}


def container(script: str, **fields: object) -> dict[str, object]:
    """A container step's body that runs a shell script on the image every node of the cluster has."""
    return {"image": "parley:dev", "command": ["sh", "-c", script], **fields}


LONG_SCRIPT = "trap 'exit 143' TERM; sleep 300 & wait"
"""Runs until it is stopped, and then ends at once: a shell that waits in the foreground would not hear of it."""


def gives(value: object, *, after: float = 0, **fields: object) -> dict[str, object]:
    """A container step's body whose output is a value, after some seconds."""
    text = json.dumps(value)
    script = f"sleep {after}; cat > /dev/termination-log <<'END'\n{text}\nEND"
    return container(script, **fields)


def template(name: str, task: dict[str, object], **spec: object) -> dict[str, object]:
    """A TaskTemplate of a task's spec."""
    kind = {"apiVersion": "parley.dev/v1alpha1", "kind": "TaskTemplate"}
    return {**kind, "metadata": {"name": name}, "spec": {"task": task, **spec}}


def reply(name: str, task: str, wait_id: str, **spec: object) -> dict[str, object]:
    """A Reply to what a task asks."""
    kind = {"apiVersion": "parley.dev/v1alpha1", "kind": "Reply"}
    return {
        **kind,
        "metadata": {"name": name},
        "spec": {"taskRef": {"name": task}, "waitID": wait_id, **spec},
    }


def say(name: str, session: str, message: str, **spec: object) -> dict[str, object]:
    """A Task of one message of a session."""
    return task(name, sessionRef={"name": session}, message=message, **spec)


def schedule(name: str, task: dict[str, object], **spec: object) -> dict[str, object]:
    """A Schedule, of a time that does not come during a test unless another is given."""
    kind = {"apiVersion": "parley.dev/v1alpha1", "kind": "Schedule"}
    body = {"schedule": "0 0 29 2 *", "taskTemplate": {"spec": task}, **spec}
    return {**kind, "metadata": {"name": name}, "spec": body}
