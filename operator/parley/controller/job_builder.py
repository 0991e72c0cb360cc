"""From an attempt to its Job: a pure function with golden files in ``tests/unit/controller/golden``.

A Job never replaces its pod: every further run of a step is a new attempt with a Job of its own, made by
the operator. Every pod meets Pod Security's ``restricted`` profile; only one that runs Parley's runner gets a token,
bound to the pod and good for Parley's gateway alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from parley.controller.pod_view import STEP_CONTAINER
from parley.controller.projection import TASK_LABEL, TASK_UID_LABEL
from parley.engine.pods import DO_NOT_RETRY_EXIT
from parley.kube.client import FIELD_MANAGER, JsonObject
from parley.protocol.messages import TOKEN_AUDIENCE

STEP_LABEL = "parley.dev/step"
ATTEMPT_LABEL = "parley.dev/attempt"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
_TOKEN_DIRECTORY = "/var/run/secrets/parley.dev"  # noqa: S105 - a path, not a token
_TOKEN_SECONDS = 3600
_DEADLINE_NET_SECONDS = 15 * 60
_UID = 65532
_LABEL_LENGTH = 63


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOwner:
    """The Task an attempt belongs to."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerWorkload:
    """A pod that runs Parley's runner: it takes its attempt from the gateway."""

    image: str
    gateway_url: str
    store_id: str
    api_key: tuple[str, str] | None = None
    """Name and key of the Secret with the model's API key, mounted by reference."""

    component = "runner"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerWorkload:
    """A pod that runs a user's container, rendered."""

    image: str
    command: Sequence[str] = ()
    args: Sequence[str] = ()
    env: Sequence[Mapping[str, JsonValue]] = ()
    resources: Mapping[str, JsonValue] | None = None
    image_pull_policy: str = "IfNotPresent"

    component = "step"


def build_job(
    owner: JobOwner,
    workload: RunnerWorkload | ContainerWorkload,
    *,
    name: str,
    step: str,
    number: int,
    timeout_seconds: int,
) -> JsonObject:
    """Build the Job of one attempt. ``timeout_seconds`` is the step's; the Job's own deadline is only a net."""
    labels: dict[str, JsonValue] = {
        "app.kubernetes.io/name": "parley",
        "app.kubernetes.io/component": workload.component,
        MANAGED_BY_LABEL: FIELD_MANAGER,
        TASK_LABEL: owner.name[:_LABEL_LENGTH],
        TASK_UID_LABEL: owner.uid,
        STEP_LABEL: step,
        ATTEMPT_LABEL: str(number),
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": owner.namespace,
            "labels": labels,
            "ownerReferences": [
                {
                    "apiVersion": "parley.dev/v1alpha1",
                    "kind": "Task",
                    "name": owner.name,
                    "uid": owner.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": timeout_seconds + _DEADLINE_NET_SECONDS,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "FailJob",
                        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                    },
                    {
                        "action": "FailJob",
                        "onExitCodes": {
                            "containerName": STEP_CONTAINER,
                            "operator": "In",
                            "values": [DO_NOT_RETRY_EXIT],
                        },
                    },
                ]
            },
            "template": {"metadata": {"labels": dict(labels)}, "spec": _pod_spec(workload)},
        },
    }


def _pod_spec(workload: RunnerWorkload | ContainerWorkload) -> dict[str, JsonValue]:
    volumes: list[JsonValue] = [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}]
    mounts: list[JsonValue] = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108 - the pod's own emptyDir
    if isinstance(workload, RunnerWorkload):
        container = _runner_container(workload)
        mounts.append({"name": "token", "mountPath": _TOKEN_DIRECTORY, "readOnly": True})
        token: JsonValue = {"path": "token", "audience": TOKEN_AUDIENCE, "expirationSeconds": _TOKEN_SECONDS}
        volumes.append({"name": "token", "projected": {"sources": [{"serviceAccountToken": token}]}})
    else:
        container = _user_container(workload)
    container |= {
        "name": STEP_CONTAINER,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    }
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 30,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _UID,
            "runAsGroup": _UID,
            "fsGroup": _UID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": volumes,
    }


def _runner_container(workload: RunnerWorkload) -> dict[str, JsonValue]:
    env: list[JsonValue] = [
        {"name": "PARLEY_GATEWAY_URL", "value": workload.gateway_url},
        {"name": "PARLEY_STORE_ID", "value": workload.store_id},
        {"name": "PARLEY_TOKEN_FILE", "value": f"{_TOKEN_DIRECTORY}/token"},
    ]
    if workload.api_key is not None:
        name, key = workload.api_key
        reference: JsonValue = {"secretKeyRef": {"name": name, "key": key}}
        env.append({"name": "PARLEY_MODEL_API_KEY", "valueFrom": reference})
    return {
        "image": workload.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["parley-runner", "step"],
        "env": env,
        # The imports alone take 2 s of CPU: with a small share a step would take twenty.
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
    }


def _user_container(workload: ContainerWorkload) -> dict[str, JsonValue]:
    container: dict[str, JsonValue] = {"image": workload.image, "imagePullPolicy": workload.image_pull_policy}
    if workload.command:
        container["command"] = [_literal(part) for part in workload.command]
    if workload.args:
        container["args"] = [_literal(part) for part in workload.args]
    if workload.env:
        container["env"] = [_literal_variable(variable) for variable in workload.env]
    if workload.resources:
        container["resources"] = dict(workload.resources)
    return container


def _literal(text: str) -> str:
    """Keep Kubernetes from expanding ``$(NAME)``: a value from elsewhere must not be able to ask for a variable."""
    return text.replace("$", "$$")


def _literal_variable(variable: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    value = variable.get("value")
    return {**variable, "value": _literal(value)} if isinstance(value, str) else dict(variable)
