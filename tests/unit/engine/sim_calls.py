"""Tool calls in the simulation: the journal of each step, what runners pause for, and what becomes of the calls.

A runner that resumes goes on in the round where the journal is: what has a result is never called again.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from parley.engine.actions import AnswerCall, ExpireWait, QueueTask, StartCall
from parley.engine.names import call_step
from parley.engine.retries import MAX_DISRUPTIONS
from parley.engine.state import NO_ITEM, Attempt, Cause, Wait, WaitKind
from parley.resources.reasons import Reason
from parley.resources.task import Step

from tests.unit.engine.sim_script import Approval, Call, Scripts, key_of
from tests.unit.engine.sim_store import SimStore

Event = tuple[str, Callable[[], None]]
Place = tuple[str, int]
CallKey = tuple[str, int, int, int]
"""Step, item, round and call."""
CONTAINER_TIMEOUT = timedelta(minutes=10)
APPROVAL_TIMEOUT = timedelta(hours=1)
AT_ONCE = 10


class SimCalls:
    """The journals. ``scripts`` is added to: what happens to a call's container is found by its own step name."""

    def __init__(self, store: SimStore, scripts: Scripts) -> None:
        self.results: dict[CallKey, str] = {}
        self.decisions: dict[CallKey, bool] = {}
        """What somebody said, or the time-out for them."""
        self._store = store
        self._scripts = scripts
        self._rounds: dict[Place, int] = {}
        self._of_wait: dict[str, CallKey] = {}

    # What runners do.

    def wants(self, attempt: Attempt) -> bool:
        """Whether a round of an attempt's step is left."""
        rounds = self._scripts[key_of(attempt)].rounds
        return self._rounds.get((attempt.step, attempt.item), 0) < len(rounds)

    def go_on(self, attempt: Attempt) -> bool:
        """Go one round further in the journal, or pause in it; false once none is left."""
        if not self.wants(attempt):
            return False
        place = attempt.step, attempt.item
        number = self._rounds.setdefault(place, 0)
        if waits := self._call(attempt, number):
            self._store.pause(attempt, waits)
        else:
            self._rounds[place] = number + 1
        return True

    def rejected(self, attempt: Attempt) -> bool:
        place = attempt.step, attempt.item
        return any(result == "rejected" for key, result in self.results.items() if key[:2] == place)

    def _call(self, attempt: Attempt, number: int) -> list[Wait]:
        waits: list[Wait] = []
        for index, call in enumerate(self._scripts[key_of(attempt)].rounds[number]):
            key = (attempt.step, attempt.item, number, index)
            if key in self.results:
                continue
            decision = self.decisions.get(key)
            if call.approval is not None and decision is None:
                waits.append(self._wait(key, "Approval", call))
            elif decision is False:
                self.results[key] = "rejected"
            elif call.kind == "Http":
                self.results[key] = "called"
            else:
                waits.append(self._wait(key, call.kind, call))
        return waits

    def _wait(self, key: CallKey, kind: WaitKind, call: Call) -> Wait:
        step, item, number, index = key
        name, now = f"{kind.lower()}-{step}-{item}-{number}-{index}", self._store.now
        assert name not in self._of_wait, f"{name} is asked for twice"
        self._of_wait[name] = key
        wait = Wait(name, step, item, kind, "", (), now, None, "Open", call="pay", arguments="{}")
        if kind == "Container":
            self._scripts[call_step(step, name)] = call.script
            return replace(wait, timeout=CONTAINER_TIMEOUT)
        if kind == "Approval":
            deadline = now + APPROVAL_TIMEOUT if call.approval in {"Late", "LateYes"} else None
            return replace(wait, question="May it?", choices=("approve", "reject"), deadline=deadline)
        return wait

    # What people do.

    def events(self) -> list[Event]:
        """Somebody decides on each call that anybody cares for."""
        return [
            (f"somebody decides {wait.id}", lambda w=wait: self._decide(w))
            for wait in self._store.waits
            if (wait.kind, wait.state) == ("Approval", "Open") and self._approval(wait) in {"Yes", "No"}
        ]

    def _approval(self, wait: Wait) -> Approval | None:
        step, item, number, index = self._of_wait[wait.id]
        return self._scripts[step if item < 0 else f"{step}/{item}"].rounds[number][index].approval

    def _decide(self, wait: Wait) -> None:
        self.decisions[self._of_wait[wait.id]] = self._approval(wait) == "Yes"
        self._store.close_wait(wait, "Answered")
        self._store.notified = True

    # The operator's transactions.

    def expire(self, expire: ExpireWait) -> None:
        wait = self._store.wait(expire.wait_id)
        assert wait.deadline is not None
        assert self._store.now >= wait.deadline, "an approval expires too early"
        self.decisions[self._of_wait[wait.id]] = self._approval(wait) == "LateYes"
        self._store.close_wait(wait, "Expired")

    def start(self, start: StartCall) -> None:
        store, wait, name = self._store, start.wait, start.step_name
        store.check_live()
        self._check_granted(wait, "Container")
        assert name == call_step(wait.step, wait.id)
        before = store.of_step(name)
        closing = {start.close.attempt} if start.close else set[int]()
        assert {a.id for a in before if a.open} == closing, f"{name} starts beside an open attempt"
        assert start.number == len(before) + 1
        assert not any(a.phase in {"Succeeded", "Failed", "TimedOut"} for a in before), f"{name} runs again"
        assert start.cause == _cause(before), f"{name} starts as {start.cause}"
        assert sum(a.phase == "Lost" or a.open for a in before) <= MAX_DISRUPTIONS
        if start.close:
            assert store.close(start.close)
        step = next(step for step in store.steps if step.name == wait.step)
        most = step.for_each.parallelism if step.for_each else AT_ONCE
        names = {call_step(w.step, w.id) for w in store.waits if w.step == step.name}
        assert sum(a.open for a in store.attempts if a.step in names) < most, "too many calls run at once"
        store.add(name, NO_ITEM, start.number, start.cause, f"{name}-{start.number}", CONTAINER_TIMEOUT)

    def answer(self, answer: AnswerCall) -> None:
        store = self._store
        self._check_granted(answer.wait, "Container")
        attempts = store.of_step(call_step(answer.wait.step, answer.wait.id))
        assert attempts, f"{answer.wait.id} is answered although it never ran"
        last = attempts[-1]
        assert last.id == answer.attempt_id, "an older attempt gives the result"
        assert not last.open, "a call that runs is answered"
        lost = sum(a.phase == "Lost" for a in attempts)
        assert last.phase != "Lost" or lost == MAX_DISRUPTIONS + 1, "a lost container is not repeated"
        self._take(answer.wait, last.phase)

    def queue(self, queue: QueueTask) -> None:
        self._store.check_live()
        self._check_granted(queue.wait, "Task")
        self._take(queue.wait, "queued")

    def _take(self, wait: Wait, result: str) -> None:
        key = self._of_wait[wait.id]
        assert key not in self.results, f"{wait.id} is answered twice"
        self.results[key] = result
        self._store.close_wait(wait, "Answered")

    def _check_granted(self, wait: Wait, kind: WaitKind) -> None:
        assert self._store.wait(wait.id).state == "Open", f"{wait.id} is not open any more"
        assert wait.kind == kind
        key = self._of_wait[wait.id]
        call = self._scripts[wait.step if wait.item < 0 else f"{wait.step}/{wait.item}"].rounds[key[2]][
            key[3]
        ]
        assert call.approval is None or self.decisions.get(key), f"{wait.id} begins without its approval"


def _cause(before: list[Attempt]) -> Cause:
    return "Disruption" if before else "First"


def refused(step: Step, calls: SimCalls, attempt: Attempt) -> Reason | None:
    """Why a tool step fails although its runner did all it should: somebody said no."""
    return Reason.REJECTED if step.tool is not None and calls.rejected(attempt) else None
