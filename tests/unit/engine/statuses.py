"""The status of a task in a given state, as it is written."""

from collections.abc import Collection

from parley.engine.plan import Plan
from parley.engine.state import Hold, Surroundings, TaskState
from parley.engine.status import build_status
from parley.resources.task import TaskSpec, TaskStatus

from tests.unit.engine.builders import plan


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
