"""What users see of a Session: pure, from its spec and the store's summary."""

from collections.abc import Sequence
from datetime import datetime

from pydantic import JsonValue

from parley.engine.budget import json_size
from parley.resources.common import Usage, shorten
from parley.resources.conditions import invalid, is_ready, is_waiting, merge_conditions, not_ready
from parley.resources.reasons import Reason
from parley.resources.session import (
    MAX_EVENT_TEXT,
    MAX_STATUS_CONTEXT,
    EventCounts,
    RecentEvent,
    SessionPhase,
    SessionStatus,
    TaskCounts,
)
from parley.store.session_records import EventRecord, SessionSummary

MAX_CONTEXT_KEYS = 256
"""Keys that a free-form object of the API may have."""


def build_session_status(
    summary: SessionSummary | None,
    *,
    problems: Sequence[str],
    mismatch: str | None,
    agent: str,
    agent_found: bool,
    shown: bool,
    generation: int,
    now: datetime,
    previous: SessionStatus,
) -> SessionStatus:
    """Build the whole status.

    Args:
        summary: what the store holds; None while the session has no row.
        problems: what is wrong in the spec.
        mismatch: why the store cannot be the one that the conversation was held in.
        agent: name of the agent that answers.
        agent_found: whether there is an Agent of that name.
        shown: whether the texts of events, and the context, may be shown.
        generation: of the spec that was read.
        now: the time of conditions that change.
        previous: the status that stands.
    """
    if mismatch:
        verdicts = invalid(Reason.STORE_MISMATCH, mismatch)
    elif problems:
        verdicts = invalid(Reason.INVALID_SPEC, "; ".join(problems))
    elif agent_found:
        verdicts = is_ready("the session takes messages")
    else:
        verdicts = not_ready(Reason.AGENT_NOT_FOUND, f"Agent {agent} does not exist in this namespace")
    waiting = summary.tasks_waiting if summary else 0
    if waiting:
        verdicts = [*verdicts, *is_waiting(_who_waits(waiting))]
    context, context_cut = _context(summary) if shown else (None, False)
    return SessionStatus(
        observed_generation=generation,
        phase=_phase(agent_found, waiting),
        conditions=merge_conditions(previous.conditions, verdicts, generation=generation, now=now),
        events=previous.events if mismatch else _counts(summary) if summary else None,
        recent_events=previous.recent_events
        if mismatch
        else [_recent(event, shown=shown) for event in (summary.recent if summary else [])],
        tasks=TaskCounts(
            active=summary.tasks_active,
            waiting=waiting,
            succeeded=summary.tasks_succeeded,
            failed=summary.tasks_failed,
        )
        if summary
        else None,
        context=previous.context if mismatch else context,
        context_truncated=previous.context_truncated if mismatch else True if context_cut else None,
        usage=Usage(input_tokens=summary.input_tokens, output_tokens=summary.output_tokens)
        if summary
        else None,
    )


def _phase(agent_found: bool, waiting: int) -> SessionPhase:
    if not agent_found:
        return SessionPhase.PENDING
    return SessionPhase.WAITING_FOR_INPUT if waiting else SessionPhase.ACTIVE


def _who_waits(tasks: int) -> str:
    return f"{'a task waits' if tasks == 1 else f'{tasks} tasks wait'} for a person's reply"


def _context(summary: SessionSummary | None) -> tuple[dict[str, JsonValue] | None, bool]:
    """Return what steps have stored, and whether it is too large to be shown."""
    context = summary.context if summary else None
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
        task=event.task,
        step=event.step,
        text=shorten(event.text, MAX_EVENT_TEXT) if shown else None,
    )
