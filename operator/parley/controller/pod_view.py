"""Read Kubernetes' JSON of a Job or pod into the engine's views."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import cast

from pydantic import JsonValue

from parley.engine.names import pod_key
from parley.engine.pods import JobView, PodView
from parley.kube.client import JsonObject

STEP_CONTAINER = "step"
_INDEX_LABEL = "batch.kubernetes.io/job-completion-index"
_BEHIND_INIT_CONTAINERS = frozenset({None, "PodInitializing"})


def _mapping(value: JsonValue) -> Mapping[str, JsonValue]:
    return value if isinstance(value, dict) else {}


def _objects(value: JsonValue) -> Sequence[Mapping[str, JsonValue]]:
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


def _time(value: JsonValue) -> datetime | None:
    return datetime.fromisoformat(value) if isinstance(value, str) else None


def _condition(status: Mapping[str, JsonValue], kind: str) -> Mapping[str, JsonValue] | None:
    return next((c for c in _objects(status.get("conditions")) if c.get("type") == kind), None)


def controlling_job(body: JsonObject) -> str | None:
    """Return the name of the Job that controls a pod."""
    for owner in _objects(_mapping(body.get("metadata")).get("ownerReferences")):
        if owner.get("controller") and owner.get("kind") == "Job":
            return str(owner["name"])
    return None


def key_of_pod(body: JsonObject) -> str | None:
    """Return what a pod is kept by: its Job's name and, in an Indexed Job, its index; None if no Job controls it."""
    job = controlling_job(body)
    labels = _mapping(_mapping(body.get("metadata")).get("labels"))
    index = str(labels.get(_INDEX_LABEL) or 0)
    return pod_key(job, int(index)) if job is not None and index.isdecimal() else None


def is_controlled_by(body: JsonObject, uid: str) -> bool:
    """Whether the object of that uid controls this one."""
    owners = _objects(_mapping(body.get("metadata")).get("ownerReferences"))
    return any(owner.get("controller") and owner.get("uid") == uid for owner in owners)


def read_job(body: JsonObject) -> JobView:
    """Read a Job."""
    metadata, spec, status = (_mapping(body.get(k)) for k in ("metadata", "spec", "status"))
    failed = _condition(status, "Failed") or _condition(status, "FailureTarget")
    failed = failed if failed and failed.get("status") == "True" else None
    complete = _condition(status, "Complete")
    return JobView(
        name=str(metadata["name"]),
        uid=str(metadata["uid"]),
        failed_reason=str(failed.get("reason") or "Failed") if failed else None,
        failed_message=str(failed.get("message") or "") if failed else "",
        completed=complete is not None and complete.get("status") == "True",
        suspended=bool(spec.get("suspend")),
        version=int(str(metadata.get("resourceVersion") or 0)),
    )


def read_pod(body: JsonObject) -> PodView:
    """Read a step's pod: its conditions, and the state of the container that runs the step.

    What keeps that container from starting, or failed before it, is taken for its own. What runs beside it is not
    looked at: its end counts although a sidecar has still to send its output.
    """
    metadata, status = _mapping(body.get("metadata")), _mapping(body.get("status"))
    scheduled = _condition(status, "PodScheduled")
    disruption = _condition(status, "DisruptionTarget")
    state = _state_of_step(status, _sidecars(_mapping(body.get("spec"))))
    waiting, terminated = _mapping(state.get("waiting")), _mapping(state.get("terminated"))
    code = terminated.get("exitCode")
    unschedulable = (
        str(scheduled.get("message") or "no node fits")
        if scheduled and scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable"
        else None
    )
    return PodView(
        name=str(metadata["name"]),
        uid=str(metadata["uid"]),
        phase=str(status.get("phase") or "Pending"),
        deleting="deletionTimestamp" in metadata,
        overdue_at=_time(metadata.get("deletionTimestamp")),
        node=str(_mapping(body.get("spec")).get("nodeName") or ""),
        disruption=(
            str(disruption.get("message") or disruption.get("reason") or "the pod was disrupted")
            if disruption and disruption.get("status") == "True"
            else None
        ),
        unschedulable=unschedulable,
        waiting_reason=cast("str | None", waiting.get("reason")),
        waiting_message=str(waiting.get("message") or ""),
        running="running" in state,
        exit_code=code if isinstance(code, int) else None,
        terminated_reason=str(terminated.get("reason") or ""),
        termination_message=str(terminated.get("message") or ""),
        started_at=_time(terminated.get("startedAt"))
        or _time(_mapping(state.get("running")).get("startedAt")),
        finished_at=_time(terminated.get("finishedAt")),
        status_reason=str(status.get("reason") or ""),
        status_message=str(status.get("message") or ""),
        version=int(str(metadata.get("resourceVersion") or 0)),
    )


def _sidecars(spec: Mapping[str, JsonValue]) -> frozenset[str]:
    containers = _objects(spec.get("initContainers"))
    return frozenset(str(each.get("name")) for each in containers if each.get("restartPolicy") == "Always")


def _state_of_step(status: Mapping[str, JsonValue], sidecars: frozenset[str]) -> Mapping[str, JsonValue]:
    states = {str(c.get("name")): _mapping(c.get("state")) for c in _objects(status.get("containerStatuses"))}
    state = states.get(STEP_CONTAINER, {})
    if "running" in state or "terminated" in state:
        return state
    if _mapping(state.get("waiting")).get("reason") not in _BEHIND_INIT_CONTAINERS:
        return state
    for each in _objects(status.get("initContainerStatuses")):
        before = _mapping(each.get("state"))
        terminated, waiting = _mapping(before.get("terminated")), _mapping(before.get("waiting"))
        failed = terminated.get("exitCode") not in {None, 0} and each.get("name") not in sidecars
        if failed or waiting.get("reason") not in _BEHIND_INIT_CONTAINERS:
            return before
    return state


def is_node_ready(body: JsonObject) -> bool:
    """Whether a node's kubelet answers."""
    ready = _condition(_mapping(body.get("status")), "Ready")
    return ready is not None and ready.get("status") == "True"
