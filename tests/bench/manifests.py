"""What the benchmarks run: bare Jobs, and Tasks that do the same."""

from collections.abc import Sequence
from typing import Any

IMAGE = "parley:dev"
SCRIPTED = {"agentRef": {"name": "support"}}
"""Tasks of the agent that answers through the scripted model."""


def bare_job(name: str) -> dict[str, Any]:
    """A Job that runs ``true``, restricted as Parley's are."""
    container = {
        "name": "step",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["true"],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
    }
    spec = {"backoffLimit": 0, "template": {"spec": pod}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}


def bench_task(name: str, steps: Sequence[dict[str, Any]], **spec: object) -> dict[str, Any]:
    """A Task of some steps."""
    kind = {"apiVersion": "parley.dev/v1alpha1", "kind": "Task"}
    return {**kind, "metadata": {"name": name}, "spec": {"steps": list(steps), **spec}}


def container_steps(count: int) -> list[dict[str, Any]]:
    """Steps that run ``true`` one after the other."""
    return [
        {"name": f"s{number}", "container": {"image": IMAGE, "command": ["true"]}} for number in range(count)
    ]


def prompt_steps(count: int) -> list[dict[str, Any]]:
    """Steps that ask the scripted model something, one after the other, none reading what was said before."""
    return [
        {"name": f"s{number}", "prompt": {"text": f"echo: {number}", "history": "None"}}
        for number in range(count)
    ]
