"""The session of the simulated task: it may be paused, end, or refuse a turn; and its agent may be out of tokens."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from parley.engine.state import Gate, Hold, Surroundings
from parley.resources.reasons import Reason

from tests.unit.engine.sim_store import SimStore

Event = tuple[str, Callable[[], None]]
OVER = "Session alice has ended"
PAUSED = Hold(Reason.SESSION_PAUSED, "Session alice is paused")
FULL = Hold(Reason.MESSAGE_LIMIT, "Session alice holds 10 messages: spec.limits.maxMessages")
USED_UP = Hold(Reason.QUOTA_EXCEEDED, "Agent support has used its tokens of today")
A_WHILE = timedelta(hours=1)


@dataclass(frozen=True)
class SessionStory:
    """What may happen to it."""

    pauses: int = 0
    ends: bool = False
    full: bool = False
    """It takes no turn that has not begun."""
    quotas: int = 0
    """So often the agent's tokens are used up."""


class SimSession:
    """What is left to happen."""

    def __init__(self, story: SessionStory, store: SimStore, patience: int) -> None:
        self.over = False
        self._full = story.full
        self._store = store
        self._pauses, self._ends, self._quotas = story.pauses, story.ends, story.quotas
        self._patience = patience
        self._paused = False
        self._empty_until: datetime | None = None

    def shown(self) -> Gate:
        """What the operator reads of it."""
        empty = self._empty_until is not None and self._store.now < self._empty_until
        return Gate(
            session_over=OVER if self.over else None,
            session_hold=PAUSED if self._paused else None,
            turn_refusal=FULL if self._full else None,
            quota=USED_UP if empty else None,
            quota_until=self._empty_until if empty else None,
        )

    def events(self) -> list[Event]:
        self._patience -= 1
        if self._patience > 0 or self._store.end is not None:
            return []
        found: list[Event] = []
        if self._paused:
            found.append(("the session goes on", self._resume))
        elif self._pauses:
            found.append(("the session is paused", self._pause))
        if self._ends:
            found.append(("the session ends", self._end))
        if self._quotas:
            found.append(("the agent's tokens are used up", self._use_up))
        return found

    def _pause(self) -> None:
        self._pauses, self._paused, self._store.notified = self._pauses - 1, True, True

    def _resume(self) -> None:
        self._paused, self._store.notified = False, True

    def _end(self) -> None:
        self._ends, self.over, self._store.notified = False, True, True

    def _use_up(self) -> None:
        self._quotas, self._store.notified = self._quotas - 1, True
        self._empty_until = self._store.now + A_WHILE


def stands_still(known: Surroundings) -> bool:
    """Whether nothing that runs in attempts may start."""
    return known.gate.session_over is not None or known.gate.session_hold is not None
