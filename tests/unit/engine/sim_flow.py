"""Steps that no pod runs, in the simulation: what is decided, people's replies, child tasks."""

from collections.abc import Callable
from dataclasses import replace

from parley.engine.actions import CreateChild, EndStep, EndTask, ExpireWait
from parley.engine.state import Child, StepMark, Wait, WaitState
from parley.resources.reasons import Reason
from parley.resources.task import Step

from tests.unit.engine.sim_rules import retried
from tests.unit.engine.sim_script import Decision, Ending, Scripts, failure_of, key_of
from tests.unit.engine.sim_store import SimStore

Event = tuple[str, Callable[[], None]]
_NEVER = {Ending.HANG, Ending.NO_IMAGE}


class SimFlow:
    """Decisions by step name; one that is not told is the plainest."""

    def __init__(self, store: SimStore, decisions: dict[str, Decision], scripts: Scripts) -> None:
        self._store = store
        self._decisions = decisions
        self._scripts = scripts

    # What the operator does.

    def enter(self, step: Step) -> None:
        store, name = self._store, step.name
        assert store.end is None, "a step is entered after the task's end"
        assert store.suspended_since is None, "a step is entered while the task is suspended"
        store.check_needs(step)
        assert name not in store.marks, f"{name} is decided twice"
        assert not store.of_step(name)
        chosen = self._decisions.get(name, Decision())
        if chosen.broken:
            self._mark(StepMark("Failed", reason=Reason.TEMPLATE_ERROR), name)
        elif step.when is not None and chosen.skip:
            self._mark(StepMark("Skipped"), name)
        elif step.return_ is not None:
            store.end_task(EndTask("Succeeded", Reason.SUCCEEDED, "returned"))
        elif step.fail is not None:
            self._mark(StepMark("Failed", reason=Reason.ERROR, message="as told"), name)
        elif step.wait is not None:
            timeout = step.wait.timeout_or_none()
            deadline = store.now + timeout if timeout else None
            store.waits.append(
                Wait(f"wait-{name}", name, -1, "Question", "Well?", (), store.now, deadline, "Open")
            )
            self._mark(StepMark("Entered"), name)
        elif step.sleep is not None:
            self._mark(StepMark("Entered", until=store.now + chosen.sleep), name)
        elif step.for_each is not None:
            phase = "Entered" if chosen.items else "Succeeded"
            self._mark(StepMark(phase, items=chosen.items, succeeded=0, failed=0), name)
        else:
            self._mark(StepMark("Succeeded" if step.set is not None else "Entered"), name)

    def end_step(self, end: EndStep, step: Step) -> None:
        store, mark = self._store, self._store.marks[end.step]
        assert store.end is None
        assert not mark.ended, f"{end.step} is ended twice"
        if step.sleep is not None:
            assert mark.until is not None
            assert store.now >= mark.until, f"{end.step} wakes too early"
            assert store.suspended_since is None, f"{end.step} goes on while the task is suspended"
            self._mark(replace(mark, phase=end.phase), end.step)
            return
        total = mark.items or 0
        tries = [store.of_step(end.step, item) for item in range(total)]
        assert not any(a.open for tried in tries for a in tried), f"{end.step} ends under an open attempt"
        succeeded = sum(any(a.phase == "Succeeded" for a in tried) for tried in tries)
        spent = sum(bool(tried) and not retried(step, tried) for tried in tries)
        assert (end.phase == "Succeeded") == (succeeded == total), f"{end.step} ends as {end.phase}"
        if end.phase == "Failed":
            assert spent, f"{end.step} failed although nothing did"
            assert not step.continue_on_error or succeeded + spent == total, f"items of {end.step} are left"
        failed = sum(bool(tried) for tried in tries) - succeeded
        self._mark(
            replace(
                mark,
                phase=end.phase,
                reason=end.reason,
                message=end.message,
                succeeded=succeeded,
                failed=failed,
            ),
            end.step,
        )

    def expire(self, expire: ExpireWait) -> None:
        wait = next((w for w in self._store.waits if w.id == expire.wait_id), None)
        assert wait is not None
        if wait.state != "Open" or self._store.end is not None:
            return
        assert wait.deadline is not None
        assert self._store.now >= wait.deadline, "a wait expires too early"
        assert self._store.suspended_since is None, "a wait expires while the task is suspended"
        default = expire.step.wait is not None and expire.step.wait.on_timeout is not None
        mark = StepMark("Succeeded") if default else StepMark("Failed", reason=Reason.WAIT_TIMEOUT)
        self._close_wait(wait, "Expired", mark)

    def create_child(self, create: CreateChild) -> None:
        name = create.attempt.job
        assert self._store.attempts[create.attempt.id - 1].open, f"child {name} is made for a closed attempt"
        self._store.children.setdefault(name, Child(name, f"uid-of-{name}"))

    # What may happen next.

    def events(self) -> list[Event]:
        return [*self._replies(), *self._children()]

    def _replies(self) -> list[Event]:
        return [
            (f"somebody answers {wait.step}", lambda w=wait: self._answer(w))
            for wait in self._store.waits
            if (wait.kind, wait.state) == ("Question", "Open")
            and self._decisions.get(wait.step, Decision()).reply
        ]

    def _answer(self, wait: Wait) -> None:
        self._close_wait(wait, "Answered", StepMark("Succeeded"))
        self._store.notified = True

    def _children(self) -> list[Event]:
        store, found = self._store, list[Event]()
        for child in store.children.values():
            attempt = next(a for a in store.attempts if a.job == child.name)
            script = self._scripts[key_of(attempt)]
            before = store.of_step(attempt.step, attempt.item)[: attempt.number - 1]
            failed = sum(a.phase in {"Failed", "TimedOut"} for a in before)
            ending = script.ends(failed)
            if child.over:
                continue
            if not attempt.open:
                ended = replace(child, phase="Cancelled", reason=Reason.CANCELLED)
                found.append((f"child {child.name} cancels itself", lambda c=ended: self._see_child(c)))
            elif ending not in _NEVER and store.suspended_since is None:
                reason = failure_of(ending, "task")
                ended = replace(child, phase="Failed" if reason else "Succeeded", reason=reason)
                if ending is Ending.DELETED:
                    ended = replace(child, gone=True)
                found.append((f"child {child.name} ends", lambda c=ended: self._see_child(c)))
        return found

    def _see_child(self, child: Child) -> None:
        self._store.children[child.name] = child
        self._store.notified = True

    def _close_wait(self, wait: Wait, state: WaitState, mark: StepMark) -> None:
        self._store.close_wait(wait, state)
        self._mark(mark, wait.step)

    def _mark(self, mark: StepMark, step: str) -> None:
        now = self._store.now
        entered = mark.entered_at or now
        self._store.marks[step] = replace(mark, entered_at=entered, ended_at=now if mark.ended else None)
