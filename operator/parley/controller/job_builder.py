"""From an attempt to its Job: a pure function with golden files in ``tests/unit/controller/golden``.

A Job never replaces its pod: every further run of a step is a new attempt with a Job of its own, made by
the operator. A round of a fan-out is one Indexed Job: each index has a pod of its own, and one that fails leaves the
others alone. What its pods run: ``pod_builder``.
"""

from dataclasses import dataclass

from pydantic import JsonValue

from parley.controller.pod_builder import ContainerWorkload, RunnerWorkload, build_pod_spec, pod_metadata
from parley.controller.pod_view import STEP_CONTAINER
from parley.controller.projection import TASK_LABEL, TASK_UID_LABEL
from parley.engine.pods import DO_NOT_RETRY_EXIT
from parley.kube.client import FIELD_MANAGER, JsonObject
from parley.protocol.messages import RUNNER_LIFE_SECONDS, RUNTIME_LABEL, TASK_RUNTIME

__all__ = ["ContainerWorkload", "JobOwner", "Round", "RunnerWorkload", "build_job"]

STEP_LABEL = "parley.dev/step"
ATTEMPT_LABEL = "parley.dev/attempt"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
_DEADLINE_NET_SECONDS = 15 * 60
_LABEL_LENGTH = 63


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOwner:
    """The Task an attempt belongs to."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """A round of a fan-out: one Job, a pod for each item.

    Attributes:
        items: how many items the round has; the first has index 0.
        parallelism: how many of them run at once, at most.
    """

    items: int
    parallelism: int


def build_job(
    owner: JobOwner,
    workload: RunnerWorkload | ContainerWorkload,
    *,
    name: str,
    step: str,
    number: int,
    timeout_seconds: int,
    round_: Round | None = None,
) -> JsonObject:
    """Build the Job of one attempt, or of one round.

    Args:
        owner: the Task.
        workload: what its pod runs.
        name: of the Job.
        step: the step's name.
        number: of the attempt, from 1; of a round's first one.
        timeout_seconds: the step's; of a runner that stays with its task, the longest of its prompt steps'. The
            deadlines here are only a net: the operator itself counts the time.
        round_: set for a round of a fan-out.
    """
    labels: dict[str, JsonValue] = {
        "app.kubernetes.io/name": "parley",
        "app.kubernetes.io/component": workload.component,
        MANAGED_BY_LABEL: FIELD_MANAGER,
        TASK_LABEL: owner.name[:_LABEL_LENGTH],
        TASK_UID_LABEL: owner.uid,
        STEP_LABEL: step,
        ATTEMPT_LABEL: str(number),
    }
    net = timeout_seconds + _DEADLINE_NET_SECONDS
    if isinstance(workload, RunnerWorkload) and workload.stays == "with its task":
        labels[RUNTIME_LABEL] = TASK_RUNTIME
        net += RUNNER_LIFE_SECONDS
    pod = build_pod_spec(workload)
    if round_ is not None:
        # The Job's deadline is for all its pods, which come one after the other: each has its own as well.
        pod["activeDeadlineSeconds"] = net
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
            **(_single(net) if round_ is None else _indexed(round_, net)),
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": _failure_rules("FailJob" if round_ is None else "FailIndex")},
            "template": {"metadata": pod_metadata(workload, labels), "spec": pod},
        },
    }


def _single(net_seconds: int) -> dict[str, JsonValue]:
    return {"backoffLimit": 0, "activeDeadlineSeconds": net_seconds}


def _indexed(round_: Round, net_seconds: int) -> dict[str, JsonValue]:
    """A limit for each index in place of one for the Job, which the first failed item would end."""
    turns = -(-round_.items // round_.parallelism)
    return {
        "completionMode": "Indexed",
        "completions": round_.items,
        "parallelism": min(round_.parallelism, round_.items),
        "backoffLimitPerIndex": 0,
        "activeDeadlineSeconds": turns * net_seconds,
    }


def _failure_rules(action: str) -> list[JsonValue]:
    return [
        {"action": action, "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {
            "action": action,
            "onExitCodes": {
                "containerName": STEP_CONTAINER,
                "operator": "In",
                "values": [DO_NOT_RETRY_EXIT],
            },
        },
    ]
