"""A step with items: at most so many at once, each repeated by itself, until all have ended.

Containers and child tasks are started one by one, prompts and tools in rounds (``rounds``).
"""

from dataclasses import replace

from parley.engine import rounds
from parley.engine.actions import Action, EndStep, StartAttempt
from parley.engine.calls import open_calls, plan_calls, with_calls
from parley.engine.item_views import backoff_view, running_view
from parley.engine.items import Items, sort_items
from parley.engine.retries import Again
from parley.engine.single import create, watch_any
from parley.engine.situation import Situation
from parley.engine.starting import held_back, queued, wants
from parley.engine.state import Cause
from parley.engine.step_plan import NODE_PAUSE, Watch, own_actions, successor_waits
from parley.engine.views import StepOutcome
from parley.resources.reasons import Reason


def plan_fan_out(situation: Situation, total: int) -> StepOutcome:
    """Decide what a step with ``total`` items does next."""
    items = sort_items(situation.step, situation.attempts, total, open_calls(situation))
    stopped = bool(items.spent) and not situation.step.continue_on_error
    if not items.open and (stopped or not (items.left or items.paused)):
        return _end(situation, items)
    seen = [watch_any(situation, attempt) for attempt in items.open]
    calls = () if stopped else tuple(wait for waits in items.paused.values() for wait in waits)
    pause = plan_calls(situation, calls) if calls else None
    view = running_view(situation, items, seen, pause)
    going = StepOutcome(
        view,
        _watched_actions(situation, items, seen, stopped=stopped),
        wake_at=min((w.wake_at for w in seen if w.wake_at is not None), default=None),
    )
    # What ends now may be the failure after which no other item begins.
    waits = stopped or not items.left or any(watch.actions or watch.lost for watch in seen)
    if not waits and not situation.step.runs_in_runner:
        return _start_more(situation, items, going)
    if not waits and not items.open:
        going = rounds.start(situation, items, view)
    return with_calls(going, pause) if pause is not None else going


def _end(situation: Situation, items: Items) -> StepOutcome:
    view = running_view(situation, items, [])
    if items.spent:
        reason, message = items.verdict()
        return StepOutcome(view, (EndStep(situation.step.name, "Failed", reason, message),))
    message = f"all {items.total} items are done"
    return StepOutcome(view, (EndStep(situation.step.name, "Succeeded", Reason.SUCCEEDED, message),))


def _watched_actions(
    situation: Situation, items: Items, seen: list[Watch], *, stopped: bool
) -> tuple[Action, ...]:
    if situation.step.runs_in_runner:
        return rounds.watched_actions(situation, items, seen, stopped=stopped)
    created = (create(situation, w.attempt) for w in seen if w.absent)
    return (*created, *own_actions(seen))


def _start_more(situation: Situation, items: Items, going: StepOutcome) -> StepOutcome:
    """Start as many items as there is room for, in their order."""
    each = situation.step.for_each
    room = (each.parallelism if each is not None else 1) - len(items.open)
    if room <= 0:
        return going
    starts: list[Action] = []
    wakes = [going.wake_at] if going.wake_at is not None else []
    waiting: tuple[int, Again] | None = None
    for item in sorted((*items.again, *items.untried)):
        if len(starts) == room:
            break
        again = items.again.get(item, Again("First"))
        if again.at is not None and situation.state.now < again.at:
            wakes.append(again.at)
            waiting = waiting or (item, again)
        elif item in items.last and successor_waits(situation, items.last[item]) is not None:
            wakes.append(situation.state.now + NODE_PAUSE)
        else:
            starts.append(_start(situation, item, items.number(item), again.cause))
    # A slot is asked for only when something could start with it.
    held = held_back(situation) or (queued(situation) if starts else None)
    wake_at = min(wakes, default=None)
    if held is not None:
        return replace(_beside(going, items, held), wake_at=wake_at)
    view = going.view
    if not items.open and not starts and waiting is not None:
        view = backoff_view(view, items, *waiting)
    return StepOutcome(view, (*going.actions, *starts), wake_at, wants_slot=bool(starts) and wants(situation))


def _start(situation: Situation, item: int, number: int, cause: Cause) -> StartAttempt:
    return StartAttempt(situation.step, situation.index, number, cause, needs_turn=False, item=item)


def _beside(going: StepOutcome, items: Items, held: StepOutcome) -> StepOutcome:
    """Show what runs, or if nothing does, what holds the rest back."""
    view = going.view
    if not items.open:
        view = replace(view, phase=held.view.phase, reason=held.view.reason, message=held.view.message)
    return StepOutcome(view, (*going.actions, *held.actions), wants_slot=held.wants_slot)
