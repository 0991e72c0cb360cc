"""What the plan says of each step: how it stands, for status, and what it asks for."""

from dataclasses import dataclass
from datetime import UTC, datetime

from parley.engine.actions import Action
from parley.engine.state import Attempt, Wait
from parley.resources.reasons import Reason
from parley.resources.task import StepPhase


@dataclass(frozen=True, slots=True)
class ItemCounts:
    """The items of a forEach, counted."""

    total: int
    succeeded: int
    failed: int
    active: int


@dataclass(frozen=True, slots=True)
class StepView:
    """A step as status shows it."""

    name: str
    phase: StepPhase
    attempts: tuple[Attempt, ...] = ()
    """In the order they were inserted; of an ended step with items only the newest."""
    reason: Reason | None = None
    message: str = ""
    items: ItemCounts | None = None
    child: str | None = None
    """Name of the newest attempt's child Task."""
    waits: tuple[Wait, ...] = ()
    """Open questions."""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    """When the step ended for good; None while it goes on."""


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """A step's view, and what it asks for."""

    view: StepView
    actions: tuple[Action, ...] = ()
    wake_at: datetime | None = None
    ready_turn: bool = False
    wants_slot: bool = False
    """It would start if the task had a concurrency slot."""


def say_time(at: datetime) -> str:
    """Write an instant as messages have it, to the second, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
