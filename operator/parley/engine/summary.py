"""A task in one line: its phase, the reason and a sentence, from how its steps stand; pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from parley.engine.state import Hold, TaskState, Wait
from parley.engine.views import StepView
from parley.resources.common import shorten
from parley.resources.reasons import Reason
from parley.resources.task_status import StepPhase, TaskPhase, WaitingKind

_ASKED = {kind.value for kind in WaitingKind}
_MAX_ASKED = 512
_ORDINARY = {Reason.RUNNING: 1, Reason.SCHEDULING: 2}


@dataclass(frozen=True, slots=True)
class Summary:
    """A task in one line."""

    phase: TaskPhase
    reason: Reason
    message: str


def summarise(steps: Sequence[StepView], state: TaskState, hold: Hold | None) -> Summary:
    """Sum up. What runs counts most, then what is about to, then what somebody must do, then what takes its time."""
    if state.end is not None:
        return Summary(TaskPhase(state.end.phase), state.end.reason, state.end.message)
    why = "its parent task is suspended" if state.parent_suspended else "spec.desiredState is Suspended"
    suspended = f"{why}: nothing new starts"
    if running := _running(steps):
        # Else nobody would know why a Task goes no further whose running step is a child that is suspended with it.
        message = f"{running.message}; {suspended}" if state.suspended else running.message
        return replace(running, message=message)
    if state.suspended:
        return Summary(TaskPhase.SUSPENDED, Reason.SUSPENDED, suspended)
    begun = any(view.phase not in {StepPhase.PENDING, StepPhase.QUEUED} for view in steps)
    queued = [view for view in steps if view.phase is StepPhase.QUEUED]
    if begun and (
        starting := next((v for v in queued if (v.reason or Reason.PENDING) is Reason.PENDING), None)
    ):
        return Summary(TaskPhase.RUNNING, Reason.PENDING, f"step {starting.name}: is about to start")
    if waits := open_waits(steps):
        return Summary(TaskPhase.WAITING_FOR_INPUT, Reason.WAITING_FOR_INPUT, ask(waits))
    if hold is not None and any(v.phase is StepPhase.PENDING and v.reason is hold.reason for v in steps):
        return Summary(TaskPhase.PENDING, hold.reason, hold.message)
    if queued:
        first = queued[0]
        message = f"step {first.name}: {first.message or 'is about to start'}"
        return Summary(TaskPhase.QUEUED, first.reason or Reason.QUEUED, message)
    if waiting := [view for view in steps if view.phase is StepPhase.WAITING]:
        reason = waiting[0].reason or Reason.PENDING
        return Summary(TaskPhase.RUNNING, reason, _told(waiting, "goes on later"))
    if hold is not None:
        return Summary(TaskPhase.PENDING, hold.reason, hold.message)
    if (pending := next((v for v in steps if v.phase is StepPhase.PENDING), None)) is None:
        return Summary(TaskPhase.RUNNING, Reason.RUNNING, "all steps are done")
    phase = TaskPhase.RUNNING if begun else TaskPhase.PENDING
    return Summary(phase, Reason.PENDING, f"step {pending.name} is about to start")


def open_waits(steps: Iterable[StepView]) -> list[Wait]:
    """Return the questions that wait for a reply, oldest first."""
    waits = [wait for view in steps for wait in view.waits if wait.state == "Open" and wait.kind in _ASKED]
    return sorted(waits, key=lambda wait: wait.since)


def ask(waits: Sequence[Wait]) -> str:
    """Say what is asked, and how to answer."""
    first = waits[0]
    how = f"choose one of {', '.join(first.choices)}" if first.choices else "give a value"
    more = f"; {len(waits) - 1} more in status.waiting" if len(waits) > 1 else ""
    asked = f"{first.question} {first.arguments}" if first.arguments else first.question
    # How to answer must not be cut off behind a long question.
    return f"{shorten(asked, _MAX_ASKED)} (step {first.step}; {how}; waitID {first.id}){more}"


def _running(steps: Sequence[StepView]) -> Summary | None:
    running = [view for view in steps if view.phase is StepPhase.RUNNING]
    if not running:
        return None
    # Trouble before what runs, and that before what only waits for its pod.
    running.sort(key=lambda view: _ORDINARY.get(view.reason or Reason.RUNNING, 0))
    reason = running[0].reason or Reason.RUNNING
    plain = "waits for its pod to start" if reason is Reason.SCHEDULING else "runs"
    return Summary(TaskPhase.RUNNING, reason, _told(running, plain))


def _told(views: Sequence[StepView], plain: str) -> str:
    more = f" (and {len(views) - 1} more)" if len(views) > 1 else ""
    return f"step {views[0].name}: {views[0].message or plain}{more}"
