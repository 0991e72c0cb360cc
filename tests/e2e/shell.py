"""``parley`` as people type it, and who they are."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import yaml

from tests.cluster import ROOT, SYSTEM_NAMESPACE, Cluster, wait_condition

BIN = Path(sys.executable).parent


class Said(NamedTuple):
    code: int
    out: str
    err: str


class Shell:
    """Runs ``parley`` in a namespace, as the cluster's admin unless another kubeconfig is given."""

    def __init__(
        self, cluster: Cluster, namespace: str, *, kubeconfig: Path | None = None, **environment: str
    ) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.environment = {
            **os.environ,
            "KUBECONFIG": str(kubeconfig or cluster.kubeconfig),
            "PATH": f"{BIN}:{ROOT / 'cluster' / 'bin'}:{os.environ['PATH']}",
            **environment,
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Run a command without waiting for it."""
        return subprocess.Popen(
            [str(BIN / "parley"), "-n", self.namespace, *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *arguments: str, timeout: float = 300) -> Said:
        """Run a command; no traceback is ever seen."""
        with self.start(*arguments) as process:
            try:
                out, err = process.communicate(timeout=timeout)
            finally:
                process.kill()
        assert "Traceback" not in err, err
        return Said(process.returncode, out, err)

    def succeed(self, *arguments: str) -> str:
        """Run a command that is to succeed; returns its output."""
        said = self(*arguments)
        assert said.code == 0, f"{arguments}: {said}\n{self.cluster.describe(self.namespace)}"
        return said.out


def account(cluster: Cluster, namespace: str, name: str, *roles: str) -> str:
    """Make a ServiceAccount with the cluster's roles in the namespace; returns a token of it."""
    cluster.kubectl("create", "serviceaccount", name, "-n", namespace)
    for role in roles:
        cluster.kubectl(
            "create", "rolebinding", f"{name}-{role}", "-n", namespace,
            f"--clusterrole={role}", f"--serviceaccount={namespace}:{name}",
        )  # fmt: skip
    return cluster.kubectl("create", "token", name, "-n", namespace).strip()


def kubeconfig_of(cluster: Cluster, folder: Path, token: str) -> Path:
    """A kubeconfig that logs in with a token."""
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    config["users"] = [{"name": "admin", "user": {"token": token}}]
    file = folder / "kubeconfig-of-token"
    file.write_text(yaml.safe_dump(config))
    return file


def waits(cluster: Cluster, namespace: str, name: str) -> None:
    wait_condition(cluster, "task", namespace, name, "WaitingForInput", status="True")


@contextmanager
def port_forward(shell: Shell) -> Iterator[str]:
    """A port-forward to the gateway, as a person would start one."""
    command = ["kubectl", "-n", SYSTEM_NAMESPACE, "port-forward", "service/parley-gateway", ":8080"]
    with subprocess.Popen(command, env=shell.environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            yield f"http://127.0.0.1:{line.split('127.0.0.1:')[1].split()[0]}"
        finally:
            process.terminate()
