"""What a session may say to its tasks: it is paused, full, over, or another turn has it; and its agent has no tokens."""

from dataclasses import replace
from datetime import timedelta

import pytest
from parley.engine.state import Gate, Hold, StepMark, Surroundings, TaskState, Turn
from parley.resources.reasons import Reason
from parley.resources.task import DesiredState, Step, TaskSpec

from tests.unit.engine.builders import (
    HELD,
    NOW,
    TURN,
    actions,
    approval,
    around,
    attempt,
    call,
    container,
    dead,
    desired,
    entered,
    for_each,
    of_call,
    plan,
    pod,
    prompt,
    question,
    rows,
    step,
    task,
    views,
)

OVER = "Session alice has ended"
PAUSED = Hold(Reason.SESSION_PAUSED, "Session alice is paused")
FULL = Hold(Reason.MESSAGE_LIMIT, "Session alice holds 10 messages, as many as it may")
USED_UP = Hold(Reason.QUOTA_EXCEEDED, "Agent support has used its 1000 tokens of 2026-11-23")
TOMORROW = NOW + timedelta(hours=12)
END = ["end Failed SessionEnded"]

WAITS = task(step("ask", wait={"question": "Well?"}), session="alice")
SLEEPS = task(step("nap", sleep={"duration": "1h"}), session="alice")
ASLEEP = rows(marks={"nap": StepMark("Entered", until=NOW + timedelta(hours=1))})
SUSPENDED = desired(TURN, DesiredState.SUSPENDED)


@pytest.mark.parametrize(
    ("spec", "state"),
    [
        pytest.param(TURN, rows(), id="it has not begun"),
        pytest.param(WAITS, rows(marks={"ask": entered()}, waits=(question(),)), id="it waits for a reply"),
        pytest.param(SLEEPS, ASLEEP, id="it sleeps"),
        pytest.param(SUSPENDED, rows(suspended=True), id="it is suspended"),
        pytest.param(TURN, rows(attempt("ask", "Paused"), waits=(approval(),)), id="it waits for approval"),
        pytest.param(TURN, rows(attempt("ask", "Paused")), id="it is about to resume"),
        pytest.param(TURN, rows(attempt("ask", "Lost")), id="it is about to be repeated"),
    ],
)
def test_a_task_ends_with_its_session_once_nothing_runs(spec: TaskSpec, state: TaskState) -> None:
    made = plan(spec, state, around(session_over=OVER))

    assert actions(made) == END
    assert made.actions[0].message == OVER  # type: ignore[union-attr]


RUNS = attempt("ask", "Running")
CALL = call()


@pytest.mark.parametrize(
    ("state", "known", "do"),
    [
        pytest.param(rows(RUNS), around(pods={"ask-1": pod()}), [], id="its pod runs"),
        pytest.param(rows(attempt("ask")), around(), ["job ask-1"], id="its row is there, its Job not yet"),
        pytest.param(
            rows(attempt("ask", "Paused"), of_call(CALL), waits=(CALL,)),
            around(pods={"run-1": pod()}),
            [],
            id="a tool's container runs",
        ),
        pytest.param(
            rows(attempt("ask", "Paused"), of_call(CALL), waits=(CALL, call("later", "Task"))),
            around(pods={"run-1": dead(0)}),
            ["finish run-1 Succeeded Succeeded"],
            id="a tool's container has ended, its other call is not begun",
        ),
        pytest.param(
            rows(RUNS),
            around(pods={"ask-1": pod("Failed", status_reason="Evicted")}),
            ["close 103 Lost Evicted"],
            id="its pod was lost: closed, not repeated",
        ),
    ],
)
def test_what_runs_ends_before_the_task_does(state: TaskState, known: Surroundings, do: list[str]) -> None:
    assert actions(plan(TURN, state, replace(known, gate=Gate(session_over=OVER)))) == do


def test_nothing_starts_beside_what_runs_in_a_session_that_is_over() -> None:
    beside = (container("build", needs=[]), step("note", needs=[], set={"context": {"a": 1}}))
    spec = task(prompt("ask"), *beside, session="alice")

    made = plan(spec, rows(RUNS), around(pods={"ask-1": pod()}, session_over=OVER))

    assert actions(made) == []
    assert views(made)[1:] == ["build Pending SessionEnded", "note Pending SessionEnded"]


def test_what_was_done_in_time_counts() -> None:
    """The last step succeeded just before the session ended."""
    made = plan(TURN, rows(attempt("ask", "Succeeded")), around(session_over=OVER))

    assert actions(made) == ["end Succeeded Succeeded"]


def test_what_failed_before_failed_for_its_own_reason() -> None:
    failed = attempt("ask", "Failed", reason=Reason.MODEL_ERROR)

    assert actions(plan(TURN, rows(failed), around(session_over=OVER))) == ["end Failed ModelError"]


def test_items_that_are_all_done_are_put_together_before_the_task_ends() -> None:
    spec = task(container("a", forEach=for_each()), session="alice")
    state = rows(attempt("a", "Succeeded", item=0), marks={"a": entered(1)})

    assert actions(plan(spec, state, around(session_over=OVER))) == ["end step a Succeeded Succeeded"]


STEPS = {
    "prompt": prompt("ask"),
    "prompt without history": prompt("ask", history="None"),
    "tool": step("ask", tool={"name": "pay"}),
    "container": container("ask"),
    "task": step("ask", task={"templateRef": {"name": "child"}}),
    "decided first": container("ask", when="{{ inputs.x }}"),
}


@pytest.mark.parametrize("each", STEPS.values(), ids=STEPS.keys())
def test_a_paused_session_keeps_what_runs_in_attempts_queued(each: Step) -> None:
    made = plan(task(each, session="alice"), rows(), around(session_hold=PAUSED, slot=FULL))

    assert (actions(made), views(made)) == ([], ["ask Queued SessionPaused"])
    assert (made.ready_turns, made.wants_slot) == ((), False)
    assert made.steps[0].message == "Session alice is paused"


def test_a_paused_session_keeps_no_other_step_from_its_decision() -> None:
    assert actions(plan(SLEEPS, rows(), around(session_hold=PAUSED))) == ["enter nap"]


def test_a_round_waits_for_a_paused_session() -> None:
    spec = task(prompt("a", forEach=for_each()), session="alice")

    made = plan(spec, rows(marks={"a": entered(2)}), around(session_hold=PAUSED))

    assert (actions(made), views(made)) == ([], ["a Queued SessionPaused"])


@pytest.mark.parametrize("wait", [call(), call("later", "Task")], ids=lambda wait: wait.kind)
def test_no_call_begins_in_a_paused_session(wait: object) -> None:
    state = rows(attempt("ask", "Paused"), waits=(wait,))  # type: ignore[arg-type]

    made = plan(TURN, state, around(session_hold=PAUSED, turns=HELD))

    assert (actions(made), views(made)) == ([], ["ask Queued SessionPaused"])


def test_a_lost_turn_is_given_back_by_a_paused_session() -> None:
    made = plan(TURN, rows(attempt("ask", "Lost")), around(session_hold=PAUSED, turns=HELD))

    assert actions(made) == ["end turn ask"]


def test_an_attempt_that_is_lost_is_closed_although_the_session_is_paused() -> None:
    evicted = around(pods={"ask-1": pod("Failed", status_reason="Evicted")}, session_hold=PAUSED, turns=HELD)

    assert actions(plan(TURN, rows(RUNS), evicted)) == ["close 103 Lost Evicted"]


def test_a_full_session_refuses_a_turn_at_once() -> None:
    made = plan(TURN, rows(), around(turn_refusal=FULL))

    assert actions(made) == ["refuse ask-1 MessageLimit"]
    assert made.ready_turns == ()


def test_a_refused_turn_has_failed() -> None:
    refused = attempt("ask", "Failed", reason=Reason.MESSAGE_LIMIT, message=FULL.message, definite=True)

    made = plan(TURN, rows(refused), around(turn_refusal=FULL))

    assert actions(made) == ["end Failed MessageLimit"]


@pytest.mark.parametrize(
    ("spec", "state"),
    [
        pytest.param(task(prompt("ask", history="None"), session="alice"), rows(), id="no turn"),
        pytest.param(task(container("ask"), session="alice"), rows(), id="a container"),
        pytest.param(TURN, rows(attempt("ask", "Lost")), id="a turn that has begun"),
        pytest.param(TURN, rows(attempt("ask", "Paused")), id="a turn that resumes"),
    ],
)
def test_a_full_session_refuses_nothing_but_new_turns(spec: TaskSpec, state: TaskState) -> None:
    (begun,) = actions(plan(spec, state, around(turn_refusal=FULL, turns=HELD)))

    assert begun.startswith("start ask-")


@pytest.mark.parametrize("held", [{"hold": PAUSED}, {"session_hold": PAUSED}])
def test_a_turn_is_not_refused_before_its_time(held: dict[str, Hold]) -> None:
    assert actions(plan(TURN, rows(), around(turn_refusal=FULL, **held))) == []


def test_a_prompt_waits_until_there_are_tokens_again() -> None:
    made = plan(TURN, rows(), around(quota=USED_UP, quota_until=TOMORROW, turns={"ask": Turn.WAITING}))

    assert (actions(made), views(made)) == ([], ["ask Queued QuotaExceeded"])
    assert (made.ready_turns, made.wake_at) == ((), TOMORROW)
    assert made.steps[0].message == USED_UP.message


def test_a_prompt_of_items_waits_until_there_are_tokens_again() -> None:
    spec = task(prompt("a", forEach=for_each()), agent="support")

    made = plan(spec, rows(marks={"a": entered(2)}), around(quota=USED_UP, quota_until=TOMORROW))

    assert (views(made), made.wake_at) == (["a Queued QuotaExceeded"], TOMORROW)


@pytest.mark.parametrize("each", [container("ask"), step("ask", tool={"name": "pay"})])
def test_what_asks_no_model_needs_no_tokens(each: Step) -> None:
    assert actions(plan(task(each), rows(), around(quota=USED_UP))) == ["start ask-1 First"]


def test_a_lost_prompt_gives_its_turn_back_until_there_are_tokens() -> None:
    made = plan(TURN, rows(attempt("ask", "Lost")), around(quota=USED_UP, turns=HELD))

    assert actions(made) == ["end turn ask"]


def test_a_resuming_prompt_waits_for_tokens_and_keeps_its_turn() -> None:
    state = rows(attempt("ask", "Paused"))

    made = plan(TURN, state, around(quota=USED_UP, quota_until=TOMORROW, turns=HELD))

    assert (actions(made), views(made)) == ([], ["ask Queued QuotaExceeded"])


def test_calls_of_a_prompt_need_no_tokens() -> None:
    state = rows(attempt("ask", "Paused"), waits=(call(),))

    assert actions(plan(TURN, state, around(quota=USED_UP, turns=HELD))) == ["call run 1 First"]


HOLDER = Hold(Reason.SESSION_WAITING_FOR_REPLY, "Task refund waits for a Reply and has the session")
REFUSED = {"ask": Hold(Reason.SESSION_BUSY, "another turn holds the session")}


@pytest.mark.parametrize(
    "known",
    [around(), around(turns={"ask": Turn.WAITING}, denied=REFUSED)],
    ids=["it has no ticket", "the store refused it"],
)
def test_who_waits_for_the_session_is_told_who_has_it(known: Surroundings) -> None:
    made = plan(TURN, rows(), replace(known, gate=Gate(turn_holder=HOLDER)))

    assert views(made) == ["ask Queued SessionWaitingForReply"]
    assert made.steps[0].message == HOLDER.message
    assert made.ready_turns == ("ask",)


def test_who_may_have_the_turn_tries_whoever_had_it() -> None:
    """What was read of the other turn may be old."""
    made = plan(TURN, rows(), around(turns={"ask": Turn.WAITING}, turn_holder=HOLDER))

    assert actions(made) == ["start ask-1 First in turn"]
