"""Stories of tasks, drawn at random, and how each must end."""

from hypothesis import strategies as st
from parley.engine.retries import MAX_DISRUPTIONS
from parley.resources.reasons import Reason

from tests.unit.engine.builders import container, prompt, task
from tests.unit.engine.sim_cluster import Ending, Script
from tests.unit.engine.simulator import Scenario

NAMES = ("one", "two", "three", "four")
SEEDS = st.integers(0, 2**32)
SCRIPTS = st.builds(
    Script,
    ending=st.sampled_from([Ending.SUCCEED, Ending.SUCCEED, Ending.SUCCEED, *Ending]),
    losses=st.sampled_from([0, 0, 0, 1, 2, MAX_DISRUPTIONS, MAX_DISRUPTIONS + 1]),
)
KINDS = ("container", "turn", "prompt without history")


@st.composite
def scenarios(draw: st.DrawFn, *, cancels: bool = False) -> Scenario:
    names = NAMES[: draw(st.integers(1, len(NAMES)))]
    steps = []
    for name in names:
        kind = draw(st.sampled_from(KINDS))
        steps.append(
            container(name) if kind == "container" else prompt(name, None if kind == "turn" else "None")
        )
    spec = task(*steps, session="alice", timeout=draw(st.sampled_from([None, "30m"])))
    return Scenario(
        spec=spec,
        scripts={name: draw(SCRIPTS) for name in names},
        suspends=draw(st.integers(0, 2)),
        cancels=cancels,
        restarts=draw(st.integers(0, 4)),
        lossy=draw(st.booleans()),
        skewed=draw(st.booleans()),
        rival=draw(st.booleans()),
    )


def expected_end(scenario: Scenario) -> tuple[str, Reason]:
    """How the scenario's task must end: read off its scripts, step by step."""
    spec = scenario.spec
    for step in spec.effective_steps():
        script = scenario.scripts[step.name]
        if script.losses > MAX_DISRUPTIONS:
            return "Failed", Reason.POD_LOST
        failure = {
            Ending.FAIL: Reason.EXIT_CODE if step.container else Reason.MODEL_ERROR,
            Ending.EXIT_1: Reason.EXIT_CODE if step.container else Reason.ERROR,
            Ending.OUT_OF_MEMORY: Reason.OOM_KILLED,
            Ending.HANG: Reason.TASK_TIMEOUT if spec.timeout else Reason.STEP_TIMEOUT,
            Ending.NO_IMAGE: Reason.TASK_TIMEOUT if spec.timeout else Reason.IMAGE_PULL_FAILED,
        }.get(script.ending)
        if failure is not None:
            return "Failed", failure
    return "Succeeded", Reason.SUCCEEDED
