"""What ``enter_step`` can be told about a step: how it goes on, or how it ended before any attempt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import JsonValue


@dataclass(frozen=True, slots=True)
class Skip:
    """Its ``when`` was false: the step is Skipped."""

    message: str


@dataclass(frozen=True, slots=True)
class Enter:
    """It may start: its ``when`` was true, or its items are known.

    ``items`` is None for a step without forEach. Without any item the step has Succeeded, with ``[]`` as its output.
    """

    items: Sequence[JsonValue] | None = None


@dataclass(frozen=True, slots=True)
class Sleep:
    """It sleeps until an instant, or for a time from now: exactly one of the two."""

    duration: timedelta | None = None
    until: datetime | None = None

    def __post_init__(self) -> None:
        if (self.duration is None) == (self.until is None):
            raise ValueError("a sleep has either a duration or an end")


@dataclass(frozen=True, slots=True)
class AskPerson:
    """It waits for a person.

    ``wait_id`` is a UUID. ``body`` holds ``question`` and, where the spec has them, ``choices`` or ``schema``;
    ``timeout`` counts from now, None waits for ever.
    """

    wait_id: str
    body: Mapping[str, JsonValue]
    timeout: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """It Succeeded with ``output``.

    ``context`` is merged key by key into the session's stored context, null removes a key. ``base`` is the context in
    the Session's spec: what there is to merge into while nothing is stored. With ``expected_version`` it is merged
    only while the stored version, 0 before the first change, is the one it was rendered from.
    """

    output: JsonValue
    context: Mapping[str, JsonValue] | None = None
    base: Mapping[str, JsonValue] | None = None
    expected_version: int | None = None


@dataclass(frozen=True, slots=True)
class FailStep:
    """It Failed for good before any attempt."""

    reason: str
    message: str


Entry = Skip | Enter | Sleep | AskPerson | Done | FailStep
