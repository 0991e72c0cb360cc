"""A status has its bounds whatever a task did, and says what is cut."""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from parley.engine.state import Attempt, End, Output, StepMark, TaskState, Wait
from parley.engine.status import build_status
from parley.engine.views import ItemCounts, StepView
from parley.resources.common import Condition
from parley.resources.reasons import Reason
from parley.resources.task import StepPhase, TaskStatus
from pydantic import JsonValue

from tests.hostile import json_values, stored_size, texts
from tests.status_schema import status_problems
from tests.unit.engine.builders import NOW

LIMIT = 64 * 1024
LONGEST = [f"{n:02}-{'long' * 15}"[:63] for n in range(64)]
ITEMS = 1000


def build(views: list[StepView], state: TaskState, **fields: Any) -> TaskStatus:
    known: dict[str, Any] = {
        "hold": None,
        "agent": "a" * 253,
        "generation": 10**6,
        "previous": TaskStatus(),
        "parent": "p" * 52,
    }
    return build_status(views, state, **(known | fields))


def rows(**fields: Any) -> TaskState:
    return TaskState(now=NOW, created_at=NOW, input_tokens=10**15, output_tokens=10**15, **fields)


def view(name: str, phase: StepPhase = StepPhase.SUCCEEDED, **fields: Any) -> StepView:
    return StepView(name, phase, **fields)


def tried(step: str, number: int = 1, item: int = -1, message: str = "", *, order: int = 0) -> Attempt:
    """A failed attempt with the longest names; ``order`` is its place among all."""
    return Attempt(
        id=order,
        step=step,
        item=item,
        number=number,
        job="j" * 63,
        phase="Failed",
        deadline=NOW,
        created_at=NOW + timedelta(seconds=order),
        ended_at=NOW + timedelta(seconds=order),
        reason=Reason.CONTAINER_CONFIG_ERROR,
        message=message,
        exit_code=255,
    )


def question(step: str, text: str, choices: tuple[str, ...], number: int = 0) -> Wait:
    return Wait(
        id=f"{number:08}-9b1d-4b8e-8f6a-000000000000",
        step=step,
        item=-1,
        kind="Question",
        question=text,
        choices=choices,
        since=NOW + timedelta(seconds=number),
        deadline=NOW + timedelta(days=30),
        state="Open",
    )


@dataclass(frozen=True)
class Worst:
    """What a task can fill its status with, at worst."""

    outputs: list[JsonValue]
    message: str
    choice: str
    ends: bool
    fans_out: bool

    def views(self) -> list[StepView]:
        return [self._view(name, place) for place, name in enumerate(LONGEST)]

    def _view(self, name: str, place: int) -> StepView:
        attempts = tuple(
            tried(
                name, number=6, item=n if self.fans_out else -1, message=self.message, order=place * ITEMS + n
            )
            for n in range(ITEMS if self.fans_out else 6)
        )
        counts = ItemCounts(ITEMS, ITEMS - 1, ITEMS - 1, ITEMS) if self.fans_out else None
        asks = place % 2 == 0 and not self.ends
        return StepView(
            name,
            StepPhase.WAITING if asks else StepPhase.FAILED,
            attempts,
            Reason.WAITING_FOR_INPUT if asks else Reason.CONTAINER_CONFIG_ERROR,
            self.message,
            items=counts,
            child="c" * 52 if self.fans_out else None,
            waits=(
                replace(
                    question(
                        name, self.message, tuple(f"{n:02}{self.choice}"[:63] for n in range(16)), place
                    ),
                    kind="Approval" if place % 4 else "Question",
                    call="t" * 177,
                    arguments=self.message,
                ),
            )
            if asks
            else (),
            started_at=NOW,
            ended_at=NOW,
        )

    def state(self) -> TaskState:
        values = {name: Output(self.outputs[n % len(self.outputs)]) for n, name in enumerate(LONGEST)}
        end = End("Failed", Reason.CONTAINER_CONFIG_ERROR, self.message, self.outputs[0], NOW)
        return rows(outputs=values, end=end if self.ends else None)


WORST = st.builds(
    Worst,
    outputs=st.lists(json_values(), min_size=1, max_size=4),
    message=texts(),
    choice=texts(),
    ends=st.booleans(),
    fans_out=st.booleans(),
)


@given(worst=WORST)
@settings(max_examples=15, deadline=None)
@example(worst=Worst(["\x01" * 5000], "\x01" * 5000, "\x01" * 61, ends=False, fans_out=True))
@example(worst=Worst(["<b>" * 5000], "<b>" * 5000, "<" * 61, ends=True, fans_out=True))
@example(worst=Worst(["x" * 1020], "x" * 256, "x" * 61, ends=False, fans_out=False))
@example(worst=Worst(["x" * 8000], "x" * 5000, "", ends=True, fans_out=False))
@example(worst=Worst(["😀" * 5000, None], "", "", ends=True, fans_out=False))
def test_the_status_stays_within_64_kib(worst: Worst) -> None:
    """64 steps with the longest names, 1,000 items each, and texts as bad as can be."""
    pruned = Condition(
        type="Pruned", status="True", reason="Pruned", message="m" * 1024, last_transition_time=NOW
    )

    status = build(worst.views(), worst.state(), previous=TaskStatus(conditions=[pruned]))

    written = status.to_json()
    assert stored_size(written) <= LIMIT  # type: ignore[arg-type]
    assert TaskStatus.model_validate(written) == status, "the operator must be able to read it again"
    assert not status_problems("tasks", written)
    assert [step.name for step in status.steps] == LONGEST


def test_what_is_cut_says_so() -> None:
    long = "x" * 5000
    outputs = {"build": Output(long), "ship": Output({"rows": [long]}), "sum": Output(None, cut=True)}
    end = End("Succeeded", Reason.SUCCEEDED, "done", [long, long], NOW)

    status = build([view("build"), view("ship"), view("sum")], rows(outputs=outputs, end=end))

    assert status.truncated
    assert status.output is None
    assert [step.truncated for step in status.steps] == [True, True, True]
    assert str(status.steps[0].output).endswith("…")
    assert [step.output for step in status.steps[1:]] == [None, None]


def test_what_the_store_already_cut_says_so() -> None:
    end = End("Succeeded", Reason.SUCCEEDED, "done", None, NOW, cut=True)

    status = build([view("only")], rows(outputs={"only": Output("the beginning", cut=True)}, end=end))

    assert status.truncated
    assert (status.steps[0].output, status.steps[0].truncated) == ("the beginning", True)


def test_an_output_of_null_is_not_cut() -> None:
    status = build([view("only")], rows(outputs={"only": Output(None)}))

    assert (status.steps[0].output, status.steps[0].truncated) == (None, None)


def test_a_message_that_is_cut_says_so() -> None:
    step = build([view("only", StepPhase.FAILED, message="exit code 3: " + "x" * 500)], rows()).steps[0]

    assert step.truncated
    assert (step.message or "").startswith("exit code 3: xxx")


def test_the_last_three_attempts_are_shown_oldest_first() -> None:
    attempts = tuple(tried("build", number=n, message=f"try {n}", order=n) for n in range(1, 6))

    (step,) = build([view("build", StepPhase.FAILED, attempts=attempts)], rows()).steps

    assert [(a.number, a.message, a.exit_code) for a in step.attempts or ()] == [
        (3, "try 3", 255),
        (4, "try 4", 255),
        (5, "try 5", 255),
    ]
    assert [a.phase for a in step.attempts or ()] == [StepPhase.FAILED] * 3
    assert step.attempt == 5


def test_of_all_steps_the_newest_64_attempts_are_shown() -> None:
    views = [
        view(f"s{n}", attempts=tuple(tried(f"s{n}", number=k, order=100 * n + k) for k in (1, 2, 3)))
        for n in range(64)
    ]

    steps = build(views, rows()).steps

    shown = [(step.name, a.number) for step in steps for a in step.attempts or ()]
    assert len(shown) == 64
    assert shown[0] == ("s42", 3), "what came last, over all steps"
    assert shown[-3:] == [("s63", 1), ("s63", 2), ("s63", 3)]


def test_items_are_counted_and_only_the_newest_attempts_shown() -> None:
    attempts = tuple(tried("sum", item=n, order=n) for n in range(ITEMS))

    (step,) = build(
        [view("sum", StepPhase.RUNNING, attempts=attempts, items=ItemCounts(ITEMS, 3, 2, 10))], rows()
    ).steps

    assert step.to_json()["items"] == {"total": ITEMS, "succeeded": 3, "failed": 2, "active": 10}
    assert [a.item for a in step.attempts or ()] == [997, 998, 999]


def test_eight_questions_are_shown_oldest_first_and_the_rest_counted() -> None:
    views = [
        view(f"s{n}", StepPhase.WAITING, waits=(question(f"s{n}", f"{n}?", ("yes", "no"), number=63 - n),))
        for n in range(64)
    ]

    status = build(views, rows())

    assert [entry.question for entry in status.waiting or ()] == [f"{n}?" for n in range(63, 55, -1)]
    assert status.waiting_total == 64


def test_one_question_is_shown_whole_but_for_its_text() -> None:
    """Who answers must see every choice as it is, however it is written."""
    choices = tuple(f"{n:02}" + "<" * 61 for n in range(16))
    views = [
        view(f"s{n}", StepPhase.WAITING, waits=(question(f"s{n}", "?" * 600, choices, n),)) for n in (0, 1)
    ]

    status = build(views, rows())

    (entry,) = status.waiting or ()
    assert tuple(entry.choices or ()) == choices
    assert entry.question.endswith("…")
    assert status.waiting_total == 2


def test_a_task_that_has_ended_asks_nothing() -> None:
    end = End("Cancelled", Reason.CANCELLED, "as asked", None, NOW)

    status = build([view("ask", StepPhase.CANCELLED, waits=(question("ask", "?", ()),))], rows(end=end))

    assert status.waiting is None
    assert "WaitingForInput" not in {c.type for c in status.conditions}


def test_small_outputs_of_many_steps_are_all_shown_with_their_attempts() -> None:
    views = [view(f"s{n}", attempts=(tried(f"s{n}", order=n),)) for n in range(64)]
    outputs = {f"s{n}": Output({"n": n}) for n in range(64)}
    marks = {f"s{n}": StepMark("Succeeded") for n in range(64)}

    steps = build(views, rows(outputs=outputs, marks=marks)).steps

    assert [step.output for step in steps] == [{"n": n} for n in range(64)]
    assert all(len(step.attempts or ()) == 1 and step.truncated is None for step in steps)
