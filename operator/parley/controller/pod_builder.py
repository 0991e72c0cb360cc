"""What an attempt's pod runs.

Every pod meets Pod Security's ``restricted`` profile. A token, bound to the pod and good for Parley's gateway alone, is
mounted into containers that run Parley's own code and into no other: the user's container never sees one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue

from parley.controller.pod_view import STEP_CONTAINER
from parley.protocol.messages import LIVENESS_PORT, TOKEN_AUDIENCE
from parley.protocol.model_keys import model_key_variable, tool_secret_variable
from parley.resources.common import SecretKeyRef
from parley.resources.runtime import RunnerPod

INPUT_CONTAINER = "input"
OUTPUT_CONTAINER = "output"
_TOKEN_DIRECTORY = "/var/run/secrets/parley.dev"  # noqa: S105 - a path, not a token
_TOKEN_SECONDS = 3600
_FILES_DIRECTORY = "/parley"
_UID = 65532
_GRACE_SECONDS = 30
_WARM_GRACE_SECONDS = 600
"""How long a warm runner may finish what it has begun, when its agent changes or has been idle."""
_UPLOAD_GRACE_SECONDS = 240
"""How long the output file may wait for a gateway or a store that is away. The kubelet counts it from the end of the
user's container; where the whole pod is deleted, that container has as long to end."""
_TMP_MOUNT: JsonValue = {"name": "tmp", "mountPath": "/tmp"}  # noqa: S108 - the pod's own emptyDir
_OWN_TMP_MOUNT: JsonValue = {"name": "parley-tmp", "mountPath": "/tmp"}  # noqa: S108 - the pod's own emptyDir
_TOKEN_MOUNT: JsonValue = {"name": "token", "mountPath": _TOKEN_DIRECTORY, "readOnly": True}
_FILES_MOUNT: JsonValue = {"name": "files", "mountPath": _FILES_DIRECTORY}
_COMMANDS = {"no": "step", "with its task": "serve", "with its agent": "warm"}
_UPLOADER_IS_READY = "until [ -e /tmp/ready ]; do sleep 0.02; done"
"""Only then the user's container starts: a SIGTERM before the uploader handles it would be lost on process 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """What Parley's own containers need to know.

    Attributes:
        image: Parley's.
        url: of the gateway, from the pod.
        store_id: the store that holds the attempt.
    """

    image: str
    url: str
    store_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerWorkload:
    """A pod that runs Parley's runner: it takes its attempt from the gateway."""

    gateway: Gateway
    api_keys: Sequence[SecretKeyRef] = ()
    """Where the API keys of the agent's models are; each is mounted by reference."""
    tool_secrets: Sequence[SecretKeyRef] = ()
    """Where the headers of the agent's tools come from; each is mounted by reference."""
    stays: Literal["no", "with its task", "with its agent"] = "no"
    """Whether it takes one attempt after the other, and whose: then it is given the Secrets of all that may come."""
    pool: str = ""
    """Of a runner that stays with its agent: the attempts it takes."""
    concurrency: int = 1
    """How many attempts such a runner runs at a time."""
    pod: RunnerPod | None = None
    """What the agent says of its runners' pods."""

    component = "runner"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerWorkload:
    """A pod that runs a user's container, rendered.

    Attributes:
        gateway: for the containers beside the user's, which fetch its input file and send its output file.
        input_file: it finds ``/parley/input.json``.
        output_file: its output is what it leaves in ``/parley/output``.
    """

    image: str
    command: Sequence[str] = ()
    args: Sequence[str] = ()
    env: Sequence[Mapping[str, JsonValue]] = ()
    resources: Mapping[str, JsonValue] | None = None
    image_pull_policy: str = "IfNotPresent"
    gateway: Gateway | None = None
    input_file: bool = False
    output_file: bool = False

    component = "step"


def build_pod_spec(workload: RunnerWorkload | ContainerWorkload) -> dict[str, JsonValue]:
    """Build the spec of an attempt's pod; the container named ``step`` decides how the attempt ends."""
    beside: list[JsonValue] = []
    volumes: list[JsonValue] = [_empty_directory("tmp")]
    grace = _GRACE_SECONDS
    if isinstance(workload, RunnerWorkload):
        step = _container(STEP_CONTAINER, _runner(workload), _TMP_MOUNT, _TOKEN_MOUNT)
        volumes.append(_token_volume())
        grace = _WARM_GRACE_SECONDS if workload.stays == "with its agent" else grace
    else:
        mounts = [_TMP_MOUNT]
        if workload.input_file or workload.output_file:
            beside = _beside(workload)
            mounts.append(_FILES_MOUNT if workload.output_file else _read_only(_FILES_MOUNT))
            volumes += [_empty_directory("files"), _empty_directory("parley-tmp", "16Mi"), _token_volume()]
            grace = _UPLOAD_GRACE_SECONDS if workload.output_file else grace
        step = _container(STEP_CONTAINER, _user_container(workload), *mounts)
    spec: dict[str, JsonValue] = {
        "restartPolicy": "Always" if _outlives_its_process(workload) else "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _UID,
            "runAsGroup": _UID,
            "fsGroup": _UID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    if beside:
        spec["initContainers"] = beside
    spec["containers"] = [step]
    spec["volumes"] = volumes
    if isinstance(workload, RunnerWorkload) and workload.pod is not None:
        spec |= _placed(workload.pod)
    return spec


def pod_metadata(
    workload: RunnerWorkload | ContainerWorkload, labels: Mapping[str, JsonValue]
) -> dict[str, JsonValue]:
    """Build the metadata of a pod's template; no label of the agent's takes the place of one of Parley's."""
    pod = workload.pod if isinstance(workload, RunnerWorkload) else None
    if pod is None:
        return {"labels": dict(labels)}
    found: dict[str, JsonValue] = {"labels": {**pod.labels, **labels}}
    if pod.annotations:
        found["annotations"] = {**pod.annotations}
    return found


def _outlives_its_process(workload: RunnerWorkload | ContainerWorkload) -> bool:
    return isinstance(workload, RunnerWorkload) and workload.stays == "with its agent"


def _placed(pod: RunnerPod) -> dict[str, JsonValue]:
    """Say where pods run and as whom, as far as the agent says it."""
    said: dict[str, JsonValue] = {
        "serviceAccountName": pod.service_account_name,
        "nodeSelector": dict(pod.node_selector),
        "tolerations": [each.to_json() for each in pod.tolerations],
        "imagePullSecrets": [each.to_json() for each in pod.image_pull_secrets],
        "runtimeClassName": pod.runtime_class_name,
        "priorityClassName": pod.priority_class_name,
    }
    return {field: value for field, value in said.items() if value}


def _container(name: str, body: dict[str, JsonValue], *mounts: JsonValue) -> dict[str, JsonValue]:
    """Add what all containers have in common."""
    common: dict[str, JsonValue] = {
        "name": name,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [dict(mount) if isinstance(mount, dict) else mount for mount in mounts],
    }
    return body | common


def _runner(workload: RunnerWorkload) -> dict[str, JsonValue]:
    warm = workload.stays == "with its agent"
    body = _parley(workload.gateway, _COMMANDS[workload.stays])
    if isinstance(env := body["env"], list):
        if warm:
            env.append({"name": "PARLEY_CONCURRENCY", "value": str(workload.concurrency)})
        env += [_secret(model_key_variable(reference), reference) for reference in workload.api_keys]
        env += [_secret(tool_secret_variable(reference), reference) for reference in workload.tool_secrets]
    # The imports alone take 2 s of CPU: with a small share a step would take twenty.
    if warm:
        # A process that hangs would keep its place for ever; what it held is another's by then.
        body["livenessProbe"] = {
            "httpGet": {"path": "/live", "port": LIVENESS_PORT},
            "periodSeconds": 10,
            "timeoutSeconds": 10,
            "failureThreshold": 6,
            "terminationGracePeriodSeconds": 5,
        }
    own = workload.pod.resources if workload.pod is not None else None
    body["resources"] = (
        own.to_json()
        if own is not None
        else {
            "requests": {"cpu": "100m", "memory": "128Mi"},
            "limits": {"memory": "1Gi" if warm else "512Mi"},
        }
    )
    return body


def _secret(variable: str, reference: SecretKeyRef) -> JsonValue:
    return {"name": variable, "valueFrom": {"secretKeyRef": reference.to_json()}}


def _beside(workload: ContainerWorkload) -> list[JsonValue]:
    """Build the containers that start before the user's: one ends before it starts, one outlives it."""
    if workload.gateway is None:
        raise RuntimeError("files go through the gateway: the workload must say where it is")
    found: list[JsonValue] = []
    if workload.input_file:
        body = _parley(workload.gateway, "input")
        # A few outputs of the largest size, as text and as values, at once.
        body["resources"] = {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "1Gi"}}
        found.append(_container(INPUT_CONTAINER, body, _OWN_TMP_MOUNT, _TOKEN_MOUNT, _FILES_MOUNT))
    if workload.output_file:
        body = _parley(workload.gateway, "output")
        body["restartPolicy"] = "Always"
        body["lifecycle"] = {"postStart": {"exec": {"command": ["sh", "-c", _UPLOADER_IS_READY]}}}
        body["resources"] = {"requests": {"cpu": "10m", "memory": "24Mi"}, "limits": {"memory": "256Mi"}}
        mounts = (_OWN_TMP_MOUNT, _TOKEN_MOUNT, _read_only(_FILES_MOUNT))
        found.append(_container(OUTPUT_CONTAINER, body, *mounts))
    return found


def _parley(gateway: Gateway, command: str) -> dict[str, JsonValue]:
    """Build a container that runs Parley's own code and talks to the gateway."""
    return {
        "image": gateway.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["parley-runner", command],
        "env": [
            {"name": "PARLEY_GATEWAY_URL", "value": gateway.url},
            {"name": "PARLEY_STORE_ID", "value": gateway.store_id},
            {"name": "PARLEY_TOKEN_FILE", "value": f"{_TOKEN_DIRECTORY}/token"},
        ],
    }


def _read_only(mount: JsonValue) -> JsonValue:
    return {**mount, "readOnly": True} if isinstance(mount, dict) else mount


def _empty_directory(name: str, limit: str = "1Gi") -> JsonValue:
    return {"name": name, "emptyDir": {"sizeLimit": limit}}


def _token_volume() -> JsonValue:
    token: JsonValue = {"path": "token", "audience": TOKEN_AUDIENCE, "expirationSeconds": _TOKEN_SECONDS}
    return {"name": "token", "projected": {"sources": [{"serviceAccountToken": token}]}}


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
