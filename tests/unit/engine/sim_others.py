"""Everybody else in the simulation: people who edit the task, other tasks of its session and its agent, its parent."""

from collections.abc import Callable
from datetime import timedelta

from parley.resources.task import DesiredState, TaskSpec

from tests.unit.engine.builders import desired
from tests.unit.engine.sim_memory import Memory
from tests.unit.engine.sim_store import SimStore

Event = tuple[str, Callable[[], None]]


class SimOthers:
    """What they may still do; ``edits`` are the specs that the operator has yet to see."""

    def __init__(
        self,
        spec: TaskSpec,
        store: SimStore,
        *,
        suspends: int,
        cancels: bool,
        parent_ends: bool,
        rival: bool,
        busy: bool,
        patience: int,
    ) -> None:
        self.spec = spec
        self.edits: list[TaskSpec] = []
        self.slot_taken = False
        """Another task has the agent's only concurrency slot."""
        self._store = store
        self._suspends, self._cancels, self._parent_ends = suspends, cancels, parent_ends
        self._rival, self._busy = rival, busy
        self._days_suspended = 3
        self._patience = patience

    def events(self, memory: Memory) -> list[Event]:
        return [*self._people(), *self._turns(memory), *self._slots(memory)]

    def _people(self) -> list[Event]:
        found: list[Event] = []
        state = self.spec.desired_state
        if self._store.end is not None or state is DesiredState.CANCELLED:
            return found
        self._patience -= 1
        if self._patience > 0:
            return found
        if self._suspends and state is DesiredState.RUNNING:
            found.append(("somebody suspends the task", lambda: self._ask(DesiredState.SUSPENDED)))
        if state is DesiredState.SUSPENDED:
            found.append(("somebody resumes the task", lambda: self._ask(DesiredState.RUNNING)))
            if self._store.suspended_since and not self._store.open_attempts() and self._days_suspended:
                found.append(("a day passes", self._let_a_day_pass))
        if self._cancels:
            found.append(("somebody cancels the task", lambda: self._ask(DesiredState.CANCELLED)))
        if self._parent_ends and self._store.parent_closed is None:
            found.append(("its parent task ends", self._end_parent))
        return found

    def _ask(self, state: DesiredState) -> None:
        if state is DesiredState.SUSPENDED:
            self._suspends -= 1
        self.spec = desired(self.spec, state)
        self.edits.append(self.spec)

    def _let_a_day_pass(self) -> None:
        self._days_suspended -= 1
        self._store.now += timedelta(days=1)

    def _end_parent(self) -> None:
        self._store.parent_closed = "its parent task has ended"
        self._store.notified = True

    def _turns(self, memory: Memory) -> list[Event]:
        found: list[Event] = []
        store = self._store
        if memory.planned and store.queued(memory.ready) != store.turns:
            found.append(("tickets are given", lambda: self._give_tickets(memory)))
        if self._rival and not store.turns:
            found.append(("another turn takes the session", self._start_rival))
        if store.rival:
            found.append(("the other turn ends", lambda: self._end_rival(memory)))
        return found

    def _give_tickets(self, memory: Memory) -> None:
        self._store.turns = self._store.queued(memory.ready)
        memory.dirty = True

    def _start_rival(self) -> None:
        self._rival, self._store.rival = False, True

    def _end_rival(self, memory: Memory) -> None:
        self._store.rival = False
        memory.dirty = True

    def _slots(self, memory: Memory) -> list[Event]:
        found: list[Event] = []
        if self._busy and not memory.slot and not self._store.open_attempts():
            found.append(("another task takes the slot", self._take_slot))
        if self.slot_taken:
            found.append(("the other task ends", self._free_slot))
        elif memory.wants_slot and not memory.slot:
            found.append(("a slot is granted", lambda: self._grant(memory)))
        return found

    def _take_slot(self) -> None:
        self._busy, self.slot_taken = False, True

    def _free_slot(self) -> None:
        self.slot_taken = False

    def _grant(self, memory: Memory) -> None:
        memory.slot, memory.dirty = True, True
