"""From the store's rows to what the plan reads."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from parley.controller.rows import task_state, turns_of
from parley.engine.state import Output, Turn
from parley.resources.reasons import Reason
from parley.store.records import OutputRecord, TaskEnd, TurnRecord

from tests.unit.controller.records import NOW, RUNNING, record

LATER = NOW + timedelta(hours=1)


def test_a_row_is_read_whole() -> None:
    end = TaskEnd("Failed", "ExitCode", "exit code 3", OutputRecord({"a": 1}), LATER)
    failed = replace(
        RUNNING, state="Failed", reason="ExitCode", message="exit code 3", taken_at=NOW, ended_at=LATER
    )

    state = task_state(
        record(
            now=LATER,
            deadline=LATER,
            suspended_since=NOW,
            ended=end,
            attempts=[failed],
            outputs={"step": OutputRecord(1, cut=True)},
            input_tokens=7,
            output_tokens=8,
        )
    )

    assert (state.now, state.created_at, state.deadline, state.suspended) == (LATER, NOW, LATER, True)
    assert state.end is not None
    assert (state.end.phase, state.end.reason, state.end.message) == (
        "Failed",
        Reason.EXIT_CODE,
        "exit code 3",
    )
    assert (state.end.output, state.end.at) == ({"a": 1}, LATER)
    (attempt,) = state.attempts
    assert (attempt.id, attempt.step, attempt.number, attempt.job) == (1, "step", 1, "exit-0")
    assert (attempt.phase, attempt.reason, attempt.message) == ("Failed", Reason.EXIT_CODE, "exit code 3")
    assert (attempt.created_at, attempt.taken_at, attempt.ended_at) == (NOW, NOW, LATER)
    assert attempt.deadline == RUNNING.deadline
    assert (state.outputs, state.input_tokens, state.output_tokens) == ({"step": Output(1, cut=True)}, 7, 8)


def test_an_open_row_has_no_end() -> None:
    state = task_state(record(attempts=[RUNNING]))

    assert (state.end, state.suspended, state.deadline) == (None, False, None)
    assert state.attempts[0].open


def test_a_task_whose_row_is_gone_is_not_begun_again() -> None:
    """The store saw it deleted, and here it is: the cluster came back from a backup."""
    end = task_state(record(gone_since=LATER)).end

    assert end is not None
    assert (end.phase, end.reason, end.at) == ("Failed", Reason.STORE_MISMATCH, LATER)


def test_a_reason_of_a_newer_version_stops_nothing() -> None:
    odd = replace(RUNNING, state="Failed", reason="SunBurnt")

    state = task_state(
        record(attempts=[odd], ended=TaskEnd("Failed", "SunBurnt", "", OutputRecord(None), NOW))
    )

    assert state.attempts[0].reason is Reason.ERROR
    assert state.end is not None
    assert state.end.reason is Reason.ERROR


def turn(step: str, state: Any, session: str = "alice") -> TurnRecord:
    return TurnRecord(
        session_uid=session,
        ticket=1,
        task_uid="task",
        task_name="t",
        step=step,
        state=state,
        granted_at=None,
        ended_at=None,
    )


@pytest.mark.parametrize(
    ("given", "known"),
    [
        ([], {}),
        ([turn("a", "Waiting")], {"a": Turn.WAITING}),
        ([turn("a", "Held")], {"a": Turn.HELD}),
        ([turn("a", "Done"), turn("b", "Withdrawn")], {}),
        ([turn("a", "Done"), turn("a", "Waiting")], {"a": Turn.WAITING}),
        ([turn("a", "Held", session="another")], {}),
    ],
)
def test_only_open_turns_of_this_session_count(given: list[TurnRecord], known: dict[str, Turn]) -> None:
    assert turns_of(record(turns=given), "alice") == known


def test_without_a_session_there_are_no_turns() -> None:
    assert turns_of(record(turns=[turn("a", "Held")]), None) == {}


def test_times_are_the_stores() -> None:
    assert task_state(record(now=datetime(2026, 1, 1, tzinfo=UTC))).now.year == 2026
