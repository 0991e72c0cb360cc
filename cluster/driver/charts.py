"""Installs Parley's charts, and only what changed since the last time."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cluster.driver.commands import run
from cluster.driver.console import ClusterError, say, step
from cluster.driver.layout import REPOSITORY, SYSTEM_NAMESPACE

DATABASE_SECRET = "parley-database"
_ROLLOUT_PATIENCE = 300


@dataclass(frozen=True, slots=True)
class Installer:
    """helm and kubectl for one cluster; `records` holds the hash of what was installed last."""

    kubectl: Path
    helm: Path
    kubeconfig: Path
    records: Path

    def install(self, image: str, database_url: str) -> None:
        """Install or upgrade both charts and wait until every Deployment serves."""
        if not (REPOSITORY / "charts" / "parley" / "Chart.yaml").exists():
            say("There is no charts/parley; nothing to install")
            return
        repository, _, tag = image.partition(":")
        values = {
            "image.repository": repository,
            "image.tag": tag,
            "database.urlSecretRef.name": DATABASE_SECRET,
        }
        installed = self._run(
            self.kubectl,
            "get",
            "secrets",
            "-n",
            SYSTEM_NAMESPACE,
            "-l",
            "owner=helm,status=deployed",
            "-o",
            "name",
        )
        self._once("secret", database_url, lambda: self._apply_secret(database_url))
        self._ensure_release("parley-crds", {}, installed)
        self._ensure_release("parley", values, installed)
        self._await_deployments()

    def _ensure_release(self, name: str, settings: dict[str, str], installed: str) -> None:
        chart = REPOSITORY / "charts" / name
        if f"sh.helm.release.v1.{name}." not in installed:
            (self.records / f"chart-{name}").unlink(missing_ok=True)
        wanted = hash_chart(chart) + json.dumps(settings, sort_keys=True)
        self._once(f"chart-{name}", wanted, lambda: self._upgrade(name, chart, settings))

    def _once(self, name: str, wanted: str, action: Callable[[], None]) -> None:
        """Act unless the record says that the same was done already."""
        record = self.records / name
        digest = hashlib.sha256(wanted.encode()).hexdigest()
        if record.exists() and record.read_text() == digest:
            return
        action()
        record.write_text(digest)

    def _apply_secret(self, database_url: str) -> None:
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": DATABASE_SECRET, "namespace": SYSTEM_NAMESPACE},
            "stringData": {"url": database_url},
        }
        self._run(
            self.kubectl, "apply", "--server-side", "--force-conflicts", "-f", "-", text=json.dumps(secret)
        )

    def _upgrade(self, name: str, chart: Path, settings: dict[str, str]) -> None:
        with step(f"Installing chart {name}"):
            words = ["upgrade", "--install", name, str(chart), "-n", SYSTEM_NAMESPACE, "--wait"]
            # Whoever applied crds/ by hand before gets there too.
            words += ["--take-ownership", "--force-conflicts", "--timeout", f"{_ROLLOUT_PATIENCE}s"]
            for key, value in settings.items():
                words += ["--set-string", f"{key}={value}"]
            try:
                self._run(self.helm, *words)
            except ClusterError as error:
                raise ClusterError(f"{error}\n{self._why()}") from error

    def _await_deployments(self) -> None:
        words = [
            "rollout",
            "status",
            "deployment",
            "-n",
            SYSTEM_NAMESPACE,
            "-l",
            "app.kubernetes.io/name=parley",
        ]
        try:
            self._run(self.kubectl, *words, f"--timeout={_ROLLOUT_PATIENCE}s")
        except ClusterError as error:
            raise ClusterError(f"{error}\n{self._why()}") from error

    def _why(self) -> str:
        """Collect what a person would look at first."""
        ours = ("-n", SYSTEM_NAMESPACE)
        pods = self._run(self.kubectl, "get", "pods", *ours, "-o", "wide")
        events = self._run(self.kubectl, "events", *ours, "--types=Warning").splitlines()[-10:]
        logs = self._run(
            self.kubectl, "logs", *ours, "-l", "app.kubernetes.io/name=parley", "--prefix", "--tail=15"
        )
        return f"{pods}\n{chr(10).join(events)}\n\n{logs}"

    def _run(self, program: Path, *words: str, text: str | None = None) -> str:
        return run(
            [program, "--kubeconfig", self.kubeconfig, *words], text=text, timeout=_ROLLOUT_PATIENCE + 60
        )


def hash_chart(chart: Path) -> str:
    """Hash all files of a chart, also those of a directory that is linked into it."""
    paths = [
        Path(directory, name) for directory, _, names in os.walk(chart, followlinks=True) for name in names
    ]
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(f"\n{path.relative_to(chart)}\n".encode() + path.read_bytes())
    return digest.hexdigest()
