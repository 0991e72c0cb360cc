"""In what pods an agent's prompt and tool steps run, and how those pods are made."""

import re
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from parley.resources.common import (
    MAP_BY_NAME,
    Name,
    ObjectReference,
    ResourceModel,
    at_least,
    duration_of_at_least,
    parse_duration,
    rule,
    rules,
)
from parley.resources.container import ResourceRequirements

DEFAULT_IDLE_TIMEOUT = timedelta(minutes=10)
RESERVED_KEY = (
    "keys under parley.dev/, app.kubernetes.io/, batch.kubernetes.io/ and the workload controllers' own "
    "(controller-uid, job-name, pod-template-hash) are reserved, and those that choose a profile of AppArmor or "
    "seccomp, such as under container.apparmor.security.beta.kubernetes.io/: choose another key"
)
# The last three would let the pods have another profile than the strictest standard of a namespace admits.
_RESERVED_PREFIXES = (
    "parley.dev/",
    "app.kubernetes.io/",
    "batch.kubernetes.io/",
    "container.apparmor.security.beta.kubernetes.io/",
    "container.seccomp.security.alpha.kubernetes.io/",
    "seccomp.security.alpha.kubernetes.io/",
)
_RESERVED_KEYS = ("controller-uid", "job-name", "pod-template-hash")
MAX_KEY = 317
"""Characters of a label's or annotation's key, with its prefix."""
_KEY = re.compile(
    r"([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
_LABEL_VALUE = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"


class RuntimeMode(StrEnum):
    """In what pods prompt and tool steps run."""

    JOB = "Job"
    TASK = "Task"
    WARM = "Warm"


class Runtime(ResourceModel):
    """How prompt and tool steps run."""

    mode: RuntimeMode | None = Field(
        default=None,
        description="Job: every attempt in a Job of its own, the strictest isolation. Task: a Job that stays with its "
        "task and takes its next prompt step at once. Warm: runners of the agent that wait for attempts, so that none "
        "waits for a pod; steps with forEach run in a Job all the same. Default: Job.",
    )


IdleTimeout = Annotated[str, duration_of_at_least("10s"), at_least("10s")]


class WarmRuntime(ResourceModel):
    """The runners that wait for the agent's attempts."""

    replicas: Annotated[int, Field(ge=1, le=100)] = Field(
        default=1, description="How many pods run while there is work. Default: 1."
    )
    concurrency: Annotated[int, Field(ge=1, le=100)] = Field(
        default=10, description="How many attempts each pod runs at a time, at most. Default: 10."
    )
    idle_timeout: IdleTimeout | None = Field(
        default=None,
        description="How long after its last attempt the agent keeps its runners, at least 10s; then none runs until "
        "the next attempt. Default: 10m.",
    )

    @property
    def idle_time(self) -> timedelta:
        """How long the agent keeps its runners without work."""
        return DEFAULT_IDLE_TIMEOUT if self.idle_timeout is None else parse_duration(self.idle_timeout)


class Toleration(ResourceModel):
    """A taint that the pods tolerate, as in a Pod."""

    key: Annotated[str, Field(max_length=317)] | None = Field(
        default=None, description="Key of the taint. Default: every key, with operator Exists."
    )
    operator: Literal["Exists", "Equal"] | None = Field(
        default=None, description="How key and value are compared. Default: Equal."
    )
    value: Annotated[str, Field(max_length=63)] | None = Field(
        default=None, description="Value of the taint, with operator Equal."
    )
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Effect of the taint. Default: every effect."
    )
    toleration_seconds: Annotated[int, Field(ge=0, le=31_536_000)] | None = Field(
        default=None, description="How long a NoExecute taint is tolerated. Default: for ever."
    )


def _check_keys(values: dict[str, str]) -> dict[str, str]:
    for key in values:
        if len(key) > MAX_KEY or not _KEY.fullmatch(key):
            raise ValueError(
                f"{key!r} is no key of a label or annotation: write it like team or example.com/team"
            )
        if key in _RESERVED_KEYS or key.startswith(_RESERVED_PREFIXES):
            raise ValueError(RESERVED_KEY)
    return values


_RESERVED_RULE = rule(
    "self.all(key, "
    + " && ".join(
        [
            *(f"!key.startsWith('{prefix}')" for prefix in _RESERVED_PREFIXES),
            *(f"key != '{key}'" for key in _RESERVED_KEYS),
        ]
    )
    + ")",
    RESERVED_KEY,
    reason="FieldValueForbidden",
)
Labels = Annotated[
    dict[str, Annotated[str, Field(max_length=63, pattern=_LABEL_VALUE)]],
    Field(max_length=32, json_schema_extra=rules(_RESERVED_RULE)),
    AfterValidator(_check_keys),
]
Annotations = Annotated[
    dict[str, Annotated[str, Field(max_length=4096)]],
    Field(max_length=32, json_schema_extra=rules(_RESERVED_RULE)),
    AfterValidator(_check_keys),
]
NodeSelector = Annotated[
    dict[str, Annotated[str, Field(max_length=63, pattern=_LABEL_VALUE)]], Field(max_length=32)
]


class RunnerPod(ResourceModel):
    """What is set in the pods of the agent's runners, in every mode."""

    service_account_name: Name | None = Field(
        default=None,
        description="ServiceAccount of the pods, for what a cluster ties to it; no token for the Kubernetes API is "
        "mounted. Default: default.",
    )
    resources: ResourceRequirements | None = Field(
        default=None,
        description="CPU, memory and the like of the runner, in place of Parley's own. Default: requests of 100m CPU "
        "and 128Mi of memory, and a limit of 512Mi, of 1Gi in mode Warm.",
    )
    node_selector: NodeSelector = Field(
        default_factory=dict, description="Labels that a node must have. Default: any node."
    )
    tolerations: Annotated[list[Toleration], Field(max_length=16)] = Field(
        default_factory=list[Toleration], description="Taints that the pods tolerate. Default: none."
    )
    labels: Labels = Field(default_factory=dict, description="Further labels of the pods.")
    annotations: Annotations = Field(default_factory=dict, description="Further annotations of the pods.")
    image_pull_secrets: Annotated[
        list[ObjectReference], Field(max_length=8, json_schema_extra=MAP_BY_NAME)
    ] = Field(
        default_factory=list[ObjectReference],
        description="Secrets of the same namespace that pull the runner's image. Default: those of the ServiceAccount.",
    )
    runtime_class_name: Name | None = Field(
        default=None, description="RuntimeClass of the pods, such as gvisor. Default: the cluster's."
    )
    priority_class_name: Name | None = Field(
        default=None, description="PriorityClass of the pods. Default: the cluster's."
    )


class AgentRuntime(Runtime):
    """How the agent's prompt and tool steps run, and in what pods."""

    warm: WarmRuntime | None = Field(
        default=None, description="The runners of mode Warm. Default: one, ended after 10m without work."
    )
    pod: RunnerPod | None = Field(
        default=None, description="What is set in the pods of its runners, in every mode."
    )
