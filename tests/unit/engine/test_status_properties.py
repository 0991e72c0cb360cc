"""Every status that a task shows on its way, in whatever order things happen."""

from hypothesis import given, settings
from parley.engine.names import call_step
from parley.engine.plan import Plan
from parley.engine.state import Attempt, Surroundings, TaskState
from parley.resources.task import DesiredState, TaskSpec, TaskStatus

from tests.kstatus import kstatus
from tests.status_schema import status_problems
from tests.unit.engine.scenarios import SEEDS, scenarios
from tests.unit.engine.simulator import Scenario, Simulation
from tests.unit.engine.statuses import as_object, condition, status_of


@given(scenario=scenarios(), seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_every_status_on_the_way_is_true(scenario: Scenario, seed: int) -> None:
    """kstatus says InProgress until the end, then what the end was; and the API server takes each status."""
    previous: list[TaskStatus] = [TaskStatus()]

    def check(made: Plan, state: TaskState, known: Surroundings, spec: TaskSpec) -> None:
        status = status_of(made, state, hold=known.gate.hold, previous=previous[-1])
        previous.append(TaskStatus.model_validate(status.to_json()))
        verdict = kstatus(as_object(status)).status
        final = {"Succeeded": "Current", "Cancelled": "Current", "Failed": "Failed"}
        assert verdict == (final[state.end.phase] if state.end else "InProgress")
        assert not status_problems("tasks", status.to_json())
        running = {step.name for step in status.steps if step.phase == "Running"}
        calls = {call_step(wait.step, wait.id): wait.step for wait in state.waits}
        # A lost container that came back with its node runs on until it is stopped.
        back = {calls.get(a.step, a.step) for a in state.attempts if _runs_still(a, known)}
        opened = {calls.get(a.step, a.step) for a in state.attempts if a.open}
        assert opened <= running <= opened | back, "a step is Running while an attempt is open"
        asked = [] if state.end else [w for w in state.waits if w.kind in {"Question", "Approval"}]
        told = {entry.id for entry in status.waiting or ()}
        # An item of a step that fails with another item is nobody's to approve any more.
        fails = {step.name for step in spec.effective_steps() if step.for_each and not step.continue_on_error}
        assert told <= {w.id for w in asked} <= told | {w.id for w in asked if w.step in fails}
        assert (condition(status, "WaitingForInput") == "True") is bool(told)
        if status.phase == "WaitingForInput":
            assert told
            assert not opened, "the phase only when nothing runs"
        if status.phase == "Suspended":
            assert spec.desired_state is DesiredState.SUSPENDED
            assert not opened

    Simulation(scenario, seed, check).run()

    assert len(previous) > 1


def _runs_still(attempt: Attempt, known: Surroundings) -> bool:
    pod = known.pods.get(attempt.job)
    return pod is not None and pod.holds_node
