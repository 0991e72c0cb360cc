"""One task from its creation to its end, with an operator that may be restarted between any two of its actions.

The operator is the real plan between a simulated store and a simulated cluster. Everything that may happen next is
an event; a seed chooses their order. Watches deliver sights late, twice or, where the scenario says so, never; time
passes only when nothing else can happen.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from random import Random

import pytest
from parley.engine.actions import (
    Action,
    CloseAttempt,
    CreateJob,
    EndTask,
    EndTurn,
    FinishContainer,
    LookAgain,
    SetSuspended,
    StartAttempt,
    StopJob,
)
from parley.engine.plan import Plan, make_plan
from parley.engine.state import End, Hold, Surroundings, TaskState
from parley.resources.reasons import Reason
from parley.resources.task import DesiredState, TaskSpec

from tests.unit.engine.builders import NOW, desired, told
from tests.unit.engine.sim_cluster import Event, Script, SimCluster
from tests.unit.engine.sim_memory import UID, Memory
from tests.unit.engine.sim_store import SimStore

_MOST_EVENTS = 4000
_MOST_ROUNDS = 20

Show = Callable[[Plan, TaskState, Surroundings, TaskSpec], None]


@dataclass(frozen=True)
class Scenario:
    """What happens, but not in which order."""

    spec: TaskSpec
    scripts: dict[str, Script]
    suspends: int = 0
    cancels: bool = False
    restarts: int = 0
    lossy: bool = False
    """Watches reconnect and miss what happened meanwhile, notifications get lost; then a resync is the net."""
    skewed: bool = False
    """The watch of Jobs may be ahead of the watch of pods."""
    rival: bool = False
    """Another task's turn may hold the session for a while."""


class Simulation:
    """Run it once with ``run``; ``log`` tells what happened, for the message of a failure."""

    def __init__(self, scenario: Scenario, seed: int, show: Show | None = None) -> None:
        self.scenario = scenario
        self.log: list[str] = []
        self.spec = scenario.spec
        self._rng = Random(seed)
        self._steps = scenario.spec.effective_steps()
        self.store = SimStore(self._steps, NOW, scenario.spec.timeout_or_none())
        runners = {step.name for step in self._steps if step.prompt}
        self.cluster = SimCluster(self.store, scenario.scripts, runners, self._rng)
        self.memory = Memory(self.spec)
        self._show = show
        self._reconcile: Iterator[None] | None = None
        self._suspends, self._restarts = scenario.suspends, scenario.restarts
        self._cancels, self._rival = scenario.cancels, scenario.rival
        self._spec_sights: list[TaskSpec] = []
        self._losses = 3 if scenario.lossy else 0
        self._days_suspended = 3
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
        except AssertionError as error:
            error.add_note("What happened:\n  " + "\n  ".join(self.log[-80:]))
            raise
        return self.store.end

    def _advance(self) -> bool:
        """Let one thing happen; False when the task has ended and all is quiet."""
        events = [*self._operator(), *self._watch(), *self.cluster.events(), *self._people(), *self._turns()]
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
        self.log.append(f"it is {self.store.now:%d %H:%M}")
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
        denied: dict[str, Hold] = {}
        looked: set[str] = set()
        for _ in range(_MOST_ROUNDS):
            workload = memory.workload()
            yield
            state = self.store.read()
            around = Surroundings(
                pods=workload.pods,
                jobs=workload.jobs,
                vanished=frozenset(workload.vanished),
                turns=dict(self.store.turns),
                denied=denied,
                looked=frozenset(looked),
            )
            plan = make_plan(spec, self._steps, state, around)
            memory.planned, memory.ready = True, plan.ready_turn
            if not plan.actions:
                if self._show is not None:
                    self._show(plan, state, around, spec)
                memory.wake_at = plan.wake_at
                self._final = state.end is not None
                return
            for action in plan.actions:
                yield
                self.log.append(f"  {told(action)}")
                self._carry_out(action, spec, denied, looked)
        raise AssertionError(f"not settled after {_MOST_ROUNDS} rounds")

    def _carry_out(self, action: Action, spec: TaskSpec, denied: dict[str, Hold], looked: set[str]) -> None:  # noqa: C901, PLR0912 - one case an action
        if isinstance(action, StartAttempt | CreateJob):
            assert spec.desired_state is not DesiredState.CANCELLED, "something starts in a cancelled task"
        match action:
            case StartAttempt():
                assert spec.desired_state is DesiredState.RUNNING, "something new starts while suspended"
                refused = self.store.insert(action)
                if refused == "turn":
                    denied[action.step.name] = Hold(Reason.SESSION_BUSY, "another turn holds the session")
            case CreateJob():
                self.memory.workloads.see_job(UID, self.cluster.create_job(action.attempt.job))
            case FinishContainer():
                self.store.finish_container(action.attempt, action.verdict)
            case CloseAttempt():
                self.store.close(action)
            case StopJob():
                stopped = self.cluster.suspend_job(action.job)
                if stopped is None:
                    self.memory.workloads.drop_job(UID, action.job)
                else:
                    self.memory.workloads.see_job(UID, stopped)
            case LookAgain():
                self.memory.look(self.cluster, action.job)
                looked.add(action.job)
            case EndTurn():
                self.store.end_turn(action.step)
            case SetSuspended():
                self.store.set_suspended(action.suspended)
            case EndTask():
                self.store.end_task(action)

    def _restart(self) -> None:
        self._restarts -= 1
        self._reconcile = None
        self.memory = Memory(self.spec)
        self._list()

    def _list(self) -> None:
        self.memory.list_all(self.cluster, self.spec)
        self.cluster.sights.clear()
        self._spec_sights.clear()

    # What the operator hears.

    def _watch(self) -> list[Event]:
        found: list[Event] = []
        for key, sights in self.cluster.sights.items():
            if sights:
                found.append((f"watch brings {' '.join(key)}", lambda k=key: self._deliver(k)))
        if self._spec_sights:
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
        pods = self.cluster.sights["Pod", name]
        if kind == "Job" and pods and not self.scenario.skewed:
            self._deliver(("Pod", name))
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
        spec = self._spec_sights.pop(0)
        self.memory.spec, self.memory.dirty = spec, True

    # People, and the session's other turns.

    def _people(self) -> list[Event]:
        found: list[Event] = []
        state = self.spec.desired_state
        if self.store.end is not None or state is DesiredState.CANCELLED:
            return found
        if self._suspends and state is DesiredState.RUNNING:
            found.append(("somebody suspends the task", lambda: self._ask(DesiredState.SUSPENDED)))
        if state is DesiredState.SUSPENDED:
            found.append(("somebody resumes the task", lambda: self._ask(DesiredState.RUNNING)))
            if self.store.suspended_since and not self.store.open_attempts() and self._days_suspended:
                found.append(("a day passes", self._let_a_day_pass))
        if self._cancels:
            found.append(("somebody cancels the task", lambda: self._ask(DesiredState.CANCELLED)))
        return found

    def _ask(self, state: DesiredState) -> None:
        if state is DesiredState.SUSPENDED:
            self._suspends -= 1
        self.spec = desired(self.spec, state)
        self._spec_sights.append(self.spec)

    def _let_a_day_pass(self) -> None:
        self._days_suspended -= 1
        self.store.now += timedelta(days=1)

    def _turns(self) -> list[Event]:
        found: list[Event] = []
        memory, store = self.memory, self.store
        if memory.planned and store.queued(memory.ready) != store.turns:
            found.append(("tickets are given", self._give_tickets))
        if self._rival and not store.turns:
            found.append(("another turn takes the session", self._start_rival))
        if store.rival:
            found.append(("the other turn ends", self._end_rival))
        return found

    def _give_tickets(self) -> None:
        self.store.turns = self.store.queued(self.memory.ready)
        self.memory.dirty = True

    def _start_rival(self) -> None:
        self._rival, self.store.rival = False, True

    def _end_rival(self) -> None:
        self.store.rival = False
        self.memory.dirty = True
