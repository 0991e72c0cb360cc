"""A status has its bounds whatever a task did, and says what is cut."""

from hypothesis import example, given, settings
from hypothesis import strategies as st
from parley.engine.state import Attempt
from parley.resources.reasons import Reason
from parley.resources.task import TaskStatus
from pydantic import JsonValue

from tests.hostile import json_values, stored_size, texts
from tests.status_schema import status_problems
from tests.unit.engine.builders import (
    attempt,
    container,
    ended,
    task,
)
from tests.unit.engine.statuses import show

TWO = task(container("build"), container("ship"))
DONE = attempt("build", "Succeeded")


def test_what_is_cut_says_so() -> None:
    long = "x" * 5000
    state = ended(
        "Succeeded",
        Reason.SUCCEEDED,
        DONE,
        attempt("ship", "Succeeded"),
        outputs={"build": long, "ship": {"rows": [long]}},
        output=[long, long],
    )

    status = show(TWO, state)

    assert status.truncated
    assert status.output is None
    assert [step.truncated for step in status.steps] == [True, True]
    assert str(status.steps[0].output).endswith("…")
    assert status.steps[1].output is None


def test_a_message_that_is_cut_says_so() -> None:
    shouting = attempt("build", "Failed", reason=Reason.EXIT_CODE, message="exit code 3: " + "x" * 500)

    step = show(TWO, ended("Failed", Reason.EXIT_CODE, shouting)).steps[0]

    assert step.truncated
    assert (step.message or "").startswith("exit code 3: xxx")


MOST_STEPS = [f"{n:02}-{'long' * 15}" for n in range(64)]
MOST = task(*(container(name) for name in MOST_STEPS))


@given(outputs=st.lists(json_values(), min_size=1, max_size=4), message=texts(), fails=st.booleans())
@settings(max_examples=40, deadline=None)
@example(outputs=["\x01" * 5000], message="\x01" * 5000, fails=True)
@example(outputs=["<b>" * 5000], message="<b>" * 5000, fails=True)
@example(outputs=["😀" * 5000], message="", fails=False)
def test_the_status_stays_within_64_kib(outputs: list[JsonValue], message: str, fails: bool) -> None:
    """64 steps with the longest names, outputs and messages as bad as can be."""
    attempts = [_most(name, failed=fails and name == MOST_STEPS[-1], message=message) for name in MOST_STEPS]
    state = ended(
        "Failed" if fails else "Succeeded",
        Reason.CONTAINER_CONFIG_ERROR if fails else Reason.SUCCEEDED,
        *attempts,
        message=message,
        outputs={name: outputs[n % len(outputs)] for n, name in enumerate(MOST_STEPS[: 63 if fails else 64])},
        output=outputs[0],
        input_tokens=10**15,
        output_tokens=10**15,
    )

    status = show(MOST, state)

    written = status.to_json()
    assert stored_size(written) <= 64 * 1024  # type: ignore[arg-type]
    assert TaskStatus.model_validate(written) == status, "the operator must be able to read it again"
    assert not status_problems("tasks", written)
    assert len(status.steps) == 64


def _most(step: str, *, failed: bool, message: str) -> Attempt:
    made = attempt(step, "Failed" if failed else "Succeeded", 6)
    return Attempt(
        id=made.id,
        step=step,
        item=-1,
        number=6,
        job="j" * 63,
        phase=made.phase,
        deadline=made.deadline,
        created_at=made.created_at,
        ended_at=made.ended_at,
        reason=Reason.CONTAINER_CONFIG_ERROR if failed else Reason.SUCCEEDED,
        message=message if failed else "",
    )
