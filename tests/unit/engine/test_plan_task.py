"""The task around its steps: their order, what holds them, and suspension."""

from datetime import timedelta

import pytest
from parley.engine.state import Hold, Turn
from parley.resources.reasons import Reason
from parley.resources.task import DesiredState, TaskSpec

from tests.unit.engine.builders import (
    NOW,
    TURN,
    actions,
    around,
    attempt,
    container,
    dead,
    desired,
    lost,
    plan,
    pod,
    prompt,
    rows,
    task,
    views,
)

TWO = task(container("build"), container("ship"))
NO_AGENT = Hold(Reason.AGENT_NOT_FOUND, "Agent support does not exist")
LATE = NOW - timedelta(seconds=1)


# The order of the steps.


def test_the_second_step_waits_for_the_first() -> None:
    made = plan(TWO, rows(attempt("build")), around(pods={"build-1": pod()}))

    assert actions(made) == []
    assert views(made) == ["build Running Running", "ship Pending"]


def test_the_second_step_starts_when_the_first_has_succeeded() -> None:
    made = plan(TWO, rows(attempt("build", "Succeeded")))

    assert actions(made) == ["start ship-1 First"]
    assert views(made) == ["build Succeeded Succeeded", "ship Queued Pending"]


def test_the_second_step_never_starts_when_the_first_has_failed() -> None:
    made = plan(TWO, rows(attempt("build", "Failed", reason=Reason.EXIT_CODE)))

    assert actions(made) == ["end Failed ExitCode"]
    assert views(made) == ["build Failed ExitCode", "ship Pending"]


def test_the_task_succeeds_with_its_last_step() -> None:
    made = plan(TWO, rows(attempt("build", "Succeeded"), attempt("ship", "Succeeded")))

    assert actions(made) == ["end Succeeded Succeeded"]


def test_a_message_is_one_prompt_step() -> None:
    made = plan(TaskSpec.model_validate({"agentRef": {"name": "support"}, "message": "Hi"}))

    assert actions(made) == ["start reply-1 First"]


def test_a_start_says_which_step_of_the_spec_it_is() -> None:
    (start,) = plan(TWO, rows(attempt("build", "Succeeded"))).actions

    assert getattr(start, "index", None) == 1


# What holds a step that is next.


@pytest.mark.parametrize("spec", [TWO, TURN], ids=["container", "turn"])
def test_nothing_starts_while_the_agent_or_session_is_missing(spec: object) -> None:
    made = plan(spec, rows(), around(hold=NO_AGENT))  # type: ignore[arg-type]

    assert actions(made) == []
    assert made.steps[0].reason is Reason.AGENT_NOT_FOUND
    assert made.ready_turns == (), "a step that could not start must not hold up the others' turns"


@pytest.mark.parametrize("why", ["suspended", "no agent"])
def test_a_turn_whose_pod_was_lost_is_given_back_when_it_may_not_go_on(why: str) -> None:
    suspended = why == "suspended"
    spec = desired(TURN, DesiredState.SUSPENDED) if suspended else TURN
    known = around(hold=None if suspended else NO_AGENT, turns={"ask": Turn.HELD})

    made = plan(spec, rows(*lost(1, "ask"), suspended=suspended), known)

    assert actions(made) == ["end turn ask"]


def test_what_runs_goes_on_when_the_agent_goes_missing() -> None:
    made = plan(TWO, rows(attempt("build")), around(pods={"build-1": dead(0)}, hold=NO_AGENT))

    assert actions(made) == ["finish build-1 Succeeded Succeeded"]


def test_a_lost_attempt_is_closed_although_its_successor_must_wait() -> None:
    made = plan(TWO, rows(attempt("build")), around(vanished=["build-1"], hold=NO_AGENT))

    assert actions(made) == ["close 105 Lost PodLost"]


def test_a_turn_without_a_ticket_asks_for_one() -> None:
    made = plan(TURN, rows(), around())

    assert actions(made) == []
    assert views(made) == ["ask Queued SessionBusy"]
    assert made.ready_turns == ("ask",)


@pytest.mark.parametrize("turn", [Turn.WAITING, Turn.HELD])
def test_a_turn_with_a_ticket_tries_to_start(turn: Turn) -> None:
    """Whether its ticket is the first is decided by the store, in the transaction that inserts the attempt."""
    made = plan(TURN, rows(), around(turns={"ask": turn}))

    assert actions(made) == ["start ask-1 First in turn"]
    assert made.ready_turns == ("ask",)


def test_a_turn_that_the_store_refused_waits() -> None:
    busy = Hold(Reason.SESSION_BUSY, "another turn holds the session")

    made = plan(TURN, rows(), around(turns={"ask": Turn.WAITING}, denied={"ask": busy}))

    assert actions(made) == []
    assert views(made) == ["ask Queued SessionBusy"]
    assert made.ready_turns == ("ask",), "it keeps its ticket"


def test_a_running_turn_stays_ready() -> None:
    made = plan(TURN, rows(attempt("ask")), around(pods={"ask-1": pod()}, turns={"ask": Turn.HELD}))

    assert made.ready_turns == ("ask",)


def test_a_lost_turn_starts_again_in_its_turn() -> None:
    made = plan(TURN, rows(attempt("ask", "Running")), around(vanished=["ask-1"], turns={"ask": Turn.HELD}))

    assert actions(made) == ["start ask-2 Disruption in turn; close 103 Lost PodLost"]


@pytest.mark.parametrize(
    ("what", "spec", "needs"),
    [
        ("prompt in a session", task(prompt("ask"), session="alice"), True),
        ("prompt in a session, said so", task(prompt("ask", "Session"), session="alice"), True),
        ("prompt in a session without its history", task(prompt("ask", "None"), session="alice"), False),
        ("prompt without a session", task(prompt("ask"), agent="support"), False),
        ("container in a session", task(container("ask"), session="alice"), False),
    ],
)
def test_only_a_prompt_with_the_sessions_history_takes_a_turn(what: str, spec: object, needs: bool) -> None:
    made = plan(spec, rows(), around(turns={"ask": Turn.HELD}))  # type: ignore[arg-type]

    assert actions(made) == ["start ask-1 First" + (" in turn" if needs else "")], what
    assert (made.ready_turns == ("ask",)) is needs


# Suspended.


def test_suspending_is_written_down_before_anything_else() -> None:
    made = plan(desired(TWO, DesiredState.SUSPENDED), rows(attempt("build", "Succeeded")))

    assert actions(made) == ["suspend"]


def test_resuming_is_written_down_before_anything_else() -> None:
    made = plan(TWO, rows(attempt("build", "Succeeded"), suspended=True, deadline=LATE))

    assert actions(made) == ["resume"], "the deadline stood still; it moves with this"


SUSPENDED = desired(TWO, DesiredState.SUSPENDED)


@pytest.mark.parametrize(
    ("what", "attempts", "known", "do", "show"),
    [
        ("before the first step", (), around(), [], "build Pending Suspended"),
        ("between two steps", (attempt("build", "Succeeded"),), around(), [], "ship Pending Suspended"),
        ("its Job not made yet", (attempt("build"),), around(), ["job build-1"], "build Running Scheduling"),
        ("running", (attempt("build"),), around(pods={"build-1": pod()}), [], "build Running Running"),
        (
            "its pod ended",
            (attempt("build"),),
            around(pods={"build-1": dead(0)}),
            ["finish build-1 Succeeded Succeeded"],
            "build Running Succeeded",
        ),
        (
            "its pod lost",
            (attempt("build"),),
            around(vanished=["build-1"]),
            ["close 105 Lost PodLost"],
            "build Pending Suspended",
        ),
        ("lost before", lost(1), around(), [], "build Pending Suspended"),
        (
            "failed",
            (attempt("build", "Failed", reason=Reason.EXIT_CODE),),
            around(),
            ["end Failed ExitCode"],
            "build Failed ExitCode",
        ),
        (
            "all done",
            (attempt("build", "Succeeded"), attempt("ship", "Succeeded")),
            around(),
            ["end Succeeded Succeeded"],
            "ship Succeeded Succeeded",
        ),
    ],
)
def test_a_suspended_task_starts_nothing_and_finishes_what_runs(
    what: str, attempts: tuple[object, ...], known: object, do: list[str], show: str
) -> None:
    made = plan(SUSPENDED, rows(*attempts, suspended=True), known)  # type: ignore[arg-type]

    assert actions(made) == do, what
    assert show in views(made), what


def test_a_suspended_step_is_not_ready_for_its_turn() -> None:
    made = plan(
        desired(TURN, DesiredState.SUSPENDED), rows(suspended=True), around(turns={"ask": Turn.WAITING})
    )

    assert made.ready_turns == ()


def test_the_tasks_deadline_stands_still_while_it_is_suspended() -> None:
    made = plan(SUSPENDED, rows(suspended=True, deadline=LATE))

    assert actions(made) == []
    assert made.wake_at is None
