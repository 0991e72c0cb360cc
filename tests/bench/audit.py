"""What Parley asked of the API server, from the local cluster's audit log: exact, whatever else the cluster does."""

import datetime as dt
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.cluster import SYSTEM_NAMESPACE, Cluster

Writes = Mapping[tuple[str, str], float]
"""API writes by (verb, resource)."""
_OPERATOR = f"system:serviceaccount:{SYSTEM_NAMESPACE}:parley-operator"
_WRITES = {"create", "update", "patch", "delete"}


class Audit:
    """The log's entries about one namespace."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._logs = cluster.kubeconfig.parent / "logs"
        self._namespace = namespace

    def job_creations(self) -> dict[str, dt.datetime]:
        """When the API server had created each Job."""
        return {
            entry["objectRef"]["name"]: dt.datetime.fromisoformat(entry["stageTimestamp"])
            for entry in self._entries()
            if (entry["verb"], entry["objectRef"]["resource"]) == ("create", "jobs")
            and entry["responseStatus"]["code"] == 201
        }

    def writes(self) -> Counter[tuple[str, str]]:
        """The operator's writes until now, also those in vain, but for Kubernetes Events."""
        return Counter(
            (entry["verb"], "/".join(filter(None, (target["resource"], target.get("subresource")))))
            for entry in self._entries()
            if (target := entry["objectRef"])["resource"] != "events"
            and entry["verb"] in _WRITES
            and entry["user"]["username"] == _OPERATOR
        )

    def _entries(self) -> Iterator[dict[str, Any]]:
        mark = f'"namespace":"{self._namespace}"'
        for log in (*sorted(self._logs.glob("audit-*.log")), self._logs / "audit.log"):
            with log.open() as lines:
                for line in lines:
                    # The last line may be half written.
                    if mark in line and line.endswith("\n"):
                        yield json.loads(line)


def is_audited(cluster: Cluster) -> bool:
    """Whether this cluster's API server keeps an audit log here; kind's does not."""
    return Path(cluster.kubeconfig.parent, "logs", "audit.log").is_file()


def in_words(writes: Writes) -> str:
    """Writes as ``4.0 (create jobs 1.0, patch tasks/status 3.0)``."""
    parts = ", ".join(f"{verb} {kind} {count:.1f}" for (verb, kind), count in sorted(writes.items()))
    return f"{sum(writes.values()):.1f}" + (f" ({parts})" if parts else "")
