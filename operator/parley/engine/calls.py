"""The tool calls of a paused attempt: a person approves them, containers run for them, Tasks are queued.

Nobody's pod waits meanwhile. Once no call of a step, or of its item, is left open, its next attempt resumes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from parley.engine.actions import Action, AnswerCall, ExpireWait, QueueTask, StartAttempt, StartCall
from parley.engine.names import call_step
from parley.engine.single import plan_single
from parley.engine.situation import Situation
from parley.engine.starting import held_back, session_pause
from parley.engine.state import NO_ITEM, Attempt, Wait
from parley.engine.views import StepOutcome, StepView
from parley.resources.common import format_duration
from parley.resources.container import ContainerStep
from parley.resources.reasons import Reason
from parley.resources.task import Step, StepPhase

MAX_CONTAINERS = 10
"""Containers that run at once for the calls of one response; for items as many as ``parallelism`` says."""
_OVER = {StepPhase.SUCCEEDED, StepPhase.FAILED, StepPhase.CANCELLED}


@dataclass(frozen=True, slots=True)
class Pause:
    """What the open calls of a step, or of its items, come to."""

    phase: StepPhase
    reason: Reason | None
    message: str
    approvals: tuple[Wait, ...] = ()
    actions: tuple[Action, ...] = ()
    wake_at: datetime | None = None
    wants_slot: bool = False


def open_calls(situation: Situation) -> dict[int, list[Wait]]:
    """Return the calls that are open, by item."""
    found: dict[int, list[Wait]] = {}
    for wait in situation.state.waits:
        if wait.step == situation.step.name and wait.state == "Open":
            found.setdefault(wait.item, []).append(wait)
    return found


def plan_paused(situation: Situation, calls: Sequence[Wait]) -> StepOutcome:
    """Decide what a step without items does next whose last attempt paused for ``calls``."""
    pause = plan_calls(situation, calls)
    view = StepView(
        situation.step.name,
        pause.phase,
        situation.attempts,
        pause.reason,
        pause.message,
        waits=pause.approvals,
        started_at=situation.attempts[0].created_at,
    )
    return StepOutcome(
        view, pause.actions, pause.wake_at, ready_turn=situation.takes_turn, wants_slot=pause.wants_slot
    )


def plan_calls(situation: Situation, calls: Sequence[Wait]) -> Pause:
    """Decide what is done for open calls. What runs is told first, then what a person must do, then what waits."""
    state = situation.state
    approvals = tuple(wait for wait in calls if wait.kind == "Approval")
    limited = [w for w in approvals if w.deadline is not None and not state.suspended]
    late = [w for w in limited if w.deadline is not None and state.now >= w.deadline]
    run = _run(situation, [wait for wait in calls if wait.kind in {"Container", "Task"}])
    told = next((each.view for each in run if each.view.phase is StepPhase.RUNNING), None)
    if told is None and approvals:
        told = StepView("", StepPhase.WAITING, (), Reason.WAITING_FOR_INPUT, approvals[0].question)
    if told is None:
        told = run[0].view if run else StepView("", StepPhase.RUNNING)
    wakes = [w.deadline for w in limited] + [each.wake_at for each in run]
    return Pause(
        told.phase,
        told.reason,
        told.message,
        approvals,
        (
            *(ExpireWait(wait.id, situation.step, situation.index) for wait in late),
            *(action for each in run for action in each.actions),
        ),
        min((at for at in wakes if at is not None), default=None),
        any(each.wants_slot for each in run),
    )


def with_calls(outcome: StepOutcome, pause: Pause) -> StepOutcome:
    """Return what a step does beside its open calls."""
    wakes = [at for at in (outcome.wake_at, pause.wake_at) if at is not None]
    return replace(
        outcome,
        view=replace(outcome.view, waits=pause.approvals),
        actions=(*outcome.actions, *pause.actions),
        wake_at=min(wakes, default=None),
        wants_slot=outcome.wants_slot or pause.wants_slot,
    )


def _run(situation: Situation, calls: Sequence[Wait]) -> list[StepOutcome]:
    """Return what each call that the operator runs comes to, those that wait for room at the end."""
    each = situation.step.for_each
    room = each.parallelism if each is not None else MAX_CONTAINERS
    begun, fresh = list[StepOutcome](), list[StepOutcome]()
    tried = _tries(situation, calls)
    for wait in calls:
        if wait.kind == "Task":
            begun.append(_queue(situation, wait))
            continue
        attempts = tried[call_step(wait.step, wait.id)]
        outcome = _contain(situation, wait, tuple(attempts))
        starts = any(isinstance(action, StartCall) and action.close is None for action in outcome.actions)
        (fresh if starts else begun).append(outcome)
        room -= any(attempt.open for attempt in attempts)
    return [*begun, *fresh[: max(room, 0)]]


def _tries(situation: Situation, calls: Iterable[Wait]) -> Mapping[str, list[Attempt]]:
    """Return the attempts of calls' containers by step name, oldest first; a thousand items may have one each."""
    found = {call_step(wait.step, wait.id): list[Attempt]() for wait in calls}
    for attempt in sorted(situation.state.attempts, key=lambda attempt: attempt.number):
        if attempt.step in found:
            found[attempt.step].append(attempt)
    return found


def _queue(situation: Situation, wait: Wait) -> StepOutcome:
    held = held_back(situation) or session_pause(situation)
    if held is not None:
        return StepOutcome(held.view)
    message = f"tool {wait.call}: its Task is being queued"
    view = StepView(situation.step.name, StepPhase.RUNNING, (), Reason.RUNNING, message)
    return StepOutcome(view, (QueueTask(wait),))


def _contain(situation: Situation, wait: Wait, attempts: tuple[Attempt, ...]) -> StepOutcome:
    """Plan a call's container as the one attempt of a step of its own, which a disruption alone repeats."""
    outcome = plan_single(
        replace(situation, step=_step_of(wait), attempts=attempts, mark=None, served=frozenset())
    )
    view = outcome.view
    if attempts and view.phase in _OVER:
        message = f"tool {wait.call} has ended in Job {attempts[-1].job}"
        view = replace(view, phase=StepPhase.RUNNING, reason=Reason.RUNNING, message=message)
        return StepOutcome(view, (AnswerCall(wait, attempts[-1].id),))
    what = view.message or "is about to start"
    message = f"tool {wait.call}: {what}"
    if view.phase is StepPhase.RUNNING and view.reason is Reason.RUNNING:
        message = f"tool {wait.call} runs in Job {attempts[-1].job}"
    elif view.phase is StepPhase.RUNNING and not view.message:
        message = f"tool {wait.call}: Job {attempts[-1].job} waits for its pod to start"
    actions = tuple(_of_call(wait, action) for action in outcome.actions)
    return replace(outcome, view=replace(view, message=message), actions=actions)


def _step_of(wait: Wait) -> Step:
    limit = format_duration(wait.timeout) if wait.timeout is not None else None
    output_from = "File" if wait.output_file else "Message"
    container = ContainerStep(image="tool", output_from=output_from)
    return Step(name=call_step(wait.step, wait.id), container=container, timeout=limit)


def _of_call(wait: Wait, action: Action) -> Action:
    if not isinstance(action, StartAttempt):
        return action
    return StartCall(wait, action.step.name, action.number, action.cause, action.close)


def is_paused(situation: Situation) -> bool:
    """Tell whether a step without items waits for calls of its last attempt."""
    attempts = situation.attempts
    return bool(attempts) and attempts[-1].phase == "Paused" and NO_ITEM in open_calls(situation)
