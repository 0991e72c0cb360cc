"""The table of pod states → reasons: what Kubernetes shows of a step's pod, and what a user reads of it."""

import pytest
from parley.engine.pods import JobView, PodState, PodView, Verdict, judge, judge_refusal, judge_runner
from parley.resources.reasons import Reason

Known = tuple[PodView | None, JobView | None]


def pod(phase: str = "Pending", **shown: object) -> Known:
    return PodView(name="pod-x", uid="pod-uid", phase=phase, **shown), JobView(name="job", uid="job-uid")  # type: ignore[arg-type]


def ended(code: int, **shown: object) -> Known:
    return pod("Succeeded" if code == 0 else "Failed", exit_code=code, **shown)


def job(**shown: object) -> Known:
    return None, JobView(name="job", uid="job-uid", **shown)  # type: ignore[arg-type]


def case(what: str, given: Known, state: PodState, reason: Reason | None, *words: str) -> object:
    return pytest.param(given, state, reason, words, id=what)


ABSENT, WAITING, RUNNING = PodState.ABSENT, PodState.WAITING, PodState.RUNNING
SUCCEEDED, FAILED, DISRUPTED = PodState.SUCCEEDED, PodState.FAILED, PodState.DISRUPTED
EXEC = 'exec: "scroe": executable file not found in $PATH'

TABLE = [
    # The init container that renders the input file failed; its state is shown as the step's.
    case(
        "an input file that cannot be rendered",
        ended(64, termination_message="TemplateError: spec.steps[0].container.inputFile: x is not defined"),
        FAILED,
        Reason.TEMPLATE_ERROR,
        "spec.steps[0].container.inputFile: x is not defined",
    ),
    # No pod: what the Job says.
    case("neither Job nor pod", (None, None), ABSENT, None),
    case("Job without a pod yet", job(), WAITING, Reason.SCHEDULING),
    case("Job suspended", job(suspended=True), WAITING, Reason.SCHEDULING),
    case(
        "Job could not make its pod",
        job(refusal="violates PodSecurity"),
        WAITING,
        Reason.POD_REFUSED,
        "PodSecurity",
    ),
    case(
        "Job's pod is over the quota",
        job(refusal='pods "x" is forbidden: exceeded quota: compute'),
        WAITING,
        Reason.QUOTA_EXCEEDED,
        "exceeded quota",
    ),
    case(
        "Job failed, pod gone",
        job(failed_reason="PodFailurePolicy"),
        DISRUPTED,
        Reason.POD_LOST,
        "PodFailurePolicy",
    ),
    case("Job complete, pod gone", job(completed=True), DISRUPTED, Reason.POD_LOST),
    case(
        "Job past its deadline, pod gone", job(failed_reason="DeadlineExceeded"), FAILED, Reason.STEP_TIMEOUT
    ),
    # A pod that has not run yet.
    case("pod just made", pod(), WAITING, Reason.SCHEDULING),
    case("container being made", pod(waiting_reason="ContainerCreating"), WAITING, Reason.SCHEDULING),
    case(
        "no node fits",
        pod(unschedulable="0/3 nodes are available: 3 Insufficient memory."),
        WAITING,
        Reason.UNSCHEDULABLE,
        "3 Insufficient memory",
    ),
    *(
        case(
            reason,
            pod(waiting_reason=reason, waiting_message='image "nosuch:1" not found'),
            WAITING,
            Reason.IMAGE_PULL_FAILED,
            reason,
            "nosuch:1",
        )
        for reason in (
            "ErrImagePull",
            "ImagePullBackOff",
            "InvalidImageName",
            "ErrImageNeverPull",
            "ImageInspectError",
        )
    ),
    case(
        "Secret missing",
        pod(waiting_reason="CreateContainerConfigError", waiting_message='secret "openai" not found'),
        WAITING,
        Reason.SECRET_NOT_FOUND,
        '"openai"',
    ),
    case(
        "key missing in a Secret",
        pod(
            waiting_reason="CreateContainerConfigError",
            waiting_message="couldn't find key api-key in Secret team/openai",
        ),
        WAITING,
        Reason.SECRET_NOT_FOUND,
        "api-key",
        "team/openai",
    ),
    case(
        "ConfigMap missing",
        pod(waiting_reason="CreateContainerConfigError", waiting_message='configmap "settings" not found'),
        WAITING,
        Reason.CONTAINER_CONFIG_ERROR,
        '"settings"',
    ),
    case(
        "ConfigMap missing that is called like a secret",
        pod(
            waiting_reason="CreateContainerConfigError", waiting_message='configmap "secret-names" not found'
        ),
        WAITING,
        Reason.CONTAINER_CONFIG_ERROR,
        '"secret-names"',
    ),
    case(
        "key missing in a ConfigMap, called like a secret",
        pod(
            waiting_reason="CreateContainerConfigError",
            waiting_message="couldn't find key secret-name in ConfigMap team/settings",
        ),
        WAITING,
        Reason.CONTAINER_CONFIG_ERROR,
        "team/settings",
    ),
    case(
        "container cannot be made",
        pod(waiting_reason="CreateContainerError", waiting_message="mkdir /x: permission denied"),
        WAITING,
        Reason.CONTAINER_CONFIG_ERROR,
        "permission denied",
    ),
    case(
        "config error without a word",
        pod(waiting_reason="RunContainerError"),
        WAITING,
        Reason.CONTAINER_CONFIG_ERROR,
        "RunContainerError",
    ),
    case("running", pod("Running", running=True), RUNNING, Reason.RUNNING),
    case("running, being deleted", pod("Running", running=True, deleting=True), RUNNING, Reason.RUNNING),
    # A pod that ended by itself.
    case("exit 0", ended(0), SUCCEEDED, Reason.SUCCEEDED),
    case("exit 0 while a sidecar still runs", pod("Running", exit_code=0), SUCCEEDED, Reason.SUCCEEDED),
    case("exit 0 although it was evicted", ended(0, disruption="evicted"), SUCCEEDED, Reason.SUCCEEDED),
    case("exit 3", ended(3), FAILED, Reason.EXIT_CODE, "exit code 3"),
    case("exit 3 while a sidecar still runs", pod("Running", exit_code=3), FAILED, Reason.EXIT_CODE, "3"),
    case(
        "exit 3 with a last word",
        ended(3, termination_message=" no such order\n"),
        FAILED,
        Reason.EXIT_CODE,
        "exit code 3: no such order",
    ),
    case("exit 64: do not retry", ended(64), FAILED, Reason.EXIT_CODE, "64"),
    case(
        "out of memory",
        ended(137, terminated_reason="OOMKilled"),
        FAILED,
        Reason.OOM_KILLED,
        "memory",
    ),
    case("killed by its own signal", ended(137), FAILED, Reason.ERROR, "137"),
    case("ended by its own SIGTERM", ended(143), FAILED, Reason.EXIT_CODE, "143"),
    case(
        "command not found",
        ended(128, terminated_reason="StartError", termination_message=EXEC),
        FAILED,
        Reason.CONTAINER_CONFIG_ERROR,
        EXEC,
    ),
    case(
        "command not found, by another runtime",
        ended(127, terminated_reason="ContainerCannotRun"),
        FAILED,
        Reason.CONTAINER_CONFIG_ERROR,
        "ContainerCannotRun",
    ),
    case(
        "pod past its own deadline",
        pod("Failed", status_reason="DeadlineExceeded"),
        FAILED,
        Reason.STEP_TIMEOUT,
        "deadline",
    ),
    case(
        "pod past its own deadline, container killed",
        ended(137, status_reason="DeadlineExceeded"),
        FAILED,
        Reason.STEP_TIMEOUT,
    ),
    # A pod that something else ended.
    case(
        "evicted by the kubelet",
        pod("Failed", status_reason="Evicted", status_message="The node was low on resource: memory."),
        DISRUPTED,
        Reason.EVICTED,
        "low on resource",
    ),
    case(
        "evicted without a word", pod("Failed", status_reason="Evicted"), DISRUPTED, Reason.EVICTED, "evicted"
    ),
    case(
        "evicted by the API, preempted or tainted",
        ended(137, disruption="Eviction API: evicting"),
        DISRUPTED,
        Reason.EVICTED,
        "Eviction API",
    ),
    case(
        "killed by SIGKILL while being deleted",
        ended(137, deleting=True),
        DISRUPTED,
        Reason.POD_LOST,
        "pod-x",
        "deleted",
    ),
    case(
        "ended by SIGTERM while being deleted",
        ended(143, deleting=True),
        DISRUPTED,
        Reason.POD_LOST,
        "deleted",
    ),
    case(
        "out of memory while being deleted",
        ended(137, deleting=True, terminated_reason="OOMKilled"),
        FAILED,
        Reason.OOM_KILLED,
    ),
    case("failed before any container ended", pod("Failed"), DISRUPTED, Reason.POD_LOST, "pod-x"),
    case(
        "on a node that went",
        pod("Running", running=True, node_lost=True),
        DISRUPTED,
        Reason.POD_LOST,
        "node",
        "pod-x",
    ),
    case("ended before its node went", ended(0, node_lost=True), SUCCEEDED, Reason.SUCCEEDED),
    case(
        "its Job passed the deadline and is deleting it",
        (
            PodView(name="pod-x", uid="u", phase="Failed", exit_code=137, deleting=True),
            JobView(name="job", uid="j", failed_reason="DeadlineExceeded"),
        ),
        FAILED,
        Reason.STEP_TIMEOUT,
        "deadline",
    ),
]


@pytest.mark.parametrize(("given", "state", "reason", "words"), TABLE)
def test_the_verdict_on_a_pod(
    given: Known, state: PodState, reason: Reason | None, words: tuple[str, ...]
) -> None:
    verdict = judge(*given)

    assert (verdict.state, verdict.reason) == (state, reason)
    missing = [word for word in words if word not in verdict.message]
    assert not missing, f"{verdict.message!r} lacks {missing}"


def test_every_end_tells_its_exit_code() -> None:
    for code in (0, 1, 3, 64, 137, 143):
        assert judge(*ended(code)).exit_code == code


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("exceeded quota: pods, requested: pods=1", Reason.QUOTA_EXCEEDED),
        ('violates PodSecurity "restricted:latest"', Reason.POD_REFUSED),
        ('Job.batch "x" is invalid: spec.template.spec.containers[0].image', Reason.POD_REFUSED),
    ],
)
def test_a_refusal_waits_and_says_why(message: str, reason: Reason) -> None:
    assert judge_refusal(message) == Verdict(WAITING, reason, message)


@pytest.mark.parametrize(
    ("given", "state", "reason"),
    [
        # The store has no outcome for this attempt, so exit 0 cannot be a success.
        pytest.param(ended(0), DISRUPTED, Reason.POD_LOST, id="exit 0 without an outcome"),
        pytest.param(ended(1), FAILED, Reason.ERROR, id="exit 1: it could not commit"),
        pytest.param(ended(2), DISRUPTED, Reason.POD_LOST, id="exit 2"),
        pytest.param(ended(64), DISRUPTED, Reason.POD_LOST, id="exit 64, which the runner never gives"),
        pytest.param(ended(137), DISRUPTED, Reason.POD_LOST, id="exit 137"),
        pytest.param(ended(143), DISRUPTED, Reason.POD_LOST, id="exit 143"),
        pytest.param(
            ended(137, terminated_reason="OOMKilled"), FAILED, Reason.OOM_KILLED, id="out of memory"
        ),
        pytest.param(
            ended(137, status_reason="DeadlineExceeded"), FAILED, Reason.STEP_TIMEOUT, id="deadline"
        ),
        pytest.param(
            ended(128, terminated_reason="StartError"),
            FAILED,
            Reason.CONTAINER_CONFIG_ERROR,
            id="no runner in the image",
        ),
        pytest.param(ended(1, disruption="evicted"), DISRUPTED, Reason.EVICTED, id="exit 1 while evicted"),
        pytest.param(ended(137, deleting=True), DISRUPTED, Reason.POD_LOST, id="deleted"),
        pytest.param(pod("Running", running=True), RUNNING, Reason.RUNNING, id="running"),
        pytest.param(pod(waiting_reason="ErrImagePull"), WAITING, Reason.IMAGE_PULL_FAILED, id="waiting"),
        pytest.param((None, None), ABSENT, None, id="absent"),
        pytest.param(job(completed=True), DISRUPTED, Reason.POD_LOST, id="gone"),
    ],
)
def test_the_verdict_on_a_runners_pod(given: Known, state: PodState, reason: Reason | None) -> None:
    verdict = judge_runner(judge(*given))

    assert (verdict.state, verdict.reason) == (state, reason)


def test_a_container_may_run_on_until_it_ended_or_its_node_went() -> None:
    assert PodView(name="p", uid="u", phase="Running", running=True).holds_node
    assert PodView(name="p", uid="u", phase="Running", deleting=True).holds_node
    assert not PodView(name="p", uid="u", phase="Running", exit_code=0).holds_node
    assert not PodView(name="p", uid="u", phase="Failed").holds_node
    assert not PodView(name="p", uid="u", phase="Running", node_lost=True).holds_node
