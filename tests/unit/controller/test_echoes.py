"""Whether our own writes come back through the watches: how a stuck watch is noticed."""

from typing import Any

import pytest
from parley.controller.echoes import Echoes
from parley.kube.kinds import JOB, SESSION, TASK


def at(version: int) -> dict[str, Any]:
    return {"metadata": {"name": "a", "resourceVersion": str(version)}}


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def echoes() -> tuple[Echoes, Clock]:
    clock = Clock()
    return Echoes(clock), clock


def test_nothing_is_overdue_before_the_first_write() -> None:
    heard, clock = echoes()
    clock.now += 1000

    assert heard.overdue() == 0.0


def test_a_write_is_overdue_until_it_comes_back() -> None:
    heard, clock = echoes()
    heard.wrote(TASK, at(10))
    clock.now += 95

    assert heard.overdue() == 95.0

    heard.heard(TASK, at(10))

    assert heard.overdue() == 0.0


def test_a_later_object_shows_that_the_watch_is_alive() -> None:
    """The written one may be deleted by now."""
    heard, clock = echoes()
    heard.wrote(TASK, at(10))
    clock.now += 95

    heard.heard(TASK, at(11))

    assert heard.overdue() == 0.0


def test_an_earlier_object_does_not() -> None:
    heard, clock = echoes()
    heard.wrote(TASK, at(10))
    clock.now += 95

    heard.heard(TASK, at(9))

    assert heard.overdue() == 95.0


def test_a_write_that_came_back_before_its_answer_is_not_awaited() -> None:
    heard, clock = echoes()
    heard.heard(TASK, at(10))

    heard.wrote(TASK, at(10))
    clock.now += 95

    assert heard.overdue() == 0.0


def test_the_oldest_write_counts() -> None:
    heard, clock = echoes()
    heard.wrote(TASK, at(10))
    clock.now += 60
    heard.wrote(TASK, at(20))
    clock.now += 40

    assert heard.overdue() == 100.0


def test_each_kind_has_a_watch_of_its_own() -> None:
    heard, clock = echoes()
    heard.wrote(TASK, at(10))
    heard.wrote(SESSION, at(11))
    clock.now += 50

    heard.heard(JOB, at(99))
    heard.heard(SESSION, at(99))
    assert heard.overdue() == 50.0

    heard.heard(TASK, at(99))
    assert heard.overdue() == 0.0


@pytest.mark.parametrize("last", ["first", "second"])
def test_of_two_writes_at_once_each_takes_back_its_own(last: str) -> None:
    # Given two statuses of one object that are being written at the same time
    heard, _ = echoes()
    statuses: dict[str, dict[str, Any]] = {"first": {"phase": "Idle"}, "second": {"phase": "Busy"}}
    writes = {name: heard.writing("u", status) for name, status in statuses.items()}
    for write in writes.values():
        write.__enter__()
    assert heard.is_under_way("u", statuses["second"])
    # When they end in either order, then what neither writes any more is not under way
    for name in sorted(writes, key=lambda each: each == last):
        writes[name].__exit__(None, None, None)
    assert not any(heard.is_under_way("u", status) for status in statuses.values())
