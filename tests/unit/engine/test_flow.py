"""The flow of a task: needs, decisions, branches, failures that are allowed, returns."""

from collections.abc import Mapping

import pytest
from parley.engine.actions import EndTask
from parley.engine.state import Attempt, Hold, StepMark, Turn
from parley.resources.reasons import Reason
from parley.resources.task import Step

from tests.unit.engine.builders import (
    actions,
    around,
    attempt,
    container,
    ended,
    entered,
    marked,
    plan,
    pod,
    prompt,
    question,
    rows,
    step,
    task,
    views,
)

DONE = attempt("a", "Succeeded")
FAILED = attempt("a", "Failed", reason=Reason.EXIT_CODE, message="exit code 3")
SKIPPED = marked("Skipped", Reason.SKIPPED)


def chain(*others: Step, first: Step | None = None) -> tuple[Step, ...]:
    return (first or container("a"), *others)


# Needs.


@pytest.mark.parametrize(
    ("what", "steps", "given", "do"),
    [
        ("the step before, unless said", chain(container("b")), (), ["start a-1 First"]),
        (
            "none: at once",
            chain(container("b", needs=[]), container("c", needs=[])),
            (),
            ["start a-1 First", "start b-1 First", "start c-1 First"],
        ),
        (
            "both branches before they join",
            chain(container("b", needs=[]), container("c", needs=["a", "b"])),
            (DONE, attempt("b")),
            ["job b-1"],
        ),
        (
            "they join",
            chain(container("b", needs=[]), container("c", needs=["a", "b"])),
            (DONE, attempt("b", "Succeeded")),
            ["start c-1 First"],
        ),
        (
            "a branch goes on while the other runs",
            chain(container("b", needs=[]), container("c", needs=["a"])),
            (DONE, attempt("b")),
            ["job b-1", "start c-1 First"],
        ),
    ],
)
def test_a_step_starts_when_all_it_needs_is_done(
    what: str, steps: tuple[Step, ...], given: tuple[Attempt, ...], do: list[str]
) -> None:
    assert actions(plan(task(*steps), rows(*given))) == do, what


@pytest.mark.parametrize(
    ("what", "first", "given", "marks", "goes_on"),
    [
        ("succeeded", container("a"), (DONE,), {}, True),
        ("runs", container("a"), (attempt("a"),), {}, False),
        ("skipped", container("a", when="{{ false }}"), (), {"a": SKIPPED}, True),
        ("failed, which it may", container("a", continueOnError=True), (FAILED,), {}, True),
        (
            "cancelled under it, which it may",
            container("a", continueOnError=True),
            (attempt("a", "Cancelled", reason=Reason.CANCELLED),),
            {},
            True,
        ),
        (
            "failed before it began, which it may",
            container("a", when="{{ x }}", continueOnError=True),
            (),
            {"a": marked("Failed", Reason.TEMPLATE_ERROR)},
            True,
        ),
        (
            "failed but will be repeated",
            container("a", continueOnError=True, retry={"limit": 1}),
            (FAILED,),
            {},
            False,
        ),
        ("a person replied", step("a", wait={"question": "?"}), (), {"a": marked("Succeeded")}, True),
        ("slept", step("a", sleep={"duration": "1h"}), (), {"a": marked("Succeeded")}, True),
        ("asks", step("a", wait={"question": "?"}), (), {"a": entered()}, False),
    ],
)
def test_what_counts_as_done(
    what: str,
    first: Step,
    given: tuple[Attempt, ...],
    marks: Mapping[str, StepMark],
    goes_on: bool,
) -> None:
    made = plan(task(first, container("b")), rows(*given, marks=marks, waits=(question("a"),)))

    assert ("start b-1 First" in actions(made)) is goes_on, what


def test_a_step_that_nobody_allows_to_fail_ends_the_task_at_once() -> None:
    steps = (container("a"), container("b", needs=[]), container("c", needs=[]))

    made = plan(task(*steps), rows(FAILED, attempt("b")), around(pods={"b-1": pod()}))

    assert actions(made) == ["end Failed ExitCode"], "what still runs is closed with the task"


def test_of_several_failed_steps_the_first_is_named() -> None:
    failed = [attempt(name, "Failed", reason=Reason.EXIT_CODE, message=f"{name} is bad") for name in "ba"]

    (end,) = plan(task(container("a"), container("b", needs=[])), rows(*failed)).actions

    assert isinstance(end, EndTask)
    assert end.message == "step a: a is bad"


def test_a_task_whose_last_step_may_fail_succeeds() -> None:
    assert actions(plan(task(container("a", continueOnError=True)), rows(FAILED))) == [
        "end Succeeded Succeeded"
    ]


def test_nothing_is_planned_for_a_task_whose_steps_are_not_known_yet() -> None:
    missing = Hold(Reason.TEMPLATE_NOT_FOUND, "TaskTemplate refund does not exist")
    spec = task(container("a"))
    spec = spec.model_copy(update={"steps": []})

    made = plan(spec, rows(), around(hold=missing))

    assert actions(made) == []
    assert made.steps == ()


# Decisions.


@pytest.mark.parametrize(
    "decided",
    [
        container("a", when="{{ inputs.wanted }}"),
        prompt("a", when="{{ inputs.wanted }}"),
        container("a", forEach={"items": [1]}),
        step("a", wait={"question": "?"}),
        step("a", sleep={"duration": "1h"}),
        step("a", set={"context": {"k": "v"}}),
        step("a", **{"return": {"value": 1}}),
        step("a", fail={"message": "no"}),
        step("a", task={"templateRef": {"name": "t"}}, forEach={"items": [1]}),
    ],
    ids=lambda given: f"{given.kind} {'when' if given.when else 'forEach' if given.for_each else ''}",
)
def test_what_is_rendered_is_decided_first(decided: Step) -> None:
    made = plan(task(decided, session="alice"))

    assert actions(made) == ["enter a"]
    assert views(made) == ["a Queued Pending"]


@pytest.mark.parametrize(
    "plain", [container("a"), step("a", task={"templateRef": {"name": "t"}}), prompt("a", "None")]
)
def test_plain_steps_start_without_a_decision(plain: Step) -> None:
    assert actions(plan(task(plain, session="alice"))) == ["start a-1 First"]


def test_a_step_whose_condition_holds_starts() -> None:
    made = plan(task(container("a", when="{{ x }}")), rows(marks={"a": entered()}))

    assert actions(made) == ["start a-1 First"]


@pytest.mark.parametrize(
    ("mark", "show"),
    [
        (SKIPPED, "a Skipped Skipped"),
        (marked("Skipped"), "a Skipped Skipped"),
        (marked("Succeeded"), "a Succeeded Succeeded"),
        (marked("Failed", Reason.TEMPLATE_ERROR), "a Failed TemplateError"),
        (marked("Failed"), "a Failed Error"),
    ],
)
def test_a_step_whose_end_is_written_down(mark: StepMark, show: str) -> None:
    made = plan(task(container("a", when="{{ x }}"), container("b")), rows(marks={"a": mark}))

    assert views(made)[0] == show
    assert (made.steps[0].started_at, made.steps[0].ended_at) == (mark.entered_at, mark.ended_at)


@pytest.mark.parametrize("kind", ["return", "fail"])
def test_nothing_else_begins_beside_what_may_end_the_task(kind: str) -> None:
    body = {"value": 1} if kind == "return" else {"message": "no"}
    steps = (container("a"), step("b", needs=[], **{kind: body}), container("c", needs=[]))

    assert actions(plan(task(*steps), rows(DONE, attempt("c")))) == ["enter b"]


@pytest.mark.parametrize("why", ["suspended", "agent missing"])
def test_nothing_is_decided_while_nothing_may_begin(why: str) -> None:
    spec = task(
        step("a", sleep={"duration": "1h"}), desiredState="Suspended" if why == "suspended" else "Running"
    )
    hold = None if why == "suspended" else Hold(Reason.AGENT_NOT_FOUND, "Agent support does not exist")

    made = plan(spec, rows(suspended=why == "suspended"), around(hold=hold))

    assert actions(made) == []
    assert made.steps[0].phase == "Pending"


# Several turns.


def test_each_ready_turn_asks_for_its_own_ticket() -> None:
    spec = task(prompt("a"), prompt("b", needs=[]), container("c", needs=[]), session="alice")

    made = plan(spec, rows(attempt("c")), around(pods={"c-1": pod()}))

    assert made.ready_turns == ("a", "b")


def test_one_turn_of_a_task_waits_for_the_other() -> None:
    """Who holds it is known: the store need not be asked."""
    spec = task(prompt("a"), prompt("b", needs=[]), session="alice")
    turns = {"a": Turn.HELD, "b": Turn.WAITING}

    made = plan(spec, rows(attempt("a")), around(pods={"a-1": pod()}, turns=turns))

    assert actions(made) == []
    assert views(made) == ["a Running Running", "b Queued SessionBusy"]
    assert made.ready_turns == ("a", "b")


def test_a_turn_that_failed_for_good_is_given_back_when_the_task_goes_on() -> None:
    spec = task(prompt("a", continueOnError=True), container("b"), session="alice")
    failed = attempt("a", "Failed", reason=Reason.MODEL_ERROR)

    made = plan(spec, rows(failed), around(turns={"a": Turn.HELD}))

    assert actions(made) == ["end turn a failed", "start b-1 First"]
    assert made.ready_turns == ()


# Slots.

FULL = Hold(Reason.CONCURRENCY_LIMITED, "3rd of 12 in the queue of Agent support")


@pytest.mark.parametrize(
    "kind", [container("a"), prompt("a", "None"), prompt("a")], ids=["container", "prompt", "turn"]
)
def test_a_step_that_gets_no_slot_is_queued_with_its_place(kind: Step) -> None:
    known = around(slot=FULL, turns={"a": Turn.WAITING})

    made = plan(task(kind, session="alice"), rows(), known)

    assert actions(made) == []
    assert views(made) == ["a Queued ConcurrencyLimited"]
    assert made.steps[0].message == FULL.message
    assert made.wants_slot


def test_a_task_that_runs_already_has_its_slot() -> None:
    spec = task(container("a"), container("b", needs=[]))

    made = plan(spec, rows(attempt("a")), around(pods={"a-1": pod()}, slot=FULL))

    assert actions(made) == ["start b-1 First"]
    assert not made.wants_slot


@pytest.mark.parametrize(
    ("what", "held", "marks"),
    [
        ("child", step("a", task={"templateRef": {"name": "t"}}), {}),
        ("wait", step("a", wait={"question": "?"}), {"a": entered()}),
        ("sleep", step("a", sleep={"duration": "1h"}), {"a": entered()}),
        ("not decided", container("a", when="{{ x }}"), {}),
    ],
)
def test_what_runs_no_pod_needs_no_slot(what: str, held: Step, marks: dict[str, StepMark]) -> None:
    made = plan(task(held), rows(marks=marks), around(slot=FULL))

    assert made.steps[0].reason is not Reason.CONCURRENCY_LIMITED, what
    assert not made.wants_slot


def test_a_child_that_runs_holds_no_slot_for_its_parent() -> None:
    spec = task(step("a", task={"templateRef": {"name": "t"}}), container("b", needs=[]))

    made = plan(spec, rows(attempt("a")), around(slot=FULL))

    assert "start b-1 First" not in actions(made)
    assert made.wants_slot


def test_a_turn_that_is_not_its_own_yet_asks_for_no_slot() -> None:
    made = plan(task(prompt("a"), session="alice"), rows(), around(slot=FULL))

    assert made.ready_turns == ("a",)
    assert not made.wants_slot, "a slot would stand idle until the turn comes"


def test_a_turn_without_a_slot_lets_the_session_go() -> None:
    lost = attempt("a", "Lost", reason=Reason.POD_LOST)

    made = plan(task(prompt("a"), session="alice"), rows(lost), around(slot=FULL, turns={"a": Turn.HELD}))

    assert actions(made) == ["end turn a"]
    assert made.ready_turns == ("a",), "it asks for a new ticket"


# Ended.


@pytest.mark.parametrize(
    ("what", "state", "show"),
    [
        (
            "cancelled while it slept and asked",
            ended("Cancelled", Reason.CANCELLED, marks={"s": entered(), "w": entered()}),
            ["s Cancelled Cancelled", "w Cancelled Cancelled", "r Cancelled"],
        ),
        (
            "returned while it slept",
            ended("Succeeded", Reason.SUCCEEDED, marks={"s": entered(), "w": marked("Succeeded")}),
            ["s Cancelled Cancelled", "w Succeeded Succeeded", "r Succeeded Succeeded"],
        ),
        (
            "failed before the return",
            ended(
                "Failed",
                Reason.WAIT_TIMEOUT,
                marks={"s": entered(), "w": marked("Failed", Reason.WAIT_TIMEOUT)},
            ),
            ["s Cancelled WaitTimeout", "w Failed WaitTimeout", "r Skipped Skipped"],
        ),
    ],
)
def test_what_an_ended_flow_shows(what: str, state: object, show: list[str]) -> None:
    spec = task(
        step("s", sleep={"duration": "1h"}),
        step("w", needs=[], wait={"question": "?"}),
        step("r", **{"return": {"value": 1}}),
    )

    assert views(plan(spec, state)) == show, what  # type: ignore[arg-type]


def test_a_step_that_waited_for_its_retry_was_cut_short_by_the_end() -> None:
    spec = task(container("a", retry={"limit": 2}))

    made = plan(spec, ended("Cancelled", Reason.CANCELLED, FAILED))

    assert views(made) == ["a Cancelled Cancelled"]


def test_the_task_says_why_it_failed_also_when_the_step_said_nothing() -> None:
    failed = attempt("a", "TimedOut", reason=Reason.STEP_TIMEOUT)

    (end,) = plan(task(container("a")), rows(failed)).actions

    assert isinstance(end, EndTask)
    assert end.message == "step a: StepTimeout"
