"""The store's part of the simulation: one task's rows, with the rules of the store's transactions.

What a race may cause is refused, as the store does; what only a wrong plan can cause is an assertion.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal

from parley.engine.actions import CloseAttempt, EndTask, FinishChild, RefuseAttempt, StartAttempt, StartRound
from parley.engine.pods import PodState, Verdict
from parley.engine.retries import MAX_DISRUPTIONS
from parley.engine.state import (
    NO_ITEM,
    Attempt,
    Cause,
    Child,
    End,
    Output,
    Runtime,
    StepMark,
    TaskState,
    Turn,
    Wait,
    WaitState,
)
from parley.resources.reasons import Reason
from parley.resources.task import Step

from tests.unit.engine.sim_rules import PUT_OFF, done, failures, retried

Refused = Literal["task", "closed", "turn"]
LEASE = timedelta(seconds=9)


class SimStore:
    """Rows of one task; ``rival`` is another task's turn in the same session."""

    def __init__(
        self, steps: Sequence[Step], now: datetime, timeout: timedelta | None, runtime: Runtime = "Job"
    ) -> None:
        self.now = now
        self.steps = list(steps)
        self.attempts: list[Attempt] = []
        self.marks: dict[str, StepMark] = {}
        self.waits: list[Wait] = []
        self.children: dict[str, Child] = {}
        self.end: End | None = None
        self.suspended_since: datetime | None = None
        self.deadline = now + timeout if timeout else None
        self.turns: dict[str, Turn] = {}
        self.rival = False
        self.notified = False
        """A runner's commit has yet to wake the operator."""
        self.parent_closed: str | None = None
        self.silent: dict[int, datetime] = {}
        """Running attempts of mode Task whose runner froze: until when their lease runs."""
        self.runtime: Runtime = runtime
        self._created = now

    def read(self) -> TaskState:
        return TaskState(
            now=self.now,
            created_at=self._created,
            deadline=self.deadline,
            suspended=self.suspended_since is not None,
            end=self.end,
            attempts=tuple(self._leased(a) for a in self.attempts if self._is_read(a)),
            outputs={a.step: Output(f"output of {a.step}") for a in self.attempts if a.phase == "Succeeded"},
            marks=dict(self.marks),
            waits=tuple(wait for wait in self.waits if wait.state == "Open"),
            children={
                a.job: self.children[a.job] for a in self.attempts if a.open and a.job in self.children
            },
            parent_closed=self.parent_closed,
        )

    def of_step(self, step: str, item: int | None = None) -> list[Attempt]:
        return [a for a in self.attempts if a.step == step and item in {None, a.item}]

    def by_key(self, job: str, index: int) -> Attempt:
        return next(a for a in self.attempts if (a.job, a.index) == (job, index))

    def of_job(self, job: str) -> list[Attempt]:
        return [a for a in self.attempts if a.job == job]

    def open_attempts(self) -> list[Attempt]:
        return [a for a in self.attempts if a.open]

    # The operator's transactions.

    def insert(self, start: StartAttempt) -> Refused | None:
        step, close = start.step, start.close
        self.check_live()
        if close and not self._get(close.attempt).open:
            return "closed"
        closing = {close.attempt} if close else set[int]()
        if step.for_each is not None:
            assert not step.runs_in_runner, "an item of a prompt is started outside a round"
            room = step.for_each.parallelism - sum(a.open for a in self.of_step(step.name))
            assert room > 0, f"more than {step.for_each.parallelism} items of {step.name} run at once"
        self._check_start(step, start.item, start.number, start.cause, closing)
        if start.needs_turn and not self._take_turn(step.name):
            return "turn"
        if close:
            assert self.close(close)
        runtime = self.runtime if step.runs_in_runner else "Job"
        item = "" if start.item < 0 else f"-{start.item}"
        job, limit = f"{step.name}{item}-{start.number}", step.timeout_or_default()
        self.add(step.name, start.item, start.number, start.cause, job, limit, runtime=runtime)
        return None

    def insert_round(self, start: StartRound) -> None:
        step = start.step
        self.check_live()
        assert start.entries, "a round without items"
        assert not any(a.open for a in self.of_step(step.name)), "a round starts beside an open one"
        for entry in start.entries:
            self._check_start(step, entry.item, entry.number, entry.cause, set())
        first = start.entries[0]
        job = f"{step.name}-round-{first.item}-{first.number}"
        for index, entry in enumerate(start.entries):
            limit = step.timeout_or_default()
            self.add(step.name, entry.item, entry.number, entry.cause, job, limit, index=index)

    def refuse(self, refuse: RefuseAttempt) -> None:
        self.check_live()
        step = refuse.step
        assert not self.of_step(step.name), "a turn is refused that has begun"
        self._check_start(step, NO_ITEM, refuse.number, "First", set())
        self.add(
            step.name, NO_ITEM, refuse.number, "First", f"{step.name}-refused", step.timeout_or_default()
        )
        self._put(replace(self.attempts[-1], phase="Failed", reason=refuse.reason, message=refuse.message))

    def close(self, close: CloseAttempt) -> bool:
        attempt = self._get(close.attempt)
        if not attempt.open or (close.phase == "TimedOut" and self.now < attempt.deadline):
            return False
        self._put(replace(attempt, phase=close.phase, reason=close.reason, message=close.message))
        if not close.keeps_turn:
            self.turns.pop(attempt.step, None)
        return True

    def finish_container(self, attempt: Attempt, verdict: Verdict) -> bool:
        if self.end is not None or self._get(attempt.id).phase != "Open":
            return False
        phase = "Succeeded" if verdict.state is PodState.SUCCEEDED else "Failed"
        self._put(
            replace(
                attempt,
                phase=phase,
                reason=verdict.reason,
                message=verdict.message,
                exit_code=verdict.exit_code,
            )
        )
        return True

    def finish_child(self, finish: FinishChild) -> None:
        child = self.children[finish.child.name]
        if self.end is not None or not self._get(finish.attempt.id).open or child.phase is None:
            return
        phase = "Succeeded" if child.phase == "Succeeded" else "Failed"
        self._put(replace(finish.attempt, phase=phase, reason=child.reason, message=child.message))

    def end_task(self, end: EndTask) -> bool:
        late = self.deadline is not None and self.now >= self.deadline
        if self.end is not None or (end.reason is Reason.TASK_TIMEOUT and not late):
            return False
        if end.phase == "Succeeded":
            assert end.message == "returned" or all(done(step, self) for step in self.steps), "steps are left"
        self.end = End(end.phase, end.reason, end.message, None, self.now)
        for attempt in self.open_attempts():
            self._put(replace(attempt, phase="Cancelled", reason=end.reason, message=end.message))
        self.waits = [replace(w, state="Withdrawn") if w.state == "Open" else w for w in self.waits]
        self.turns.clear()
        return True

    def end_turn(self, step: str, *, failed: bool) -> None:
        phases = {"Open", "Running"} | (set() if failed else {"Paused"})
        left = [a for a in self.of_step(step) if a.phase in phases]
        assert not left, "a turn ends under an open or paused attempt"
        if failed:
            tried = self.of_step(step)
            assert not tried or not retried(next(s for s in self.steps if s.name == step), tried)
        self.turns.pop(step, None)

    def set_suspended(self, suspended: bool) -> None:
        assert self.end is None
        if suspended:
            self.suspended_since = self.now
            self.turns = {step: turn for step, turn in self.turns.items() if turn is Turn.HELD}
        elif self.suspended_since is not None:
            away = self.now - self.suspended_since
            if self.deadline is not None:
                self.deadline += away
            self.waits = [replace(w, deadline=w.deadline and w.deadline + away) for w in self.waits]
            self.suspended_since = None

    def queued(self, ready: tuple[str, ...]) -> dict[str, Turn]:
        """The turns once the ready steps have tickets and waiting ones of other steps are withdrawn."""
        turns = {step: turn for step, turn in self.turns.items() if turn is Turn.HELD or step in ready}
        if self.end is None and self.suspended_since is None:
            for step in ready:
                turns.setdefault(step, Turn.WAITING)
        return turns

    # A runner's calls.

    def take(self, attempt: Attempt, pod_uid: str) -> bool:
        now = self._get(attempt.id)
        if not now.open or self.end is not None:
            return False
        assert now.phase == "Open", f"attempt {attempt.number} of {attempt.step} was taken twice"
        self._put(replace(now, phase="Running", taken_at=self.now, holder_pod=pod_uid))
        return True

    def finish(self, attempt: Attempt, reason: Reason | None) -> bool:
        now = self._get(attempt.id)
        if now.phase != "Running" or self.end is not None:
            return False
        phase = "Failed" if reason else "Succeeded"
        self._put(replace(now, phase=phase, reason=reason, message="said by the runner"))
        if reason is None:
            self.turns.pop(attempt.step, None)
        self.notified = True
        return True

    def pause(self, attempt: Attempt, waits: list[Wait]) -> None:
        now = self._get(attempt.id)
        assert now.phase == "Running", "a runner goes on that was told to stop"
        self._put(replace(now, phase="Paused"))
        self.waits += waits
        self.notified = True

    def wait(self, wait_id: str) -> Wait:
        return next(wait for wait in self.waits if wait.id == wait_id)

    def close_wait(self, wait: Wait, state: WaitState) -> None:
        # Its deadline may have moved since somebody looked.
        self.waits = [replace(w, state=state) if w.id == wait.id else w for w in self.waits]

    def has_succeeded(self, step: str, item: int) -> bool:
        return any(a.phase == "Succeeded" for a in self.of_step(step, item))

    # The rules.

    def check_live(self) -> None:
        assert self.end is None, "something is started after the task's end"
        assert self.suspended_since is None, "something is started while the task is suspended"

    def check_needs(self, step: Step) -> None:
        index = [other.name for other in self.steps].index(step.name)
        needs = step.needs if step.needs is not None else [other.name for other in self.steps[:index][-1:]]
        for other in self.steps:
            if other.name in needs:
                assert done(other, self), f"{step.name} starts before {other.name} is done"
        mark = self.marks.get(step.name)
        assert mark is None or not mark.ended, f"{step.name} goes on although it has ended"

    def _check_start(self, step: Step, item: int, number: int, cause: Cause, closing: set[int]) -> None:
        name = step.name
        self.check_needs(step)
        if step.when is not None or step.for_each is not None:
            assert name in self.marks, f"{name} starts before it was decided"
        assert (item >= 0) == (step.for_each is not None), f"{name} starts for item {item}"
        assert item < (self.marks[name].items or 0 if item >= 0 else 0), f"{name} has no item {item}"
        before = self.of_step(name, item)
        assert not self.has_succeeded(name, item), f"{name} starts again although it succeeded"
        assert {a.id for a in before if a.open} == closing, f"{name} starts beside an open attempt"
        assert number == len(before) + 1, f"{name} starts as {number}"
        if step.for_each is not None and not step.continue_on_error:
            for other in range(self.marks[name].items or 0):
                tried = self.of_step(name, other)
                assert not tried or retried(step, tried), f"an item starts although {other} failed for good"
        if not before:
            assert cause == "First"
            return
        last = before[-1]
        if last.open or last.phase == "Lost":
            assert cause == "Disruption"
            assert sum(a.phase == "Lost" for a in before) + last.open <= MAX_DISRUPTIONS
            return
        if last.reason in PUT_OFF:
            assert (last.phase, cause) == ("Cancelled", "Resume")
            return
        if last.phase == "Paused":
            assert cause == "Resume"
            left = [w.id for w in self.waits if (w.step, w.item, w.state) == (name, item, "Open")]
            assert not left, f"{name} resumes although {left} are open"
            return
        assert cause == "Retry"
        assert retried(step, before), f"{name} is repeated although its retries are spent"
        delay = min(timedelta(seconds=10 * 2 ** (failures(before) - 1)), timedelta(minutes=5))
        assert last.ended_at is not None
        assert self.now >= last.ended_at + delay, f"{name} is repeated too soon"

    def add(
        self,
        step: str,
        item: int,
        number: int,
        cause: Cause,
        job: str,
        limit: timedelta,
        *,
        index: int = 0,
        runtime: Runtime = "Job",
    ) -> None:
        self.attempts.append(
            Attempt(
                id=len(self.attempts) + 1,
                step=step,
                item=item,
                number=number,
                job=job,
                phase="Open",
                deadline=self.now + limit,
                created_at=self.now,
                cause=cause,
                index=index,
                runtime=runtime,
            )
        )

    def _is_read(self, attempt: Attempt) -> bool:
        mark = self.marks.get(attempt.step)
        if mark is None or not mark.ended or mark.items is None:
            return True
        return attempt in self.of_step(attempt.step)[-3:]

    def _leased(self, attempt: Attempt) -> Attempt:
        if attempt.runtime == "Job" or attempt.phase != "Running":
            return attempt
        return replace(attempt, lease_until=self.silent.get(attempt.id, self.now + LEASE))

    def _take_turn(self, step: str) -> bool:
        if self.turns.get(step) is not Turn.HELD:
            if self.rival or step not in self.turns or Turn.HELD in self.turns.values():
                return False
            self.turns[step] = Turn.HELD
        return True

    def _get(self, attempt: int) -> Attempt:
        return self.attempts[attempt - 1]

    def _put(self, attempt: Attempt) -> None:
        ended = None if attempt.open else self.now
        self.attempts[attempt.id - 1] = replace(attempt, ended_at=ended)
