"""Job names: bounded, valid, and never two attempts' at once."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from parley.engine.names import call_step, child_name, job_name, pod_key, queued_name, round_name
from parley.resources.task import Step

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LETTERS = "ab1"
LABELS = st.builds(
    lambda start, middle, end: start + middle + end,
    st.sampled_from(_LETTERS),
    st.text(_LETTERS + "-", max_size=70),
    st.sampled_from(_LETTERS),
)


@settings(max_examples=50, deadline=None)
@given(
    task=LABELS.map(lambda name: name[:52].rstrip("-")), step=LABELS.map(lambda name: name[:63].rstrip("-"))
)
def test_a_jobs_name_is_a_label_of_at_most_63_characters(task: str, step: str) -> None:
    name = job_name(task, "uid", step, -1, 1)

    assert LABEL.fullmatch(name), name
    assert len(name) <= 63


def test_a_rounds_name_has_room_for_the_index_of_a_thousand_items() -> None:
    """The API server refuses an Indexed Job whose last pod's host name would be no label."""
    assert len(f"{round_name('t' * 52, 'uid', 's' * 63, 999, 1)}-999") <= 63


def test_the_same_attempt_has_the_same_name_always() -> None:
    """A repeat meets what the first call made; a change of the scheme would run every open attempt again."""
    assert job_name("refund-1", "5f1c", "score", -1, 2) == "refund-1-score-5892f00bac"


def test_whatever_differs_gives_another_name() -> None:
    names = {
        job_name("a", "uid", "b-c", -1, 1),
        job_name("a-b", "uid", "c", -1, 1),
        job_name("a-b", "other", "c", -1, 1),
        job_name("a-b", "uid", "c", 0, 1),
        job_name("a-b", "uid", "c", -1, 2),
        job_name("x" * 52, "uid", "same-start-one", -1, 1),
        job_name("x" * 52, "uid", "same-start-two", -1, 1),
    }

    assert len(names) == 7


def test_a_pod_is_known_by_its_job_and_from_the_second_on_by_its_index() -> None:
    assert [pod_key("refund-score", index) for index in (0, 1, 10)] == [
        "refund-score",
        "refund-score/1",
        "refund-score/10",
    ]


@settings(max_examples=50, deadline=None)
@given(
    task=LABELS.map(lambda name: name[:52].rstrip("-")), step=LABELS.map(lambda name: name[:63].rstrip("-"))
)
def test_rounds_have_names_of_jobs_and_children_names_of_tasks(task: str, step: str) -> None:
    of_round, of_child = round_name(task, "uid", step, 0, 1), child_name(task, "uid", step, -1, 1)

    assert LABEL.fullmatch(of_round), of_round
    assert len(of_round) <= 63
    assert LABEL.fullmatch(of_child), of_child
    assert len(of_child) <= 52, "a child's own Jobs and children are named after it"


def test_the_names_of_rounds_and_children_never_change() -> None:
    """A repeat meets what the first call made."""
    assert round_name("refund-1", "5f1c", "score", 3, 2) == "refund-1-score-f0c3a68e91"
    assert child_name("refund-1", "5f1c", "score", 3, 2) == "refund-1-score-6aa90604ca"


def test_whatever_differs_gives_another_round_and_another_child() -> None:
    names = {round_name("a", "uid", "b", item, number) for item in (0, 1) for number in (1, 2)}
    names |= {child_name("a", "uid", "b", item, number) for item in (-1, 0, 1) for number in (1, 2)}
    names |= {job_name("a", "other", "b", item, number) for item in (-1, 0, 1) for number in (1, 2)}

    assert len(names) == 4 + 6 + 6


@settings(max_examples=50, deadline=None)
@given(
    task=LABELS.map(lambda name: name[:52].rstrip("-")), step=LABELS.map(lambda name: name[:63].rstrip("-"))
)
def test_calls_have_names_of_steps_and_queued_tasks_those_of_tasks(task: str, step: str) -> None:
    of_call, of_task = call_step(step, "wait"), queued_name(task, "uid", step, "wait")

    assert LABEL.fullmatch(of_call), of_call
    assert len(of_call) <= 63
    assert Step.model_validate({"name": of_call, "prompt": {"text": "Hi"}}).name == of_call
    assert LABEL.fullmatch(of_task), of_task
    assert len(of_task) <= 52


def test_the_names_of_calls_never_change() -> None:
    """A repeat meets what the first call made."""
    assert call_step("ask", "5f1c") == "ask--a550918539b1"
    assert queued_name("refund-1", "5f1c", "ask", "77aa") == "refund-1-ask-f500804d74"


def test_whatever_differs_gives_another_call() -> None:
    assert len({call_step(step, wait) for step in ("a", "b") for wait in ("1", "2")}) == 4
    assert len({queued_name("a", uid, "b", wait) for uid in ("1", "2") for wait in ("1", "2")}) == 4
