"""Kubernetes' part of the simulation: Jobs, their pods, and what a script says happens to each attempt.

Every change is a sight that the operator's watch has yet to deliver. A pod is known by its Job and index.
"""

from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import NamedTuple

from parley.engine.names import pod_key
from parley.engine.pods import JobView, PodView
from parley.engine.state import Attempt
from parley.resources.task import Step

from tests.unit.engine.sim_calls import SimCalls
from tests.unit.engine.sim_rules import PUT_OFF, failures
from tests.unit.engine.sim_runner import SimRunners
from tests.unit.engine.sim_script import Ending, Script, Scripts, key_of
from tests.unit.engine.sim_store import SimStore

Event = tuple[str, Callable[[], None]]


class Sight(NamedTuple):
    """A Job or a pod as a watch delivers it; one that was deleted as it was last."""

    job: JobView | None = None
    pod: PodView | None = None
    deleted: bool = False


class SimCluster:
    """Jobs by name, pods by key."""

    def __init__(self, store: SimStore, scripts: Scripts, calls: SimCalls, rng: Random) -> None:
        self.jobs: dict[str, JobView] = {}
        self.pods: dict[str, PodView] = {}
        self.sights: defaultdict[tuple[str, str], deque[Sight]] = defaultdict(deque)
        self.store = store
        self.most_at_once: dict[str, int] = {}
        """By Job: the most pods that ran at once."""
        self.places: dict[str, tuple[str, int]] = {}
        """By pod key: Job and index."""
        self._parallelism: dict[str, int] = {}
        self.calls = calls
        self._scripts = scripts
        self._rng = rng
        self._version = 0
        self._made: set[str] = set()
        self._deleted: set[str] = set()
        self._nodes_lost: set[str] = set()
        self._runners = SimRunners(self, rng)

    # What the operator does.

    def create_job(self, name: str, size: int = 1, parallelism: int = 1) -> JobView:
        if name not in self.jobs:
            assert any(a.open for a in self.store.of_job(name)), f"Job {name} is made for closed attempts"
            self._parallelism[name] = parallelism
            self.places |= {pod_key(name, index): (name, index) for index in range(size)}
            self._set_job(JobView(name, f"uid-of-{name}"))
        return self.jobs[name]

    def suspend_job(self, name: str) -> JobView | None:
        job = self.jobs.get(name)
        if job is None or job.ended:
            return job
        self._set_job(replace(job, suspended=True))
        return self.jobs[name]

    # What may happen next.

    def events(self) -> list[Event]:
        events = [event for key in self.places for event in self._events_of(key)]
        return events + [event for name in self.jobs for event in self._notices(name)]

    def keys_of(self, job: str) -> list[str]:
        return [key for key, place in self.places.items() if place[0] == job]

    def _notices(self, name: str) -> list[Event]:
        over = all(
            key in self._made and (key not in self.pods or not self.pods[key].holds_node)
            for key in self.keys_of(name)
        )
        over = over and not any(self.pods[key].node_lost for key in self.keys_of(name) if key in self.pods)
        if self.jobs[name].ended or not over:
            return []
        return [(f"Job {name} notices its pods' end", lambda: self._notice(name))]

    def _events_of(self, key: str) -> list[Event]:
        name, _ = self.places[key]
        job, pod = self.jobs.get(name), self.pods.get(key)
        if pod is None:
            live = sum(
                1 for other in self.keys_of(name) if other in self.pods and self.pods[other].holds_node
            )
            waits = key not in self._made and job is not None and not job.ended
            room = waits and live < self._parallelism[name]
            return [(f"pod of {key} is made", lambda: self._make_pod(key))] if room else []
        if pod.node_lost:
            back: list[Event] = [(f"node of {key} is back", lambda: self._change_pod(key, node_lost=False))]
            return [(f"pod of {key} is gone", lambda: self._set_pod(key, None)), *back]
        if not pod.holds_node:
            gone: list[Event] = [(f"pod of {key} is gone", lambda: self._set_pod(key, None))]
            return gone if pod.deleting else []
        if pod.deleting or job is None or job.suspended:
            return [(f"pod of {key} is stopped", lambda: self.exit(key, 137, deleting=True))]
        own = self.store.by_key(*self.places[key])
        event = (
            self._runners.event_of(key, pod) if own.runtime == "Task" else self._event_of_pod(key, pod, own)
        )
        return [event] if event else []

    def _event_of_pod(self, key: str, pod: PodView, attempt: Attempt) -> Event | None:
        lose: Event = (f"pod of {key} is lost", lambda: self._lose(key))
        taken = attempt.taken_at is not None
        # That the pod of an item is gone which no runner has taken is seen at the end of its round only.
        early = taken or attempt.item < 0 or not self._is_runner(attempt)
        if self.loses(attempt) and early and self._rng.random() < 0.4:
            return lose
        if pod.waiting_reason:
            return lose if self.loses(attempt) and early else None
        if not pod.running:
            return f"pod of {key} starts", lambda: self._start_pod(key, attempt)
        if self._is_runner(attempt) and attempt.open and not taken:
            return f"runner of {key} takes its attempt", lambda: self._take(key, attempt)
        calls = self._is_runner(attempt) and attempt.open and self.calls.wants(attempt)
        if self.loses(attempt) and not (calls and self._rng.random() < 0.5):
            return lose
        if self.ending_of(attempt) is Ending.HANG and attempt.open and not calls:
            return None
        return f"pod of {key} ends", lambda: self._end_pod(key, attempt)

    def step_of(self, attempt: Attempt) -> Step:
        return next(step for step in self.store.steps if step.name == attempt.step)

    def _is_runner(self, attempt: Attempt) -> bool:
        """Whether one of Parley's runners runs it, and no container of a step or of a call."""
        return any(step.name == attempt.step and step.runs_in_runner for step in self.store.steps)

    def script_of(self, attempt: Attempt) -> Script:
        return self._scripts[key_of(attempt)]

    def loses(self, attempt: Attempt) -> bool:
        """Whether its script has an attempt lost; those that were put off or paused do not count."""
        before = self.store.of_step(attempt.step, attempt.item)[: attempt.number - 1]
        put_off = sum(a.reason in PUT_OFF or a.phase == "Paused" for a in before)
        return self.script_of(attempt).loses(attempt.number - put_off)

    def ending_of(self, attempt: Attempt) -> Ending:
        before = self.store.of_step(attempt.step, attempt.item)[: attempt.number - 1]
        return self.script_of(attempt).ends(failures(before))

    def _make_pod(self, key: str) -> None:
        self._made.add(key)
        self._set_pod(key, PodView(f"pod-of-{key}", f"pod-uid-{self._version}", "Pending"))

    def _start_pod(self, key: str, attempt: Attempt) -> None:
        assert not self.store.has_succeeded(attempt.step, attempt.item), f"{key} runs although it succeeded"
        # An item of a round is lost only once it was taken, so its pod must start before.
        first_lost = attempt.item >= 0 and self.loses(attempt)
        if self.ending_of(attempt) is Ending.NO_IMAGE and not first_lost:
            self._change_pod(key, waiting_reason="ErrImagePull", waiting_message="no such image")
            return
        if not self._is_runner(attempt):
            others = self.store.of_step(attempt.step, attempt.item)
            older = {pod_key(other.job, other.index) for other in others} - {key, *self._nodes_lost}
            running = [
                other for other in older if (pod := self.pods.get(other)) and pod.running and pod.holds_node
            ]
            assert not running, f"{key} starts beside {running}"
        self.run_pod(key)

    def run_pod(self, key: str) -> None:
        self._change_pod(key, phase="Running", running=True)
        name, _ = self.places[key]
        running = sum(1 for other in self.keys_of(name) if other in self.pods and self.pods[other].running)
        self.most_at_once[name] = max(running, self.most_at_once.get(name, 0))

    def _take(self, key: str, attempt: Attempt) -> None:
        if not self.store.take(attempt, self.pods[key].uid):
            self.exit(key, 0)

    def _end_pod(self, key: str, attempt: Attempt) -> None:
        ending = self.ending_of(attempt)
        if self._is_runner(attempt):
            if attempt.open:
                # It exits in an event of its own: a crash may come between commit and exit.
                self._runners.end(key, attempt, ending)
            else:
                self.exit(key, 0)
            return
        match ending:
            case Ending.OUT_OF_MEMORY:
                self.exit(key, 137, terminated_reason="OOMKilled")
            case Ending.EXIT_64:
                self.exit(key, 64)
            case Ending.SUCCEED | Ending.HANG:
                self.exit(key, 0)
            case _:
                self.exit(key, 3)

    def _lose(self, key: str) -> None:
        name, _ = self.places[key]
        ways: list[Callable[[], None]] = [
            lambda: self._change_pod(key, phase="Failed", running=False, status_reason="Evicted"),
            lambda: self.exit(key, 137, deleting=True),
            lambda: self._vanish(key),
        ]
        if key not in self._nodes_lost:
            ways.append(lambda: self._lose_node(key))
        if name not in self._deleted and len(self.keys_of(name)) == 1:
            ways.append(lambda: self._delete_job(key))
        if self._is_runner(self.store.by_key(*self.places[key])):
            ways += [lambda: self.exit(key, 137), lambda: self.exit(key, 0)]
        self._rng.choice(ways)()

    def _vanish(self, key: str) -> None:
        self._set_pod(key, None)
        name, _ = self.places[key]
        if len(self.keys_of(name)) == 1:
            self._set_job(replace(self.jobs[name], failed_reason="PodFailurePolicy"))

    def _lose_node(self, key: str) -> None:
        self._nodes_lost.add(key)
        self._change_pod(key, node_lost=True)

    def _delete_job(self, key: str) -> None:
        """Delete the Job; its pod is told to stop and ends later."""
        name, _ = self.places[key]
        self._deleted.add(name)
        self._made.discard(key)
        self._set_job(self.jobs.pop(name), deleted=True)
        self._change_pod(key, deleting=True)

    def _notice(self, name: str) -> None:
        pods = [self.pods.get(key) for key in self.keys_of(name)]
        done = all(pod is not None and pod.exit_code == 0 for pod in pods)
        self._set_job(
            replace(self.jobs[name], completed=done, failed_reason=None if done else "PodFailurePolicy")
        )

    def exit(self, key: str, code: int, **shown: object) -> None:
        phase = "Failed" if code else "Succeeded"
        self._change_pod(key, phase=phase, running=False, exit_code=code, **shown)

    def _change_pod(self, key: str, **shown: object) -> None:
        self._set_pod(key, replace(self.pods[key], **shown))  # type: ignore[arg-type]

    def _set_pod(self, key: str, pod: PodView | None) -> None:
        deleted = pod is None
        pod = replace(pod or self.pods.pop(key), version=self._next_version())
        if not deleted:
            self.pods[key] = pod
        self.sights["Pod", key].append(Sight(pod=pod, deleted=deleted))

    def _set_job(self, job: JobView, *, deleted: bool = False) -> None:
        job = replace(job, version=self._next_version())
        if not deleted:
            self.jobs[job.name] = job
        self.sights["Job", job.name].append(Sight(job=job, deleted=deleted))

    def _next_version(self) -> int:
        self._version += 1
        return self._version
