"""Tickets: over all ready steps of a session at once, oldest task first, and never before each was planned."""

from parley.controller.resource import Resource
from parley.controller.turns import Lines, ReadySteps, before_in_line
from parley.store.records import ReadyTurn, TurnRecord

from tests.unit.controller.objects import resource, task_body


def task(name: str, minute: int = 0) -> Resource:
    body = task_body(name, session="alice")
    body["metadata"]["creationTimestamp"] = f"2026-11-23T12:{minute:02}:00Z"
    return resource(body)


def turn(name: str, step: str = "reply") -> ReadyTurn:
    return ReadyTurn(f"uid-of-{name}", name, step)


OLD, NEW, NEWEST = task("z-old"), task("b-new", 1), task("a-newest", 2)


def test_the_oldest_task_comes_first_then_the_name() -> None:
    ready = ReadySteps()
    tasks = [NEWEST, task("b-twin", 1), OLD, NEW]
    for each in tasks:
        ready.note(each.uid, ("reply",))

    assert ready.in_order(tasks) == [turn("z-old"), turn("b-new"), turn("b-twin"), turn("a-newest")]


def test_the_order_does_not_depend_on_which_was_planned_first() -> None:
    ready = ReadySteps()
    for each in (NEW, OLD):
        ready.note(each.uid, ("reply",))

    assert ready.in_order([NEW, OLD]) == [turn("z-old"), turn("b-new")]


def test_nobody_gets_a_ticket_while_an_open_task_has_not_been_planned() -> None:
    ready = ReadySteps()
    ready.note(NEW.uid, ("reply",))

    assert ready.in_order([OLD, NEW]) is None

    ready.note(OLD.uid, ("reply",))

    assert ready.in_order([OLD, NEW]) == [turn("z-old"), turn("b-new")]


def test_a_task_that_needs_no_turn_now_is_planned_all_the_same() -> None:
    ready = ReadySteps()
    ready.note(OLD.uid, ())
    ready.note(NEW.uid, ("ask",))

    assert ready.in_order([OLD, NEW]) == [turn("b-new", "ask")]


def test_a_session_without_open_tasks_has_no_turns() -> None:
    assert ReadySteps().in_order([]) == []


def test_only_another_answer_is_news() -> None:
    ready = ReadySteps()

    assert ready.note(OLD.uid, ()), "the first plan is: others may wait for it"
    assert not ready.note(OLD.uid, ())
    assert ready.note(OLD.uid, ("ask",))
    assert not ready.note(OLD.uid, ("ask",))
    assert ready.note(OLD.uid, ("tell",))


def test_a_forgotten_task_must_be_planned_again() -> None:
    ready = ReadySteps()
    ready.note(OLD.uid, ("reply",))

    ready.forget(OLD.uid)
    ready.forget("unknown")

    assert ready.in_order([OLD]) is None


def test_a_task_may_have_several_turns_to_take_one_after_the_other() -> None:
    ready = ReadySteps()
    ready.note(NEW.uid, ("reply",))
    ready.note(OLD.uid, ("summarise", "ask"))

    assert ready.in_order([NEW, OLD]) == [turn("z-old", "summarise"), turn("z-old", "ask"), turn("b-new")]


def line(*tasks: str, held: str | None = None) -> list[TurnRecord]:
    return [
        TurnRecord("alice", number, name, name, "reply", "Held" if name == held else "Waiting", None, None)
        for number, name in enumerate(tasks)
    ]


def test_each_waits_for_the_one_right_before_it() -> None:
    # Given b, with an older ticket than the others, and a second turn of a's behind it
    turns = line("c", "b", "a", "a", "d", held="b")

    before = {task: turn.task_name for task, turn in before_in_line(turns).items()}

    assert before == {"c": "b", "a": "c", "d": "a"}, "the turn that is held comes first, whatever its ticket"


def test_who_comes_after_another_than_before_is_to_show_it() -> None:
    lines = Lines()
    assert lines.note("alice", line("a", "b", "c", held="a")) == set(), "they show it when they are planned"

    # When the first is done, those behind it still come after the same ones
    assert lines.note("alice", line("b", "c", held="b")) == set()
    # When b is cancelled while it waits
    lines.note("alice", line("a", "b", "c", held="a"))
    assert lines.note("alice", line("a", "c", held="a")) == {"c"}

    lines.note("alice", [])
    assert lines.note("alice", line("x", "c", held="x")) == set(), "an empty queue is forgotten"
