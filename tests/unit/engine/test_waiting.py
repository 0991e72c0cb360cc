"""Steps that wait: for a person, for a time, for another task. Nothing runs meanwhile."""

from datetime import timedelta
from typing import Any

import pytest
from parley.engine.actions import CloseAttempt, FinishChild
from parley.engine.state import Child, StepMark
from parley.resources.reasons import Reason
from parley.resources.task import DesiredState

from tests.unit.engine.builders import (
    NOW,
    actions,
    around,
    attempt,
    container,
    desired,
    entered,
    plan,
    pod,
    question,
    rows,
    step,
    task,
    views,
)

HOUR, LATE = timedelta(hours=1), timedelta(seconds=-1)

# A person.

ASKS = task(
    step("ask", wait={"question": "Refund?", "choices": ["yes", "no"], "timeout": "24h"}), container("z")
)


def asking(left: timedelta | None = HOUR, **fields: Any) -> Any:
    return rows(marks={"ask": entered()}, waits=(question(left=left),), **fields)


def test_a_question_waits_for_its_answer() -> None:
    made = plan(ASKS, asking())

    assert actions(made) == []
    assert views(made) == ["ask Waiting WaitingForInput", "z Pending"]
    assert [wait.id for wait in made.steps[0].waits] == ["w-ask"]
    assert made.steps[0].message == "Well?"
    assert made.wake_at == NOW + HOUR


def test_a_question_without_a_deadline_waits_for_weeks_without_a_look() -> None:
    assert plan(ASKS, asking(left=None)).wake_at is None


def test_a_question_that_nobody_answered_in_time_expires() -> None:
    assert actions(plan(ASKS, asking(left=LATE))) == ["expire w-ask"]


def test_a_question_of_a_suspended_task_does_not_expire() -> None:
    spec = desired(ASKS, DesiredState.SUSPENDED)

    made = plan(spec, asking(left=LATE, suspended=True))

    assert actions(made) == []
    assert made.wake_at is None
    assert views(made)[0] == "ask Waiting WaitingForInput", "it can still be answered"


@pytest.mark.parametrize("state", ["Answered", "Expired", "Withdrawn"])
def test_a_question_that_is_closed_asks_nothing(state: Any) -> None:
    closed = question(left=LATE, state=state)

    made = plan(ASKS, rows(marks={"ask": entered()}, waits=(closed,)))

    assert actions(made) == []
    assert made.steps[0].waits == ()


def test_two_branches_may_ask_at_once() -> None:
    spec = task(step("ask", wait={"question": "?"}), step("also", needs=[], wait={"question": "?"}))
    waits = (question(left=HOUR), question("also", left=HOUR / 2))

    made = plan(spec, rows(marks={"ask": entered(), "also": entered()}, waits=waits))

    assert [w.id for view in made.steps for w in view.waits] == ["w-ask", "w-also"]
    assert made.wake_at == NOW + HOUR / 2


# A time.

SLEEPS = task(step("nap", sleep={"duration": "1h"}), container("z"))


@pytest.mark.parametrize(
    ("what", "until", "suspended", "do", "wake"),
    [
        ("goes on", HOUR, False, [], NOW + HOUR),
        ("over to the second", timedelta(0), False, ["end step nap Succeeded Succeeded"], NOW),
        ("long over", -HOUR, False, ["end step nap Succeeded Succeeded"], NOW),
        ("suspended", HOUR, True, [], None),
        ("over while suspended: it goes on when resumed", -HOUR, True, [], None),
    ],
)
def test_a_sleep(what: str, until: timedelta, suspended: bool, do: list[str], wake: object) -> None:
    spec = desired(SLEEPS, DesiredState.SUSPENDED) if suspended else SLEEPS

    made = plan(spec, rows(marks={"nap": entered(until=NOW + until)}, suspended=suspended))

    assert actions(made) == do, what
    assert views(made) == ["nap Waiting Sleeping", "z Pending"]
    if not do:
        assert made.wake_at == wake


def test_a_sleep_says_until_when() -> None:
    made = plan(SLEEPS, rows(marks={"nap": entered(until=NOW + HOUR)}))

    assert made.steps[0].message == "until 2026-11-23T13:00:00Z"


def test_a_task_wakes_for_what_comes_first() -> None:
    spec = task(
        step("nap", sleep={"duration": "1h"}),
        step("ask", needs=[], wait={"question": "?", "timeout": "30m"}),
        container("a", needs=[]),
        timeout="48h",
    )
    marks: dict[str, StepMark] = {"nap": entered(until=NOW + HOUR), "ask": entered()}
    given = rows(
        attempt("a", left=timedelta(minutes=40)),
        marks=marks,
        waits=(question(left=timedelta(minutes=30)),),
        deadline=NOW + 2 * HOUR,
    )

    assert plan(spec, given, around(["a-1"])).wake_at == NOW + timedelta(seconds=10), "its Job has no pod yet"
    assert plan(spec, given, around(pods={"a-1": pod()})).wake_at == NOW + timedelta(minutes=30)


# Another task.

CALLS = task(step("call", task={"templateRef": {"name": "refund"}}, timeout="5m"), container("z"))
OPEN = attempt("call")


def calling(child: Child | None = None, *attempts: Any, **fields: Any) -> Any:
    children = {child.name: child} if child else {}
    return rows(*(attempts or (OPEN,)), children=children, **fields)


def kid(**fields: Any) -> Child:
    return Child("call-1", "uid-of-call-1", **fields)


@pytest.mark.parametrize(
    ("what", "given", "known", "do"),
    [
        ("not there: it is made", calling(), around(), ["child call-1"]),
        ("goes on", calling(kid()), around(), []),
        ("succeeded", calling(kid(phase="Succeeded")), around(), ["finish child call-1"]),
        ("failed", calling(kid(phase="Failed", reason=Reason.EXIT_CODE)), around(), ["finish child call-1"]),
        ("cancelled", calling(kid(phase="Cancelled")), around(), ["finish child call-1"]),
        ("deleted", calling(kid(gone=True)), around(), ["close 104 Failed Cancelled"]),
        (
            "deleted after its end",
            calling(kid(gone=True, phase="Succeeded")),
            around(),
            ["finish child call-1"],
        ),
        (
            "refused by the API server",
            calling(),
            around(child_refusals={"call-1": "spec.steps: is bad"}),
            ["close 104 Failed InvalidSpec"],
        ),
        (
            "too late",
            calling(kid(), attempt("call", left=LATE)),
            around(),
            ["close 104 TimedOut StepTimeout"],
        ),
        (
            "ended just in time, seen too late",
            calling(kid(phase="Succeeded"), attempt("call", left=LATE)),
            around(),
            ["finish child call-1"],
        ),
        (
            "an earlier one is of no matter",
            calling(Child("call-0", "uid", phase="Failed")),
            around(),
            ["child call-1"],
        ),
    ],
)
def test_a_child(what: str, given: Any, known: Any, do: list[str]) -> None:
    made = plan(CALLS, given, known)

    assert actions(made) == do, what
    assert made.steps[0].child == "call-1"
    assert made.steps[0].phase == "Running"


def test_a_step_that_waits_for_its_child_wakes_at_its_deadline() -> None:
    made = plan(CALLS, calling(kid(), attempt("call", left=timedelta(minutes=3))))

    assert made.wake_at == NOW + timedelta(minutes=3)


def test_the_message_of_a_deleted_child_names_it() -> None:
    (close,) = plan(CALLS, calling(kid(gone=True))).actions

    assert isinstance(close, CloseAttempt)
    assert close.message == "Task call-1 was deleted before it ended"


def test_a_childs_end_is_committed_with_the_child() -> None:
    child = kid(phase="Failed", reason=Reason.EXIT_CODE)

    (finish,) = plan(CALLS, calling(child)).actions

    assert isinstance(finish, FinishChild)
    assert (finish.attempt, finish.child) == (OPEN, child)


def test_a_child_is_repeated_once_the_last_one_has_ended() -> None:
    spec = task(step("call", task={"templateRef": {"name": "refund"}}, retry={"limit": 1}))
    late = attempt("call", "TimedOut", reason=Reason.STEP_TIMEOUT)

    waits, goes_on = plan(spec, calling(kid(), late)), plan(spec, calling(kid(phase="Cancelled"), late))

    assert actions(waits) == []
    assert waits.steps[0].message == "waits until Task call-1 has ended"
    assert waits.wake_at is not None
    assert actions(goes_on) == ["start call-2 Retry"]


# The parent.


def test_a_task_whose_parent_no_longer_waits_is_cancelled() -> None:
    why = "its parent task order-1 has ended: TaskTimeout"

    (end,) = plan(SLEEPS, rows(parent_closed=why)).actions

    assert (end.phase, end.reason, end.message) == ("Cancelled", Reason.CANCELLED, why)  # type: ignore[union-attr]


def test_a_child_is_suspended_and_resumed_with_its_parent() -> None:
    assert actions(plan(SLEEPS, rows(parent_suspended=True))) == ["suspend"]
    assert actions(plan(SLEEPS, rows(parent_suspended=True, suspended=True))) == []
    assert actions(plan(SLEEPS, rows(suspended=True))) == ["resume"]


def test_a_child_says_that_it_is_suspended_with_its_parent() -> None:
    made = plan(SLEEPS, rows(parent_suspended=True, suspended=True))

    assert made.steps[0].message == "its parent task is suspended"
