"""From Kubernetes' JSON to the engine's view: pods and Jobs as a real API server sent them."""

from datetime import UTC, datetime
from typing import Any

import pytest
from parley.controller.pod_view import (
    controlling_job,
    is_controlled_by,
    is_node_ready,
    key_of_pod,
    read_job,
    read_pod,
)
from parley.engine.pods import PodState, judge
from parley.resources.reasons import Reason

from tests.unit.controller.objects import sample


def test_a_pod_is_read_whole() -> None:
    pod = read_pod(sample("pod-exit-3"))

    assert pod.name.startswith("exit-3-")
    assert len(pod.uid) == 36
    assert (pod.phase, pod.deleting, pod.running) == ("Failed", False, False)
    assert (pod.exit_code, pod.terminated_reason, pod.termination_message) == (3, "Error", "no such order\n")
    assert pod.started_at is not None
    assert pod.finished_at is not None
    assert datetime(2026, 11, 23, tzinfo=UTC) < pod.started_at <= pod.finished_at


def test_a_running_pod_tells_since_when() -> None:
    pod = read_pod(sample("pod-running"))

    assert pod.running
    assert pod.started_at is not None
    assert pod.finished_at is None


@pytest.mark.parametrize(
    ("name", "state", "reason", "words"),
    [
        ("pod-new", PodState.WAITING, Reason.SCHEDULING, ""),
        ("pod-creating", PodState.WAITING, Reason.SCHEDULING, ""),
        ("pod-running", PodState.RUNNING, Reason.RUNNING, ""),
        ("pod-exit-0-still-running-phase", PodState.SUCCEEDED, Reason.SUCCEEDED, ""),
        ("pod-exit-0", PodState.SUCCEEDED, Reason.SUCCEEDED, ""),
        ("pod-exit-3", PodState.FAILED, Reason.EXIT_CODE, "exit code 3: no such order"),
        ("pod-out-of-memory", PodState.FAILED, Reason.OOM_KILLED, "memory"),
        (
            "pod-no-command",
            PodState.FAILED,
            Reason.CONTAINER_CONFIG_ERROR,
            '"scroe": executable file not found',
        ),
        ("pod-no-image", PodState.WAITING, Reason.IMAGE_PULL_FAILED, "registry.invalid/nosuch:1"),
        ("pod-no-image-backing-off", PodState.WAITING, Reason.IMAGE_PULL_FAILED, "registry.invalid/nosuch:1"),
        ("pod-no-secret", PodState.WAITING, Reason.SECRET_NOT_FOUND, '"openai"'),
        (
            "pod-no-secret-key",
            PodState.WAITING,
            Reason.SECRET_NOT_FOUND,
            "key api-key in Secret team/present",
        ),
        ("pod-no-config-map", PodState.WAITING, Reason.CONTAINER_CONFIG_ERROR, '"secret-names"'),
        ("pod-no-node", PodState.WAITING, Reason.UNSCHEDULABLE, "1 Insufficient cpu"),
        ("pod-deleted-still-running", PodState.RUNNING, Reason.RUNNING, ""),
        ("pod-deleted", PodState.DISRUPTED, Reason.POD_LOST, "deleted"),
        ("pod-deleted-exit-143", PodState.DISRUPTED, Reason.POD_LOST, "deleted"),
        ("pod-evicted-still-running", PodState.RUNNING, Reason.RUNNING, ""),
        ("pod-evicted", PodState.DISRUPTED, Reason.EVICTED, "Eviction API"),
    ],
)
def test_the_verdict_on_a_real_pod(name: str, state: PodState, reason: Reason, words: str) -> None:
    verdict = judge(read_pod(sample(name)), read_job(sample("job-new")))

    assert (verdict.state, verdict.reason) == (state, reason)
    assert words in verdict.message


def test_a_real_pod_that_its_jobs_deadline_ended_is_late_and_not_lost() -> None:
    verdict = judge(read_pod(sample("pod-late")), read_job(sample("job-late")))

    assert (verdict.state, verdict.reason) == (PodState.FAILED, Reason.STEP_TIMEOUT)


@pytest.mark.parametrize(
    ("name", "failed_reason", "completed", "suspended"),
    [
        ("job-new", None, False, False),
        ("job-almost-complete", None, False, False),
        ("job-complete", None, True, False),
        ("job-exit-3-failing", "BackoffLimitExceeded", False, False),
        ("job-exit-3", "BackoffLimitExceeded", False, False),
        ("job-evicted", "PodFailurePolicy", False, False),
        ("job-late", "DeadlineExceeded", False, False),
        ("job-suspended", None, False, True),
    ],
)
def test_a_job_is_read(name: str, failed_reason: str | None, completed: bool, suspended: bool) -> None:
    job = read_job(sample(name))

    assert (job.failed_reason, job.completed, job.suspended) == (failed_reason, completed, suspended)
    assert job.ended is (failed_reason is not None or completed or suspended)


def test_the_jobs_word_on_its_failure_is_kept() -> None:
    assert "DisruptionTarget" in read_job(sample("job-evicted")).failed_message


# What cannot be made to happen at will.


def changed(name: str, **status: Any) -> dict[str, Any]:
    body = sample(name)
    body["status"] |= status
    return body


def test_a_pod_that_the_kubelet_evicted_has_no_container_left() -> None:
    evicted = changed(
        "pod-running",
        phase="Failed",
        reason="Evicted",
        message="The node was low on resource: memory. Threshold quantity: 100Mi, available: 80Mi.",
        containerStatuses=[],
    )

    verdict = judge(read_pod(evicted), None)

    assert (verdict.state, verdict.reason) == (PodState.DISRUPTED, Reason.EVICTED)
    assert "low on resource" in verdict.message


def test_a_pod_that_the_kubelet_refused_at_its_door_is_a_disruption() -> None:
    refused = changed(
        "pod-new", phase="Failed", reason="OutOfcpu", message="Node didn't have enough resource: cpu"
    )

    assert judge(read_pod(refused), None).state is PodState.DISRUPTED


def test_only_the_steps_own_container_counts() -> None:
    """A sidecar that some webhook injected may run on, or fail."""
    body = sample("pod-exit-0")
    (own,) = body["status"]["containerStatuses"]
    sidecar = {"name": "proxy", "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}

    pod = read_pod(changed("pod-exit-0", phase="Failed", containerStatuses=[sidecar, own]))

    assert pod.exit_code == 0


def test_a_disruption_that_was_taken_back_is_none() -> None:
    body = sample("pod-evicted-still-running")
    for condition in body["status"]["conditions"]:
        if condition["type"] == "DisruptionTarget":
            condition["status"] = "False"

    assert read_pod(body).disruption is None


def test_a_scheduling_gate_is_not_unschedulable() -> None:
    gated = [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": "waits"}]

    assert read_pod(changed("pod-new", conditions=gated)).unschedulable is None


@pytest.mark.parametrize("status", [{}, {"phase": "Pending", "conditions": None, "containerStatuses": None}])
def test_a_pod_of_which_nothing_is_known_waits(status: dict[str, Any]) -> None:
    body = sample("pod-new") | {"status": status}

    assert judge(read_pod(body), None).state is PodState.WAITING


def test_a_pod_names_the_job_that_controls_it() -> None:
    pod = sample("pod-exit-0")
    assert controlling_job(pod) == "exit-0"

    pod["metadata"]["ownerReferences"][0]["controller"] = False
    assert controlling_job(pod) is None

    del pod["metadata"]["ownerReferences"]
    assert controlling_job(pod) is None


def test_a_pod_that_is_being_deleted_tells_where_and_until_when() -> None:
    pod = read_pod(sample("pod-deleted-still-running"))

    assert pod.deleting
    assert pod.node == "node-1"
    assert pod.overdue_at is not None
    assert read_pod(sample("pod-running")).overdue_at is None
    assert read_pod(sample("pod-new")).node == ""


def test_an_object_is_controlled_by_the_uid_that_its_owner_has() -> None:
    pod = sample("pod-exit-0")
    (owner,) = pod["metadata"]["ownerReferences"]

    assert is_controlled_by(pod, owner["uid"])
    assert not is_controlled_by(pod, "another")
    owner["controller"] = False
    assert not is_controlled_by(pod, owner["uid"])


@pytest.mark.parametrize(
    ("conditions", "ready"),
    [
        ([{"type": "Ready", "status": "True"}], True),
        ([{"type": "Ready", "status": "False"}], False),
        ([{"type": "Ready", "status": "Unknown"}], False),
        ([{"type": "DiskPressure", "status": "True"}], False),
        ([], False),
    ],
)
def test_a_node_is_ready_when_its_kubelet_says_so(conditions: list[dict[str, str]], ready: bool) -> None:
    assert is_node_ready({"metadata": {"name": "n"}, "status": {"conditions": conditions}}) is ready


def test_of_two_views_the_higher_version_is_newer_and_else_they_are_the_same() -> None:
    body = sample("pod-running")
    before = read_pod(body)
    body["metadata"]["resourceVersion"] = str(before.version + 1)

    assert read_pod(body) == before
    assert read_pod(body).version == before.version + 1


# Pods with containers of Parley's own beside the step's.


def with_init(step: dict[str, Any], init: dict[str, Any], *, sidecar: bool, phase: str) -> dict[str, Any]:
    name = "output" if sidecar else "input"
    pod = changed(
        "pod-running",
        phase=phase,
        containerStatuses=[{"name": "step", "state": step}],
        initContainerStatuses=[{"name": name, "state": init}],
    )
    pod["spec"]["initContainers"] = [{"name": name, **({"restartPolicy": "Always"} if sidecar else {})}]
    return pod


BEHIND = {"waiting": {"reason": "PodInitializing"}}


def test_the_steps_end_counts_although_a_sidecar_still_runs() -> None:
    ended = {"terminated": {"exitCode": 0, "reason": "Completed"}}

    pod = read_pod(with_init(ended, {"running": {}}, sidecar=True, phase="Running"))

    assert (pod.exit_code, pod.phase) == (0, "Running")


def test_what_keeps_an_init_container_from_starting_keeps_the_step() -> None:
    missing = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image parley:9"}}

    verdict = judge(read_pod(with_init(BEHIND, missing, sidecar=False, phase="Pending")), None)

    assert (verdict.state, verdict.reason) == (PodState.WAITING, Reason.IMAGE_PULL_FAILED)
    assert "parley:9" in verdict.message


def test_an_init_container_that_failed_is_the_steps_failure() -> None:
    failed = {"terminated": {"exitCode": 1, "reason": "Error", "message": "the gateway refused"}}

    verdict = judge(read_pod(with_init(BEHIND, failed, sidecar=False, phase="Failed")), None)

    assert (verdict.state, verdict.reason) == (PodState.FAILED, Reason.EXIT_CODE)
    assert "the gateway refused" in verdict.message


def test_an_init_container_at_work_is_a_step_that_has_not_begun() -> None:
    pod = read_pod(with_init(BEHIND, {"running": {}}, sidecar=False, phase="Pending"))

    assert judge(pod, None).state is PodState.WAITING
    assert pod.exit_code is None


def test_a_sidecar_that_is_started_again_has_not_failed_the_step() -> None:
    crashed = {"terminated": {"exitCode": 1, "reason": "Error"}}

    pod = read_pod(with_init(BEHIND, crashed, sidecar=True, phase="Pending"))

    assert pod.exit_code is None


@pytest.mark.parametrize(
    ("label", "key"), [(None, "exit-0"), ("0", "exit-0"), ("7", "exit-0/7"), ("x", None)]
)
def test_a_pod_is_known_by_its_job_and_its_index(label: str | None, key: str | None) -> None:
    pod = sample("pod-running")
    if label is not None:
        pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"] = label

    assert key_of_pod(pod) == key
