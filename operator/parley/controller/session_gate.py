"""Whether a session lets its tasks go on: pure, from its spec and what the store holds of it.

The spec counts at once, before the store has followed it; what only the store knows is that a session has expired.
"""

from parley.engine.state import Gate, Hold
from parley.resources.reasons import Reason
from parley.resources.session import SessionSpec, SessionState
from parley.store.session_records import SessionFacts

_OVER = {
    "Ended": "the session has ended",
    "Archived": "the session is archived",
    "Expired": "the session has expired: nothing happened in it for its expireAfter",
}


def gate_of(spec: SessionSpec, facts: SessionFacts | None) -> Gate:
    """Tell what stands in the way of a session's tasks; ``facts`` is None while no task of it is registered."""
    state = facts.state if facts is not None else "Active"
    over = _OVER.get(spec.desired_state) or _OVER.get(state)
    if over is not None:
        return Gate(session_over=over)
    return Gate(
        session_hold=Hold(Reason.SESSION_PAUSED, "the session is paused: spec.desiredState")
        if spec.desired_state is SessionState.PAUSED
        else None,
        turn_refusal=_refusal(spec, facts),
        hold=_blocked(spec, facts),
    )


def _refusal(spec: SessionSpec, facts: SessionFacts | None) -> Hold | None:
    most = spec.limits.max_messages if spec.limits else None
    if facts is None or most is None or facts.messages < most:
        return None
    return Hold(
        Reason.MESSAGE_LIMIT,
        f"the session holds {facts.messages} messages, and spec.limits.maxMessages is {most}: raise it, or begin a "
        "new Session",
    )


def _blocked(spec: SessionSpec, facts: SessionFacts | None) -> Hold | None:
    wanted = spec.restore_from.uid if spec.restore_from is not None else None
    if wanted is None or (facts is not None and facts.restored_from == wanted):
        return None
    return Hold(
        Reason.TRANSCRIPT_NOT_FOUND,
        f"the session does not hold the transcript of {wanted} (spec.restoreFrom) yet: its own status says why",
    )
