"""What the store is told of an attempt, and what the engine knows of it once it stands."""

from parley.engine.actions import CloseAttempt
from parley.engine.state import Attempt, TaskState
from parley.store.records import Close, Inserted, NewAttempt


def opened(new: NewAttempt, inserted: Inserted, state: TaskState) -> Attempt:
    """Return an attempt that was just inserted."""
    return Attempt(
        id=inserted.id,
        step=new.step,
        item=new.item,
        number=new.number,
        job=new.job or "",
        phase="Open",
        deadline=inserted.deadline,
        created_at=state.now,
        index=new.index,
    )


def as_close(close: CloseAttempt) -> Close:
    """Return how the attempt before is to be closed."""
    return Close(close.attempt, close.phase, close.reason, close.message)
