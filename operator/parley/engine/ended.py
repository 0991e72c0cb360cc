"""How the steps of a task are shown once it has ended."""

from collections.abc import Sequence

from parley.engine.flow import is_done, is_ready, marked_view
from parley.engine.items import sort_items
from parley.engine.retries import Spent, what_follows
from parley.engine.situation import Situation
from parley.engine.state import End
from parley.engine.views import StepView
from parley.resources.reasons import Reason
from parley.resources.task import StepPhase


def ended_views(situations: Sequence[Situation], end: End) -> tuple[StepView, ...]:
    """Show every step of an ended task: what it came to, or that the task's end ended it."""
    steps = [situation.step for situation in situations]
    done: set[str] = set()
    views: list[StepView] = []
    returned = False
    for situation in situations:
        step = situation.step
        view = _ended_view(situation, end)
        if step.return_ is not None and situation.mark is None and not returned:
            # It ended the task, and so has no mark of its own.
            returned = end.phase == "Succeeded" and is_ready(steps, situation.index, done)
            view = _returned(situation, end) if returned else view
        if is_done(step, view) and view.ended_at is not None and view.phase is not StepPhase.CANCELLED:
            done.add(step.name)
        views.append(view)
    return tuple(views)


def _ended_view(situation: Situation, end: End) -> StepView:
    mark, attempts, name = situation.mark, situation.attempts, situation.step.name
    if mark is not None and mark.ended:
        return marked_view(situation, mark)
    if situation.step.for_each is not None and mark is not None:
        return _cut_short(situation, end)
    if not attempts:
        if mark is not None or end.phase == "Cancelled":
            started = mark.entered_at if mark is not None else None
            reason = _reason(end) if mark is not None else None
            ended = end.at if mark is not None else None
            return StepView(name, StepPhase.CANCELLED, reason=reason, started_at=started, ended_at=ended)
        return StepView(name, StepPhase.SKIPPED, reason=Reason.SKIPPED)
    last = attempts[-1]
    phase, reason, message = StepPhase.SUCCEEDED, Reason.SUCCEEDED, last.message
    if last.phase != "Succeeded":
        follows = what_follows(situation.step, attempts)
        phase, reason, message = StepPhase.CANCELLED, _reason(end), last.message
        if isinstance(follows, Spent):
            phase, reason, message = follows.phase, follows.reason, follows.message
    return StepView(
        name,
        phase,
        attempts,
        reason,
        message,
        child=last.job if situation.step.task is not None else None,
        started_at=attempts[0].created_at,
        ended_at=last.ended_at,
    )


def _cut_short(situation: Situation, end: End) -> StepView:
    mark = situation.mark
    total = mark.items or 0 if mark is not None else 0
    items = sort_items(situation.step, situation.attempts, total)
    attempts = tuple(sorted(situation.attempts, key=lambda attempt: attempt.id))
    return StepView(
        situation.step.name,
        StepPhase.CANCELLED,
        attempts,
        _reason(end),
        f"{items.succeeded} of {total} items were done",
        items=items.counts(0),
        child=attempts[-1].job if situation.step.task is not None and attempts else None,
        started_at=mark.entered_at if mark is not None else None,
        ended_at=end.at,
    )


def _returned(situation: Situation, end: End) -> StepView:
    return StepView(
        situation.step.name,
        StepPhase.SUCCEEDED,
        reason=Reason.SUCCEEDED,
        message="ended the task",
        started_at=end.at,
        ended_at=end.at,
    )


def _reason(end: End) -> Reason:
    """Say why a step was cut short: as the task's end says, but for one that is no failure."""
    return Reason.CANCELLED if end.phase == "Succeeded" else end.reason
