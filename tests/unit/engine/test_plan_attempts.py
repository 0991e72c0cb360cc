"""One step's life, state by event: what is known of its attempts and pods, and what the plan does and shows."""

from datetime import timedelta

import pytest
from parley.engine.actions import CloseAttempt, EndTask
from parley.engine.pods import JobView
from parley.engine.state import Attempt, Surroundings
from parley.resources.reasons import Reason

from tests.unit.engine.builders import (
    LATE,
    NOW,
    actions,
    around,
    attempt,
    case,
    container,
    dead,
    lost,
    plan,
    pod,
    prompt,
    rows,
    task,
    views,
)

CONTAINER = task(container())
RUNNER = task(prompt("build"), agent="support")
FAILED_JOB = JobView("build-1", "uid", failed_reason="PodFailurePolicy")
REFUSED_POD = JobView("build-1", "uid", refusal='violates PodSecurity "restricted"')
NO_IMAGE = pod("Pending", waiting_reason="ErrImagePull", waiting_message="no such image")
NO_SECRET = pod(
    "Pending", waiting_reason="CreateContainerConfigError", waiting_message='secret "s" not found'
)
NO_NODE = pod("Pending", unschedulable="0/1 nodes are available")

Given = tuple[tuple[Attempt, ...], Surroundings]


def given(*attempts: Attempt, jobs: tuple[str | JobView, ...] = (), **fields: object) -> Given:
    return attempts, around(jobs, **fields)  # type: ignore[arg-type]


EITHER = [
    case("nothing yet", given(), ["start build-1 First"], "build Queued Pending"),
    case("attempt without a Job", given(attempt()), ["job build-1"], "build Running Scheduling"),
    case("Job without a pod", given(attempt(), jobs=("build-1",)), [], "build Running Scheduling"),
    case(
        "Job refused by the API server",
        given(attempt(), refusals={"build-1": "violates PodSecurity"}),
        [],
        "build Running PodRefused",
    ),
    case(
        "Job over the quota",
        given(attempt(), refusals={"build-1": "exceeded quota: jobs"}),
        [],
        "build Running QuotaExceeded",
    ),
    case("pod refused", given(attempt(), jobs=(REFUSED_POD,)), [], "build Running PodRefused"),
    case("image missing", given(attempt(), pods={"build-1": NO_IMAGE}), [], "build Running ImagePullFailed"),
    case("Secret missing", given(attempt(), pods={"build-1": NO_SECRET}), [], "build Running SecretNotFound"),
    case("no node fits", given(attempt(), pods={"build-1": NO_NODE}), [], "build Running Unschedulable"),
    case("pod runs", given(attempt(), pods={"build-1": pod()}), [], "build Running Running"),
    case(
        "out of memory",
        given(attempt(), pods={"build-1": dead(137, terminated_reason="OOMKilled")}),
        ["<fail> OOMKilled"],
        "build Running OOMKilled",
    ),
    case(
        "past the Job's own deadline",
        given(attempt(), jobs=(JobView("build-1", "uid", failed_reason="DeadlineExceeded"),)),
        ["<fail> StepTimeout"],
        "build Running StepTimeout",
    ),
    case(
        "Job deleted before its pod was seen",
        given(attempt(), vanished=["build-1"]),
        ["start build-2 Disruption; close 105 Lost PodLost"],
        "build Queued Pending",
    ),
    case(
        "Job failed, its pod gone",
        given(attempt(), jobs=(FAILED_JOB,)),
        ["start build-2 Disruption; close 105 Lost PodLost"],
        "build Queued Pending",
    ),
    case(
        "pod evicted",
        given(attempt(), pods={"build-1": pod("Failed", status_reason="Evicted")}),
        ["start build-2 Disruption; close 105 Lost Evicted"],
        "build Queued Pending",
    ),
    case(
        "node lost",
        given(attempt(), pods={"build-1": pod(node_lost=True)}),
        ["start build-2 Disruption; close 105 Lost PodLost"],
        "build Queued Pending",
    ),
    case(
        "closed as lost, then a crash",
        given(*lost(1), jobs=(FAILED_JOB,)),
        ["start build-2 Disruption"],
        "build Queued Pending",
    ),
    case(
        "closed as lost over a Job that still makes pods",
        given(*lost(1), jobs=("build-1",)),
        ["start build-2 Disruption", "stop build-1"],
        "build Queued Pending",
    ),
    case(
        "the fifth loss is repeated",
        given(*lost(4), attempt(number=5), vanished=["build-5"]),
        ["start build-6 Disruption; close 505 Lost PodLost"],
        "build Queued Pending",
    ),
    case(
        "the sixth is closed",
        given(*lost(5), attempt(number=6), vanished=["build-6"]),
        ["close 605 Lost PodLost"],
        "build Running PodLost",
    ),
    case("and then fails the task", given(*lost(6)), ["end Failed PodLost"], "build Failed PodLost"),
    case(
        "deadline past while it runs",
        given(attempt(left=LATE), pods={"build-1": pod()}),
        ["close 105 TimedOut StepTimeout"],
        "build Running Running",
    ),
    case(
        "deadline past with no Job at all",
        given(attempt(left=LATE)),
        ["close 105 TimedOut StepTimeout"],
        "build Running Scheduling",
    ),
    case(
        "deadline past with a Job but no pod",
        given(attempt(left=LATE), jobs=("build-1",)),
        ["close 105 TimedOut StepTimeout"],
        "build Running Scheduling",
    ),
    *(
        case(
            f"deadline past while waiting: {reason}",
            given(attempt(left=LATE), pods={"build-1": waiting}),
            [f"close 105 TimedOut {reason}"],
            f"build Running {reason}",
        )
        for reason, waiting in {
            Reason.IMAGE_PULL_FAILED: NO_IMAGE,
            Reason.SECRET_NOT_FOUND: NO_SECRET,
            Reason.UNSCHEDULABLE: NO_NODE,
        }.items()
    ),
    case(
        "deadline past with its pod refused",
        given(attempt(left=LATE), jobs=(REFUSED_POD,)),
        ["close 105 TimedOut PodRefused"],
        "build Running PodRefused",
    ),
    case(
        "deadline past with its Job refused",
        given(attempt(left=LATE), refusals={"build-1": "exceeded quota"}),
        ["close 105 TimedOut QuotaExceeded"],
        "build Running QuotaExceeded",
    ),
    case(
        "deadline past, but the pod was lost before",
        given(attempt(left=LATE), pods={"build-1": pod("Failed", status_reason="Evicted")}),
        ["start build-2 Disruption; close 105 Lost Evicted"],
        "build Queued Pending",
    ),
    case(
        "succeeded",
        given(attempt(phase="Succeeded")),
        ["end Succeeded Succeeded"],
        "build Succeeded Succeeded",
    ),
    case(
        "failed",
        given(attempt(phase="Failed", reason=Reason.EXIT_CODE)),
        ["end Failed ExitCode"],
        "build Failed ExitCode",
    ),
    case("failed without a word", given(attempt(phase="Failed")), ["end Failed Error"], "build Failed Error"),
    case(
        "template failed before it started",
        given(attempt(phase="Failed", reason=Reason.TEMPLATE_ERROR)),
        ["end Failed TemplateError"],
        "build Failed TemplateError",
    ),
    case(
        "timed out",
        given(attempt(phase="TimedOut", reason=Reason.IMAGE_PULL_FAILED)),
        ["end Failed ImagePullFailed"],
        "build Failed ImagePullFailed",
    ),
    case(
        "cancelled under it",
        given(attempt(phase="Cancelled", reason=Reason.CANCELLED)),
        ["end Failed Cancelled"],
        "build Cancelled Cancelled",
    ),
]


@pytest.mark.parametrize(("known", "do", "show"), EITHER)
@pytest.mark.parametrize("kind", ["container", "runner"])
def test_a_step_of_either_kind(kind: str, known: Given, do: list[str], show: str) -> None:
    attempts, surroundings = known
    # A container's failure is committed from its pod, a runner's attempt is closed for it.
    fail = "finish build-1 Failed" if kind == "container" else "close 105 Failed"

    made = plan(CONTAINER if kind == "container" else RUNNER, rows(*attempts), surroundings)

    assert actions(made) == [line.replace("<fail>", fail) for line in do]
    assert views(made) == [show]


@pytest.mark.parametrize(
    ("ending", "do", "show"),
    [
        case("exit 0", dead(0), ["finish build-1 Succeeded Succeeded"], "build Running Succeeded"),  # type: ignore[arg-type]
        case("exit 1", dead(1), ["finish build-1 Failed ExitCode"], "build Running ExitCode"),  # type: ignore[arg-type]
        case("exit 64", dead(64), ["finish build-1 Failed ExitCode"], "build Running ExitCode"),  # type: ignore[arg-type]
        case("exit 137", dead(137), ["finish build-1 Failed Error"], "build Running Error"),  # type: ignore[arg-type]
        case(  # type: ignore[arg-type]
            "deleted",
            dead(137, deleting=True),
            ["start build-2 Disruption; close 105 Lost PodLost"],
            "build Queued Pending",
        ),
    ],
)
@pytest.mark.parametrize("left", [timedelta(hours=1), LATE], ids=["in time", "past the deadline"])
def test_a_containers_pod_ends(ending: object, do: list[str], show: str, left: timedelta) -> None:
    """What the pod did counts, also when the operator looks only after the deadline."""
    made = plan(CONTAINER, rows(attempt(left=left)), around(pods={"build-1": ending}))  # type: ignore[dict-item]

    assert actions(made) == do
    assert views(made) == [show]


@pytest.mark.parametrize("phase", ["Open", "Running"])
@pytest.mark.parametrize(
    ("ending", "do"),
    [
        pytest.param(
            dead(0), "start build-2 Disruption; close 105 Lost PodLost", id="exit 0 without an outcome"
        ),
        pytest.param(dead(1), "close 105 Failed Error", id="exit 1: it could not commit"),
        pytest.param(dead(137), "start build-2 Disruption; close 105 Lost PodLost", id="exit 137"),
        pytest.param(dead(143), "start build-2 Disruption; close 105 Lost PodLost", id="exit 143"),
        pytest.param(
            dead(1, disruption="node drained"),
            "start build-2 Disruption; close 105 Lost Evicted",
            id="drained",
        ),
    ],
)
def test_a_runners_pod_ends_while_its_attempt_is_open(phase: str, ending: object, do: str) -> None:
    made = plan(RUNNER, rows(attempt(phase=phase)), around(pods={"build-1": ending}))  # type: ignore[arg-type, dict-item]

    assert actions(made) == [do]


def test_a_runner_that_took_its_attempt_and_whose_job_is_gone_is_lost() -> None:
    """Somebody must have run it, so the Job was there: an Open attempt's Job is made, a Running one's is not."""
    made = plan(RUNNER, rows(attempt(phase="Running")), around())

    assert actions(made) == ["start build-2 Disruption; close 105 Lost PodLost"]


def test_a_containers_successor_waits_until_the_old_pod_has_ended() -> None:
    """The node came back with the container still running: two of them must not run at once."""
    known = around(pods={"build-1": pod(name="old-pod")})

    made = plan(CONTAINER, rows(*lost(1)), known)

    assert actions(made) == ["stop build-1"]
    assert views(made) == ["build Running PodLost"]
    assert "old-pod" in made.steps[0].message


def test_a_runners_successor_does_not_wait_for_the_old_pod() -> None:
    """The old one is fenced off by its closed row."""
    made = plan(RUNNER, rows(*lost(1)), around(pods={"build-1": pod()}))

    assert actions(made) == ["start build-2 Disruption", "stop build-1"]


def test_the_message_of_a_deadline_that_struck_early_names_cause_and_deadline() -> None:
    spec = task(container(timeout="5m"))

    (action,) = plan(spec, rows(attempt(left=LATE)), around(pods={"build-1": NO_IMAGE})).actions

    assert isinstance(action, CloseAttempt)
    assert "no such image" in action.message
    assert "5m" in action.message


def test_the_message_of_a_timeout_names_the_deadline() -> None:
    (action,) = plan(CONTAINER, rows(attempt(left=LATE)), around(pods={"build-1": pod()})).actions

    assert isinstance(action, CloseAttempt)
    assert "1h" in action.message


def test_the_tasks_message_names_the_step_and_its_cause() -> None:
    failed = attempt(phase="Failed", reason=Reason.EXIT_CODE, message="exit code 3: no such order")

    (action,) = plan(CONTAINER, rows(failed)).actions

    assert isinstance(action, EndTask)
    assert action.message == "step build: exit code 3: no such order"


def test_lost_pods_are_counted_in_the_message() -> None:
    (action,) = plan(CONTAINER, rows(*lost(6))).actions

    assert isinstance(action, EndTask)
    assert "lost 6 times" in action.message
    assert "loss 6" in action.message


def test_an_open_attempt_is_looked_at_again_at_its_deadline() -> None:
    made = plan(CONTAINER, rows(attempt(left=timedelta(minutes=5))), around(pods={"build-1": pod()}))

    assert made.wake_at == NOW + timedelta(minutes=5)


def test_a_refused_job_is_tried_again_soon() -> None:
    made = plan(CONTAINER, rows(attempt()), around(refusals={"build-1": "exceeded quota"}))

    assert made.wake_at is not None
    assert NOW < made.wake_at <= NOW + timedelta(minutes=1)


def test_a_refused_job_is_not_tried_past_the_deadline() -> None:
    refused = around(refusals={"build-1": "exceeded quota"})

    made = plan(CONTAINER, rows(attempt(left=timedelta(seconds=3))), refused)

    assert made.wake_at == NOW + timedelta(seconds=3)


def test_a_pod_that_the_watches_do_not_show_is_looked_for_before_it_is_taken_for_lost() -> None:
    job = JobView("build-1", "uid", failed_reason="BackoffLimitExceeded")

    made = plan(CONTAINER, rows(attempt()), around(jobs=[job]), looked=False)

    assert actions(made) == ["look build-1"]
