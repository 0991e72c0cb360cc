"""How a step with items is shown while it goes on."""

from dataclasses import replace

from parley.engine.calls import Pause
from parley.engine.items import Items
from parley.engine.names import pod_key
from parley.engine.retries import Again
from parley.engine.single import retry_message
from parley.engine.situation import Situation
from parley.engine.state import Attempt
from parley.engine.step_plan import Watch
from parley.engine.views import StepView
from parley.resources.reasons import Reason
from parley.resources.task import StepPhase


def running_view(
    situation: Situation, items: Items, seen: list[Watch], pause: Pause | None = None
) -> StepView:
    """Show a step with items: what runs and why the rest does not, in one line; ``pause`` is what calls come to."""
    mark, attempts = situation.mark, sorted(situation.attempts, key=lambda attempt: attempt.id)
    active = sum(_is_active(situation, attempt) for attempt in items.open)
    message = f"{items.succeeded} of {items.total} items are done"
    if items.failed:
        message += f", {items.failed} failed"
    if pause is not None and pause.approvals:
        asking = len({wait.item for wait in pause.approvals})
        message += f", {asking} {'waits' if asking == 1 else 'wait'} for approval"
    phase, reason, why = _where(items, seen, pause)
    return StepView(
        situation.step.name,
        phase,
        tuple(attempts),
        reason,
        f"{message}; {why}" if why else message,
        items=items.counts(active),
        child=attempts[-1].job if situation.step.task is not None and attempts else None,
        started_at=mark.entered_at if mark is not None else None,
    )


def backoff_view(view: StepView, items: Items, item: int, again: Again) -> StepView:
    """Show that all which is left waits before it is repeated."""
    message = f"item {item}: {retry_message(items.last[item], again)}"
    return replace(view, phase=StepPhase.WAITING, reason=Reason.RETRYING, message=message)


def _is_active(situation: Situation, attempt: Attempt) -> bool:
    """Tell whether an open attempt has begun: most of a round's wait for their place in it."""
    return (
        not situation.step.runs_in_runner
        or attempt.phase == "Running"
        or pod_key(attempt.job, attempt.index) in situation.around.pods
    )


def _where(items: Items, seen: list[Watch], pause: Pause | None) -> tuple[StepPhase, Reason | None, str]:
    if items.open:
        return StepPhase.RUNNING, *_most_telling(seen)
    if pause is not None and (pause.phase is StepPhase.RUNNING or not items.left):
        return pause.phase, pause.reason, pause.message
    return StepPhase.QUEUED, Reason.PENDING, ""


def _most_telling(seen: list[Watch]) -> tuple[Reason, str]:
    """Choose what to show of many attempts: that one runs, else what keeps them from it."""
    if any(watch.reason is Reason.RUNNING for watch in seen):
        return Reason.RUNNING, ""
    held = next((watch for watch in seen if watch.reason is not Reason.SCHEDULING), None)
    return (held.reason, held.message) if held is not None else (Reason.SCHEDULING, "")
