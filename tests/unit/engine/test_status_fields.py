"""What a Task's status tells of its steps: times, names, outputs, words."""

from dataclasses import replace
from datetime import timedelta

from parley.engine.state import (
    Child,
    Output,
    TaskState,
)
from parley.resources.reasons import Reason
from parley.resources.task import Step

from tests.unit.engine.builders import (
    NOW,
    around,
    attempt,
    container,
    dead,
    ended,
    lost,
    plan,
    pod,
    prompt,
    rows,
    task,
)
from tests.unit.engine.statuses import show, status_of

TWO = task(container("build"), container("ship"))
DONE, RUNS = attempt("build", "Succeeded"), attempt("ship")


def step(name: str, **fields: object) -> Step:
    return Step.model_validate({"name": name, **fields})


def test_a_step_names_its_child_and_not_a_job() -> None:
    spec = task(step("sub", needs=[], task={"templateRef": {"name": "t"}}))
    child = replace(attempt("sub"), job="exit-0-sub-0123456789")

    shown = show(spec, rows(child, children={child.job: Child(child.job, "uid")})).steps[0]

    assert (shown.task, shown.job) == ("exit-0-sub-0123456789", None)


def test_a_step_that_another_steps_runner_took_names_that_ones_job() -> None:
    pods = {"runtime": "Task", "holder_pod": "pod-1"}
    first = attempt("a", "Succeeded", **pods, taken_at=NOW)
    second = attempt("b", "Succeeded", **pods, taken_at=NOW + timedelta(seconds=1))
    elsewhere = attempt("c", "Succeeded", runtime="Task", holder_pod="pod-2", taken_at=NOW)
    spec = task(prompt("a"), prompt("b"), prompt("c"), agent="support")

    shown = show(spec, rows(first, second, elsewhere)).steps

    assert [step.job for step in shown] == ["a-1", "a-1", "c-1"]


def test_times_tell_the_first_start_and_the_end() -> None:
    first, second = lost(1)[0], attempt("build", "Succeeded", number=2)

    status = show(
        TWO, ended("Succeeded", Reason.SUCCEEDED, first, second, attempt("ship", "Succeeded", number=3))
    )

    assert status.start_time == first.created_at
    assert status.completion_time == NOW
    build = status.steps[0]
    assert (build.start_time, build.completion_time) == (first.created_at, second.ended_at)
    assert (build.attempt, build.job) == (2, "build-2")


def test_a_step_that_runs_has_no_completion_time() -> None:
    status = show(TWO, rows(*lost(1), attempt(number=2)), around(pods={"build-2": pod()}))

    assert status.steps[0].completion_time is None
    assert status.completion_time is None


def test_the_time_of_a_transition_stays_while_nothing_flips() -> None:
    before = show(TWO, rows(RUNS))
    later = rows(DONE, RUNS)
    later = TaskState(now=NOW + timedelta(minutes=5), created_at=later.created_at, attempts=later.attempts)

    after = status_of(plan(TWO, later, around(pods={"ship-1": pod()})), later, previous=before)

    assert [c.last_transition_time for c in after.conditions] == [NOW] * 3


def test_outputs_usage_and_agent_are_shown() -> None:
    state = ended(
        "Succeeded",
        Reason.SUCCEEDED,
        DONE,
        attempt("ship", "Succeeded"),
        outputs={"build": Output({"kind": "late"}), "ship": Output(None)},
        output={"paid": 12},
        input_tokens=7,
        output_tokens=9,
    )

    shown = show(TWO, state).to_json()

    assert [step.get("output") for step in shown["steps"]] == [{"kind": "late"}, None]  # type: ignore[union-attr, index]
    assert shown["output"] == {"paid": 12}
    assert shown["usage"] == {"inputTokens": 7, "outputTokens": 9}
    assert shown["agent"] == "support"
    assert "truncated" not in shown


def test_a_pods_last_words_reach_the_status() -> None:
    """From a pod's end to the sentence a user reads, through plan and rows."""
    known = around(pods={"build-1": dead(3, termination_message="no such order")})
    (finish,) = plan(TWO, rows(attempt()), known).actions
    verdict = finish.verdict  # type: ignore[union-attr]
    failed = attempt("build", "Failed", reason=verdict.reason, message=verdict.message)
    (end,) = plan(TWO, rows(failed)).actions

    status = show(TWO, ended("Failed", end.reason, failed, message=end.message))  # type: ignore[union-attr]

    assert {c.message for c in status.conditions} == {"step build: exit code 3: no such order"}
    assert status.steps[0].message == "exit code 3: no such order"
