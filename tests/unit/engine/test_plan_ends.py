"""Every way a task ends, and what happens to it afterwards."""

from datetime import timedelta

import pytest
from parley.engine.actions import EndTask
from parley.engine.pods import JobView
from parley.engine.state import TaskState
from parley.resources.reasons import Reason
from parley.resources.task import DesiredState

from tests.unit.engine.builders import (
    NOW,
    TURN,
    actions,
    around,
    attempt,
    container,
    desired,
    ended,
    lost,
    plan,
    pod,
    rows,
    task,
    views,
)

TWO = task(container("build"), container("ship"))

# How a task ends before its steps are done.

STATES = {
    "before the first step": rows(),
    "with an attempt to make a Job for": rows(attempt("build")),
    "between two steps": rows(attempt("build", "Succeeded")),
    "after a lost pod": rows(*lost(1)),
    "with all steps done": rows(attempt("build", "Succeeded"), attempt("ship", "Succeeded")),
    "with a failed step": rows(attempt("build", "Failed", reason=Reason.EXIT_CODE)),
}


@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
@pytest.mark.parametrize("suspended", [False, True], ids=["", "suspended"])
def test_cancelling_ends_the_task_at_once(state: TaskState, suspended: bool) -> None:
    given = rows(*state.attempts, suspended=suspended)

    assert actions(plan(desired(TWO, DesiredState.CANCELLED), given)) == ["end Cancelled Cancelled"]


@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
@pytest.mark.parametrize(
    ("known", "reason"),
    [
        (around(problems=("spec.steps[0].name: is taken",)), Reason.INVALID_SPEC),
        (around(session_gone=True), Reason.SESSION_DELETED),
        (around(lacking="the status names attempt 3"), Reason.STORE_MISMATCH),
    ],
)
def test_what_cannot_go_on_fails_at_once(state: TaskState, known: object, reason: Reason) -> None:
    assert actions(plan(TWO, state, known)) == [f"end Failed {reason}"]  # type: ignore[arg-type]


def test_a_bad_spec_names_every_field() -> None:
    (end,) = plan(TWO, rows(), around(problems=("spec.a: is bad", "spec.b: is worse"))).actions

    assert isinstance(end, EndTask)
    assert end.message == "spec.a: is bad; spec.b: is worse"


def test_the_tasks_timeout_ends_it_whatever_runs() -> None:
    spec = task(container("build"), timeout="48h")

    (end,) = plan(spec, rows(attempt("build"), deadline=NOW), around(pods={"build-1": pod()})).actions

    assert isinstance(end, EndTask)
    assert (end.phase, end.reason) == ("Failed", Reason.TASK_TIMEOUT)
    assert "48h" in end.message


def test_the_tasks_timeout_says_what_held_it() -> None:
    no_image = pod("Pending", waiting_reason="ErrImagePull", waiting_message="no such image")

    spec = task(container("build"), timeout="48h")
    (end,) = plan(spec, rows(attempt("build"), deadline=NOW), around(pods={"build-1": no_image})).actions

    assert isinstance(end, EndTask)
    assert end.message.endswith("(48h); step build: ImagePullFailed: ErrImagePull: no such image")


def test_the_task_is_looked_at_again_at_the_nearer_deadline() -> None:
    soon, later = NOW + timedelta(minutes=1), timedelta(minutes=2)

    made = plan(TWO, rows(attempt("build", left=later), deadline=soon), around(pods={"build-1": pod()}))

    assert made.wake_at == soon


def test_a_task_that_only_waits_is_looked_at_again_at_its_deadline() -> None:
    soon = NOW + timedelta(minutes=1)

    assert plan(TURN, rows(deadline=soon)).wake_at == soon


# Ended.


@pytest.mark.parametrize(
    "spec", [TWO, desired(TWO, DesiredState.SUSPENDED), desired(TWO, DesiredState.CANCELLED)]
)
def test_an_ended_task_starts_nothing_whatever_is_asked_now(spec: object) -> None:
    state = ended("Failed", Reason.EXIT_CODE, attempt("build", "Failed", reason=Reason.EXIT_CODE))

    made = plan(spec, state, around(problems=("spec: is bad",), session_gone=True))  # type: ignore[arg-type]

    assert actions(made) == []
    assert made.wake_at is None
    assert made.ready_turns == ()


@pytest.mark.parametrize("phase", ["Cancelled", "TimedOut", "Lost"])
def test_pods_of_attempts_that_were_closed_over_their_heads_are_stopped(phase: str) -> None:
    state = ended("Cancelled", Reason.CANCELLED, attempt("build", phase))  # type: ignore[arg-type]

    assert actions(plan(TWO, state, around(["build-1"]))) == ["stop build-1"]


@pytest.mark.parametrize(
    "job",
    [
        JobView("build-1", "uid", completed=True),
        JobView("build-1", "uid", failed_reason="BackoffLimitExceeded"),
        JobView("build-1", "uid", suspended=True),
    ],
    ids=["completed", "failed", "stopped"],
)
def test_jobs_that_make_no_pod_any_more_are_left_alone(job: JobView) -> None:
    state = ended("Cancelled", Reason.CANCELLED, attempt("build", "Cancelled"))

    assert actions(plan(TWO, state, around([job]))) == []


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_jobs_of_attempts_with_an_outcome_are_left_alone(phase: str) -> None:
    """Their pods have ended, or end by themselves as soon as the runner has its answer."""
    state = ended("Failed", Reason.ERROR, attempt("build", phase))  # type: ignore[arg-type]

    assert actions(plan(TWO, state, around(pods={"build-1": pod()}))) == []


@pytest.mark.parametrize(
    ("what", "state", "show"),
    [
        (
            "succeeded",
            ended("Succeeded", Reason.SUCCEEDED, attempt("build", "Succeeded"), attempt("ship", "Succeeded")),
            ["build Succeeded Succeeded", "ship Succeeded Succeeded"],
        ),
        (
            "failed in the first step",
            ended("Failed", Reason.EXIT_CODE, attempt("build", "Failed", reason=Reason.EXIT_CODE)),
            ["build Failed ExitCode", "ship Skipped Skipped"],
        ),
        (
            "cancelled while the second ran",
            ended(
                "Cancelled",
                Reason.CANCELLED,
                attempt("build", "Succeeded"),
                attempt("ship", "Cancelled", reason=Reason.CANCELLED),
            ),
            ["build Succeeded Succeeded", "ship Cancelled Cancelled"],
        ),
        (
            "cancelled before the second",
            ended("Cancelled", Reason.CANCELLED, attempt("build", "Succeeded")),
            ["build Succeeded Succeeded", "ship Cancelled"],
        ),
        (
            "out of time while the second ran",
            ended(
                "Failed",
                Reason.TASK_TIMEOUT,
                attempt("build", "Succeeded"),
                attempt("ship", "Cancelled", reason=Reason.TASK_TIMEOUT),
            ),
            ["build Succeeded Succeeded", "ship Cancelled TaskTimeout"],
        ),
        (
            "lost too often",
            ended("Failed", Reason.POD_LOST, *lost(6)),
            ["build Failed PodLost", "ship Skipped Skipped"],
        ),
    ],
)
def test_what_an_ended_task_shows(what: str, state: TaskState, show: list[str]) -> None:
    assert views(plan(TWO, state)) == show, what
