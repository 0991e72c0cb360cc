"""One of Parley's own objects as the operator remembers it: small, and smaller once there is little left to ask."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple, cast

from pydantic import JsonValue

from parley.controller.finality import is_final
from parley.kube.client import JsonObject
from parley.kube.kinds import PARLEY_GROUP, SESSION
from parley.resources.common import parse_duration
from parley.resources.posted_task import POSTED_LABEL

REFERENCES = ("sessionRef", "agentRef", "templateRef", "taskRef")
"""The fields that name another object of the namespace; all of them are immutable."""
PRUNED = "Pruned"
_OWN = f"{PARLEY_GROUP}/"
# Who bears one of these is made again by its tool when it is deleted, and its work would run again.
_OWNERSHIP_LABELS = (
    "app.kubernetes.io/instance",
    "kustomize.toolkit.fluxcd.io/name",
    "helm.toolkit.fluxcd.io/name",
)
_OWNERSHIP_ANNOTATIONS = ("argocd.argoproj.io/tracking-id", "meta.helm.sh/release-name")
_NOTHING: Mapping[str, str] = MappingProxyType({})


class ObjectName(NamedTuple):
    """Where an object lives."""

    namespace: str
    name: str


class Owner(NamedTuple):
    """The object that controls another, in the same namespace."""

    kind: str
    name: str
    uid: str


def workload_key(namespace: str, task_uid: str) -> str:
    """What the Jobs and pods of a task are kept by.

    With the namespace: the label that names a task's uid can be forged, but only by those who may make pods there.
    """
    return f"{namespace}/{task_uid}"


@dataclass(frozen=True, slots=True)
class Resource:
    """One of Parley's own objects, without what no reconciler reads."""

    uid: str
    namespace: str
    name: str
    generation: int
    resource_version: str
    created: datetime
    deleting: bool
    spec: Mapping[str, JsonValue]
    status: Mapping[str, JsonValue]
    owner: Owner | None = None
    session: str | None = None
    """Name of the Session that it goes with but is not controlled by: a tool of that session has queued this Task."""
    posted_in: str | None = None
    """uid of the Session in which a posted Task's message was said; another of its name does not know the message."""
    mark: str | None = None
    """The label or annotation by which a GitOps tool or Helm owns the object, if one does."""
    annotations: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    """Those of Parley's own group."""
    completed: datetime | None = None
    """When a Task ended, by its status."""

    @property
    def key(self) -> ObjectName:
        """Its namespace and name."""
        return ObjectName(self.namespace, self.name)

    @property
    def workload_key(self) -> str:
        """What its Jobs and pods are kept by."""
        return workload_key(self.namespace, self.uid)

    @property
    def ttl(self) -> timedelta | None:
        """How long a Task is kept after its end, as it says itself; None is for good, or as its template says."""
        return read_ttl(self.spec)

    @property
    def pruned(self) -> bool:
        """Whether a Task's Jobs and pods were removed although it stays."""
        return _is_true(self.status, PRUNED)

    @classmethod
    def from_object(cls, body: JsonObject) -> "Resource":
        """Read a custom resource as the API server sends it."""
        metadata = cast("Mapping[str, JsonValue]", body["metadata"])
        labels = cast("Mapping[str, str]", metadata.get("labels") or _NOTHING)
        annotations = cast("Mapping[str, str]", metadata.get("annotations") or _NOTHING)
        status = cast("Mapping[str, JsonValue]", body.get("status") or {})
        completed = status.get("completionTime")
        return cls(
            uid=str(metadata["uid"]),
            namespace=sys.intern(str(metadata["namespace"])),
            name=str(metadata["name"]),
            generation=int(cast("int", metadata.get("generation", 0))),
            resource_version=str(metadata["resourceVersion"]),
            created=datetime.fromisoformat(str(metadata["creationTimestamp"])),
            deleting="deletionTimestamp" in metadata,
            spec=cast("Mapping[str, JsonValue]", body.get("spec") or {}),
            status=status,
            owner=_owner(metadata.get("ownerReferences")),
            session=_session(metadata.get("ownerReferences"), "name"),
            posted_in=_session(metadata.get("ownerReferences"), "uid")
            if labels.get(POSTED_LABEL) == "true"
            else None,
            mark=_mark(labels, annotations),
            annotations={key: value for key, value in annotations.items() if key.startswith(_OWN)}
            or _NOTHING,
            completed=datetime.fromisoformat(completed) if isinstance(completed, str) else None,
        )


def read_ttl(spec: Mapping[str, JsonValue]) -> timedelta | None:
    """Read how long a Task is kept after its end; what is no duration is none."""
    duration = spec.get("ttlAfterFinished")
    try:
        return parse_duration(duration) if isinstance(duration, str) else None
    except ValueError:
        return None


def is_kept_annotation(key: str) -> bool:
    """Whether an annotation is read here at all."""
    return key.startswith(_OWN) or key in _OWNERSHIP_ANNOTATIONS


def _owner(references: JsonValue) -> Owner | None:
    for each in cast("Iterable[JsonValue]", references or ()):
        if isinstance(each, dict) and each.get("controller"):
            return Owner(sys.intern(str(each.get("kind"))), str(each.get("name")), str(each.get("uid")))
    return None


def _session(references: JsonValue, field_name: str) -> str | None:
    for each in cast("Iterable[JsonValue]", references or ()):
        if isinstance(each, dict) and each.get("kind") == SESSION.kind and not each.get("controller"):
            return sys.intern(str(each.get(field_name)))
    return None


def _mark(labels: Mapping[str, str], annotations: Mapping[str, str]) -> str | None:
    found = (key for key in _OWNERSHIP_LABELS if key in labels)
    return next(found, None) or next((key for key in _OWNERSHIP_ANNOTATIONS if key in annotations), None)


def referred(resource: Resource, field_name: str) -> str | None:
    """Return the name in a reference field of the spec, such as ``sessionRef``."""
    reference = resource.spec.get(field_name)
    return str(reference.get("name")) if isinstance(reference, dict) else None


def all_referred(resource: Resource, field_name: str) -> list[str]:
    """Return the names in a reference field; of ``agentRef`` also those in a Session's list of agents."""
    name = referred(resource, field_name)
    if name is not None:
        return [name]
    several = resource.spec.get("agents") if field_name == "agentRef" else None
    if not isinstance(several, list):
        return []
    return [str(each["name"]) for each in several if isinstance(each, dict) and "name" in each]


def reduce_final(task: Resource) -> Resource:
    """Leave of an ended task what is still asked of it: its references, its end, how long it is kept.

    Ended tasks stay until somebody deletes them, each with its inputs and outputs: 10,000 must fit in memory.
    """
    if not is_final(task):
        return task
    named = tuple(referred(task, each) for each in REFERENCES)
    observed = cast("int | None", task.status.get("observedGeneration"))
    ttl = cast("str | None", task.spec.get("ttlAfterFinished"))
    return replace(
        task,
        spec=_remains(named, ttl),
        status=_end(str(task.status["phase"]), observed, task.pruned),
        annotations=_NOTHING,
    )


@lru_cache(maxsize=1024)
def _remains(names: tuple[str | None, ...], ttl: str | None) -> Mapping[str, JsonValue]:
    kept: dict[str, JsonValue] = {
        each: {"name": name} for each, name in zip(REFERENCES, names, strict=True) if name is not None
    }
    return kept if ttl is None else kept | {"ttlAfterFinished": ttl}


@lru_cache(maxsize=256)
def _end(phase: str, observed_generation: int | None, pruned: bool) -> Mapping[str, JsonValue]:
    end: dict[str, JsonValue] = {"phase": phase, "observedGeneration": observed_generation}
    if pruned:
        end["conditions"] = [{"type": PRUNED, "status": "True"}]
    return end


def _is_true(status: Mapping[str, JsonValue], condition: str) -> bool:
    conditions = status.get("conditions")
    return isinstance(conditions, list) and any(
        isinstance(each, dict) and each.get("type") == condition and each.get("status") == "True"
        for each in conditions
    )
