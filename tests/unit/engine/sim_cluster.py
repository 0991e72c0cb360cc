"""Kubernetes' part of the simulation: Jobs, their pods, and what a script says happens to each attempt.

Every change is a sight that the operator's watch has yet to deliver.
"""

from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random
from typing import NamedTuple

from parley.engine.pods import JobView, PodView
from parley.resources.reasons import Reason

from tests.unit.engine.sim_store import SimStore

Event = tuple[str, Callable[[], None]]


class Ending(StrEnum):
    """What a step does once no pod of it is lost."""

    SUCCEED = "Succeed"
    FAIL = "Fail"  # exit 3; a runner commits a failure
    EXIT_1 = "Exit1"  # a runner that cannot commit
    OUT_OF_MEMORY = "OutOfMemory"
    HANG = "Hang"
    NO_IMAGE = "NoImage"


@dataclass(frozen=True)
class Script:
    """The first ``losses`` attempts of a step are lost, then it ends as ``ending`` says."""

    ending: Ending = Ending.SUCCEED
    losses: int = 0

    def loses(self, number: int) -> bool:
        return number <= self.losses


class Sight(NamedTuple):
    """A Job or a pod as a watch delivers it; one that was deleted as it was last."""

    job: JobView | None = None
    pod: PodView | None = None
    deleted: bool = False


class SimCluster:
    """Jobs and pods by Job name. ``runners`` are the steps whose pods run Parley's runner."""

    def __init__(self, store: SimStore, scripts: dict[str, Script], runners: set[str], rng: Random) -> None:
        self.jobs: dict[str, JobView] = {}
        self.pods: dict[str, PodView] = {}
        self.sights: defaultdict[tuple[str, str], deque[Sight]] = defaultdict(deque)
        self.store = store
        self._scripts = scripts
        self._runners = runners
        self._rng = rng
        self._version = 0
        self._made: set[str] = set()
        self._deleted: set[str] = set()
        self._nodes_lost: set[str] = set()

    # What the operator does.

    def create_job(self, name: str) -> JobView:
        if name not in self.jobs:
            assert self.store.by_job(name).open, f"Job {name} is made for a closed attempt"
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
        names = list(dict.fromkeys([*self.jobs, *self.pods]))
        return [event for name in names for event in self._events_of(name)]

    def _events_of(self, name: str) -> list[Event]:
        job, pod = self.jobs.get(name), self.pods.get(name)
        notices: list[Event] = []
        if job is not None and not job.ended:
            notices = [(f"Job {name} notices its pod's end", lambda: self._notice(name))]
        if pod is None:
            if name not in self._made:
                return [(f"pod of {name} is made", lambda: self._make_pod(name))] if notices else []
            return notices
        if pod.node_lost:
            back: list[Event] = [(f"node of {name} is back", lambda: self._bring_node_back(name))]
            return [(f"pod of {name} is gone", lambda: self._set_pod(name, None)), *back]
        if not pod.holds_node:
            gone: list[Event] = [(f"pod of {name} is gone", lambda: self._set_pod(name, None))]
            return (gone if pod.deleting else []) + notices
        if pod.deleting or job is None or job.suspended:
            return [(f"pod of {name} is stopped", lambda: self._exit(name, 137, deleting=True))]
        event = self._event_of_pod(name, pod)
        return [event] if event else []

    def _event_of_pod(self, name: str, pod: PodView) -> Event | None:
        attempt = self.store.by_job(name)
        script = self._scripts[attempt.step]
        lose: Event = (f"pod of {name} is lost", lambda: self._lose(name))
        if script.loses(attempt.number) and self._rng.random() < 0.4:
            return lose
        if pod.waiting_reason:
            return lose if script.loses(attempt.number) else None
        if not pod.running:
            return f"pod of {name} starts", lambda: self._start_pod(name)
        if attempt.step in self._runners and attempt.open and attempt.taken_at is None:
            return f"runner of {name} takes its attempt", lambda: self._take(name)
        if script.loses(attempt.number):
            return lose
        if script.ending is Ending.HANG and attempt.open:
            return None
        return f"pod of {name} ends", lambda: self._end_pod(name)

    def _make_pod(self, name: str) -> None:
        self._made.add(name)
        self._set_pod(name, PodView(f"pod-of-{name}", f"pod-uid-of-{name}", "Pending"))

    def _start_pod(self, name: str) -> None:
        attempt = self.store.by_job(name)
        assert not self.store.has_succeeded(attempt.step), f"{name} runs although its step succeeded"
        if self._scripts[attempt.step].ending is Ending.NO_IMAGE:
            self._change_pod(name, waiting_reason="ErrImagePull", waiting_message="no such image")
            return
        if attempt.step not in self._runners:
            older = {other.job for other in self.store.of_step(attempt.step)} - {name, *self._nodes_lost}
            running = [job for job in older if (pod := self.pods.get(job)) and pod.running and pod.holds_node]
            assert not running, f"{name} starts beside {running}"
        self._change_pod(name, phase="Running", running=True)

    def _take(self, name: str) -> None:
        if not self.store.take(name):
            self._exit(name, 0)

    def _end_pod(self, name: str) -> None:
        attempt = self.store.by_job(name)
        ending = self._scripts[attempt.step].ending
        if attempt.step in self._runners:
            if not attempt.open:
                self._exit(name, 0)
            elif ending is Ending.OUT_OF_MEMORY:
                self._exit(name, 137, terminated_reason="OOMKilled")
            elif ending is Ending.EXIT_1:
                self._exit(name, 1)
            else:
                # It exits in an event of its own: a crash may come between commit and exit.
                self.store.finish(name, Reason.MODEL_ERROR if ending is Ending.FAIL else None)
            return
        match ending:
            case Ending.OUT_OF_MEMORY:
                self._exit(name, 137, terminated_reason="OOMKilled")
            case Ending.FAIL | Ending.EXIT_1:
                self._exit(name, 3)
            case _:
                self._exit(name, 0)

    def _lose(self, name: str) -> None:
        runner = self.store.by_job(name).step in self._runners
        ways: list[Callable[[], None]] = [
            lambda: self._change_pod(name, phase="Failed", running=False, status_reason="Evicted"),
            lambda: self._exit(name, 137, deleting=True),
            lambda: self._vanish(name),
        ]
        if name not in self._nodes_lost:
            ways.append(lambda: self._lose_node(name))
        if name not in self._deleted:
            ways.append(lambda: self._delete_job(name))
        if runner:
            ways += [lambda: self._exit(name, 137), lambda: self._exit(name, 0)]
        self._rng.choice(ways)()

    def _vanish(self, name: str) -> None:
        self._set_pod(name, None)
        self._set_job(replace(self.jobs[name], failed_reason="PodFailurePolicy"))

    def _lose_node(self, name: str) -> None:
        self._nodes_lost.add(name)
        self._change_pod(name, node_lost=True)

    def _bring_node_back(self, name: str) -> None:
        self._change_pod(name, node_lost=False)

    def _delete_job(self, name: str) -> None:
        """Delete the Job; its pod is told to stop and ends later."""
        self._deleted.add(name)
        self._made.discard(name)
        self._set_job(self.jobs.pop(name), deleted=True)
        self._change_pod(name, deleting=True)

    def _notice(self, name: str) -> None:
        pod, job = self.pods.get(name), self.jobs[name]
        done = pod is not None and pod.exit_code == 0
        self._set_job(replace(job, completed=done, failed_reason=None if done else "PodFailurePolicy"))

    def _exit(self, name: str, code: int, **shown: object) -> None:
        phase = "Failed" if code else "Succeeded"
        self._change_pod(name, phase=phase, running=False, exit_code=code, **shown)

    def _change_pod(self, name: str, **shown: object) -> None:
        self._set_pod(name, replace(self.pods[name], **shown))  # type: ignore[arg-type]

    def _set_pod(self, name: str, pod: PodView | None) -> None:
        deleted = pod is None
        pod = replace(pod or self.pods.pop(name), version=self._next_version())
        if not deleted:
            self.pods[name] = pod
        self.sights["Pod", name].append(Sight(pod=pod, deleted=deleted))

    def _set_job(self, job: JobView, *, deleted: bool = False) -> None:
        job = replace(job, version=self._next_version())
        if not deleted:
            self.jobs[job.name] = job
        self.sights["Job", job.name].append(Sight(job=job, deleted=deleted))

    def _next_version(self) -> int:
        self._version += 1
        return self._version
