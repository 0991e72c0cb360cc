"""What users see of a Session: pure, from its spec and the store's summary."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

from pydantic import JsonValue

from parley.controller.resource import Resource
from parley.engine.budget import json_size
from parley.kube.events import Transition
from parley.kube.kinds import SESSION
from parley.resources.common import Condition, Usage, shorten
from parley.resources.conditions import (
    ACTIVE,
    READY,
    Verdict,
    invalid,
    is_ready,
    is_waiting,
    merge_conditions,
    not_ready,
    session_active,
    session_inactive,
)
from parley.resources.reasons import Reason
from parley.resources.session import (
    MAX_EVENT_TEXT,
    MAX_STATUS_CONTEXT,
    EventCounts,
    RecentEvent,
    SessionPhase,
    SessionSpec,
    SessionStatus,
    StatusText,
    TaskCounts,
)
from parley.store.session_records import EventRecord, LifeState, SessionSummary

_MAX_SPEAKER = 256
MAX_CONTEXT_KEYS = 256
"""Keys that a free-form object of the API may have."""


def build_session_status(
    summary: SessionSummary | None,
    *,
    spec: SessionSpec | None,
    problems: Sequence[str],
    mismatch: str | None,
    lacking: str | None,
    agents: Mapping[str, bool],
    generation: int,
    now: datetime,
    previous: SessionStatus,
) -> SessionStatus:
    """Build the whole status.

    Args:
        summary: what the store holds; None while the session has no row.
        spec: the session's; None for one that cannot be read.
        problems: what is wrong in it.
        mismatch: why the store cannot be the one that the conversation was held in.
        lacking: why the session does not have the transcript it is to go on with.
        agents: names of the agents that answer, the one that does by default first, and whether each exists.
        generation: of the spec that was read.
        now: the time of conditions that change.
        previous: the status that stands.
    """
    missing = [name for name, exists in agents.items() if not exists]
    if mismatch:
        verdicts = invalid(Reason.STORE_MISMATCH, mismatch)
    elif problems:
        verdicts = invalid(Reason.INVALID_SPEC, "; ".join(problems))
    elif lacking:
        verdicts = not_ready(Reason.TRANSCRIPT_NOT_FOUND, f"spec.restoreFrom: {lacking}")
    elif missing or not agents:
        verdicts = not_ready(Reason.AGENT_NOT_FOUND, _who_is_missing(missing))
    else:
        verdicts = is_ready(
            "the session's agent is there" if len(agents) == 1 else "the session's agents are there"
        )
    waiting = summary.tasks_waiting if summary else 0
    shown = spec is None or spec.status_text is StatusText.SHOW
    stored = (
        previous
        if mismatch
        else _stored(summary, {} if lacking or spec is None else spec.context, shown=shown)
    )
    ready = verdicts[0]
    # Where some of its agents are there, theirs are the turns it takes.
    is_partial = ready.reason is Reason.AGENT_NOT_FOUND and len(missing) < len(agents)
    obstacle = None if ready.status == "True" or is_partial else ready
    begun = waiting > 0 or (stored.events is not None and stored.events.last_sequence > 0)
    verdicts = [*verdicts, *_activity(summary, obstacle, missing)]
    if waiting:
        verdicts = [*verdicts, *is_waiting(_who_waits(waiting))]
    return SessionStatus(
        observed_generation=generation,
        phase=_phase(summary, pending=obstacle is not None and not begun),
        conditions=merge_conditions(previous.conditions, verdicts, generation=generation, now=now),
        agent=_who_answers([*agents]),
        events=stored.events,
        recent_events=stored.recent_events if shown else [_hidden(event) for event in stored.recent_events],
        tasks=TaskCounts(
            active=summary.tasks_active,
            waiting=waiting,
            succeeded=summary.tasks_succeeded,
            failed=summary.tasks_failed,
        )
        if summary
        else None,
        context=stored.context if shown else None,
        context_truncated=stored.context_truncated if shown else None,
        context_version=stored.context_version,
        dormant_since=summary.state_since if summary and summary.state == "Dormant" else None,
        cleared_through=stored.cleared_through,
        usage=Usage(input_tokens=summary.input_tokens, output_tokens=summary.output_tokens)
        if summary
        else None,
    )


def _stored(summary: SessionSummary | None, first: Mapping[str, JsonValue], *, shown: bool) -> SessionStatus:
    """Return what only the right store can tell."""
    if summary is None:
        return SessionStatus()
    context, context_cut = _context(dict(first) or None if summary.context is None else summary.context)
    return SessionStatus(
        events=_counts(summary),
        recent_events=[_recent(event, shown=shown) for event in summary.recent],
        context=context,
        context_truncated=True if context_cut else None,
        context_version=summary.context_version or None,
        cleared_through=summary.cleared_through or None,
    )


_PHASES: dict[LifeState, SessionPhase] = {
    "Dormant": SessionPhase.DORMANT,
    "Paused": SessionPhase.PAUSED,
    "Expired": SessionPhase.ENDED,
    "Ended": SessionPhase.ENDED,
    "Archived": SessionPhase.ARCHIVED,
}


def _phase(summary: SessionSummary | None, *, pending: bool) -> SessionPhase:
    state = summary.state if summary else "Active"
    if state in _PHASES:
        return _PHASES[state]
    if pending:
        return SessionPhase.PENDING
    waits = summary is not None and summary.tasks_waiting > 0
    return SessionPhase.WAITING_FOR_INPUT if waits else SessionPhase.ACTIVE


_INACTIVE: dict[LifeState, tuple[Reason, str]] = {
    "Dormant": (Reason.DORMANT, "{why}; the next message wakes the session"),
    "Paused": (Reason.SESSION_PAUSED, "{why}: no new turn starts"),
    "Expired": (Reason.EXPIRED, "{why}: the session has ended"),
    "Ended": (Reason.SESSION_ENDED, "{why}: the session takes no more turns"),
    "Archived": (Reason.ARCHIVED, "{why}: the session takes no more turns"),
}


_OF_LIFE = frozenset({Reason.ACTIVE, *(reason for reason, _ in _INACTIVE.values())})


def _activity(
    summary: SessionSummary | None, obstacle: Verdict | None, missing: Sequence[str]
) -> list[Verdict]:
    if summary is not None and summary.state in _INACTIVE:
        reason, message = _INACTIVE[summary.state]
        return session_inactive(reason, message.format(why=summary.state_why or summary.state))
    if obstacle is not None:
        return session_inactive(obstacle.reason, f"the session takes no turns: {obstacle.message}")
    if missing:
        return session_active(f"the session takes turns, but for those of {', '.join(missing)}")
    return session_active("the session takes turns")


def _who_answers(agents: Sequence[str]) -> str | None:
    if not agents:
        return None
    return agents[0] if len(agents) == 1 else f"{agents[0]} +{len(agents) - 1}"


def _who_is_missing(missing: Sequence[str]) -> str:
    if len(missing) == 1:
        return f"Agent {missing[0]} does not exist in this namespace"
    return f"Agents {', '.join(missing)} do not exist in this namespace"


def _who_waits(tasks: int) -> str:
    return f"{'a task waits' if tasks == 1 else f'{tasks} tasks wait'} for a person's reply"


def _context(context: dict[str, JsonValue] | None) -> tuple[dict[str, JsonValue] | None, bool]:
    """Return what is shown of a context, and whether it is too large to be shown."""
    if context is None:
        return None, False
    if len(context) > MAX_CONTEXT_KEYS or json_size(context) > MAX_STATUS_CONTEXT:
        return None, True
    return context, False


def _counts(summary: SessionSummary) -> EventCounts:
    return EventCounts(
        count=summary.last_sequence,
        messages=summary.messages,
        last_sequence=summary.last_sequence,
        last_time=summary.last_time,
    )


def _recent(event: EventRecord, *, shown: bool) -> RecentEvent:
    return RecentEvent(
        sequence=event.sequence,
        time=event.time,
        type=event.type,
        role=event.role,
        speaker=shorten(event.speaker, _MAX_SPEAKER) if event.speaker else None,
        task=event.task,
        step=event.step,
        text=shorten(event.text, MAX_EVENT_TEXT) if shown and event.text is not None else None,
    )


def _hidden(event: RecentEvent) -> RecentEvent:
    return event.model_copy(update={"text": None})


def session_transitions(
    session: Resource, previous: SessionStatus, status: SessionStatus
) -> list[Transition]:
    """Return the Kubernetes Events for what a new status tells beside the one before."""
    found: list[Transition] = []
    now = _condition(status, ACTIVE)
    before = _reason(previous, ACTIVE, Reason.ACTIVE)
    # What it lacks is told by those that wait for it, and is no change of its life.
    if now is not None and now.reason != before and now.reason in _OF_LIFE and before in _OF_LIFE:
        over = now.reason in {Reason.EXPIRED, Reason.SESSION_ENDED, Reason.ARCHIVED}
        # A state comes again: what tells the times apart is how far the conversation had come.
        sequence = status.events.last_sequence if status.events and not over else 0
        found.append(_transition(session, "Normal", now.reason, now.message, str(sequence)))
    ready = _condition(status, READY)
    lacks = ready is not None and ready.reason == Reason.TRANSCRIPT_NOT_FOUND
    if ready is not None and lacks and _reason(previous, READY, "") != ready.reason:
        found.append(_transition(session, "Warning", ready.reason, ready.message, str(session.generation)))
    return found


def _transition(
    session: Resource, type_: Literal["Normal", "Warning"], reason: str, note: str, key: str
) -> Transition:
    return Transition(
        kind=SESSION,
        namespace=session.namespace,
        name=session.name,
        uid=session.uid,
        type=type_,
        reason=reason,
        # A field's path stays as it is written in a manifest.
        note=f"{note}." if note.startswith("spec.") else f"{note[:1].upper()}{note[1:]}.",
        key=key,
    )


def _condition(status: SessionStatus, type_: str) -> Condition | None:
    return next((each for each in status.conditions if each.type == type_), None)


def _reason(status: SessionStatus, type_: str, otherwise: str) -> str:
    condition = _condition(status, type_)
    return otherwise if condition is None else condition.reason
