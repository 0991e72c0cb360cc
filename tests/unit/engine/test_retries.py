"""What follows an attempt that gave nothing: which failures are repeated, when, and what becomes of the turn."""

from datetime import timedelta
from typing import Any

import pytest
from parley.engine.actions import CloseAttempt
from parley.engine.retries import Again, Spent, what_follows
from parley.engine.state import Attempt, AttemptPhase, Hold, Turn
from parley.resources.reasons import Reason
from parley.resources.task import Step

from tests.unit.engine.builders import (
    NOW,
    actions,
    around,
    attempt,
    container,
    dead,
    lost,
    plan,
    pod,
    prompt,
    rows,
    task,
    views,
)

ENDED = NOW - timedelta(minutes=8)
"""When a first attempt of the builders ended."""


def failed(reason: Reason, number: int = 1, phase: AttemptPhase = "Failed", **fields: Any) -> Attempt:
    return attempt("build", phase, number, reason=reason, message="said so", **fields)


def retried(causes: list[str] | None = None, limit: int = 1, **backoff: Any) -> Step:
    retry: dict[str, Any] = {"limit": limit, "backoff": backoff}
    return container("build", retry=retry | ({"causes": causes} if causes else {}))


ERRORS = {
    Reason.ERROR,
    Reason.EXIT_CODE,
    Reason.MODEL_ERROR,
    Reason.MODEL_RATE_LIMITED,
    Reason.SCHEMA_MISMATCH,
    Reason.TOOL_ERROR,
}
TIMEOUTS = {Reason.STEP_TIMEOUT, Reason.TASK_TIMEOUT}


@pytest.mark.parametrize("reason", list(Reason))
def test_only_failures_that_may_pass_are_repeated(reason: Reason) -> None:
    def causes(*groups: str) -> bool:
        return isinstance(what_follows(retried(list(groups)), [failed(reason)]), Again)

    assert causes("Error", "OOMKilled", "Timeout") is (reason in ERRORS | TIMEOUTS | {Reason.OOM_KILLED})
    assert causes("Error") is (reason in ERRORS)
    assert causes("OOMKilled") is (reason is Reason.OOM_KILLED)
    assert causes("Timeout") is (reason in TIMEOUTS)


@pytest.mark.parametrize(
    ("what", "last", "again"),
    [
        ("errors are, by default", failed(Reason.EXIT_CODE), True),
        ("timeouts are, by default", failed(Reason.STEP_TIMEOUT, phase="TimedOut"), True),
        ("a timeout whose pod never ran", failed(Reason.IMAGE_PULL_FAILED, phase="TimedOut"), True),
        ("memory is not, by default", failed(Reason.OOM_KILLED), False),
        ("a definite refusal never", failed(Reason.MODEL_ERROR, definite=True), False),
        ("exit code 64 never", failed(Reason.EXIT_CODE, exit_code=64), False),
        ("another exit code", failed(Reason.EXIT_CODE, exit_code=63), True),
        ("a failure without a reason is an error", failed(None), True),  # type: ignore[arg-type]
        ("one that was cancelled never", failed(Reason.ERROR, phase="Cancelled"), False),
    ],
)
def test_which_attempts_are_repeated(what: str, last: Attempt, again: bool) -> None:
    assert isinstance(what_follows(retried(), [last]), Again) is again, what


def test_without_retry_nothing_is_repeated() -> None:
    assert what_follows(container("build"), [failed(Reason.ERROR)]) == Spent(
        "Failed",
        Reason.ERROR,
        "said so",  # type: ignore[arg-type]
    )


def test_there_are_as_many_retries_as_the_limit_says() -> None:
    step, tries = retried(limit=2), [failed(Reason.ERROR, n) for n in (1, 2, 3)]

    assert isinstance(what_follows(step, tries[:2]), Again)
    spent = what_follows(step, tries)
    assert isinstance(spent, Spent)
    assert spent.message == "said so (after 3 attempts)"


def test_lost_pods_use_up_no_retry() -> None:
    attempts = [*lost(5), failed(Reason.ERROR, 6)]

    assert isinstance(what_follows(retried(limit=1), attempts), Again)


def test_retries_leave_no_more_room_for_lost_pods() -> None:
    attempts = [failed(Reason.ERROR, 1), *(attempt("build", "Lost", n) for n in range(2, 8))]

    spent = what_follows(retried(limit=3), attempts)

    assert isinstance(spent, Spent)
    assert spent.reason is Reason.POD_LOST


@pytest.mark.parametrize(
    ("number", "backoff", "seconds"),
    [
        (1, {}, 10),
        (2, {}, 20),
        (6, {}, 300),
        (1, {"initial": "1s"}, 1),
        (3, {"initial": "1s", "factor": 10}, 100),
        (4, {"initial": "2s", "factor": 1}, 2),
        (3, {"initial": "1m", "max": "90s"}, 90),
    ],
)
def test_each_retry_waits_longer_up_to_the_longest(
    number: int, backoff: dict[str, Any], seconds: int
) -> None:
    tries = [failed(Reason.ERROR, n) for n in range(1, number + 1)]

    follows = what_follows(retried(limit=10, **backoff), tries)

    assert isinstance(follows, Again)
    assert follows.at is not None
    assert tries[-1].ended_at is not None
    assert (follows.at - tries[-1].ended_at).total_seconds() == seconds


@pytest.mark.parametrize(("asked", "seconds"), [(3, 10), (90, 90)])
def test_the_models_server_may_ask_for_more_time(asked: int, seconds: int) -> None:
    follows = what_follows(retried(), [failed(Reason.MODEL_RATE_LIMITED, retry_after=asked)])

    assert isinstance(follows, Again)
    assert follows.at == ENDED + timedelta(seconds=seconds)


# In the plan.


def just_failed(step: str = "build", seconds: int = 4, **fields: Any) -> Attempt:
    """An attempt that failed so many seconds ago."""
    given = {"reason": Reason.MODEL_ERROR, "message": "said so", "phase": "Failed", **fields}
    made = attempt(step, **given)
    return Attempt(
        **{f: getattr(made, f) for f in made.__slots__} | {"ended_at": NOW - timedelta(seconds=seconds)}
    )


def test_a_step_that_waits_for_its_retry_says_when() -> None:
    made = plan(task(retried()), rows(just_failed()))

    assert actions(made) == []
    assert views(made) == ["build Waiting Retrying"]
    assert made.wake_at == NOW + timedelta(seconds=6)
    assert made.steps[0].message == "attempt 2 starts at 2026-11-23T12:00:06Z; the last one: said so"


def test_a_retry_starts_when_its_time_has_come() -> None:
    made = plan(task(retried()), rows(just_failed(seconds=10)))

    assert actions(made) == ["start build-2 Retry"]


def test_a_retried_container_waits_until_the_last_one_has_ended() -> None:
    late = failed(Reason.STEP_TIMEOUT, phase="TimedOut")

    made = plan(task(retried()), rows(late), around(pods={"build-1": pod(name="old-pod")}))

    assert actions(made) == ["stop build-1"]
    assert views(made) == ["build Running StepTimeout"]
    assert made.wake_at is not None


def test_a_suspended_task_repeats_nothing() -> None:
    spec = task(retried(), desiredState="Suspended")

    made = plan(spec, rows(just_failed(seconds=60), suspended=True))

    assert actions(made) == []
    assert views(made) == ["build Pending Suspended"]


def turn(limit: int = 1, **backoff: Any) -> Any:
    step = prompt("ask", retry={"limit": limit, "backoff": backoff})
    return task(step, session="alice")


def test_a_turn_is_kept_for_a_retry_that_comes_soon() -> None:
    made = plan(turn(), rows(just_failed("ask")), around(turns={"ask": Turn.HELD}))

    assert actions(made) == []
    assert made.ready_turns == ("ask",)


def test_a_turn_is_given_back_over_a_longer_backoff() -> None:
    made = plan(turn(initial="31s"), rows(just_failed("ask")), around(turns={"ask": Turn.HELD}))

    assert actions(made) == ["end turn ask"]
    assert made.ready_turns == (), "its place in the queue is given up, too"


def test_a_turn_in_backoff_is_given_back_when_the_agent_goes() -> None:
    known = around(turns={"ask": Turn.HELD}, hold=Hold(Reason.AGENT_NOT_FOUND, "no agent"))

    assert actions(plan(turn(), rows(just_failed("ask")), known)) == ["end turn ask"]


@pytest.mark.parametrize(
    ("what", "spec", "known", "left", "keeps"),
    [
        ("failed, repeated soon", turn(), around(pods={"ask-1": dead(1)}), 60, True),
        ("failed, repeated later", turn(initial="40s"), around(pods={"ask-1": dead(1)}), 60, False),
        ("failed for good", turn(limit=0), around(pods={"ask-1": dead(1)}), 60, False),
        ("timed out, repeated soon", turn(), around(pods={"ask-1": pod()}), -1, True),
        ("timed out for good", turn(limit=0), around(pods={"ask-1": pod()}), -1, False),
    ],
)
def test_closing_an_attempt_says_whether_its_turn_goes_on(
    what: str, spec: Any, known: Any, left: int, keeps: bool
) -> None:
    (close,) = plan(spec, rows(attempt("ask", "Running", left=timedelta(seconds=left))), known).actions

    assert isinstance(close, CloseAttempt)
    assert close.keeps_turn is keeps, what
