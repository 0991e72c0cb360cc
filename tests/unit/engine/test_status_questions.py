"""How a question that waits for a person shows beside all else that a task does."""

from datetime import timedelta

import pytest
from parley.engine.state import (
    Hold,
    Output,
    StepMark,
    Surroundings,
    TaskState,
    Turn,
)
from parley.resources.reasons import Reason
from parley.resources.task import DesiredState, TaskSpec

from tests.kstatus import kstatus
from tests.status_schema import status_problems
from tests.unit.engine.builders import (
    NOW,
    around,
    attempt,
    desired,
    pod,
    rows,
    task,
)
from tests.unit.engine.statuses import ASKS, BESIDE, NAPS, QUESTION, TALKS, as_object, asked, condition, show

BESIDE_ITS_WORK = [
    (
        "a pod runs",
        task(ASKS, BESIDE),
        asked(attempt("work")),
        around(pods={"work-1": pod()}),
        "Running",
        "Running",
    ),
    (
        "another step waits for its turn",
        task(ASKS, TALKS, session="alice"),
        asked(),
        around(turns={"talk": Turn.WAITING}, denied={"talk": Hold(Reason.SESSION_BUSY, "busy")}),
        "WaitingForInput",
        "WaitingForInput",
    ),
    (
        "another step sleeps",
        task(ASKS, NAPS),
        asked(marks={"nap": StepMark("Entered", until=NOW + timedelta(days=7), entered_at=NOW)}),
        around(),
        "WaitingForInput",
        "WaitingForInput",
    ),
    (
        "it is suspended",
        desired(task(ASKS), DesiredState.SUSPENDED),
        asked(suspended=True),
        around(),
        "Suspended",
        "Suspended",
    ),
]


@pytest.mark.parametrize(
    ("spec", "state", "known", "phase", "reason"),
    [pytest.param(*row[1:], id=row[0]) for row in BESIDE_ITS_WORK],
)
def test_a_question_shows_whatever_else_the_task_does(
    spec: TaskSpec, state: TaskState, known: Surroundings, phase: str, reason: str
) -> None:
    """The phase is WaitingForInput only when nothing runs, the condition is True as soon as one step asks."""
    status = show(spec, state, known)

    assert (status.phase, status.conditions[0].reason) == (phase, reason)
    assert condition(status, "WaitingForInput") == "True"
    assert status.to_json()["waiting"] == [
        {
            "id": QUESTION.id,
            "step": "confirm",
            "kind": "Question",
            "question": "Refund?",
            "choices": ["approve", "reject"],
            "since": "2026-11-23T11:55:00Z",
            "deadline": "2026-11-24T12:00:00Z",
        }
    ]
    (said,) = (c.message for c in status.conditions if c.type == "WaitingForInput")
    assert said == f"Refund? (step confirm; choose one of approve, reject; waitID {QUESTION.id})"
    assert kstatus(as_object(status)).status == "InProgress"
    assert not status_problems("tasks", status.to_json())


def test_an_answered_question_is_gone_from_the_status() -> None:
    state = rows(
        marks={"confirm": StepMark("Succeeded", entered_at=NOW, ended_at=NOW)},
        outputs={"confirm": Output({"choice": "approve"})},
    )

    status = show(task(ASKS, BESIDE), state)

    assert status.waiting is None
    assert condition(status, "WaitingForInput") is None
    assert status.steps[0].output == {"choice": "approve"}
