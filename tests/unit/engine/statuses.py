"""The status of a task in a given state, as it is written; steps, and a question, for tasks to have."""

from collections.abc import Collection
from datetime import timedelta
from typing import Any

from parley.engine.plan import Plan
from parley.engine.state import Attempt, Hold, StepMark, Surroundings, TaskState, Wait
from parley.engine.status import build_status
from parley.resources.task import TaskSpec, TaskStatus

from tests.unit.engine.builders import NOW, plan, rows, step

ASKS = step("confirm", needs=[], wait={"question": "Refund?", "choices": ["approve", "reject"]})
NAPS = step("nap", needs=[], sleep={"duration": "168h"})
FLAKY = step("call", needs=[], container={"image": "i"}, retry={"limit": 3})
BESIDE = step("work", needs=[], container={"image": "i"})
TALKS = step("talk", needs=[], prompt={"text": "Hi"})
ENTERED = StepMark("Entered", entered_at=NOW - timedelta(minutes=5))
QUESTION = Wait(
    id="5f0c9f4e-6f53-4a43-9a53-b7f1c1f0a001",
    step="confirm",
    item=-1,
    kind="Question",
    question="Refund?",
    choices=("approve", "reject"),
    since=NOW - timedelta(minutes=5),
    deadline=NOW + timedelta(hours=24),
    state="Open",
)


def asked(*attempts: Attempt, **fields: Any) -> TaskState:
    """The step ``confirm`` waits for a person."""
    marks = {"confirm": ENTERED} | fields.pop("marks", {})
    return rows(*attempts, marks=marks, waits=(QUESTION,), **fields)


def status_of(
    made: Plan,
    state: TaskState,
    *,
    hold: Hold | None = None,
    previous: TaskStatus | None = None,
    tolerated: Collection[str] = (),
) -> TaskStatus:
    return build_status(
        made.steps,
        state,
        hold=hold,
        agent="support",
        generation=3,
        previous=previous or TaskStatus(),
        tolerated=tolerated,
    )


def show(spec: TaskSpec, state: TaskState, known: Surroundings | None = None) -> TaskStatus:
    known = known or Surroundings()
    tolerated = {step.name for step in spec.effective_steps() if step.continue_on_error}
    return status_of(plan(spec, state, known), state, hold=known.gate.hold, tolerated=tolerated)


def as_object(status: TaskStatus, generation: int = 3) -> dict[str, object]:
    return {"metadata": {"generation": generation}, "status": status.to_json()}


def condition(status: TaskStatus, kind: str) -> str | None:
    return next((c.status for c in status.conditions if c.type == kind), None)
