"""Runners in the simulation: how one commits, and one that stays with its task and takes attempt after attempt."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from parley.engine.pods import PodView
from parley.engine.state import Attempt
from parley.resources.reasons import Reason

from tests.unit.engine.sim_calls import refused
from tests.unit.engine.sim_script import Ending
from tests.unit.engine.sim_store import LEASE

if TYPE_CHECKING:
    from tests.unit.engine.sim_cluster import SimCluster


class SimRunners:
    """What runners do, beside what happens to their pods."""

    def __init__(self, cluster: SimCluster, rng: Random) -> None:
        self._cluster = cluster
        self._rng = rng
        self._frozen: set[str] = set()

    def end(self, key: str, attempt: Attempt, ending: Ending) -> None:
        """End an attempt that is under way, or have it call its tools."""
        if self._cluster.calls.go_on(attempt):
            return
        if ending is Ending.OUT_OF_MEMORY:
            self._cluster.exit(key, 137, terminated_reason="OOMKilled")
        elif ending is Ending.EXIT_1:
            self._cluster.exit(key, 1)
        else:
            fails = ending not in {Ending.SUCCEED, Ending.HANG}
            said = refused(self._cluster.step_of(attempt), self._cluster.calls, attempt)
            self._cluster.store.finish(attempt, Reason.MODEL_ERROR if fails else said)

    def event_of(self, key: str, pod: PodView) -> tuple[str, Callable[[], None]] | None:
        """What the runner of a mode Task pod may do next."""
        cluster = self._cluster
        if not pod.running:
            return f"pod of {key} starts", lambda: cluster.run_pod(key)
        if key in self._frozen:
            return None
        shared = [a for a in cluster.store.attempts if a.runtime == "Task"]
        held = next((a for a in shared if a.phase == "Running" and a.holder_pod == pod.uid), None)
        if held is None:
            waiting = next((a for a in shared if a.phase == "Open"), None)
            if waiting is None:
                return f"runner in {key} has nothing to do and ends", lambda: cluster.exit(key, 0)
            return f"runner in {key} takes {waiting.job}", lambda: self._take(waiting, pod)
        if cluster.loses(held) and not (cluster.calls.wants(held) and self._rng.random() < 0.5):
            return f"runner in {key} is lost with {held.job}", lambda: self._lose(key, held)
        ending = cluster.ending_of(held)
        if ending is Ending.HANG and not cluster.calls.wants(held):
            return None
        return f"runner in {key} ends {held.job}", lambda: self.end(key, held, ending)

    def _take(self, attempt: Attempt, pod: PodView) -> None:
        self._cluster.store.take(attempt, pod.uid)

    def _lose(self, key: str, held: Attempt) -> None:
        if self._rng.random() < 0.4:
            self._frozen.add(key)
            self._cluster.store.silent[held.id] = self._cluster.store.now + LEASE
        else:
            self._cluster.exit(key, 137, deleting=self._rng.random() < 0.5)
