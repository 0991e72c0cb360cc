"""How much of a conversation is shown: always the newest part, without a gap, calls never without their results."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley.runner.chat import Called, ModelCall, Said, ToolDefinition
from parley.runner.limits import Room, Unit, first_shown, ranges, tokens_of, tokens_of_tools

CALLED = Called("look", (ModelCall("c", "find", {"a": 1}),), ({"b": 2},))


def said(text: str, sequence: int = 1) -> Unit:
    return Unit(Said("user", text), (sequence,))


def called(sequence: int = 1) -> Unit:
    return Unit(CALLED, (sequence,), counts=False)


def note(text: str = "xxxx") -> Unit:
    return Unit(Said("user", text), (1,), counts=False)


@pytest.mark.parametrize(
    ("text", "tokens"), [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("é" * 4, 2), ("🙂", 1)]
)
def test_a_token_is_four_bytes_of_utf_8(text: str, tokens: int) -> None:
    assert tokens_of(Said("user", text)) == tokens


def test_calls_count_with_names_arguments_and_results() -> None:
    assert tokens_of(CALLED) == -(-(4 + 4 + 7 + 7) // 4)
    assert tokens_of_tools([ToolDefinition("find", "It.", {"type": "object"})]) == -(-(4 + 3 + 17) // 4)


M, C, N = said("xxxx"), called(), note()


@pytest.mark.parametrize(
    ("history", "room", "start"),
    [
        ([], Room(0, 0), 0),
        ([M, M, M], Room(), 0),
        ([M, M, M], Room(messages=3), 0),
        ([M, M, M], Room(messages=2), 1),
        ([M, M, M], Room(messages=0), 3),
        # What stands before the oldest message that is shown is not shown either.
        ([M, C, M, M], Room(messages=2), 2),
        ([M, C, M, M], Room(messages=3), 0),
        # Calls without the message that led to them are not shown, notes are.
        ([M, C, C, M], Room(messages=1), 3),
        ([M, C], Room(messages=0), 2),
        ([M, N], Room(messages=0), 1),
        # Tokens: a message has 1, calls have 6.
        ([M, M, M], Room(tokens=3), 0),
        ([M, M, M], Room(tokens=2), 1),
        ([M, C, M], Room(tokens=8), 0),
        ([M, C, M], Room(tokens=7), 2),
        ([M, C, M], Room(tokens=6), 2),
        ([M, said("x" * 100), M], Room(tokens=20), 2),
        ([N, M], Room(tokens=1), 1),
        ([M, M, M], Room(messages=2, tokens=1), 2),
        ([M, M, M], Room(messages=1, tokens=2), 2),
    ],
)
def test_from_where_on_the_history_is_shown(history: list[Unit], room: Room, start: int) -> None:
    assert first_shown(history, room) == start


UNITS = st.lists(
    st.one_of(st.builds(said, st.text(max_size=30)), st.just(C), st.builds(note, st.text(max_size=9)))
)
ROOMS = st.builds(
    Room,
    st.one_of(st.none(), st.integers(0, 12)),
    st.one_of(st.none(), st.integers(0, 60)),
)


@given(UNITS, ROOMS)
def test_what_is_shown_has_room_and_does_not_begin_with_calls_unless_all_is_shown(
    history: list[Unit], room: Room
) -> None:
    start = first_shown(history, room)
    part = history[start:]

    assert room.messages is None or sum(unit.counts for unit in part) <= room.messages
    assert room.tokens is None or sum(unit.tokens for unit in part) <= room.tokens
    assert start == 0 or not part or not isinstance(part[0].message, Called)


@given(UNITS, ROOMS)
def test_nothing_is_left_out_that_has_room(history: list[Unit], room: Room) -> None:
    start = first_shown(history, room)
    if start == 0:
        return
    # One message more, with all between it and what is shown, would be too much.
    more = max((place for place in range(start) if history[place].counts), default=None)
    if more is not None:
        part = history[more:]
        too_many = room.messages is not None and sum(unit.counts for unit in part) > room.messages
        too_long = room.tokens is not None and sum(unit.tokens for unit in part) > room.tokens
        assert too_many or too_long


@given(UNITS, ROOMS, st.integers(0, 5))
def test_less_room_never_shows_more(history: list[Unit], room: Room, less: int) -> None:
    smaller = Room(
        None if room.messages is None else max(room.messages - less, 0),
        None if room.tokens is None else max(room.tokens - less, 0),
    )

    assert first_shown(history, smaller) >= first_shown(history, room)


@pytest.mark.parametrize(
    ("numbers", "written"),
    [
        ([], []),
        ([4], [(4, 4)]),
        ([3, 1, 2, 2], [(1, 3)]),
        ([1, 2, 5, 6, 9], [(1, 2), (5, 6), (9, 9)]),
    ],
)
def test_numbers_as_ranges(numbers: list[int], written: list[Any]) -> None:
    assert ranges(numbers) == written


@given(st.sets(st.integers(1, 50)))
def test_ranges_hold_exactly_the_numbers(numbers: set[int]) -> None:
    held = [number for first, last in ranges(list(numbers)) for number in range(first, last + 1)]

    assert held == sorted(numbers)
