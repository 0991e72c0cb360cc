"""What a Task's status tells of tool calls: what is to approve, what runs, which attempts paused."""

from dataclasses import replace
from datetime import timedelta

import pytest
from parley.engine.state import Surroundings, TaskState, Wait
from parley.resources.reasons import Reason
from parley.resources.task import StepPhase

from tests.kstatus import kstatus
from tests.status_schema import status_problems
from tests.unit.engine.builders import (
    NOW,
    PAUSED,
    TURN,
    approval,
    around,
    attempt,
    call,
    ended,
    entered,
    for_each,
    of_call,
    pod,
    prompt,
    rows,
    task,
)
from tests.unit.engine.statuses import as_object, condition, show

RUN = call()
RUNNING = of_call(RUN)


def test_a_call_to_approve_is_shown_with_its_arguments() -> None:
    shown = show(TURN, rows(PAUSED, waits=(approval(left=timedelta(hours=1)),))).to_json()

    assert shown["waiting"] == [
        {
            "id": "ok",
            "step": "ask",
            "kind": "Approval",
            "call": "pay",
            "arguments": '{"sum":7}',
            "question": "May support call pay?",
            "choices": ["approve", "reject"],
            "since": "2026-11-23T12:00:00Z",
            "deadline": "2026-11-23T13:00:00Z",
        }
    ]
    assert shown["phase"] == "WaitingForInput"


def test_long_arguments_are_cut_and_say_so() -> None:
    shown = show(TURN, rows(PAUSED, waits=(approval(arguments='{"text":"' + "x" * 600 + '"}'),)))

    (entry,) = shown.waiting or ()
    assert entry.arguments is not None
    assert entry.arguments.startswith('{"text":"xxx')
    assert entry.arguments.endswith("…")
    assert len(entry.arguments.encode()) == 512
    assert entry.truncated


def test_a_long_question_is_cut_and_says_so() -> None:
    (entry,) = show(TURN, rows(PAUSED, waits=(replace(approval(), question="?" * 600),))).waiting or ()

    assert entry.truncated


ASKING = rows(PAUSED, waits=(approval(),))
BOTH = rows(PAUSED, RUNNING, waits=(approval(), RUN))


@pytest.mark.parametrize(
    ("state", "known", "phase", "ready", "asks", "message"),
    [
        pytest.param(
            ASKING,
            around(),
            "WaitingForInput",
            "WaitingForInput",
            "True",
            'May support call pay? {"sum":7} (step ask; choose one of approve, reject; waitID ok)',
            id="it asks",
        ),
        pytest.param(
            rows(PAUSED, RUNNING, waits=(RUN,)),
            around(pods={"run-1": pod()}),
            "Running",
            "Running",
            None,
            "step ask: tool pay runs in Job run-1",
            id="a container runs",
        ),
        pytest.param(
            BOTH,
            around(pods={"run-1": pod()}),
            "Running",
            "Running",
            "True",
            "step ask: tool pay runs in Job run-1",
            id="one runs, one asks",
        ),
        pytest.param(
            rows(PAUSED, waits=(call("later", "Task"),)),
            around(),
            "Running",
            "Running",
            None,
            "step ask: tool pay: its Task is being queued",
            id="a Task is queued",
        ),
    ],
)
def test_a_task_whose_turn_has_paused(
    state: TaskState, known: Surroundings, phase: str, ready: str, asks: str | None, message: str
) -> None:
    shown = show(TURN, state, known)

    said = next(each for each in shown.conditions if each.type == "Ready")
    assert (shown.phase, said.reason, said.message) == (phase, ready, message)
    assert condition(shown, "WaitingForInput") == asks
    assert kstatus(as_object(shown)).status == "InProgress"
    assert not status_problems("tasks", shown.to_json())


def test_the_container_of_a_call_is_no_step_and_no_attempt_of_one() -> None:
    (step,) = show(TURN, BOTH, around(pods={"run-1": pod()})).steps

    assert (step.name, step.attempt, step.job) == ("ask", 1, "ask-1")
    assert [(a.number, a.phase) for a in step.attempts or ()] == [(1, StepPhase.WAITING)]


@pytest.mark.parametrize(
    ("state", "phases"),
    [
        pytest.param(ASKING, ["Waiting"], id="it waits"),
        pytest.param(rows(PAUSED, attempt("ask", "Running", 2)), ["Succeeded", "Running"], id="it went on"),
        pytest.param(
            ended("Cancelled", Reason.CANCELLED, PAUSED, waits=(approval(state="Withdrawn"),)),
            ["Succeeded"],
            id="its task ended",
        ),
    ],
)
def test_an_attempt_that_paused_waits_only_until_the_next_takes_over(
    state: TaskState, phases: list[str]
) -> None:
    (step,) = show(TURN, state).steps

    assert [attempt.phase for attempt in step.attempts or ()] == phases


def test_each_item_has_its_own_pause() -> None:
    spec = task(prompt("ask", forEach=for_each()), agent="support")
    items = [
        attempt("ask", "Paused", item=0),
        attempt("ask", "Paused", item=1),
        attempt("ask", "Open", 2, item=1),
    ]
    asks: Wait = replace(approval(), item=0)

    (step,) = show(spec, rows(*items, marks={"ask": entered(2)}, waits=(asks,))).steps

    assert {(a.item, a.number): a.phase for a in step.attempts or ()} == {
        (0, 1): StepPhase.WAITING,
        (1, 1): StepPhase.SUCCEEDED,
        (1, 2): StepPhase.RUNNING,
    }


def test_a_task_that_ended_while_a_call_was_open_asks_nothing() -> None:
    shown = show(TURN, ended("Failed", Reason.SESSION_ENDED, PAUSED, message="Session alice has ended"))

    assert (shown.waiting, shown.steps[0].phase, shown.steps[0].reason) == (None, "Cancelled", "SessionEnded")
    assert shown.completion_time == NOW
