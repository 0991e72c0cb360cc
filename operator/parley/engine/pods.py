"""From a step's pod and Job to a verdict: the one table of pod states → reasons.

The views are what the edge (``controller.pod_view``) read from Kubernetes; nothing here knows JSON paths.
"""

import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from parley.resources.reasons import Reason

_IMAGE_REASONS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
)
_CONFIG_REASONS = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError"}
)
# ConfigMaps and keys may be called anything, "secret" too.
_MISSING_SECRET = re.compile(r"\bsecret \"[^\"]*\" not found|couldn't find key \S+ in Secret ", re.IGNORECASE)
SIGKILL_EXIT = 137
SIGTERM_EXIT = 143
DO_NOT_RETRY_EXIT = 64
_RENDERING_FAILED = "TemplateError: "
"""How the message of Parley's own init container begins when the step's input file cannot be rendered."""


@dataclass(frozen=True, slots=True)
class PodView:
    """What matters of a step's pod."""

    name: str
    uid: str
    phase: str
    deleting: bool = False
    overdue_at: datetime | None = None
    """When a pod that is being deleted should have been gone: its node's kubelet does not do it."""
    node: str = ""
    disruption: str | None = None
    """Message of the DisruptionTarget condition while it is True: eviction, preemption, taint, deletion."""
    node_lost: bool = False
    gone: bool = False
    """It was deleted; how its container had ended is all that is left of it."""
    unschedulable: str | None = None
    waiting_reason: str | None = None
    waiting_message: str = ""
    running: bool = False
    exit_code: int | None = None
    terminated_reason: str = ""
    termination_message: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    status_reason: str = ""
    status_message: str = ""
    version: int = field(default=0, compare=False)
    """Its resourceVersion: of two views of one pod the higher is newer."""

    @property
    def lives(self) -> bool:
        """Whether anything in it may still be running, such as what sends its container's file."""
        return not self.gone and self.phase not in {"Succeeded", "Failed"} and not self.node_lost

    @property
    def holds_node(self) -> bool:
        """Whether its container may still be running: not ended, and on a node that answers."""
        return self.exit_code is None and self.lives


@dataclass(frozen=True, slots=True)
class JobView:
    """What matters of a step's Job."""

    name: str
    uid: str
    failed_reason: str | None = None
    failed_message: str = ""
    completed: bool = False
    suspended: bool = False
    refusal: str | None = None
    """Newest message of the Job controller about a pod it could not create."""
    version: int = field(default=0, compare=False)
    """Its resourceVersion: of two views of one Job the higher is newer."""

    @property
    def ended(self) -> bool:
        """Whether it makes no pod any more."""
        return self.completed or self.suspended or self.failed_reason is not None


class PodState(StrEnum):
    """Where a step's pod stands."""

    ABSENT = "Absent"
    WAITING = "Waiting"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    DISRUPTED = "Disrupted"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A pod's state with the reason and sentence a user reads."""

    state: PodState
    reason: Reason | None = None
    message: str = ""
    exit_code: int | None = None


def judge(pod: PodView | None, job: JobView | None) -> Verdict:
    """Judge the pod of an attempt by Kubernetes' account of it alone.

    A pod that ended is Disrupted when Kubernetes says that something other than its own process ended it, or when
    it was killed while being deleted; a step's retries are not spent on that.
    """
    if pod is None:
        return _judge_without_pod(job)
    if pod.phase == "Succeeded" or pod.exit_code == 0:
        return Verdict(PodState.SUCCEEDED, Reason.SUCCEEDED, exit_code=0)
    if pod.exit_code is not None or pod.phase == "Failed":
        return _judge_ended(pod, job)
    if pod.node_lost:
        return Verdict(
            PodState.DISRUPTED, Reason.POD_LOST, f"the node of pod {pod.name} is gone or not ready"
        )
    if pod.waiting_reason in _IMAGE_REASONS:
        return Verdict(
            PodState.WAITING, Reason.IMAGE_PULL_FAILED, f"{pod.waiting_reason}: {pod.waiting_message}"
        )
    if pod.waiting_reason in _CONFIG_REASONS:
        reason = (
            Reason.SECRET_NOT_FOUND
            if _names_missing_secret(pod.waiting_message)
            else Reason.CONTAINER_CONFIG_ERROR
        )
        return Verdict(PodState.WAITING, reason, pod.waiting_message or str(pod.waiting_reason))
    if pod.unschedulable is not None:
        return Verdict(PodState.WAITING, Reason.UNSCHEDULABLE, pod.unschedulable)
    if pod.running:
        return Verdict(PodState.RUNNING, Reason.RUNNING)
    return Verdict(PodState.WAITING, Reason.SCHEDULING)


def judge_refusal(message: str) -> Verdict:
    """Read why the API server refused a Job or a pod."""
    quota = "exceeded quota" in message
    return Verdict(PodState.WAITING, Reason.QUOTA_EXCEEDED if quota else Reason.POD_REFUSED, message)


def _judge_without_pod(job: JobView | None) -> Verdict:
    if job is None:
        return Verdict(PodState.ABSENT)
    if job.failed_reason == "DeadlineExceeded":
        return Verdict(
            PodState.FAILED, Reason.STEP_TIMEOUT, "the Job's active deadline passed before the step ended"
        )
    if job.failed_reason is not None or job.completed:
        return Verdict(
            PodState.DISRUPTED, Reason.POD_LOST, f"the step's pod is gone ({job.failed_reason or 'no trace'})"
        )
    if job.refusal is not None:
        return judge_refusal(job.refusal)
    return Verdict(PodState.WAITING, Reason.SCHEDULING)


def _judge_ended(pod: PodView, job: JobView | None) -> Verdict:
    code = pod.exit_code
    # A Job past its deadline deletes its pod, which then looks like any deleted one.
    out_of_time = job is not None and job.failed_reason == "DeadlineExceeded"
    if pod.terminated_reason == "OOMKilled":
        return Verdict(
            PodState.FAILED,
            Reason.OOM_KILLED,
            "the container was killed: it used more memory than its limit",
            code,
        )
    if pod.status_reason == "DeadlineExceeded" or out_of_time:
        return Verdict(PodState.FAILED, Reason.STEP_TIMEOUT, "the pod's active deadline passed", code)
    if pod.status_reason == "Evicted":
        return Verdict(PodState.DISRUPTED, Reason.EVICTED, pod.status_message or "the pod was evicted", code)
    if pod.disruption is not None:
        return Verdict(PodState.DISRUPTED, Reason.EVICTED, pod.disruption, code)
    if code is None or (pod.deleting and code in {SIGKILL_EXIT, SIGTERM_EXIT}):
        message = f"pod {pod.name} was deleted before the step ended"
        if pod.status_message and not pod.deleting:
            # The kubelet refused it, for lack of some resource on its node.
            message = f"{pod.status_reason}: {pod.status_message}"
        return Verdict(PodState.DISRUPTED, Reason.POD_LOST, message, code)
    if pod.terminated_reason in _CONFIG_REASONS or pod.terminated_reason == "ContainerCannotRun":
        return Verdict(
            PodState.FAILED,
            Reason.CONTAINER_CONFIG_ERROR,
            pod.termination_message or pod.terminated_reason,
            code,
        )
    if code == SIGKILL_EXIT:
        return Verdict(PodState.FAILED, Reason.ERROR, "the container was killed (exit code 137)", code)
    said = pod.termination_message.strip()
    if code == DO_NOT_RETRY_EXIT and said.startswith(_RENDERING_FAILED):
        return Verdict(PodState.FAILED, Reason.TEMPLATE_ERROR, said.removeprefix(_RENDERING_FAILED), code)
    return Verdict(
        PodState.FAILED, Reason.EXIT_CODE, f"exit code {code}" + (f": {said}" if said else ""), code
    )


def _names_missing_secret(message: str) -> bool:
    """Tell the kubelet's ``secret "x" not found`` and ``couldn't find key k in Secret ns/x`` from other trouble."""
    return _MISSING_SECRET.search(message) is not None


def judge_runner(verdict: Verdict) -> Verdict:
    """Read the end of a runner's pod whose attempt is still open.

    The runner exits 0 only when the store holds an outcome, so whatever else ended it is a disruption, but for the
    causes that another pod would meet again.
    """
    if verdict.state is PodState.SUCCEEDED:
        return Verdict(PodState.DISRUPTED, Reason.POD_LOST, "the runner ended without an outcome", 0)
    if verdict.state is not PodState.FAILED:
        return verdict
    if verdict.reason in {Reason.OOM_KILLED, Reason.STEP_TIMEOUT, Reason.CONTAINER_CONFIG_ERROR}:
        return verdict
    if verdict.exit_code == 1:
        message = f"the runner could not commit the step's result: {verdict.message}"
        return Verdict(PodState.FAILED, Reason.ERROR, message, 1)
    return Verdict(PodState.DISRUPTED, Reason.POD_LOST, verdict.message, verdict.exit_code)
