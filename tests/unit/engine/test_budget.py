"""The status budget, against outputs and messages that are as bad as a container or a model can make them."""

import json

from hypothesis import example, given, settings
from hypothesis import strategies as st
from parley.engine.budget import (
    STEP_OUTPUT_BYTES,
    STEP_OUTPUTS_BYTES,
    OutputBudget,
    Room,
    fit_output,
    fit_text,
    json_size,
)
from pydantic import JsonValue

from tests.hostile import json_values, stored_size, texts


@settings(max_examples=50, deadline=None)
@given(value=json_values())
def test_the_size_is_that_of_the_api_servers_json(value: JsonValue) -> None:
    assert json_size(value) == stored_size(value)


@settings(max_examples=50, deadline=None)
@given(text=texts(), limit=st.integers(16, 2000))
@example(text="\x01\x01\x01", limit=16)
@example(text="€" * 100, limit=16)
@example(text="a<b>c&d\u2028" * 400, limit=1024)
def test_a_text_is_cut_to_its_limit_and_says_so(text: str, limit: int) -> None:
    fitted = fit_text(text, limit)

    assert stored_size(fitted) - 2 <= limit
    assert fitted == text or (fitted.endswith("…") and text.startswith(fitted[:-1]))


@settings(max_examples=50, deadline=None)
@given(text=texts(), limit=st.integers(16, 2000))
def test_a_text_that_fits_is_left_alone(text: str, limit: int) -> None:
    if stored_size(text) - 2 <= limit:
        assert fit_text(text, limit) == text


@settings(max_examples=50, deadline=None)
@given(text=st.text("ab é", max_size=3000))
def test_a_cut_text_keeps_most_of_its_room(text: str) -> None:
    fitted = fit_text(text, 1000)

    assert fitted == text or stored_size(fitted) > 900


@settings(max_examples=50, deadline=None)
@given(value=json_values(), limit=st.integers(16, 2000))
def test_an_output_fits_whole_or_is_marked(value: JsonValue, limit: int) -> None:
    fitted, truncated = fit_output(value, limit)

    assert stored_size(fitted) <= limit
    assert truncated is (fitted != value)
    if truncated and not isinstance(value, str):
        assert fitted is None, "half of a JSON value would be another value"


@settings(max_examples=50, deadline=None)
@given(outputs=st.lists(json_values(), min_size=1, max_size=4))
@example(outputs=["<" * 5000])
def test_the_outputs_of_all_steps_share_one_budget(outputs: list[JsonValue]) -> None:
    budget = OutputBudget()

    fitted = [budget.fit(outputs[step % len(outputs)])[0] for step in range(64)]

    assert all(stored_size(each) <= STEP_OUTPUT_BYTES for each in fitted)
    # What is dropped for good is written as nothing; "null" here is only how it is counted.
    assert sum(stored_size(each) for each in fitted if each is not None) <= STEP_OUTPUTS_BYTES


def test_small_outputs_of_many_steps_are_all_shown() -> None:
    budget = OutputBudget()

    assert [budget.fit({"n": n}) for n in range(64)] == [({"n": n}, False) for n in range(64)]


def test_when_the_budget_is_spent_the_rest_is_dropped_and_marked() -> None:
    budget = OutputBudget()
    for _ in range(24):
        assert budget.fit("x" * 1022) == ("x" * 1022, False)

    assert budget.fit("one more") == (None, True)


def test_the_size_is_that_of_compact_json() -> None:
    assert json_size({"a": [1, "é"]}) == len(
        json.dumps({"a": [1, "é"]}, separators=(",", ":"), ensure_ascii=False).encode()
    )


def test_a_room_gives_what_it_has_and_no_more() -> None:
    room = Room(20)

    assert room.take("x" * 9), "with quotes and a comma"
    assert room.left == 8
    assert not room.take("x" * 6)
    assert room.left == 8, "what did not fit takes nothing"
    assert room.take("x" * 5)


@settings(max_examples=50, deadline=None)
@given(text=texts(), size=st.integers(-5, 400), limit=st.integers(16, 300))
def test_a_text_takes_no_more_than_there_is(text: str, size: int, limit: int) -> None:
    room = Room(size)

    fitted = room.fit_text(text, limit)

    assert room.left == size - (stored_size(fitted) if fitted else 0)
    assert room.left >= min(size, 0)
    assert stored_size(fitted) - 2 <= limit
    assert fitted == text or not fitted or fitted.endswith("…")
