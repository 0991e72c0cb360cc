"""Tables are aligned for whoever reads, ages are as kubectl writes them, and no text steers a terminal."""

from datetime import UTC, datetime, timedelta

import pytest
from parley.cli.table import Cell, Column, table_lines
from parley.cli.text import age, clean, duration, fit, one_line, until, width

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def test_columns_are_aligned_also_with_wide_characters() -> None:
    lines = table_lines(
        ["NAME", "SAID"], [["alice", "hello"], ["東京", "こんにちは"], ["", "x"]], colour=False
    )

    assert lines == ["NAME    SAID", "alice   hello", "東京    こんにちは", "-       x"]


def test_only_what_people_wrote_is_cut_and_only_at_the_terminals_end() -> None:
    columns = ["NAME", Column("QUESTION", flexible=True), "AGE"]
    rows = [["a-name-that-is-long", "May I refund 40 for order 12345, which came late?", "5m"]]

    whole = table_lines(columns, rows, colour=False)
    cut = table_lines(columns, rows, colour=False, terminal=50)

    assert "came late?" in whole[1]
    assert cut[1] == "a-name-that-is-long   May I refund 40 for o…   5m"
    assert width(cut[1]) < 50


def test_colour_does_not_move_a_column() -> None:
    plain = table_lines(["A", "B"], [[Cell("Running", "cyan"), "x"]], colour=False)
    painted = table_lines(["A", "B"], [[Cell("Running", "cyan"), "x"]], colour=True)

    assert "\x1b[36mRunning\x1b[0m   x" in painted[1]
    assert painted[1].replace("\x1b[36m", "").replace("\x1b[0m", "") == plain[1]


@pytest.mark.parametrize(
    "hostile",
    ["\x1b[2J", "\x1b]0;title\x07", "\x9b31m", "a\rb", "\u202eevil", "\x00", "\x08\x08"],
)
def test_no_text_steers_the_terminal(hostile: str) -> None:
    shown = clean(f"before {hostile} after")

    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in shown)
    assert "\u202e" not in shown
    assert clean("kept:\n\tlines and tabs") == "kept:\n\tlines and tabs"
    assert one_line("two\n  lines") == "two lines"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (45, "45s"),
        (119, "119s"),
        (330, "5m30s"),
        (600, "10m"),
        (3 * 3600, "3h"),
        (5 * 3600 + 120, "5h2m"),
        (20 * 3600, "20h"),
        (50 * 3600, "2d2h"),
        (12 * 86400, "12d"),
        (800 * 86400, "2y70d"),
        (-5, "0s"),
    ],
)
def test_ages_are_as_kubectl_writes_them(seconds: int, text: str) -> None:
    assert duration(seconds) == text
    assert age((NOW - timedelta(seconds=seconds)).isoformat(), NOW) == text


def test_what_never_was_has_no_age() -> None:
    assert age("", NOW) == "-"
    assert age("soon", NOW) == "-"
    assert until("", NOW) == "-"
    assert until("2026-11-23T11:00:00Z", NOW) == "now"
    assert until("2026-11-23T14:00:00Z", NOW) == "120m"


def test_a_text_is_cut_between_characters() -> None:
    assert fit("東京都", 4) == "東…"
    assert fit("abc", 3) == "abc"
    assert fit("abcd", 3) == "ab…"
