"""The operator's settings, from its environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from parley.resources.common import parse_duration

_SHORTEST_RETENTION = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where the operator runs and what it gives to step pods."""

    database_url: str
    namespace: str
    identity: str
    install: str
    runner_image: str
    gateway_url: str
    watch_namespaces: tuple[str, ...]
    http_port: int
    workers: int
    log_bytes: int = 16_384
    """How much of the end of a container's log is kept; 0 keeps none."""
    max_tasks_per_namespace: int = 0
    """How many tasks of a namespace may work at once; 0 is no limit."""
    task_retention: timedelta = timedelta(days=90)
    """How long the rows of a task without a session are kept once its object is gone."""

    def watches(self, namespace: str) -> bool:
        """Whether the objects of a namespace are this operator's."""
        return not self.watch_namespaces or namespace in self.watch_namespaces

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read ``PARLEY_*``.

        Raises:
            SystemExit: a needed variable is missing; the message names it.
        """

        def need(name: str) -> str:
            value = environment.get(name, "")
            if not value:
                raise SystemExit(f"{name} is not set: the chart sets it; see docs/architecture.md")
            return value

        return cls(
            database_url=need("PARLEY_DATABASE_URL"),
            namespace=need("PARLEY_NAMESPACE"),
            identity=need("PARLEY_POD_NAME"),
            install=environment.get("PARLEY_INSTALL", "parley"),
            runner_image=need("PARLEY_RUNNER_IMAGE"),
            gateway_url=need("PARLEY_GATEWAY_URL"),
            watch_namespaces=tuple(n for n in environment.get("PARLEY_WATCH_NAMESPACES", "").split(",") if n),
            http_port=int(environment.get("PARLEY_HTTP_PORT", "8081")),
            workers=int(environment.get("PARLEY_WORKERS", "16")),
            log_bytes=int(environment.get("PARLEY_LOG_BYTES", "16384")),
            max_tasks_per_namespace=int(environment.get("PARLEY_MAX_TASKS_PER_NAMESPACE", "0")),
            task_retention=_task_retention(environment.get("PARLEY_TASK_RETENTION", "2160h")),
        )


def _task_retention(text: str) -> timedelta:
    try:
        found = parse_duration(text)
    except ValueError as error:
        raise SystemExit(f"PARLEY_TASK_RETENTION: {error}") from error
    if found < _SHORTEST_RETENTION:
        raise SystemExit(f"PARLEY_TASK_RETENTION is {text}: it must be 1h at least")
    return found
