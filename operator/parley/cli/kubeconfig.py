"""The user's kubeconfig, or the pod's service account where the command line runs in one."""

import logging
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from kubernetes import config as kubernetes_config
from kubernetes.client import Configuration

from parley.cli.failures import CliError
from parley.cli.reading import text


class Complaints(logging.Handler):
    """Keeps what the package logs while it reads a kubeconfig: it does not raise it."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """See ``logging.Handler``."""
        self.said.append(record.getMessage())


@contextmanager
def listening_to_complaints() -> Generator[Complaints]:
    """Hear what the package logs while the block runs."""
    root, complaints = logging.getLogger(), Complaints()
    root.addHandler(complaints)
    try:
        yield complaints
    finally:
        root.removeHandler(complaints)


def context_names(path: str | None) -> list[str]:
    """The names of a kubeconfig's contexts.

    Raises:
        Exception: whatever the package trips over in a malformed file.
    """
    contexts, _ = cast("Any", kubernetes_config).list_kube_config_contexts(config_file=path)
    return [str(one["name"]) for one in contexts]


def read_kubeconfig(path: str | None, context: str | None) -> tuple[Configuration, str, Mapping[str, str]]:
    """Return the configuration, the context's namespace, and what tells kubectl the same.

    Raises:
        CliError: the kubeconfig's login failed.
        Exception: whatever the package trips over in a malformed file.
    """
    configuration = Configuration()
    load = cast("Any", kubernetes_config)  # its functions are untyped
    in_cluster = path is None and context is None and "KUBECONFIG" not in os.environ
    if (
        in_cluster
        and "KUBERNETES_SERVICE_HOST" in os.environ
        and not Path("~/.kube/config").expanduser().exists()
    ):
        load.load_incluster_config(client_configuration=configuration)
        namespace = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace").read_text(
            encoding="utf-8"
        )
        return configuration, namespace.strip(), {}
    with listening_to_complaints() as complaints:
        load.load_kube_config(
            config_file=path, context=context, client_configuration=configuration, persist_config=False
        )
        contexts, current = load.list_kube_config_contexts(config_file=path)
    if complaints.said:
        raise CliError(
            f"the kubeconfig's login failed: {complaints.said[-1]}",
            "log in as your cluster wants it, then try `kubectl get ns`",
        )
    named = context or current["name"]
    namespaces = [text(one, "context", "namespace") for one in contexts if one["name"] == named]
    arguments = {"--kubeconfig": path, "--context": context}
    return configuration, next(iter(namespaces), "") or "default", {k: v for k, v in arguments.items() if v}
