"""Whatever comes in whatever order, a task ends, ends the same way, and breaks no promise on its way.

The promises themselves are asserted where they could be broken: in the simulation's store, cluster and operator.
"""

from hypothesis import given, settings
from hypothesis import strategies as st
from parley.engine.retries import MAX_DISRUPTIONS
from parley.resources.reasons import Reason

from tests.unit.engine.builders import container, prompt, task
from tests.unit.engine.scenarios import ENDED, SEEDS, expected_ends, scenarios
from tests.unit.engine.sim_script import Script
from tests.unit.engine.simulator import Scenario, Simulation


@given(scenario=scenarios(), seed=SEEDS)
@settings(max_examples=150, deadline=None)
def test_a_task_ends_as_its_steps_do_whatever_the_order(scenario: Scenario, seed: int) -> None:
    end = Simulation(scenario, seed).run()

    assert (end.phase, end.reason) in expected_ends(scenario)


@given(scenario=scenarios(calls=True), seed=SEEDS)
@settings(max_examples=100, deadline=None)
def test_tool_calls_change_nothing_about_the_end_but_a_rejected_tool_step(
    scenario: Scenario, seed: int
) -> None:
    simulation = Simulation(scenario, seed)

    end = simulation.run()

    assert (end.phase, end.reason) in expected_ends(scenario)
    assert not [wait for wait in simulation.store.waits if wait.state == "Open"]


@given(scenario=scenarios(cancels=True), seed=SEEDS)
@settings(max_examples=80, deadline=None)
def test_a_cancelled_task_ends_at_once_or_had_ended(scenario: Scenario, seed: int) -> None:
    simulation = Simulation(scenario, seed)

    end = simulation.run()

    assert (end.phase, end.reason) in {("Cancelled", Reason.CANCELLED), *expected_ends(scenario)}
    assert not simulation.store.open_attempts()


@given(scenario=scenarios(session_ends=True), seed=SEEDS)
@settings(max_examples=80, deadline=None)
def test_a_task_whose_session_ends_ends_with_it_or_had_ended(scenario: Scenario, seed: int) -> None:
    simulation = Simulation(scenario, seed)

    end = simulation.run()

    assert (end.phase, end.reason) in {ENDED, *expected_ends(scenario)}
    assert not simulation.store.open_attempts()


@given(scenario=scenarios(parent_ends=True), seed=SEEDS)
@settings(max_examples=50, deadline=None)
def test_a_child_whose_parent_has_ended_ends_too(scenario: Scenario, seed: int) -> None:
    end = Simulation(scenario, seed).run()

    assert (end.phase, end.reason) in {("Cancelled", Reason.CANCELLED), *expected_ends(scenario)}


@given(scenario=scenarios(), seed=SEEDS)
@settings(max_examples=80, deadline=None)
def test_the_attempts_of_each_item_are_numbered_without_a_gap(scenario: Scenario, seed: int) -> None:
    simulation = Simulation(scenario, seed)

    simulation.run()

    for step in scenario.spec.effective_steps():
        for item in {a.item for a in simulation.store.of_step(step.name)}:
            attempts = simulation.store.of_step(step.name, item)
            limit = step.retry.limit if step.retry else 0
            assert [a.number for a in attempts] == list(range(1, len(attempts) + 1))
            put_off = [a for a in attempts if a.reason is Reason.SUSPENDED]
            paused = [a for a in attempts if a.phase == "Paused"]
            others = [a for a in attempts[:-1] if a not in put_off and a not in paused]
            assert all(a.phase in {"Lost", "Failed", "TimedOut"} for a in others)
            assert all(a.phase == "Cancelled" for a in put_off)
            assert sum(a.phase == "Lost" for a in attempts) <= MAX_DISRUPTIONS + 1
            assert sum(a.phase in {"Failed", "TimedOut"} for a in attempts) <= limit + 1


@given(seed=SEEDS, restarts=st.integers(0, 5))
@settings(max_examples=50, deadline=None)
def test_a_task_whose_pods_are_never_lost_runs_each_step_once(seed: int, restarts: int) -> None:
    """However often the operator is killed, and although what it hears is late, doubled or lost."""
    steps = (container("one"), prompt("two"), container("three"))
    scenario = Scenario(
        spec=task(*steps, session="alice"),
        scripts={step.name: Script() for step in steps},
        restarts=restarts,
        lossy=True,
        suspends=1,
    )
    simulation = Simulation(scenario, seed)

    assert simulation.run().phase == "Succeeded"

    assert [(a.step, a.number) for a in simulation.store.attempts] == [("one", 1), ("two", 1), ("three", 1)]


def test_a_container_runs_once_although_the_watch_of_pods_lags() -> None:
    """Its Job is seen Complete before its pod is seen at all."""
    scenario = Scenario(spec=task(container("one")), scripts={"one": Script()}, skewed=True)

    for seed in range(100):
        simulation = Simulation(scenario, seed)
        simulation.run()
        assert [(a.step, a.number) for a in simulation.store.attempts] == [("one", 1)]
