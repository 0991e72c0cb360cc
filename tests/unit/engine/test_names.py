"""Job names: bounded, valid, and never two attempts' at once."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from parley.engine.names import job_name, round_name

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
