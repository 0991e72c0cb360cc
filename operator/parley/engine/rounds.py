"""Prompts and tools for each item: one Indexed Job for all of them, then one for those to repeat, and so on.

A round starts when nothing of the one before is open any more and every item to repeat may start: so there are few.
Items that wait for calls of theirs keep no round from starting; they come in a later one.
"""

from dataclasses import replace
from datetime import datetime

from parley.engine.actions import Action, CloseAttempt, CreateRound, RoundEntry, StartRound
from parley.engine.item_views import backoff_view
from parley.engine.items import Items
from parley.engine.names import pod_key
from parley.engine.retries import Again
from parley.engine.situation import Situation
from parley.engine.starting import held_back, queued, standstill, wants
from parley.engine.state import Attempt, Hold
from parley.engine.step_plan import Watch, own_actions
from parley.engine.views import StepOutcome, StepView
from parley.resources.reasons import Reason
from parley.resources.task import StepPhase


def start(situation: Situation, items: Items, view: StepView) -> StepOutcome:
    """Start the next round with all items that are left, or say what it waits for."""
    held = held_back(situation)
    if held is None:
        late = _latest(items)
        if late is not None and situation.state.now < late[1]:
            item, at = late
            shown = view if _calls_run(view) else backoff_view(view, items, item, items.again[item])
            return StepOutcome(shown, wake_at=at)
        held = queued(situation)
    if held is not None:
        shown = replace(view, phase=held.view.phase, reason=held.view.reason, message=held.view.message)
        return replace(held, view=view if _calls_run(view) else shown)
    entries = tuple(
        RoundEntry(item, items.number(item), items.again.get(item, Again("First")).cause)
        for item in sorted((*items.again, *items.untried))
    )
    action = StartRound(situation.step, situation.index, entries)
    return StepOutcome(view, (action,), wants_slot=wants(situation))


def watched_actions(
    situation: Situation, items: Items, seen: list[Watch], *, stopped: bool
) -> tuple[Action, ...]:
    """Return what a round's open attempts ask for: one Job for all.

    Once one failed for good, or the task stands still, no other begins; a suspended task's come in a later round.
    """
    halt = standstill(situation)
    if stopped or halt is not None:
        asked = own_actions(w for w in seen if not _not_begun(situation, w.attempt))
        waiting = [w.attempt for w in seen if _not_begun(situation, w.attempt)]
        return (
            *asked,
            *(_put_off(each, halt) if halt and not stopped else _drop(items, each) for each in waiting),
        )
    missing = dict.fromkeys(w.attempt.job for w in seen if w.absent)
    created = (CreateRound(job, _of_job(situation, job), situation.step) for job in missing)
    return (*created, *own_actions(seen))


def _calls_run(view: StepView) -> bool:
    """Tell whether a step is shown as running although no item has an open attempt: calls of its items run."""
    return view.phase is StepPhase.RUNNING


def _latest(items: Items) -> tuple[int, datetime] | None:
    times = [(item, again.at) for item, again in items.again.items() if again.at is not None]
    return max(times, key=lambda late: late[1], default=None)


def _of_job(situation: Situation, job: str) -> tuple[Attempt, ...]:
    return tuple(sorted((a for a in situation.attempts if a.job == job), key=lambda a: a.index))


def _not_begun(situation: Situation, attempt: Attempt) -> bool:
    return attempt.phase == "Open" and pod_key(attempt.job, attempt.index) not in situation.around.pods


def _drop(items: Items, attempt: Attempt) -> CloseAttempt:
    failed = min(items.spent)
    message = f"item {failed} failed: no other is begun"
    return CloseAttempt(attempt.id, "Cancelled", Reason.CANCELLED, message)


def _put_off(attempt: Attempt, halt: Hold) -> CloseAttempt:
    return CloseAttempt(attempt.id, "Cancelled", halt.reason, f"put off before it began: {halt.message}")
