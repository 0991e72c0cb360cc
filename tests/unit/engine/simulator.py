"""One task from its creation to its end, with an operator that may be restarted between any two of its actions.

The operator is the real plan between a simulated store and a simulated cluster. Everything that may happen next is
an event; a seed chooses their order. Watches deliver sights late, twice or, where the scenario says so, never; time
passes only when nothing else can happen.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

import pytest
from parley.engine.actions import EndTask
from parley.engine.plan import Plan, holds_slot, make_plan
from parley.engine.situation import takes_turn
from parley.engine.state import End, Hold, Runtime, Surroundings, TaskState, Turn
from parley.resources.reasons import Reason
from parley.resources.task import TaskSpec

from tests.unit.engine.builders import NOW, told
from tests.unit.engine.sim_calls import SimCalls
from tests.unit.engine.sim_carry import Carrier
from tests.unit.engine.sim_cluster import Event, SimCluster
from tests.unit.engine.sim_flow import SimFlow
from tests.unit.engine.sim_memory import Memory
from tests.unit.engine.sim_others import SimOthers
from tests.unit.engine.sim_rules import retried
from tests.unit.engine.sim_script import Decision, Script
from tests.unit.engine.sim_session import SessionStory, SimSession
from tests.unit.engine.sim_store import SimStore

_MOST_EVENTS = 6000
_MOST_ROUNDS = 60
_NO_SLOT = Hold(Reason.CONCURRENCY_LIMITED, "1st of 1 in the queue of Agent support")

Show = Callable[[Plan, TaskState, Surroundings, TaskSpec], None]


@dataclass(frozen=True)
class Scenario:
    """What happens, but not in which order."""

    spec: TaskSpec
    scripts: dict[str, Script] = field(default_factory=dict[str, Script])
    """By step, those of items by ``step/item``."""
    decisions: dict[str, Decision] = field(default_factory=dict[str, Decision])
    suspends: int = 0
    cancels: bool = False
    parent_ends: bool = False
    patience: int = 0
    """So many events pass before anybody suspends, cancels or ends anything."""
    restarts: int = 0
    lossy: bool = False
    """Watches reconnect and miss what happened meanwhile, notifications get lost; then a resync is the net."""
    skewed: bool = False
    """The watch of Jobs may be ahead of the watch of pods."""
    rival: bool = False
    """Another task's turn may hold the session for a while."""
    busy: bool = False
    """The agent runs one task at a time, and another one may be first."""
    runtime: Runtime = "Job"
    session: SessionStory = field(default_factory=SessionStory)


class Simulation:
    """Run it once with ``run``; ``log`` tells what happened, for the message of a failure."""

    def __init__(self, scenario: Scenario, seed: int, show: Show | None = None) -> None:
        self.scenario = scenario
        self.log: list[str] = []
        self._rng = Random(seed)
        self._steps = scenario.spec.effective_steps()
        timeout = scenario.spec.timeout_or_none()
        self.store = SimStore(self._steps, NOW, timeout, scenario.runtime)
        scripts = dict(scenario.scripts)
        self.calls = SimCalls(self.store, scripts)
        self.cluster = SimCluster(self.store, scripts, self.calls, self._rng)
        self.flow = SimFlow(self.store, scenario.decisions, scripts)
        self.session = SimSession(scenario.session, self.store, scenario.patience)
        self.memory = Memory(scenario.spec, limited=scenario.busy)
        self.others = SimOthers(
            scenario.spec,
            self.store,
            suspends=scenario.suspends,
            cancels=scenario.cancels,
            parent_ends=scenario.parent_ends,
            rival=scenario.rival,
            busy=scenario.busy,
            patience=scenario.patience,
        )
        self._show = show
        self._reconcile: Iterator[None] | None = None
        self._restarts = scenario.restarts
        self._losses = 3 if scenario.lossy else 0
        self._resynced = False
        self._final = False

    def run(self) -> End:
        """Return how the task ended.

        Raises:
            AssertionError: something happened that must never happen, or nothing more can.
        """
        try:
            for _ in range(_MOST_EVENTS):
                if not self._advance():
                    break
            else:
                pytest.fail(f"no end after {_MOST_EVENTS} events")
            assert self.store.end is not None
            left = [name for name, pod in self.cluster.pods.items() if pod.holds_node]
            assert not left, f"pods of {left} were left running"
            going = [child.name for child in self.store.children.values() if not child.over]
            assert not going, f"children {going} were left behind"
        except BaseException as error:
            error.add_note("What happened:\n  " + "\n  ".join(self.log[-80:]))
            raise
        return self.store.end

    def _advance(self) -> bool:
        """Let one thing happen; False when the task has ended and all is quiet."""
        events = [
            *self._operator(),
            *self._watch(),
            *self.cluster.events(),
            *self.flow.events(),
            *self.calls.events(),
            *self.session.events(),
            *self.others.events(self.memory),
        ]
        if not events:
            return not self._final and self._let_time_pass()
        # The operator is one of many; with this it gets half of the steps, which finds more of its races.
        urgent = events[0][0].startswith("operator") and self._rng.random() < 0.5
        name, happen = events[0] if urgent else self._rng.choice(events)
        self.log.append(name)
        self._resynced = self._resynced and name.startswith("operator")
        happen()
        return True

    def _let_time_pass(self) -> bool:
        if self.scenario.lossy and not self._resynced:
            self.log.append("resync")
            self._resynced = True
            self._list()
            return True
        assert self.memory.wake_at is not None, "nothing will ever happen again"
        self.store.now = max(self.store.now, self.memory.wake_at)
        self.log.append(f"it is {self.store.now:%d %H:%M:%S}")
        self.memory.wake_at, self.memory.dirty, self._resynced = None, True, False
        return True

    # The operator.

    def _operator(self) -> list[Event]:
        if self._reconcile is not None:
            return [("operator goes on", self._go_on)]
        if self.memory.dirty and not self._final:
            return [("operator takes the key", self._take_key)]
        return []

    def _take_key(self) -> None:
        self.memory.dirty = False
        self._reconcile = self._reconciling()

    def _go_on(self) -> None:
        assert self._reconcile is not None
        try:
            next(self._reconcile)
        except StopIteration:
            self._reconcile = None

    def _reconciling(self) -> Iterator[None]:
        memory, spec = self.memory, self.memory.spec
        carrier = Carrier(self.store, self.cluster, self.flow, memory, spec)
        for _ in range(_MOST_ROUNDS):
            workload = memory.workload()
            yield
            state = self.store.read()
            memory.slot = memory.slot or holds_slot(self._steps, state)
            around = Surroundings(
                pods=workload.pods,
                jobs=workload.jobs,
                vanished=frozenset(workload.vanished),
                turns=dict(self.store.turns),
                denied=carrier.denied,
                looked=frozenset(carrier.looked),
                slot=_NO_SLOT if self.scenario.busy and not memory.slot else None,
                runtime=self.scenario.runtime,
                gate=self.session.shown(),
            )
            self._check_turns(state)
            carrier.known = around
            plan = make_plan(spec, self._steps, state, around)
            if state.parent_closed and state.end is None:
                assert [type(action) for action in plan.actions] == [EndTask], "a child outlives its parent"
            memory.planned, memory.ready = True, plan.ready_turns
            memory.wants_slot = plan.wants_slot
            if not plan.actions:
                self._settle(plan, state, around, spec)
                return
            for action in plan.actions:
                yield
                self.log.append(f"  {told(action)}")
                carrier.carry_out(action)
        raise AssertionError(f"not settled after {_MOST_ROUNDS} rounds")

    def _settle(self, plan: Plan, state: TaskState, around: Surroundings, spec: TaskSpec) -> None:
        memory = self.memory
        if self._show is not None:
            self._show(plan, state, around, spec)
        # While it only waits for a person, sleeps or is suspended, others have its slot.
        memory.slot = (plan.wants_slot and memory.slot) or holds_slot(self._steps, state)
        memory.wake_at = plan.wake_at
        self._final = state.end is not None
        running = any(attempt.open for attempt in state.attempts)
        held = (
            state.suspended or plan.ready_turns or plan.wants_slot or state.waits or around.gate.session_hold
        )
        assert self._final or plan.wake_at or running or held, "nothing is left that would wake the task"

    def _check_turns(self, state: TaskState) -> None:
        """Whoever paused for calls keeps its session: no other turn comes between a call and its result."""
        for step in self._steps:
            attempts = state.of_step(step.name)
            goes_on = attempts and attempts[-1].phase != "Succeeded" and retried(step, list(attempts))
            if state.end is None and goes_on and any(a.phase == "Paused" for a in attempts):
                turn = self.store.turns.get(step.name)
                assert turn is Turn.HELD or not takes_turn(self.scenario.spec, step), "a paused turn was lost"

    def _restart(self) -> None:
        self._restarts -= 1
        self._reconcile = None
        self.memory = Memory(self.others.spec, limited=self.scenario.busy)
        self._list()

    def _list(self) -> None:
        self.memory.list_all(self.cluster, self.others.spec)
        self.cluster.sights.clear()
        self.others.edits.clear()

    # What the operator hears.

    def _watch(self) -> list[Event]:
        found: list[Event] = []
        for key, sights in self.cluster.sights.items():
            if sights:
                found.append((f"watch brings {' '.join(key)}", lambda k=key: self._deliver(k)))
        if self.others.edits:
            found.append(("watch brings the Task", self._deliver_spec))
        if self.store.notified:
            found.append(("Postgres notifies", self._notify))
        if self._losses:
            found += [
                (f"watch of {kind}s reconnects", lambda k=kind: self._reconnect(k)) for kind in ("Job", "Pod")
            ]
            found.append(("a notification is lost", self._lose_notification))
        if self._restarts:
            found.append(("operator is killed and started again", self._restart))
        return found

    def _deliver(self, key: tuple[str, str]) -> None:
        kind, name = key
        if kind == "Job" and not self.scenario.skewed:
            late = [pod for pod in self.cluster.keys_of(name) if self.cluster.sights["Pod", pod]]
            if late:
                self._deliver(("Pod", self._rng.choice(late)))
                return
        sight = self.cluster.sights[key].popleft()
        for _ in range(self._rng.choice((1, 1, 2))):
            self.memory.hear(name, sight)

    def _reconnect(self, kind: str) -> None:
        """Bring what is there now, and nothing of what went meanwhile (as Kopf does)."""
        self._losses -= 1
        for (other, _), sights in self.cluster.sights.items():
            if other == kind and sights:
                last = sights.pop()
                sights.clear()
                if not last.deleted:
                    sights.append(last)

    def _notify(self) -> None:
        self.store.notified = False
        self.memory.dirty = True

    def _lose_notification(self) -> None:
        self._losses -= 1
        self.store.notified = False

    def _deliver_spec(self) -> None:
        self.memory.spec, self.memory.dirty = self.others.edits.pop(0), True
