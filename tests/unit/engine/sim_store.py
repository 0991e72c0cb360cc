"""The store's part of the simulation: one task's rows, with the rules of the store's transactions.

What a race may cause is refused, as the store does; what only a wrong plan can cause is an assertion.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal

from parley.engine.actions import CloseAttempt, EndTask, StartAttempt
from parley.engine.pods import PodState, Verdict
from parley.engine.state import Attempt, End, TaskState, Turn
from parley.resources.reasons import Reason
from parley.resources.task import Step

Refused = Literal["task", "closed", "turn"]


class SimStore:
    """Rows of one task; ``rival`` is another task's turn in the same session."""

    def __init__(self, steps: list[Step], now: datetime, timeout: timedelta | None) -> None:
        self.now = now
        self.steps = [step.name for step in steps]
        self.attempts: list[Attempt] = []
        self.end: End | None = None
        self.suspended_since: datetime | None = None
        self.deadline = now + timeout if timeout else None
        self.turns: dict[str, Turn] = {}
        self.rival = False
        self.notified = False
        """A runner's commit has yet to wake the operator."""
        self._timeouts = {step.name: step.timeout_or_default() for step in steps}
        self._created = now

    def read(self) -> TaskState:
        return TaskState(
            now=self.now,
            created_at=self._created,
            deadline=self.deadline,
            suspended=self.suspended_since is not None,
            end=self.end,
            attempts=tuple(self.attempts),
            outputs={a.step: f"output of {a.step}" for a in self.attempts if a.phase == "Succeeded"},
        )

    def of_step(self, step: str) -> list[Attempt]:
        return [a for a in self.attempts if a.step == step]

    def by_job(self, job: str) -> Attempt:
        return next(a for a in self.attempts if a.job == job)

    def open_attempts(self) -> list[Attempt]:
        return [a for a in self.attempts if a.open]

    # The operator's transactions.

    def insert(self, start: StartAttempt) -> Refused | None:
        step = start.step.name
        assert self.end is None, "an attempt is started after the task's end"
        assert self.suspended_since is None, "an attempt is started while the task is suspended"
        for earlier in self.steps[: start.index]:
            assert self.has_succeeded(earlier), f"{step} starts before {earlier} succeeded"
        if start.close and not self._get(start.close.attempt).open:
            return "closed"
        assert not self.has_succeeded(step), f"{step} starts again although it succeeded"
        closing = {start.close.attempt} if start.close else set()
        assert {a.id for a in self.open_attempts()} == closing, f"{step} starts beside an open attempt"
        assert start.number == len(self.of_step(step)) + 1, f"{step} starts as {start.number}"
        if start.needs_turn and not self._take_turn(step):
            return "turn"
        if start.close:
            assert self.close(start.close)
        self.attempts.append(
            Attempt(
                id=len(self.attempts) + 1,
                step=step,
                item=-1,
                number=start.number,
                job=f"{step}-{start.number}",
                phase="Open",
                deadline=self.now + self._timeouts[step],
                created_at=self.now,
            )
        )
        return None

    def close(self, close: CloseAttempt) -> bool:
        attempt = self._get(close.attempt)
        if not attempt.open or (close.phase == "TimedOut" and self.now < attempt.deadline):
            return False
        self._put(replace(attempt, phase=close.phase, reason=close.reason, message=close.message))
        if close.phase != "Lost":
            self.turns.pop(attempt.step, None)
        return True

    def finish_container(self, attempt: Attempt, verdict: Verdict) -> bool:
        if self.end is not None or self._get(attempt.id).phase != "Open":
            return False
        phase = "Succeeded" if verdict.state is PodState.SUCCEEDED else "Failed"
        self._put(replace(attempt, phase=phase, reason=verdict.reason, message=verdict.message))
        return True

    def end_task(self, end: EndTask) -> bool:
        late = self.deadline is not None and self.now >= self.deadline
        if self.end is not None or (end.reason is Reason.TASK_TIMEOUT and not late):
            return False
        self.end = End(end.phase, end.reason, end.message, None, self.now)
        for attempt in self.open_attempts():
            self._put(replace(attempt, phase="Cancelled", reason=end.reason, message=end.message))
        self.turns.clear()
        return True

    def end_turn(self, step: str) -> None:
        assert not any(a.open and a.step == step for a in self.attempts), "a turn ends under an open attempt"
        self.turns.pop(step, None)

    def set_suspended(self, suspended: bool) -> None:
        assert self.end is None
        if suspended:
            self.suspended_since = self.now
            self.turns = {step: turn for step, turn in self.turns.items() if turn is Turn.HELD}
        elif self.suspended_since is not None:
            if self.deadline is not None:
                self.deadline += self.now - self.suspended_since
            self.suspended_since = None

    def queued(self, ready: str | None) -> dict[str, Turn]:
        """The turns once the ready step has a ticket and waiting ones of other steps are withdrawn."""
        turns = {step: turn for step, turn in self.turns.items() if turn is Turn.HELD or step == ready}
        if ready is not None and self.end is None and self.suspended_since is None:
            turns.setdefault(ready, Turn.WAITING)
        return turns

    # A runner's calls.

    def take(self, job: str) -> bool:
        attempt = self.by_job(job)
        if not attempt.open or self.end is not None:
            return False
        assert attempt.phase == "Open", f"{job} was taken twice"
        self._put(replace(attempt, phase="Running", taken_at=self.now))
        return True

    def finish(self, job: str, reason: Reason | None) -> bool:
        attempt = self.by_job(job)
        if attempt.phase != "Running" or self.end is not None:
            return False
        phase = "Failed" if reason else "Succeeded"
        self._put(replace(attempt, phase=phase, reason=reason, message="said by the runner"))
        if reason is None:
            self.turns.pop(attempt.step, None)
        self.notified = True
        return True

    def has_succeeded(self, step: str) -> bool:
        return any(a.phase == "Succeeded" for a in self.of_step(step))

    def _take_turn(self, step: str) -> bool:
        if self.turns.get(step) is not Turn.HELD:
            if self.rival or step not in self.turns:
                return False
            self.turns[step] = Turn.HELD
        return True

    def _get(self, attempt: int) -> Attempt:
        return self.attempts[attempt - 1]

    def _put(self, attempt: Attempt) -> None:
        ended = None if attempt.open else self.now
        self.attempts[attempt.id - 1] = replace(attempt, ended_at=ended)
