"""What users see of a Session: the store's account of it, cut to size, in step with its agent."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parley.controller.session_status import build_session_status
from parley.resources.session import SessionSpec, SessionStatus
from parley.store.session_records import EventRecord, SessionSummary

from tests.hostile import stored_size, texts
from tests.kstatus import kstatus
from tests.status_schema import status_problems

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def event(sequence: int, text: str = "Hi", **fields: Any) -> EventRecord:
    shown = {
        "type": "message",
        "role": "user",
        "task": "alice-1",
        "step": "reply",
        "item": -1,
        "attempt": 1,
    } | fields
    return EventRecord(sequence=sequence, id=f"id-{sequence}", time=NOW, text=text, **shown)


SUMMARY = SessionSummary(
    last_sequence=12,
    messages=9,
    last_time=NOW,
    recent=[event(n) for n in range(3, 13)],
    input_tokens=70,
    output_tokens=80,
    tasks_active=1,
    tasks_succeeded=2,
    tasks_failed=3,
)


def build(
    summary: SessionSummary | None = SUMMARY,
    *,
    shown: bool = True,
    context: dict[str, Any] | None = None,
    **fields: Any,
) -> SessionStatus:
    spec = {
        "agentRef": {"name": "support"},
        "context": context or {},
        "statusText": "Show" if shown else "Hide",
    }
    known: dict[str, Any] = {
        "spec": SessionSpec.model_validate(spec),
        "problems": (),
        "mismatch": None,
        "lacking": None,
        "agents": {"support": True},
        "generation": 4,
        "now": NOW,
        "previous": SessionStatus(),
    }
    return build_session_status(summary, **(known | fields))


def verdict(status: SessionStatus, generation: int = 4) -> str:
    return kstatus({"metadata": {"generation": generation}, "status": status.to_json()}).status


def test_the_stores_account_is_shown() -> None:
    shown = build().to_json()

    assert shown["events"] == {
        "count": 12,
        "messages": 9,
        "lastSequence": 12,
        "lastTime": "2026-11-23T12:00:00Z",
    }
    assert shown["tasks"] == {"active": 1, "waiting": 0, "succeeded": 2, "failed": 3}
    assert "context" not in shown, "there is none"
    assert shown["usage"] == {"inputTokens": 70, "outputTokens": 80}
    recent = shown["recentEvents"]
    assert isinstance(recent, list)
    assert recent[0] == {
        "sequence": 3,
        "time": "2026-11-23T12:00:00Z",
        "type": "message",
        "role": "user",
        "task": "alice-1",
        "step": "reply",
        "text": "Hi",
    }
    assert not status_problems("sessions", shown)


@pytest.mark.parametrize(
    ("what", "fields", "reason", "status"),
    [
        ("its agent is not there", {"agents": {"support": False}}, "AgentNotFound", "InProgress"),
        ("its transcript is not there", {"lacking": "there is none"}, "TranscriptNotFound", "InProgress"),
        ("its spec is wrong", {"problems": ("spec.context: is bad",)}, "InvalidSpec", "Failed"),
        ("another store", {"mismatch": "12 events are missing"}, "StoreMismatch", "Failed"),
        (
            "two of them",
            {"problems": ("spec: is bad",), "agents": {"support": False}},
            "InvalidSpec",
            "Failed",
        ),
    ],
)
@pytest.mark.parametrize("summary", [SUMMARY, None], ids=["with a history", "without a row"])
def test_a_session_that_lacks_something_takes_no_turns(
    what: str, fields: dict[str, Any], reason: str, status: str, summary: SessionSummary | None
) -> None:
    """One that was under way stays what it is; one in which nothing was said has not begun."""
    built = build(summary, **fields, previous=build(summary))

    said = {c.type: (c.status, c.reason) for c in built.conditions}
    assert (said["Ready"], said["Active"]) == (("False", reason), ("False", reason)), what
    assert built.phase == ("Pending" if summary is None else "Active")
    by_type = {c.type: c.message for c in built.conditions}
    assert by_type["Active"] == f"the session takes no turns: {by_type['Ready']}"
    assert verdict(built) == status
    assert verdict(built, generation=5) == "InProgress", "its spec was changed since"
    assert not status_problems("sessions", built.to_json())


@pytest.mark.parametrize("summary", [SUMMARY, None], ids=["with a history", "without a row"])
def test_a_session_that_has_what_it_needs_takes_turns(summary: SessionSummary | None) -> None:
    built = build(summary)

    said = {c.type: (c.status, c.reason) for c in built.conditions}
    assert (built.phase, said) == ("Active", {"Ready": ("True", "Ready"), "Active": ("True", "Active")})
    assert verdict(built) == "Current"
    assert verdict(built, generation=5) == "InProgress", "its spec was changed since"


@pytest.mark.parametrize(
    ("agents", "shown"),
    [
        ({"support": False}, "support"),
        ({"planner": True, "critic": True}, "planner +1"),
        ({f"{n}{'a' * 252}": True for n in range(8)}, f"0{'a' * 252} +7"),
    ],
)
def test_who_answers_fits_a_column(agents: dict[str, bool], shown: str) -> None:
    status = build(None, agents=agents)

    assert status.agent == shown
    assert not status_problems("sessions", status.to_json())


def test_the_message_names_what_is_missing_or_wrong() -> None:
    assert "Agent support" in build(agents={"support": False}).conditions[0].message
    problems = ("spec.context.no: quote it", "spec.systemTemplate: line 1")
    assert build(problems=problems).conditions[0].message == "; ".join(problems)


def test_in_another_store_what_was_seen_before_stays() -> None:
    """An account of less than was said would hide that it was lost."""
    before = build()

    after = build(
        replace(SUMMARY, last_sequence=2, recent=[event(1)]), mismatch="10 are missing", previous=before
    )

    assert after.events == before.events
    assert after.recent_events == before.recent_events
    assert after.conditions[0].message == "10 are missing"


@pytest.mark.parametrize(
    ("waiting", "agent_found", "phase", "said"),
    [
        (1, True, "WaitingForInput", "a task waits for a person's reply"),
        (3, True, "WaitingForInput", "3 tasks wait for a person's reply"),
        (1, False, "WaitingForInput", "a task waits for a person's reply"),
    ],
)
def test_whoever_waits_for_a_person_is_shown(waiting: int, agent_found: bool, phase: str, said: str) -> None:
    status = build(replace(SUMMARY, tasks_active=4, tasks_waiting=waiting), agents={"support": agent_found})

    assert status.phase == phase
    assert status.tasks is not None
    assert status.tasks.waiting == waiting
    by_type = {c.type: c for c in status.conditions}
    assert (by_type["WaitingForInput"].status, by_type["WaitingForInput"].message) == ("True", said)
    assert verdict(status) == ("Current" if agent_found else "InProgress"), (
        "the conversation goes on meanwhile"
    )
    assert not status_problems("sessions", status.to_json())


def test_nobody_waits_any_more() -> None:
    before = build(replace(SUMMARY, tasks_waiting=1))

    after = build(previous=before)

    assert (after.phase, [c.type for c in after.conditions]) == ("Active", ["Ready", "Active"])


@pytest.mark.parametrize(
    ("context", "shown", "cut"),
    [
        ({"order": "12345", "paid": None}, True, False),
        ({}, True, False),
        ({"text": "x" * 4083}, True, False),
        ({"text": "x" * 4090}, False, True),
        ({"text": "<" * 1000}, False, True),
        ({f"k{n}": n for n in range(300)}, False, True),
    ],
    ids=["small", "empty", "as large as may be", "a little larger", "larger as it is stored", "many keys"],
)
def test_the_stored_context_is_shown_where_it_fits(context: dict[str, Any], shown: bool, cut: bool) -> None:
    status = build(replace(SUMMARY, context=context, context_version=1))

    assert status.context == (context if shown else None)
    assert status.context_truncated == (True if cut else None)
    assert not status_problems("sessions", status.to_json())
    assert SessionStatus.model_validate(status.to_json()) == status


def test_until_something_changes_it_the_context_of_the_spec_is_shown() -> None:
    first = {"order": "12345"}

    assert (build(context=first).context, build(context=first).context_version) == (first, None)
    assert build(replace(SUMMARY, context={}, context_version=1), context=first).context == {}
    assert build(context={"text": "x" * 5000}).context_truncated is True
    assert build(context=first, shown=False).context is None
    assert build(context=first, lacking="it is not there").context is None, "another's context is to come"


def test_a_hidden_context_is_left_out() -> None:
    status = build(replace(SUMMARY, context={"card": "4111"}, context_version=1), shown=False)

    assert "4111" not in str(status.to_json())


def test_a_session_without_a_row_shows_no_counts() -> None:
    assert build(None).to_json().keys() == {
        "observedGeneration",
        "phase",
        "agent",
        "conditions",
        "recentEvents",
    }


def test_hidden_texts_are_left_out_and_the_rest_is_shown() -> None:
    shown = build(replace(SUMMARY, recent=[event(1, "my password is …")]), shown=False).to_json()

    assert "password" not in str(shown)
    assert shown["recentEvents"] == [
        {
            "sequence": 1,
            "time": "2026-11-23T12:00:00Z",
            "type": "message",
            "role": "user",
            "task": "alice-1",
            "step": "reply",
        }
    ]


def test_a_posted_message_has_no_task_yet() -> None:
    shown = build(replace(SUMMARY, recent=[event(1, task=None, step=None, attempt=None)])).to_json()

    assert not status_problems("sessions", shown)


def test_the_time_of_a_transition_stays_while_nothing_flips() -> None:
    before = build(agents={"support": False})

    same = build(agents={"support": False}, now=NOW + timedelta(hours=1), previous=before)
    found = build(now=NOW + timedelta(hours=2), previous=same)

    assert same.conditions[0].last_transition_time == NOW
    assert found.conditions[0].last_transition_time == NOW + timedelta(hours=2)


@settings(max_examples=50, deadline=None)
@given(said=st.lists(texts(), min_size=10, max_size=10))
def test_the_newest_texts_are_cut_to_size(said: list[str]) -> None:
    status = build(replace(SUMMARY, recent=[event(n + 1, text) for n, text in enumerate(said)]))

    written = status.to_json()
    assert not status_problems("sessions", written)
    assert SessionStatus.model_validate(written) == status
    assert stored_size(written) <= 20 * 1024  # type: ignore[arg-type]
    for shown, text in zip(status.recent_events, said, strict=True):
        assert shown.text is not None
        assert len(shown.text) <= 256
        assert shown.text == text or (shown.text.endswith("…") and text.startswith(shown.text[:-1]))
