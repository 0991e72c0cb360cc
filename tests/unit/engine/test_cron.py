"""Slots of a cron expression in a time zone, also on the days when clocks change."""

import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from parley.engine.cron import Cron, CronError

BERLIN = "Europe/Berlin"
NEW_YORK = "America/New_York"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def slots(expression: str, zone: str, after: str, number: int) -> list[str]:
    """The next slots, as a clock on the wall and its offset show them."""
    cron, moment, found = Cron(expression, zone), at(after), list[str]()
    for _ in range(number):
        slot = cron.after(moment)
        assert slot is not None
        moment = slot
        found.append(slot.astimezone(ZoneInfo(zone)).strftime("%m-%d %H:%M %z"))
    return found


@pytest.mark.parametrize(
    ("expression", "zone", "after", "expected"),
    [
        ("30 8 * * 1-5", "Etc/UTC", "2026-11-20T09:00Z", ["11-23 08:30 +0000", "11-24 08:30 +0000"]),
        ("*/20 * * * *", "Etc/UTC", "2026-11-20T09:00Z", ["11-20 09:20 +0000", "11-20 09:40 +0000"]),
        ("0 0 13 * 5", "Etc/UTC", "2026-11-01T00:00Z", ["11-06 00:00 +0000", "11-13 00:00 +0000"]),
        ("0 0 ? JAN MON", "Etc/UTC", "2026-11-01T00:00Z", ["01-04 00:00 +0000", "01-11 00:00 +0000"]),
        ("0 12 29 2 *", "Etc/UTC", "2026-11-01T00:00Z", ["02-29 12:00 +0000", "02-29 12:00 +0000"]),
        ("0 0 * * *", BERLIN, "2026-11-20T09:00Z", ["11-21 00:00 +0100", "11-22 00:00 +0100"]),
        ("0 * * * *", "Asia/Kolkata", "2026-11-20T09:00Z", ["11-20 15:00 +0530", "11-20 16:00 +0530"]),
    ],
)
def test_a_schedule_comes_when_it_says(expression: str, zone: str, after: str, expected: list[str]) -> None:
    assert slots(expression, zone, after, len(expected)) == expected


@pytest.mark.parametrize(
    ("what", "expression", "zone", "after", "expected"),
    [
        (
            "an hour that a day lacks: left out on that day",
            "30 2 * * *",
            BERLIN,
            "2026-03-28T00:00+01:00",
            ["03-28 02:30 +0100", "03-30 02:30 +0200"],
        ),
        (
            "every half hour over the gap",
            "*/30 * * * *",
            BERLIN,
            "2026-03-29T01:00+01:00",
            ["03-29 01:30 +0100", "03-29 03:00 +0200", "03-29 03:30 +0200"],
        ),
        (
            "an hour that a day has twice: both times",
            "30 2 * * *",
            BERLIN,
            "2026-10-24T12:00+02:00",
            ["10-25 02:30 +0200", "10-25 02:30 +0100", "10-26 02:30 +0100"],
        ),
        (
            "every hour over the hour that is doubled",
            "0 * * * *",
            BERLIN,
            "2026-10-25T00:30+02:00",
            ["10-25 01:00 +0200", "10-25 02:00 +0200", "10-25 02:00 +0100", "10-25 03:00 +0100"],
        ),
        (
            "at the very minute of the change forward",
            "0 3 * * *",
            NEW_YORK,
            "2026-03-07T12:00-05:00",
            ["03-08 03:00 -0400", "03-09 03:00 -0400"],
        ),
        (
            "at the very minute that is there again",
            "0 1 * * *",
            NEW_YORK,
            "2026-10-31T12:00-04:00",
            ["11-01 01:00 -0400", "11-01 01:00 -0500", "11-02 01:00 -0500"],
        ),
        (
            "a change by half an hour",
            "15,45 * * * *",
            "Australia/Lord_Howe",
            "2026-10-04T01:20+10:30",
            ["10-04 01:45 +1030", "10-04 02:45 +1100", "10-04 03:15 +1100"],
        ),
        (
            "a day that was left out",
            "0 12 * * *",
            "Pacific/Apia",
            "2011-12-29T00:00-10:00",
            ["12-29 12:00 -1000", "12-31 12:00 +1400"],
        ),
    ],
)
def test_where_clocks_change(what: str, expression: str, zone: str, after: str, expected: list[str]) -> None:
    assert slots(expression, zone, after, len(expected)) == expected, what


def test_a_slot_is_never_its_own_next_one() -> None:
    assert Cron("0 * * * *").after(at("2026-11-23T10:00Z")) == at("2026-11-23T11:00Z")
    assert Cron("0 * * * *").after(at("2026-11-23T09:59:59.999Z")) == at("2026-11-23T10:00Z")


ZONES = st.sampled_from(
    [BERLIN, NEW_YORK, "Australia/Lord_Howe", "Etc/UTC", "Africa/Casablanca", "Asia/Gaza"]
)
MOMENTS = st.integers(0, 6 * 365 * 24 * 3600).map(
    lambda s: datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=s)
)
EXPRESSIONS = st.builds(
    lambda minute, hour, day, weekday: f"{minute} {hour} {day} * {weekday}",
    st.sampled_from(["0", "7", "*/20", "0,30", "59"]),
    st.sampled_from(["*", "1", "2", "2-3", "*/6", "0"]),
    st.sampled_from(["*", "1", "25-31"]),
    st.sampled_from(["*", "0", "6"]),
)


@settings(max_examples=60, deadline=None)
@given(expression=EXPRESSIONS, zone=ZONES, moment=MOMENTS)
@example(expression="30 2 * * *", zone=BERLIN, moment=at("2026-10-25T00:00:00.5Z"))
def test_slots_are_the_minutes_whose_wall_clock_fits(expression: str, zone: str, moment: datetime) -> None:
    """Against the slow way: look at each minute on the wall."""
    cron, seen = Cron(expression, zone), set[datetime]()
    until = moment + timedelta(hours=30)
    slot = cron.after(moment)
    while slot is not None and slot <= until:
        seen.add(slot)
        slot = cron.after(slot)

    minute = moment.replace(second=0, microsecond=0) + timedelta(minutes=1)
    fitting = set[datetime]()
    while minute <= until:
        if _fits(expression, minute.astimezone(ZoneInfo(zone))):
            fitting.add(minute)
        minute += timedelta(minutes=1)
    assert seen == fitting


def _fits(expression: str, wall: datetime) -> bool:
    minute, hour, day, _, weekday = expression.split()
    days = [_in(day, wall.day), _in(weekday, wall.isoweekday() % 7)]
    either = not (day.startswith("*") or weekday.startswith("*"))
    return _in(minute, wall.minute) and _in(hour, wall.hour) and (any(days) if either else all(days))


def _in(field: str, value: int) -> bool:
    if field.startswith("*"):
        return value % int(field.removeprefix("*/").replace("*", "1")) == 0
    parts = [part.split("-") for part in field.split(",")]
    return any(int(part[0]) <= value <= int(part[-1]) for part in parts)


@settings(max_examples=60, deadline=None)
@given(expression=EXPRESSIONS, zone=ZONES, moment=MOMENTS, length=st.integers(1, 4000))
def test_the_newest_slot_and_their_number_are_those_of_counting(
    expression: str, zone: str, moment: datetime, length: int
) -> None:
    cron, until, all_slots = Cron(expression, zone), moment + timedelta(minutes=length), list[datetime]()
    slot = cron.after(moment)
    while slot is not None and slot <= until:
        all_slots.append(slot)
        slot = cron.after(slot)

    assert cron.newest(moment, until) == (all_slots[-1] if all_slots else None)
    assert cron.count(moment, until, 101) == min(len(all_slots), 101)


def test_the_newest_of_years_of_minutes_is_found_without_counting_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cron, asked = Cron("* * * * *", BERLIN), list[datetime]()
    after = cron.after
    monkeypatch.setattr(cron, "after", lambda moment: (asked.append(moment), after(moment))[1])

    assert cron.newest(at("2020-01-01T00:00Z"), at("2026-11-23T10:00:30Z")) == at("2026-11-23T10:00Z")
    assert len(asked) < 50


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("", "has 0 fields; write five fields"),
        ("* * * *", "has 4 fields"),
        ("0 * * * * *", "has 6 fields"),
        ("60 * * * *", "bad minute; write five fields: minute hour"),
        ("* 24 * * *", "bad hour"),
        ("* * * FOO *", "bad month"),
        ("*/0 * * * *", "bad minute"),
        ("5-1 * * * *", "bad minute"),
        ("0 0 30 2 *", "bad day-of-month"),
        ("@reboot", "has 1 fields"),
        ("CRON_TZ=Europe/Berlin 0 0 * * *", "the time zone stands in spec.timeZone"),
    ],
)
def test_what_is_no_cron_expression_is_told(expression: str, says: str) -> None:
    with pytest.raises(CronError, match=says):
        Cron(expression)


@pytest.mark.parametrize(
    "zone",
    ["", "Europe/Nowhere", "Europe", "../etc/passwd", "/etc/localtime", "localtime", "Mars\n", "x" * 300],
)
def test_what_is_no_time_zone_is_told(zone: str) -> None:
    with pytest.raises(CronError, match=r"there is no time zone .*: write one such as Europe/Berlin"):
        Cron("0 0 * * *", zone)


@settings(max_examples=200, deadline=None)
@given(expression=st.text("0123456789*/,-?L#WMONJAN ", max_size=30), zone=st.text(max_size=20))
def test_nothing_but_a_cron_error_comes_out(expression: str, zone: str) -> None:
    for text, name in ((expression, "Etc/UTC"), ("0 0 * * *", zone)):
        with suppress(CronError):
            Cron(text, name).after(at("2026-11-23T10:00Z"))


def test_time_zones_are_there_without_the_systems() -> None:
    """A slim base image has no time zone database: the package brings it."""
    script = "from parley.engine.cron import Cron; Cron('0 0 * * *', 'Europe/Berlin')"
    found = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONTZPATH": "", "PYTHONPATH": ":".join(p for p in sys.path if p)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 0, found.stderr
