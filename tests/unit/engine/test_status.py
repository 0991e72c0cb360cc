"""What users see of a Task, in every state that it can be in."""

from dataclasses import replace
from datetime import timedelta

import pytest
from parley.engine.state import (
    Hold,
    StepMark,
    Surroundings,
    TaskState,
    Turn,
)
from parley.resources.common import Condition
from parley.resources.reasons import Reason
from parley.resources.task import DesiredState, TaskPhase, TaskSpec, TaskStatus

from tests.kstatus import kstatus
from tests.status_schema import status_problems
from tests.unit.engine.builders import (
    NOW,
    TURN,
    around,
    attempt,
    container,
    desired,
    ended,
    plan,
    pod,
    rows,
    step,
    task,
)
from tests.unit.engine.statuses import (
    ASKS,
    BESIDE,
    FLAKY,
    NAPS,
    as_object,
    asked,
    condition,
    show,
    status_of,
)

TWO = task(container("build"), container("ship"))
SUSPENDED = desired(TWO, DesiredState.SUSPENDED)
NO_AGENT = Hold(Reason.AGENT_NOT_FOUND, "Agent support does not exist")
DONE, RUNS = attempt("build", "Succeeded"), attempt("ship")
BAD = attempt("ship", "Failed", reason=Reason.EXIT_CODE, message="exit code 3")
TABLE = [
    ("agent missing", TWO, rows(), around(hold=NO_AGENT), "Pending", "AgentNotFound", "InProgress", "0/2"),
    ("no ticket yet", TURN, rows(), around(), "Queued", "SessionBusy", "InProgress", "0/1"),
    (
        "another's turn",
        TURN,
        rows(),
        around(turns={"ask": Turn.WAITING}, denied={"ask": Hold(Reason.SESSION_BUSY, "busy")}),
        "Queued",
        "SessionBusy",
        "InProgress",
        "0/1",
    ),
    (
        "image missing",
        TWO,
        rows(DONE, RUNS),
        around(pods={"ship-1": pod("Pending", waiting_reason="ErrImagePull")}),
        "Running",
        "ImagePullFailed",
        "InProgress",
        "1/2",
    ),
    (
        "running",
        TWO,
        rows(DONE, RUNS),
        around(pods={"ship-1": pod()}),
        "Running",
        "Running",
        "InProgress",
        "1/2",
    ),
    (
        "agent gone between steps",
        TWO,
        rows(DONE),
        around(hold=NO_AGENT),
        "Pending",
        "AgentNotFound",
        "InProgress",
        "1/2",
    ),
    (
        "suspended",
        SUSPENDED,
        rows(DONE, suspended=True),
        around(),
        "Suspended",
        "Suspended",
        "InProgress",
        "1/2",
    ),
    (
        "suspended without its agent",
        SUSPENDED,
        rows(suspended=True),
        around(hold=NO_AGENT),
        "Suspended",
        "Suspended",
        "InProgress",
        "0/2",
    ),
    (
        "suspended while a step runs",
        SUSPENDED,
        rows(DONE, RUNS, suspended=True),
        around(pods={"ship-1": pod()}),
        "Running",
        "Running",
        "InProgress",
        "1/2",
    ),
    ("asks", task(ASKS), asked(), around(), "WaitingForInput", "WaitingForInput", "InProgress", "0/1"),
    (
        "asks, and its agent is gone meanwhile",
        task(ASKS, container("ship"), agent="support"),
        asked(),
        around(hold=NO_AGENT),
        "WaitingForInput",
        "WaitingForInput",
        "InProgress",
        "0/2",
    ),
    (
        "sleeps",
        task(NAPS),
        rows(marks={"nap": StepMark("Entered", until=NOW + timedelta(days=7), entered_at=NOW)}),
        around(),
        "Running",
        "Sleeping",
        "InProgress",
        "0/1",
    ),
    (
        "waits for its next attempt",
        task(FLAKY),
        rows(
            replace(attempt("call", "Failed", reason=Reason.EXIT_CODE, message="exit code 3"), ended_at=NOW)
        ),
        around(),
        "Running",
        "Retrying",
        "InProgress",
        "0/1",
    ),
    (
        "waits for a place",
        TWO,
        rows(),
        around(slot=Hold(Reason.CONCURRENCY_LIMITED, "3rd of 12 in the queue of Agent support")),
        "Queued",
        "ConcurrencyLimited",
        "InProgress",
        "0/2",
    ),
    (
        "its parent is suspended",
        TWO,
        rows(suspended=True, parent_suspended=True),
        around(),
        "Suspended",
        "Suspended",
        "InProgress",
        "0/2",
    ),
    (
        "a step was skipped and one may fail",
        task(
            step("a", when="{{ false }}", container={"image": "i"}),
            step("b", continueOnError=True, container={"image": "i"}),
            BESIDE,
        ),
        rows(
            attempt("b", "Failed", reason=Reason.EXIT_CODE),
            attempt("work"),
            marks={"a": StepMark("Skipped", entered_at=NOW, ended_at=NOW)},
        ),
        around(pods={"work-1": pod()}),
        "Running",
        "Running",
        "InProgress",
        "2/3",
    ),
    (
        "ended before its last step",
        task(
            container("build"), step("stop", when="{{ true }}", **{"return": {"value": 1}}), container("ship")
        ),
        ended("Succeeded", Reason.SUCCEEDED, DONE),
        around(),
        "Succeeded",
        "Succeeded",
        "Current",
        "2/3",
    ),
    (
        "succeeded",
        TWO,
        ended("Succeeded", Reason.SUCCEEDED, DONE, attempt("ship", "Succeeded")),
        around(),
        "Succeeded",
        "Succeeded",
        "Current",
        "2/2",
    ),
    (
        "failed",
        TWO,
        ended("Failed", Reason.EXIT_CODE, DONE, BAD, message="step ship: exit code 3"),
        around(),
        "Failed",
        "ExitCode",
        "Failed",
        "1/2",
    ),
    (
        "failed while suspended",
        SUSPENDED,
        ended("Failed", Reason.EXIT_CODE, DONE, BAD, suspended=True),
        around(),
        "Failed",
        "ExitCode",
        "Failed",
        "1/2",
    ),
    (
        "bad spec",
        TWO,
        ended("Failed", Reason.INVALID_SPEC, message="spec.steps[0]: is bad"),
        around(),
        "Failed",
        "InvalidSpec",
        "Failed",
        "0/2",
    ),
    (
        "cancelled",
        TWO,
        ended("Cancelled", Reason.CANCELLED, DONE, attempt("ship", "Cancelled")),
        around(),
        "Cancelled",
        "Cancelled",
        "Current",
        "1/2",
    ),
]


@pytest.mark.parametrize(
    ("spec", "state", "known", "phase", "reason", "verdict", "progress"),
    [pytest.param(*row[1:], id=row[0]) for row in TABLE],
)
def test_a_state_as_users_and_kstatus_see_it(
    spec: TaskSpec,
    state: TaskState,
    known: Surroundings,
    phase: str,
    reason: str,
    verdict: str,
    progress: str,
) -> None:
    status = show(spec, state, known)

    assert (status.phase, status.progress) == (phase, progress)
    assert {c.reason for c in status.conditions} == {reason}, "every condition says the same"
    assert kstatus(as_object(status)).status == verdict
    wanted = {"Succeeded": "True", "Failed": "False", "Cancelled": "False"}.get(phase, "Unknown")
    assert condition(status, "Succeeded") == wanted, "kubectl wait --for=condition=Succeeded"
    assert not status_problems("tasks", status.to_json())


def test_the_table_knows_every_phase() -> None:
    assert {row[4] for row in TABLE} == set(TaskPhase)


def test_what_was_pruned_stays_pruned() -> None:
    state = ended("Failed", Reason.EXIT_CODE, BAD)
    pruned = Condition(
        type="Pruned",
        status="True",
        reason="Pruned",
        message="its Jobs were removed",
        last_transition_time=NOW - timedelta(days=1),
    )

    status = status_of(plan(TWO, state), state, previous=TaskStatus(conditions=[pruned]))

    assert [(c.type, c.message, c.last_transition_time) for c in status.conditions if c.type == "Pruned"] == [
        ("Pruned", "its Jobs were removed", pruned.last_transition_time)
    ]
    assert kstatus(as_object(status)).status == "Failed"


def test_of_several_steps_that_run_the_one_in_trouble_is_told() -> None:
    spec = task(BESIDE, step("other", needs=[], container={"image": "i"}))
    known = around(
        pods={
            "work-1": pod(),
            "other-1": pod("Pending", waiting_reason="ErrImagePull", waiting_message="no such image"),
        }
    )

    ready = show(spec, rows(attempt("work"), attempt("other")), known).conditions[0]

    assert ready.reason == "ImagePullFailed"
    assert ready.message.startswith("step other: ")
    assert ready.message.endswith("(and 1 more)")


def test_a_step_that_runs_on_in_a_suspended_task_does_not_hide_the_suspension() -> None:
    shown = show(SUSPENDED, rows(DONE, RUNS, suspended=True), around(pods={"ship-1": pod()}))

    (ready,) = [each for each in shown.conditions if each.type == "Ready"]
    assert ready.message == "step ship: runs; spec.desiredState is Suspended: nothing new starts"


def test_a_spec_changed_since_is_in_progress_whatever_was_said() -> None:
    status = show(TWO, ended("Failed", Reason.EXIT_CODE, BAD))

    assert kstatus(as_object(status, generation=4)).status == "InProgress"
