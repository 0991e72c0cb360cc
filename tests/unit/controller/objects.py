"""Kubernetes objects for tests: samples taken from a real API server, and short ways to make Parley's own."""

import json
from pathlib import Path
from typing import Any

from parley.controller.resource import Resource

SAMPLES = Path(__file__).parent / "samples"
NAMESPACE = "team"


def sample(name: str) -> dict[str, Any]:
    """A Job or pod as Kubernetes 1.37 sent it, without managedFields and most of the spec."""
    return json.loads((SAMPLES / f"{name}.json").read_text())


def body(
    name: str, *, uid: str | None = None, version: int = 1, status: dict[str, Any] | None = None, **spec: Any
) -> dict[str, Any]:
    """One of Parley's objects as the API server sends it."""
    return {
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "uid": uid or f"uid-of-{name}",
            "resourceVersion": str(version),
            "generation": 1,
            "creationTimestamp": "2026-11-23T12:00:00Z",
        },
        "spec": spec,
        "status": {"observedGeneration": -1} if status is None else status,
    }


def task_body(name: str, session: str | None = None, **fields: Any) -> dict[str, Any]:
    reference = {"sessionRef": {"name": session}} if session else {"agentRef": {"name": "support"}}
    return body(name, message="Hi", **reference, **fields)


def session_body(name: str, agent: str = "support", **fields: Any) -> dict[str, Any]:
    return body(name, agentRef={"name": agent}, **fields)


def agent_body(name: str = "support", **fields: Any) -> dict[str, Any]:
    return body(name, model={"provider": "OpenAI", "name": "scripted"}, **fields)


def resource(made: dict[str, Any]) -> Resource:
    return Resource.from_object(made)
