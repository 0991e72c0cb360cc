"""What state a session should be in now, and when that may change: pure, from its spec and the store's summary."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from parley.resources.session import SessionSpec, SessionState
from parley.store.lifecycle import FINAL
from parley.store.session_records import LifeState, SessionSummary

_ASKED: dict[SessionState, LifeState] = {
    SessionState.PAUSED: "Paused",
    SessionState.ENDED: "Ended",
    SessionState.ARCHIVED: "Archived",
}


@dataclass(frozen=True, slots=True)
class Life:
    """A state, why it is so in a sentence, and when to look again; None: not before something happens."""

    state: LifeState
    why: str
    next_at: datetime | None = None


def life_of(spec: SessionSpec, summary: SessionSummary, newest_open: datetime | None) -> Life:
    """Tell what a session's state should be.

    A session sleeps once nothing has happened for ``idleTimeout`` and none of its tasks is open in the store: a Task
    that is not there yet, or whose status does not show its end yet, only tells when it was made. It expires once
    nothing has happened for ``expireAfter``, also while tasks wait, for a person or a time: only one that runs keeps it
    alive. While it is paused neither time passes.

    Args:
        spec: the session's.
        summary: what the store holds; its times and ``now`` are of one clock.
        newest_open: when the newest of its Tasks was created that have not ended; None when all have.
    """
    asked = _ASKED.get(spec.desired_state)
    if asked in FINAL and (summary.state not in FINAL or FINAL.index(asked) > FINAL.index(summary.state)):
        return Life(asked, f"spec.desiredState is {asked}")
    if summary.state in FINAL:
        return Life(summary.state, summary.state_why or "")
    if asked == "Paused":
        return Life(asked, "spec.desiredState is Paused")
    now = summary.now
    if now is None or summary.active_at is None:
        return Life("Active", "")
    quiet_since = max(summary.active_at, newest_open or summary.active_at)
    if summary.state == "Paused":
        quiet_since = max(quiet_since, now)
    idle = spec.limits.idle_timeout_or_none() if spec.limits else None
    expire = spec.limits.expire_after_or_none() if spec.limits else None
    ends_at = _after(quiet_since, None if summary.running else expire)
    sleeps_at = _after(quiet_since, None if summary.tasks_active else idle)
    if ends_at is not None and now >= ends_at:
        return Life("Expired", f"nothing happened for {spec.limits.expire_after if spec.limits else ''}")
    if sleeps_at is not None and now >= sleeps_at:
        return Life(
            "Dormant", f"nothing happened for {spec.limits.idle_timeout if spec.limits else ''}", ends_at
        )
    next_at = min((at for at in (sleeps_at, ends_at) if at is not None), default=None)
    return Life("Active", _ACTIVE_AGAIN.get(summary.state, ""), next_at)


_ACTIVE_AGAIN = {
    "Dormant": "something happens in it again",
    "Paused": "spec.desiredState is Active",
}


def _after(start: datetime, duration: timedelta | None) -> datetime | None:
    return None if duration is None else start + duration
