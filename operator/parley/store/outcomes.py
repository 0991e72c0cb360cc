"""How an attempt's holder ends it, shared by its outcomes: the row's end, and which events a runner may write."""

from collections.abc import Sequence

from parley.protocol.messages import EventDraft
from parley.store.errors import NotAllowed
from parley.store.holding import Held
from parley.store.records import AttemptState
from parley.store.rows import Statement, storable_text

CLOSE = """
UPDATE attempts SET state = %(state)s, reason = %(reason)s, message = %(message)s, definite = %(definite)s,
       retry_after = %(retry_after)s, answer = %(answer)s::json, ended_at = now()
WHERE id = %(attempt_id)s
"""
OWN_EVENTS = {"message", "toolCall", "toolResult"}
"""What the runner says of its step. Replies and states are the leader's to write, summaries come with the input."""


def close_held(
    held: Held,
    state: AttemptState,
    *,
    answer: str,
    reason: str | None = None,
    message: str | None = None,
    definite: bool = False,
    retry_after: int | None = None,
) -> Statement:
    """Return what gives an attempt its outcome; ``answer`` is what a repeat of the call is told, JSON as text."""
    closing = {
        "state": state,
        "reason": reason,
        "message": None if message is None else storable_text(message),
        "definite": definite,
        "retry_after": retry_after,
        "answer": answer,
    }
    return CLOSE, held.attempt.place | closing


def require_own_events(events: Sequence[EventDraft]) -> None:
    """Refuse events that a runner may not write.

    Raises:
        NotAllowed: there is one.
    """
    for draft in events:
        if draft.type not in OWN_EVENTS:
            raise NotAllowed(f"A runner writes no event of type {draft.type} with an outcome.")
