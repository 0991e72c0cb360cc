"""What a step that paused for calls keeps until it goes on: its session's turn, its retries."""

from dataclasses import replace

import pytest
from parley.engine.actions import CloseAttempt, StartAttempt
from parley.engine.state import Hold, Surroundings
from parley.resources.reasons import Reason

from tests.unit.engine.builders import (
    LATE,
    PAUSED,
    TURN,
    actions,
    approval,
    attempt,
    container,
    held,
    paused,
    plan,
    pod,
    prompt,
    rows,
    step,
    task,
    views,
)

BUSY = Hold(Reason.CONCURRENCY_LIMITED, "1st of 1 in the queue of Agent support")


def test_pauses_use_no_retry() -> None:
    spec = task(prompt("ask", retry={"limit": 1, "backoff": {"initial": "10s"}}), session="alice")
    failed = attempt("ask", "Failed", 3, reason=Reason.MODEL_ERROR, message="no")
    state = rows(PAUSED, attempt("ask", "Paused", 2), failed)

    made = plan(spec, state, held())

    assert actions(made) == ["start ask-4 Retry in turn"]


def test_a_turn_with_calls_is_kept_for_a_retry_however_late_it_comes() -> None:
    """Else another turn would come between a call and its result."""
    retry = {"limit": 1, "backoff": {"initial": "1h", "max": "1h"}}
    spec = task(prompt("ask", retry=retry), session="alice")
    last = attempt("ask", "Failed", 2, reason=Reason.MODEL_ERROR)

    after_calls = plan(spec, rows(PAUSED, last), held())
    without = plan(spec, rows(replace(last, number=1)), held())

    assert (actions(after_calls), after_calls.ready_turns) == ([], ("ask",))
    assert (actions(without), without.ready_turns) == (["end turn ask"], ())


def test_a_turn_with_calls_is_kept_when_its_next_attempt_is_closed() -> None:
    retry = {"limit": 1, "backoff": {"initial": "1h", "max": "1h"}, "causes": ["Timeout"]}
    spec = task(prompt("ask", retry=retry), session="alice")
    late = attempt("ask", "Running", 2, left=LATE)

    (close,) = plan(spec, rows(PAUSED, late), held(pods={"ask-2": pod()})).actions
    (alone,) = plan(spec, rows(replace(late, number=1)), held(pods={"ask-2": pod()})).actions

    assert isinstance(close, CloseAttempt)
    assert close.keeps_turn
    assert isinstance(alone, CloseAttempt)
    assert not alone.keeps_turn


def test_a_turn_with_calls_ends_once_its_step_failed_for_good() -> None:
    spec = task(prompt("ask", continueOnError=True), container("build"), session="alice")
    failed = attempt("ask", "Failed", 2, reason=Reason.MODEL_ERROR)

    made = plan(spec, rows(PAUSED, failed), held())

    assert actions(made) == ["end turn ask failed", "start build-1 First"]


@pytest.mark.parametrize(
    "known",
    [
        held(slot=BUSY),
        held(hold=Hold(Reason.AGENT_NOT_FOUND, "no")),
        held(session_hold=Hold(Reason.SESSION_PAUSED, "")),
    ],
    ids=["slot", "agent", "session"],
)
def test_a_resuming_turn_keeps_the_session_whatever_holds_it_back(known: Surroundings) -> None:
    assert actions(plan(TURN, paused(), known)) == []


def test_a_tool_step_pauses_without_a_turn() -> None:
    spec = task(step("ask", tool={"name": "pay", "arguments": {"sum": 7}}), session="alice")

    begins, asks, resumes = plan(spec), plan(spec, paused(approval())), plan(spec, paused())

    assert actions(begins) == ["start ask-1 First"]
    assert (views(asks), asks.ready_turns) == (["ask Waiting WaitingForInput"], ())
    assert actions(resumes) == ["start ask-2 Resume"]


def test_a_tool_step_whose_call_was_rejected_is_not_repeated() -> None:
    spec = task(step("ask", tool={"name": "pay"}, retry={"limit": 3}))
    said_no = attempt("ask", "Failed", 2, reason=Reason.REJECTED, message="rejected by bob: too much")

    made = plan(spec, rows(PAUSED, said_no))

    assert actions(made) == ["end Failed Rejected"]


def test_a_resumed_attempt_is_one_as_any() -> None:
    (start,) = plan(TURN, paused(), held()).actions

    assert isinstance(start, StartAttempt)
    assert (start.number, start.cause, start.needs_turn, start.close) == (2, "Resume", True, None)
