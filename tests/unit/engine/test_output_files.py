"""A container that leaves a file has succeeded once the file is in the store, and not before."""

from dataclasses import replace

import pytest
from parley.engine.actions import FinishContainer
from parley.engine.pods import PodState, PodView
from parley.engine.state import Attempt
from parley.resources.reasons import Reason
from parley.resources.task import StepPhase

from tests.unit.engine.builders import actions, around, attempt, dead, plan, pod, rows, step, task

BUILD = step("build", container={"image": "img", "outputFrom": "File"})


def verdict_on(shown: PodView, made: Attempt) -> FinishContainer | None:
    actions = plan(task(BUILD), rows(made), around(pods={"build-1": shown})).actions
    return next((each for each in actions if isinstance(each, FinishContainer)), None)


# The container has ended; the pod has not, for its other container still sends the file.
SENDING = pod("Running", exit_code=0)


@pytest.mark.parametrize(
    "shown",
    [SENDING, replace(SENDING, deleting=True), replace(SENDING, disruption="drained")],
    ids=["", "deleted", "evicted"],
)
def test_while_the_file_is_sent_the_step_goes_on(shown: PodView) -> None:
    made = plan(task(BUILD), rows(attempt()), around(pods={"build-1": shown}))

    assert made.steps[0].phase is StepPhase.RUNNING
    assert made.actions == ()


@pytest.mark.parametrize("shown", [SENDING, dead(0)], ids=["at once", "after the pod's end"])
def test_once_it_is_stored_the_step_has_ended(shown: PodView) -> None:
    found = verdict_on(shown, attempt(uploaded=True))

    assert found is not None
    assert found.verdict.state is PodState.SUCCEEDED


def test_a_file_that_was_never_stored_is_no_success() -> None:
    found = verdict_on(dead(0), attempt())

    assert found is not None
    assert (found.verdict.state, found.verdict.reason) == (PodState.FAILED, Reason.ERROR)
    assert "never stored" in found.verdict.message


def test_a_container_that_failed_is_waited_for_no_longer() -> None:
    found = verdict_on(pod("Running", exit_code=3), attempt())

    assert found is not None
    assert found.verdict.reason is Reason.EXIT_CODE


@pytest.mark.parametrize(
    ("shown", "reason"),
    [
        (pod("Running", exit_code=0, gone=True), "PodLost"),
        (pod("Running", exit_code=0, node_lost=True), "PodLost"),
        (dead(0, deleting=True), "PodLost"),
        (pod("Failed", exit_code=0, status_reason="Evicted"), "Evicted"),
        (pod("Failed", exit_code=0, disruption="taint manager"), "Evicted"),
    ],
    ids=["pod gone", "node lost", "deleted", "evicted", "disrupted"],
)
def test_a_file_that_was_lost_with_its_pod_or_node_is_made_again(shown: PodView, reason: str) -> None:
    """Nobody sends it any more; that is a disruption, and no failure of the step."""
    assert actions(plan(task(BUILD), rows(attempt()), around(pods={"build-1": shown}))) == [
        f"start build-2 Disruption; close 105 Lost {reason}"
    ]
