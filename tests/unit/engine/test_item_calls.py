"""Items that pause for tool calls: each waits for its own, and none for those of others."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from parley.engine.pods import JobView
from parley.engine.state import Attempt, AttemptPhase, Hold, Surroundings, TaskState, Wait
from parley.engine.views import ItemCounts
from parley.resources.reasons import Reason
from parley.resources.task import DesiredState, TaskSpec

from tests.unit.engine.builders import (
    NOW,
    actions,
    approval,
    around,
    attempt,
    call,
    case,
    dead,
    desired,
    for_each,
    of_call,
    of_items,
    plan,
    pod,
    prompt,
    step,
    task,
    views,
)

BUSY = Hold(Reason.CONCURRENCY_LIMITED, "1st of 1 in the queue")


def asked(parallelism: int = 2, **fields: Any) -> TaskSpec:
    return task(prompt("ask", forEach=for_each(parallelism), **fields), agent="support")


def item(n: int, phase: AttemptPhase = "Paused", number: int = 1, **fields: Any) -> Attempt:
    return attempt("ask", phase, number, item=n, **fields)


def asks(n: int, **fields: Any) -> Wait:
    return replace(approval(f"ok{n}"), item=n, **fields)


def runs(n: int) -> Wait:
    return replace(call(f"run{n}"), item=n)


def of(total: int, *attempts: Attempt, **fields: Any) -> TaskState:
    return of_items("ask", total, *attempts, **fields)


IN_ROUND = {"pods": {"round": pod()}}
CASES = [
    case(
        "all that is left waits for a person",
        of(2, item(0), item(1, "Succeeded"), waits=(asks(0),)),
        around(),
        [],
        "ask Waiting WaitingForInput",
        "1 of 2 items are done, 1 waits for approval; May support call pay?",
    ),
    case(
        "two wait, with three questions",
        of(2, item(0), item(1), waits=(asks(0), asks(1), replace(asks(1), id="ok1b"))),
        around(),
        [],
        "ask Waiting WaitingForInput",
        "0 of 2 items are done, 2 wait for approval",
    ),
    case(
        "one resumes, the other waits on",
        of(2, item(0), item(1), waits=(asks(0),)),
        around(),
        ["round ask 1-2"],
        "ask Queued Pending",
        "0 of 2 items are done, 1 waits for approval",
    ),
    case(
        "one resumes, others have not begun",
        of(3, item(1)),
        around(),
        ["round ask 0-1 1-2 2-1"],
        "ask Queued Pending",
        "0 of 3 items are done",
    ),
    case(
        "one could resume, but a round is under way",
        of(2, item(0), item(1, "Running", job="round")),
        around(**IN_ROUND),
        [],
        "ask Running Running",
        "0 of 2 items are done",
    ),
    case(
        "a round is under way, one waits",
        of(2, item(0), item(1, "Running", job="round"), waits=(asks(0),)),
        around(**IN_ROUND),
        [],
        "ask Running Running",
        "0 of 2 items are done, 1 waits for approval",
    ),
    case(
        "containers of calls run for as many items as may run",
        of(3, item(0), item(1), item(2), waits=(runs(0), runs(1), runs(2))),
        around(),
        ["call run0 1 First", "call run1 1 First"],
        "ask Queued Pending",
        "tool pay: is about to start",
    ),
    case(
        "one runs, another asks",
        of(2, item(0), item(1), of_call(runs(0)), waits=(runs(0), asks(1))),
        around(pods={"run0-1": pod()}),
        [],
        "ask Running Running",
        "0 of 2 items are done, 1 waits for approval; tool pay runs in Job run0-1",
    ),
    case(
        "one runs while the round of the others waits for its slot",
        of(2, item(0), of_call(runs(0)), waits=(runs(0),)),
        around(pods={"run0-1": pod()}),
        ["round ask 1-1"],
        "ask Running Running",
        "tool pay runs in Job run0-1",
    ),
    case(
        "all that is left waits for a slot",
        of(2, item(0), waits=(asks(0),)),
        around(slot=BUSY),
        [],
        "ask Queued ConcurrencyLimited",
        "1st of 1 in the queue",
    ),
    case(
        "an item failed for good: no other goes on",
        of(
            3,
            item(0),
            item(1),
            item(2, "Failed", reason=Reason.MODEL_ERROR, message="no"),
            waits=(asks(0), runs(1)),
        ),
        around(),
        ["end step ask Failed ModelError"],
        "ask Queued Pending",
        "1 failed",
    ),
    case(
        "an item failed for good while another runs: nobody is asked any more",
        of(
            3,
            item(0),
            item(1, "Running", job="round"),
            item(2, "Failed", reason=Reason.MODEL_ERROR),
            waits=(replace(asks(0), deadline=NOW),),
        ),
        around(**IN_ROUND),
        [],
        "ask Running Running",
        "0 of 3 items are done, 1 failed",
    ),
]


@pytest.mark.parametrize(("given", "known", "do", "show", "message"), CASES)
def test_items_that_pause(given: Any, known: Surroundings, do: list[str], show: str, message: str) -> None:
    made = plan(asked(), given, known)

    assert (actions(made), views(made)) == (do, [show])
    assert message in made.steps[0].message


def test_an_item_that_failed_keeps_none_from_its_approval_where_that_is_allowed() -> None:
    given = of(2, item(0), item(1, "Failed", reason=Reason.MODEL_ERROR), waits=(asks(0),))

    made = plan(asked(continueOnError=True), given)

    assert (actions(made), views(made)) == ([], ["ask Waiting WaitingForInput"])


def test_the_questions_of_items_are_shown_beside_what_runs() -> None:
    given = of(2, item(0), item(1, "Running", job="round"), waits=(asks(0),))

    (view,) = plan(asked(), given, around(**IN_ROUND)).steps

    assert view.waits == (asks(0),)
    assert view.items == ItemCounts(2, 0, 0, 1)


def test_the_approval_of_an_item_expires_while_others_run() -> None:
    late = asks(0, deadline=NOW)
    soon = asks(1, deadline=NOW + timedelta(minutes=1))
    given = of(3, item(0), item(1), item(2, "Running", job="round"), waits=(late, soon))

    made = plan(asked(), given, around(**IN_ROUND))

    assert actions(made) == ["expire ok0"]
    assert made.wake_at is not None
    assert made.wake_at <= NOW + timedelta(minutes=1)


def test_the_end_of_a_call_is_taken_while_a_round_runs() -> None:
    given = of(2, item(0), item(1, "Running", job="round"), of_call(runs(0)), waits=(runs(0),))

    made = plan(asked(), given, around(pods={"round": pod(), "run0-1": dead(0)}))

    assert actions(made) == ["finish run0-1 Succeeded Succeeded"]


def test_items_of_tool_steps_run_in_rounds_too() -> None:
    spec = task(step("ask", tool={"name": "pay"}, forEach=for_each()))

    begins = plan(spec, of(3))
    goes_on = plan(spec, of(3, *(item(n, "Open", job="round", index=n) for n in range(3))))

    assert actions(begins) == ["round ask 0-1 1-1 2-1"]
    assert actions(goes_on) == ["job round of 3"]


def test_items_of_a_round_that_have_not_begun_are_put_off_once_the_session_is_over() -> None:
    """Else a hundred of them would run on in a session that has ended."""
    running = item(0, "Running", job="round", index=0)
    queued = item(1, "Open", job="round", index=1)
    known = around(**IN_ROUND, session_over="Session alice has ended")

    made = plan(asked(), of(2, running, queued), known)
    closed = replace(queued, phase="Cancelled", reason=Reason.SESSION_ENDED, ended_at=NOW)
    over = plan(asked(), of(2, replace(running, phase="Succeeded"), closed), known)

    assert actions(made) == [f"close {queued.id} Cancelled SessionEnded"]
    assert actions(over)[0] == "end Failed SessionEnded"


def test_suspended_items_resume_later() -> None:
    state = of(2, item(0), item(1), waits=(runs(1),), suspended=True)

    made = plan(desired(asked(), DesiredState.SUSPENDED), state, around([JobView("round", "uid")]))

    assert actions(made) == []
    assert made.steps[0].reason is Reason.SUSPENDED


def test_a_call_of_an_item_asks_for_a_slot() -> None:
    made = plan(asked(), of(1, item(0), waits=(runs(0),)), around(slot=BUSY))

    assert (views(made), made.wants_slot) == (["ask Queued ConcurrencyLimited"], True)


def test_a_call_that_runs_is_shown_before_an_item_that_waits_to_be_repeated() -> None:
    retry = {"limit": 1, "backoff": {"initial": "1h", "max": "1h"}}
    failed = item(1, "Failed", reason=Reason.MODEL_ERROR, message="no")
    given = of(2, item(0), failed, of_call(runs(0)), waits=(runs(0),))

    made = plan(asked(retry=retry), given, around(pods={"run0-1": pod()}))

    assert (actions(made), views(made)) == ([], ["ask Running Running"])
    assert made.steps[0].message == "0 of 2 items are done; tool pay runs in Job run0-1"
    assert made.wake_at is not None


def test_a_call_that_runs_is_shown_before_a_round_that_the_session_holds_back() -> None:
    given = of(2, item(0), of_call(runs(0)), waits=(runs(0),))
    known = around(
        pods={"run0-1": pod()}, session_hold=Hold(Reason.SESSION_PAUSED, "Session alice is paused")
    )

    made = plan(asked(), given, known)

    assert (actions(made), views(made)) == ([], ["ask Running Running"])
