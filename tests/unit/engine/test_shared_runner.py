"""Runtime mode Task: which attempts get a runner of their own, and when one is lost."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from parley.engine.pods import JobView, PodView
from parley.engine.state import Attempt
from parley.resources.reasons import Reason

from tests.unit.engine.builders import (
    NOW,
    actions,
    around,
    attempt,
    container,
    dead,
    ended,
    plan,
    pod,
    prompt,
    rows,
    task,
    views,
)

SPEC = task(
    *(prompt(name, "None", needs=[]) for name in ("a", "b", "c")),
    container("z", needs=["c"]),
    agent="support",
)
LEASE = NOW + timedelta(seconds=9)
OVER = NOW - timedelta(milliseconds=1)
DONE = [attempt(name, "Succeeded", runtime="Task") for name in ("a", "b", "c")]


def waits(step: str, number: int = 1, **fields: Any) -> Attempt:
    return attempt(step, "Open", number, runtime="Task", **fields)


def held(step: str, by: str = "a-1", lease: Any = LEASE, **fields: Any) -> Attempt:
    return attempt(step, "Running", runtime="Task", holder_pod=f"uid-of-{by}", lease_until=lease, **fields)


def closed(step: str, phase: Any, by: str = "a-1") -> Attempt:
    holder = f"uid-of-{by}" if by else ""
    return attempt(step, phase, runtime="Task", holder_pod=holder, reason=Reason.STEP_TIMEOUT)


def runner(name: str, **shown: Any) -> PodView:
    return pod(name=name, **shown)


def lives(*names: str) -> dict[str, PodView]:
    return {name: runner(name) for name in names}


@pytest.mark.parametrize(
    ("what", "given", "known", "do"),
    [
        ("the first gets a runner", [waits("a"), *DONE[1:]], around(), ["job a-1"]),
        (
            "each branch gets one",
            [waits("a"), waits("b"), waits("c")],
            around(),
            ["job a-1", "job b-1", "job c-1"],
        ),
        ("one that is idle takes the next", [DONE[0], waits("b"), DONE[2]], around(pods=lives("a-1")), []),
        ("one that is just made will take it", [DONE[0], waits("b"), DONE[2]], around(["a-1"]), []),
        (
            "one that is idle takes one, not two",
            [DONE[0], waits("b"), waits("c")],
            around(pods=lives("a-1")),
            ["job c-1"],
        ),
        (
            "one that works takes no other",
            [held("a"), waits("b"), DONE[2]],
            around(pods=lives("a-1")),
            ["job b-1"],
        ),
        ("both have theirs", [held("a"), waits("b"), DONE[2]], around(["b-1"], pods=lives("a-1")), []),
        (
            "one that has ended takes nothing",
            [DONE[0], waits("b"), DONE[2]],
            around(pods={"a-1": dead(0, name="a-1")}),
            ["job b-1"],
        ),
        (
            "one that is being deleted takes nothing",
            [DONE[0], waits("b"), DONE[2]],
            around(pods={"a-1": runner("a-1", deleting=True)}),
            ["job b-1"],
        ),
        (
            "one whose Job is stopped takes nothing",
            [DONE[0], waits("b"), DONE[2]],
            around([JobView("a-1", "uid", suspended=True)], pods=lives("a-1")),
            ["job b-1"],
        ),
        (
            "the attempt's own runner ended before it took it",
            [waits("a"), *DONE[1:]],
            around(pods={"a-1": dead(0, name="a-1")}),
            ["start a-2 Disruption; close 101 Lost PodLost"],
        ),
        (
            "its own runner took another step, whose own is gone",
            [held("b", by="a-1"), waits("a"), DONE[2]],
            around(pods=lives("a-1")),
            ["start a-2 Disruption; close 101 Lost PodLost"],
        ),
        (
            "its own runner took another step, whose own is idle",
            [held("b", by="a-1"), waits("a"), DONE[2]],
            around(pods=lives("a-1", "b-1")),
            [],
        ),
        (
            "its own runner was deleted, another is idle",
            [waits("a"), *DONE[1:]],
            around(vanished=["a-1"], pods=lives("b-1")),
            [],
        ),
        (
            "the runner's Job is refused",
            [waits("a"), *DONE[1:]],
            around(refusals={"a-1": "exceeded quota"}),
            [],
        ),
        (
            "the runner cannot start",
            [waits("a"), *DONE[1:]],
            around(pods={"a-1": dead(128, name="a-1", terminated_reason="StartError")}),
            ["close 101 Failed ContainerConfigError"],
        ),
    ],
)
def test_who_gets_a_runner(what: str, given: list[Attempt], known: Any, do: list[str]) -> None:
    made = [line for line in actions(plan(SPEC, rows(*given), known)) if not line.startswith("start z")]

    assert made == do, what


@pytest.mark.parametrize(
    ("what", "given", "known", "do"),
    [
        ("in the pod of another attempt", held("b"), around(pods=lives("a-1")), []),
        (
            "its pod ended",
            held("b"),
            around(pods={"a-1": dead(143, name="a-1")}),
            ["start b-2 Disruption; close 111 Lost PodLost"],
        ),
        (
            "its pod ran out of memory",
            held("b"),
            around(pods={"a-1": dead(137, name="a-1", terminated_reason="OOMKilled")}),
            ["close 111 Failed OOMKilled"],
        ),
        (
            "its pod could not commit",
            held("b"),
            around(pods={"a-1": dead(1, name="a-1")}),
            ["close 111 Failed Error"],
        ),
        ("its pod is gone", held("b"), around(), ["start b-2 Disruption; close 111 Lost PodLost"]),
        (
            "its lease ran out",
            held("b", lease=OVER),
            around(pods=lives("a-1")),
            ["start b-2 Disruption; close 111 Lost PodLost"],
        ),
        (
            "its deadline passed",
            held("b", left=timedelta(seconds=-1)),
            around(pods=lives("a-1")),
            ["close 111 TimedOut StepTimeout"],
        ),
    ],
)
def test_an_attempt_that_a_runner_holds(what: str, given: Attempt, known: Any, do: list[str]) -> None:
    spec = task(prompt("a", "None"), prompt("b", "None"), agent="support")

    assert actions(plan(spec, rows(DONE[0], given), known)) == do, what


def test_a_runner_is_looked_for_before_its_step_is_taken_for_lost() -> None:
    spec = task(prompt("a", "None"), prompt("b", "None"), agent="support")

    assert actions(plan(spec, rows(DONE[0], held("b")), looked=False)) == ["look b-1"]


def test_the_lease_is_looked_at_when_it_would_end() -> None:
    spec = task(prompt("a", "None"), agent="support")

    assert plan(spec, rows(held("a")), around(pods=lives("a-1"))).wake_at == LEASE


def test_an_attempt_that_waits_for_a_busy_tasks_runner_says_so() -> None:
    made = plan(SPEC, rows(DONE[0], waits("b"), DONE[2]), around(pods=lives("a-1")))

    assert views(made)[1] == "b Running Scheduling"
    assert made.steps[1].message == "waits for a runner of its task"


# Runners to stop.


@pytest.mark.parametrize("phase", ["TimedOut", "Cancelled", "Lost"])
def test_a_runner_whose_attempt_was_closed_over_its_head_is_stopped(phase: Any) -> None:
    """It may hang; told to stop, it would have taken the next."""
    spec = task(prompt("a", "None", continueOnError=True), prompt("b", "None"), agent="support")

    made = plan(spec, rows(closed("a", phase), waits("b")), around(pods=lives("a-1")))

    assert "stop a-1" in actions(made)
    assert ("job b-1" in actions(made)) is (phase != "Lost"), "it is not counted on"


def test_a_runner_that_went_on_to_another_attempt_is_trusted_again() -> None:
    spec = task(prompt("a", "None", continueOnError=True), prompt("b", "None"), agent="support")

    made = plan(spec, rows(closed("a", "TimedOut"), held("b")), around(pods=lives("a-1")))

    assert actions(made) == []


@pytest.mark.parametrize(("by", "stopped"), [("a-1", ["stop b-1", "stop a-1"]), ("", ["stop b-1"])])
def test_cancelling_stops_the_runner_at_work_and_the_one_made_for_its_step(
    by: str, stopped: list[str]
) -> None:
    given = ended("Cancelled", Reason.CANCELLED, DONE[0], closed("b", "Cancelled", by))

    made = plan(
        task(prompt("a", "None"), prompt("b", "None"), agent="support"),
        given,
        around(pods=lives("a-1", "b-1")),
    )

    assert actions(made) == stopped


def test_an_idle_runner_of_a_task_that_succeeded_ends_by_itself() -> None:
    made = plan(
        task(prompt("a", "None"), agent="support"),
        ended("Succeeded", Reason.SUCCEEDED, DONE[0]),
        around(pods=lives("a-1")),
    )

    assert actions(made) == []


def test_a_runner_that_hangs_after_it_took_the_step_is_found_soon() -> None:
    """Nobody tells the operator that a runner took an attempt; its lease counts from then on."""
    made = plan(task(prompt("a", "None"), agent="support"), rows(waits("a")), around(pods=lives("a-1")))

    assert made.wake_at is not None
    assert made.wake_at <= NOW + timedelta(seconds=10)


def test_a_runner_that_did_another_step_since_it_was_closed_over_is_trusted_again() -> None:
    spec = task(*(prompt(name, "None", continueOnError=True) for name in ("a", "b", "c")), agent="support")
    lost = replace(closed("a", "Lost"), taken_at=NOW - timedelta(minutes=2))
    done = replace(closed("b", "Succeeded"), taken_at=NOW - timedelta(minutes=1))
    again = replace(held("a", by="x-1", number=2), taken_at=NOW)

    made = plan(spec, rows(lost, again, done), around(pods=lives("a-1", "x-1")))

    assert actions(made) == []
