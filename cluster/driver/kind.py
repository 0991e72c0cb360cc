"""The same cluster by kind, where Docker runs."""

import json
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cluster.driver import image
from cluster.driver.commands import run, succeeds
from cluster.driver.console import ClusterError, step
from cluster.driver.layout import DATABASE, REPOSITORY, SYSTEM_NAMESPACE, Layout

_NAME = "parley"
_POSTGRES_IMAGE = "postgres:18-alpine"


def is_available() -> bool:
    """Tell whether Docker answers and kind is installed."""
    return shutil.which("kind") is not None and succeeds(["docker", "info"], timeout=20)


@dataclass(frozen=True, slots=True)
class KindCluster:
    """A kind cluster named `parley`, with Postgres in a pod."""

    layout: Layout

    @property
    def directory(self) -> Path:
        return self.layout.cache / "kind"

    @property
    def kubeconfig(self) -> Path:
        return self.directory / "kubeconfig"

    @property
    def records(self) -> Path:
        return self.directory / "records"

    def up(self) -> None:
        """Make the cluster, its system namespace and Postgres."""
        for program in ("kind", "docker", "kubectl", "helm"):
            if shutil.which(program) is None:
                raise ClusterError(f"CLUSTER=kind needs {program} on PATH")
        self.records.mkdir(parents=True, exist_ok=True)
        if _NAME not in run(["kind", "get", "clusters"]).split():
            shutil.rmtree(self.records)
            self.records.mkdir()
            with step("Making a kind cluster"):
                run(
                    [
                        "kind",
                        "create",
                        "cluster",
                        "--name",
                        _NAME,
                        "--kubeconfig",
                        self.kubeconfig,
                        "--wait",
                        "180s",
                    ]
                )
        elif not self.kubeconfig.exists():
            run(["kind", "export", "kubeconfig", "--name", _NAME, "--kubeconfig", self.kubeconfig])
        self._kubectl(
            "apply", "--server-side", "--force-conflicts", "-f", "-", text=_objects(self._password())
        )
        self._kubectl("rollout", "status", "-n", SYSTEM_NAMESPACE, "statefulset/postgres", "--timeout=300s")

    def down(self) -> None:
        """Delete the cluster with everything in it."""
        run(["kind", "delete", "cluster", "--name", _NAME])
        shutil.rmtree(self.directory, ignore_errors=True)

    def ensure_image(self) -> str:
        """Build the image and load it, as its own name and as `parley:dev`."""
        wanted = image.reference()
        record = self.records / "image"
        if not record.exists() or record.read_text() != wanted:
            subprocess.run(
                ["docker", "build", "--tag", wanted, "--tag", "parley:dev", str(REPOSITORY)], check=True
            )
            run(["kind", "load", "docker-image", wanted, "parley:dev", "--name", _NAME])
            record.write_text(wanted)
        return wanted

    def database_url(self) -> str:
        """Return the URL that Parley uses in its pods."""
        return f"postgresql://{DATABASE}:{self._password()}@postgres.{SYSTEM_NAMESPACE}.svc:5432/{DATABASE}"

    def _password(self) -> str:
        file = self.directory / "postgres-password"
        if not file.exists():
            file.touch(0o600)
            file.write_text(secrets.token_urlsafe(24))
        return file.read_text()

    def _kubectl(self, *words: str, text: str | None = None) -> str:
        return run(["kubectl", "--kubeconfig", self.kubeconfig, *words], text=text)


def _objects(password: str) -> str:
    labels = {"app": "postgres"}
    metadata = {"name": "postgres", "namespace": SYSTEM_NAMESPACE}
    container = {
        "name": "postgres",
        "image": _POSTGRES_IMAGE,
        "env": [
            {"name": "POSTGRES_USER", "value": DATABASE},
            {"name": "POSTGRES_DB", "value": DATABASE},
            {"name": "PGDATA", "value": "/data/postgres"},
            {
                "name": "POSTGRES_PASSWORD",
                "valueFrom": {"secretKeyRef": {"name": "postgres", "key": "password"}},
            },
        ],
        "ports": [{"containerPort": 5432}],
        "readinessProbe": {
            "exec": {"command": ["pg_isready", "-h", "127.0.0.1", "-U", DATABASE]},
            "periodSeconds": 2,
        },
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}},
    }
    items = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM_NAMESPACE}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"password": password}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": labels, "ports": [{"port": 5432}]},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": metadata,
            "spec": {
                "serviceName": "postgres",
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
                "volumeClaimTemplates": [claim],
            },
        },
    ]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
