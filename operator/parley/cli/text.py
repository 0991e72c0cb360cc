"""Texts for a terminal: ages, widths, and nothing in them that would steer it."""

import re
import unicodedata
from datetime import UTC, datetime

_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
"""Control characters, and those that turn the direction of text: a model or a user may have written them."""


def clean(text: str) -> str:
    """Replace what would steer a terminal, such as escape sequences; line breaks and tabs stay."""
    return _STEERING.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """Put a text on one line."""
    return clean(" ".join(text.split()))


def width(text: str) -> int:
    """Count the columns of a terminal that a text takes."""
    if text.isascii():
        return len(text)
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def fit(text: str, columns: int) -> str:
    """Cut a text to so many columns; a cut one ends with ``…``."""
    if width(text) <= columns:
        return text
    kept, room = "", max(columns, 1) - 1
    for character in text:
        room -= _columns(character)
        if room < 0:
            break
        kept += character
    return kept.rstrip() + "…"


def instant(text: str) -> datetime | None:
    """Read a time as Kubernetes writes it; None if it is none."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC) if text else None
    except ValueError:
        return None


_STEPS = (
    (2 * 60, ((1, "s"),)),
    (10 * 60, ((60, "m"), (1, "s"))),
    (3 * 3600, ((60, "m"),)),
    (8 * 3600, ((3600, "h"), (60, "m"))),
    (48 * 3600, ((3600, "h"),)),
    (8 * 86400, ((86400, "d"), (3600, "h"))),
    (2 * 365 * 86400, ((86400, "d"),)),
)


def duration(seconds: float) -> str:
    """Write a duration as kubectl does: ``45s``, ``5m30s``, ``3h``, ``12d``."""
    left = max(0, int(seconds))
    units = next((units for below, units in _STEPS if left < below), ((365 * 86400, "y"), (86400, "d")))
    parts: list[str] = []
    for size, unit in units:
        count, left = divmod(left, size)
        if count or (size == 1 and not parts):
            parts.append(f"{count}{unit}")
    return "".join(parts)


def age(timestamp: str, now: datetime) -> str:
    """How long ago something was; ``-`` if it was not."""
    then = instant(timestamp)
    return duration((now - then).total_seconds()) if then else "-"


def until(timestamp: str, now: datetime) -> str:
    """In how long something will be; ``now`` when it is past, ``-`` if there is no such time."""
    then = instant(timestamp)
    if then is None:
        return "-"
    left = (then - now).total_seconds()
    return duration(left) if left > 0 else "now"
