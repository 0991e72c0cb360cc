"""An open attempt of a ``task`` step: its child Task is made, watched, and its end taken over."""

from parley.engine.actions import FinishChild
from parley.engine.situation import Situation
from parley.engine.state import Attempt
from parley.engine.step_plan import Watch, close_failed, close_late, time_limit
from parley.resources.reasons import Reason


def watch_child(situation: Situation, attempt: Attempt) -> Watch:
    """Look at an open attempt whose work is another Task. A child that is told nothing ends by itself."""
    state, around = situation.state, situation.around
    child = state.children.get(attempt.job)
    if child is not None and child.phase is not None:
        return Watch(attempt, Reason.RUNNING, f"Task {child.name} has ended", (FinishChild(attempt, child),))
    if child is not None and child.gone:
        message = f"Task {child.name} was deleted before it ended"
        close = close_failed(situation, attempt, Reason.CANCELLED, message)
        return Watch(attempt, Reason.CANCELLED, message, (close,))
    if child is None and (refusal := around.child_refusals.get(attempt.job)) is not None:
        close = close_failed(situation, attempt, Reason.INVALID_SPEC, refusal)
        return Watch(attempt, Reason.INVALID_SPEC, refusal, (close,))
    if state.now >= attempt.deadline:
        message = f"Task {attempt.job} did not end within {time_limit(situation.step)}"
        close = close_late(situation, attempt, Reason.STEP_TIMEOUT, message)
        return Watch(attempt, Reason.STEP_TIMEOUT, message, (close,))
    message = f"Task {attempt.job} goes on" if child is not None else f"Task {attempt.job} is being created"
    return Watch(attempt, Reason.RUNNING, message, absent=child is None, wake_at=attempt.deadline)
