"""Every state that a task can be in, by everything that can be asked of it: suspend, resume, cancel.

What is asked is written down first; then the plan says what still happens.
"""

from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from parley.engine.actions import (
    CreateChild,
    CreateJob,
    CreateRound,
    EndTask,
    EnterStep,
    SetSuspended,
    StartAttempt,
    StartRound,
)
from parley.engine.plan import make_plan
from parley.engine.state import Child, End, Hold, Surroundings, TaskState, Turn
from parley.resources.reasons import Reason
from parley.resources.task import DesiredState, TaskSpec

from tests.unit.engine.builders import (
    LATE,
    NOW,
    actions,
    around,
    attempt,
    container,
    dead,
    desired,
    entered,
    marked,
    plan,
    pod,
    prompt,
    question,
    rows,
    step,
    task,
)

FAILED = attempt("a", "Failed", reason=Reason.MODEL_ERROR, message="said so")
ONE = task(container("a"), container("z"))
TURN = task(prompt("a"), session="alice")
RETRIED = task(container("a", retry={"limit": 2, "backoff": {"initial": "1h", "max": "1h"}}))
ITEMS = task(container("a", forEach={"items": [1, 2, 3], "parallelism": 2}))
ROUND = task(prompt("a", forEach={"items": [1, 2]}), agent="support")
SLEEP = task(step("a", sleep={"duration": "1h"}), container("z"))
ASK = task(step("a", wait={"question": "?"}), container("z"))
CALL = task(step("a", task={"templateRef": {"name": "t"}}), container("z"))
BRANCHES = task(container("a"), step("b", needs=[], wait={"question": "?"}), container("z", needs=["a"]))
KID = {"a-1": Child("a-1", "uid-of-a-1")}
ROUND_ROWS = (
    attempt("a", "Running", item=0, job="round"),
    attempt("a", "Open", item=1, job="round", index=1),
)
SHARED = attempt(
    "a", "Running", runtime="Task", holder_pod="uid-of-a-1", lease_until=NOW + timedelta(seconds=9)
)


@dataclass(frozen=True)
class Row:
    """A state, and what happens in it: as it is, and suspended. Cancelled, it always just ends."""

    what: str
    spec: TaskSpec
    state: TaskState
    known: Surroundings
    running: list[str]
    suspended: list[str]


FULL = Hold(Reason.CONCURRENCY_LIMITED, "2nd of 2 in the queue of Agent support")
GONE = Hold(Reason.AGENT_NOT_FOUND, "Agent support does not exist")
TABLE = [
    Row("new", ONE, rows(), around(), ["start a-1 First"], []),
    Row("its agent is missing", ONE, rows(), around(hold=GONE), [], []),
    Row("queued for a slot", ONE, rows(), around(slot=FULL), [], []),
    Row(
        "queued for its turn",
        TURN,
        rows(),
        around(turns={"a": Turn.WAITING}),
        ["start a-1 First in turn"],
        [],
    ),
    Row("its Job is still to be made", ONE, rows(attempt("a")), around(), ["job a-1"], ["job a-1"]),
    Row("runs", ONE, rows(attempt("a")), around(pods={"a-1": pod()}), [], []),
    Row(
        "its pod has ended",
        ONE,
        rows(attempt("a")),
        around(pods={"a-1": dead(0)}),
        ["finish a-1 Succeeded Succeeded"],
        ["finish a-1 Succeeded Succeeded"],
    ),
    Row(
        "its pod was lost",
        ONE,
        rows(attempt("a")),
        around(vanished=["a-1"]),
        ["start a-2 Disruption; close 101 Lost PodLost"],
        ["close 101 Lost PodLost"],
    ),
    Row(
        "its time is up",
        ONE,
        rows(attempt("a", left=LATE)),
        around(pods={"a-1": pod()}),
        ["close 101 TimedOut StepTimeout"],
        ["close 101 TimedOut StepTimeout"],
    ),
    Row("between two steps", ONE, rows(attempt("a", "Succeeded")), around(), ["start z-1 First"], []),
    Row(
        "its turn runs", TURN, rows(attempt("a")), around(pods={"a-1": pod()}, turns={"a": Turn.HELD}), [], []
    ),
    Row(
        "its turn was lost",
        TURN,
        rows(attempt("a", "Lost")),
        around(turns={"a": Turn.HELD}),
        ["start a-2 Disruption in turn"],
        ["end turn a"],
    ),
    Row("waits for its retry", RETRIED, rows(FAILED), around(), [], []),
    Row(
        "its retry is due",
        task(container("a", retry={"limit": 1})),
        rows(FAILED),
        around(),
        ["start a-2 Retry"],
        [],
    ),
    Row("to be decided", task(container("a", when="{{ x }}")), rows(), around(), ["enter a"], []),
    Row(
        "decided",
        task(container("a", when="{{ x }}")),
        rows(marks={"a": entered()}),
        around(),
        ["start a-1 First"],
        [],
    ),
    Row("sleeps", SLEEP, rows(marks={"a": entered(until=NOW + timedelta(hours=1))}), around(), [], []),
    Row(
        "has slept",
        SLEEP,
        rows(marks={"a": entered(until=NOW)}),
        around(),
        ["end step a Succeeded Succeeded"],
        [],
    ),
    Row("asks", ASK, rows(marks={"a": entered()}, waits=(question("a"),)), around(), [], []),
    Row(
        "nobody replied",
        ASK,
        rows(marks={"a": entered()}, waits=(question("a", left=LATE),)),
        around(),
        ["expire w-a"],
        [],
    ),
    Row("somebody replied", ASK, rows(marks={"a": marked("Succeeded")}), around(), ["start z-1 First"], []),
    Row("its child is still to be made", CALL, rows(attempt("a")), around(), ["child a-1"], ["child a-1"]),
    Row("its child runs", CALL, rows(attempt("a"), children=KID), around(), [], []),
    Row(
        "its child has ended",
        CALL,
        rows(attempt("a"), children={"a-1": replace(KID["a-1"], phase="Succeeded")}),
        around(),
        ["finish child a-1"],
        ["finish child a-1"],
    ),
    Row(
        "items run",
        ITEMS,
        rows(attempt("a", item=0), attempt("a", "Succeeded", item=1), marks={"a": entered(3)}),
        around(pods={"a-0-1": pod()}),
        ["start a/2-1 First"],
        [],
    ),
    Row(
        "all items are done",
        ITEMS,
        rows(*(attempt("a", "Succeeded", item=n) for n in range(3)), marks={"a": entered(3)}),
        around(),
        ["end step a Succeeded Succeeded"],
        ["end step a Succeeded Succeeded"],
    ),
    Row("a round is next", ROUND, rows(marks={"a": entered(2)}), around(), ["round a 0-1 1-1"], []),
    Row(
        "a round runs",
        ROUND,
        rows(*ROUND_ROWS, marks={"a": entered(2)}),
        around(pods={"round": pod()}),
        [],
        ["close 2101 Cancelled Suspended"],
    ),
    Row(
        "its runner works",
        task(prompt("a"), agent="support"),
        rows(SHARED),
        around(pods={"a-1": pod(name="a-1")}),
        [],
        [],
    ),
    Row(
        "one branch runs, one asks",
        BRANCHES,
        rows(attempt("a"), marks={"b": entered()}, waits=(question("b"),)),
        around(pods={"a-1": pod()}),
        [],
        [],
    ),
    Row(
        "all steps are done",
        ONE,
        rows(attempt("a", "Succeeded"), attempt("z", "Succeeded")),
        around(),
        ["end Succeeded Succeeded"],
        ["end Succeeded Succeeded"],
    ),
    Row(
        "a step has failed", ONE, rows(FAILED), around(), ["end Failed ModelError"], ["end Failed ModelError"]
    ),
    Row(
        "out of time",
        task(container("a"), timeout="1h"),
        rows(attempt("a"), deadline=NOW),
        around(pods={"a-1": pod()}),
        ["end Failed TaskTimeout"],
        [],
    ),
]
EVERY = pytest.mark.parametrize("row", TABLE, ids=lambda row: row.what)
STARTS = StartAttempt | StartRound | EnterStep


@EVERY
def test_running(row: Row) -> None:
    assert actions(plan(row.spec, row.state, row.known)) == row.running


@EVERY
def test_suspend(row: Row) -> None:
    """It is written down first, unless the task ends; then nothing new starts, and what runs goes on."""
    asked = desired(row.spec, DesiredState.SUSPENDED)
    ends = row.running and row.running[0].startswith("end Failed TaskTimeout")

    assert actions(plan(asked, row.state, row.known)) == (row.running if ends else ["suspend"])

    made = plan(asked, replace(row.state, suspended=True), row.known)
    assert actions(made) == row.suspended
    assert not [action for action in made.actions if isinstance(action, STARTS)]
    assert made.ready_turns == () or any(a.open for a in row.state.attempts), (
        "its place in the queue is given up"
    )
    assert not made.wants_slot


@EVERY
def test_resume(row: Row) -> None:
    """Deadlines move with it, so it comes before them; then all goes on as if it had not been."""
    assert actions(plan(row.spec, replace(row.state, suspended=True), row.known)) == ["resume"]


@EVERY
@pytest.mark.parametrize("suspended", [False, True], ids=["", "suspended"])
def test_cancel(row: Row, suspended: bool) -> None:
    asked = desired(row.spec, DesiredState.CANCELLED)

    assert actions(plan(asked, replace(row.state, suspended=suspended), row.known)) == [
        "end Cancelled Cancelled"
    ]


@EVERY
@pytest.mark.parametrize("verb", list(DesiredState))
def test_nothing_starts_once_it_was_cancelled(row: Row, verb: DesiredState) -> None:
    """Whatever is asked afterwards: what is left running is stopped."""
    closed = tuple(
        replace(a, phase="Cancelled", reason=Reason.CANCELLED, ended_at=NOW) if a.open else a
        for a in row.state.attempts
    )
    end = End("Cancelled", Reason.CANCELLED, "as asked", None, NOW)
    state = replace(row.state, attempts=closed, end=end, waits=())

    made = make_plan(desired(row.spec, verb), row.spec.effective_steps(), state, row.known)

    open_before = {a.job for a in row.state.attempts if a.open}
    live = {job.name for job in row.known.jobs.values() if not job.ended}
    assert {line for line in actions(made) if line.startswith("stop ")} == {
        f"stop {job}" for job in open_before & live
    }
    assert not [a for a in actions(made) if not a.startswith("stop ")]
    assert made.wake_at is None
    assert made.ready_turns == ()
    assert not made.wants_slot


@EVERY
def test_a_state_is_left_by_an_action_or_something_wakes_it(row: Row) -> None:
    made = plan(row.spec, row.state, row.known)

    runs = any(a.open for a in row.state.attempts)
    asks = any(w.state == "Open" for w in row.state.waits)
    assert (
        made.actions
        or made.wake_at
        or runs
        or asks
        or made.wants_slot
        or made.ready_turns
        or row.known.gate.hold
    )


def test_the_table_has_every_action_that_a_verb_may_hold_up() -> None:
    """So that a new kind of start is thought of here."""
    seen = {type(action) for row in TABLE for action in plan(row.spec, row.state, row.known).actions}
    creates = {
        type(a)
        for a in plan(
            ROUND, rows(*(replace(r, phase="Open") for r in ROUND_ROWS), marks={"a": entered(2)})
        ).actions
    }

    assert {StartAttempt, StartRound, EnterStep, CreateJob, CreateChild, EndTask} <= seen
    assert creates == {CreateRound}
    assert SetSuspended not in seen
