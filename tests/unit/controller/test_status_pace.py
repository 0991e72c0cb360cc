"""A fan-out's status is written every two seconds at most, and at once when it tells of more than items.

What a warm runner has begun is not shown for half a second; when one such attempt follows the other, after a second.
"""

from datetime import UTC, datetime
from typing import Any

import pytest
from parley.controller.status_pace import Pace
from parley.resources.common import Condition
from parley.resources.task import StepPhase, TaskPhase, TaskStatus
from parley.resources.task_status import ItemCounts, StepStatus, WaitingEntry, WaitingKind

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def status(succeeded: int = 0, *, reason: str = "Running", **fields: Any) -> TaskStatus:
    ready = Condition(
        type="Ready", status="False", reason=reason, message=f"{succeeded}", last_transition_time=NOW
    )
    counts = ItemCounts(total=1000, succeeded=succeeded, failed=0, active=10)
    step = StepStatus(
        name="do",
        phase=fields.pop("step_phase", StepPhase.RUNNING),
        items=counts,
        job=f"do-{succeeded}",
        attempt=1,
        message=f"{succeeded} of 1000",
    )
    return TaskStatus(phase=TaskPhase.RUNNING, conditions=[ready], steps=[step], **fields)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def begun() -> tuple[Pace, Clock]:
    """A status was just written."""
    clock = Clock()
    pace = Pace(clock)
    assert pace.postpone("uid", status(0), TaskStatus()) == 0
    pace.wrote("uid", status(0))
    return pace, clock


def test_items_that_end_are_told_together() -> None:
    pace, clock = begun()
    clock.now += 0.5

    assert pace.postpone("uid", status(7), status(0)) == pytest.approx(1.5)
    clock.now += 1.5
    assert pace.postpone("uid", status(40), status(0)) == 0


@pytest.mark.parametrize(
    "changed",
    [
        status(7, reason="ImagePullFailed"),
        status(7, step_phase=StepPhase.SUCCEEDED),
        status(7, observed_generation=2),
        status(
            7,
            waiting=[WaitingEntry(id="1", step="ask", kind=WaitingKind.QUESTION, question="?", since=NOW)],
        ),
    ],
    ids=["trouble", "the end", "an edit", "a question"],
)
def test_what_people_wait_for_is_told_at_once(changed: TaskStatus) -> None:
    pace, _ = begun()

    assert pace.postpone("uid", changed, status(0)) == 0


def test_tasks_without_items_are_written_as_they_change() -> None:
    pace, _ = begun()
    plain = TaskStatus(phase=TaskPhase.RUNNING)
    pace.wrote("plain", plain)

    assert pace.postpone("plain", plain, plain) == 0


def test_nothing_is_remembered_for_longer_than_it_counts() -> None:
    pace, clock = begun()
    clock.now += 3
    pace.wrote("another", status(0))

    assert set(pace._written) == {"another"}


def test_what_may_be_over_in_no_time_is_not_shown_at_once() -> None:
    pace = Pace(Clock())

    assert pace.postpone("uid", status(), TaskStatus(), begun=0.1) == pytest.approx(0.4)
    assert pace.postpone("uid", status(), TaskStatus(), begun=0.5) == 0
    assert pace.postpone("uid", status(), TaskStatus()) == 0


def test_one_short_attempt_after_the_other_is_shown_all_the_same() -> None:
    clock = Clock()
    pace = Pace(clock)
    assert pace.postpone("uid", status(), TaskStatus(), begun=0.0) == 0.5
    clock.now += 0.9
    assert pace.postpone("uid", status(), TaskStatus(), begun=0.0) == pytest.approx(0.1)
    clock.now += 0.2
    assert pace.postpone("uid", status(), TaskStatus(), begun=0.0) == 0

    # What was shown begins anew
    pace.wrote("uid", status())
    assert pace.postpone("uid", status(), TaskStatus(), begun=0.0) == 0.5
