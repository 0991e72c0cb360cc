"""How a session's state is shown: phase, conditions, Events; what was erased is shown nowhere."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from parley.controller.session_status import session_transitions
from parley.resources.session import SessionStatus
from parley.store.session_records import LifeState

from tests.kstatus import kstatus
from tests.status_schema import status_problems
from tests.unit.controller.objects import resource, session_body
from tests.unit.controller.test_session_status import NOW, SUMMARY, build, event

STATES: list[tuple[LifeState, str, str, str]] = [
    ("Active", "Active", "True", "Active"),
    ("Dormant", "Dormant", "False", "Dormant"),
    ("Paused", "Paused", "False", "SessionPaused"),
    ("Expired", "Ended", "False", "Expired"),
    ("Ended", "Ended", "False", "SessionEnded"),
    ("Archived", "Archived", "False", "Archived"),
]


def in_state(state: LifeState, **fields: Any) -> SessionStatus:
    summary = replace(
        SUMMARY, state=state, state_since=NOW - timedelta(hours=1), state_why="nothing happened for 1h"
    )
    return build(summary, **fields)


def conditions(status: SessionStatus) -> dict[str, tuple[str, str]]:
    return {each.type: (each.status, each.reason) for each in status.conditions}


@pytest.mark.parametrize(("state", "phase", "active", "reason"), STATES)
def test_each_state_has_its_phase_and_its_word(
    state: LifeState, phase: str, active: str, reason: str
) -> None:
    status = in_state(state)

    assert status.phase == phase
    assert conditions(status) == {"Ready": ("True", "Ready"), "Active": (active, reason)}
    assert kstatus({"metadata": {"generation": 4}, "status": status.to_json()}).status == "Current"
    assert (status.dormant_since == NOW - timedelta(hours=1)) is (state == "Dormant")
    assert not status_problems("sessions", status.to_json())


@pytest.mark.parametrize(
    ("state", "phase"),
    [("Active", "Active"), ("Dormant", "Dormant"), ("Paused", "Paused"), ("Ended", "Ended")],
)
def test_what_has_no_agent_still_stands_where_it_stands(state: LifeState, phase: str) -> None:
    status = in_state(state, agents={"support": False})

    assert status.phase == phase
    assert conditions(status)["Ready"] == ("False", "AgentNotFound")


def test_a_paused_session_still_says_that_somebody_is_asked() -> None:
    summary = replace(SUMMARY, state="Paused", state_since=NOW, tasks_waiting=1)

    status = build(summary)

    assert (status.phase, conditions(status)["WaitingForInput"][0]) == ("Paused", "True")


@pytest.mark.parametrize(
    ("agents", "message"),
    [
        ({"a": True, "b": False}, "Agent b does not exist in this namespace"),
        ({"a": False, "b": False}, "Agents a, b do not exist in this namespace"),
    ],
)
def test_all_agents_of_a_session_must_be_there(agents: dict[str, bool], message: str) -> None:
    status = build(agents=agents)

    assert (conditions(status)["Ready"], status.conditions[0].message) == (
        ("False", "AgentNotFound"),
        message,
    )


def test_turns_of_the_agents_that_are_there_go_on() -> None:
    status = build(None, agents={"a": True, "b": False, "c": False})

    assert (status.phase, conditions(status)["Active"]) == ("Active", ("True", "Active"))
    assert status.conditions[1].message == "the session takes turns, but for those of b, c"


def test_a_session_that_lacks_its_transcript_takes_no_messages() -> None:
    status = build(None, lacking="no transcript of a Session with the uid u is kept in this namespace")

    assert (status.phase, conditions(status)["Ready"]) == ("Pending", ("False", "TranscriptNotFound"))
    assert status.conditions[0].message.startswith("spec.restoreFrom: no transcript")
    assert kstatus({"metadata": {"generation": 4}, "status": status.to_json()}).status == "InProgress"


def test_of_an_erased_event_only_number_and_time_are_shown() -> None:
    erased = replace(event(3), text=None, speaker=None)

    shown = build(replace(SUMMARY, recent=[erased, event(4)], cleared_through=3)).to_json()

    recent = shown["recentEvents"]
    assert isinstance(recent, list)
    assert [("text" in each, each["sequence"]) for each in recent if isinstance(each, dict)] == [
        (False, 3),
        (True, 4),
    ]
    assert shown["clearedThrough"] == 3
    assert not status_problems("sessions", shown)


def test_who_spoke_is_shown_and_the_version_of_the_context() -> None:
    shown = build(replace(SUMMARY, recent=[event(1, speaker="Alice")], context={"a": 1}, context_version=2))

    assert shown.recent_events[0].speaker == "Alice"
    assert shown.context_version == 2


def test_in_another_store_texts_that_were_shown_before_are_hidden_too() -> None:
    """statusText was changed to Hide after a status with texts and context was written."""
    before = build(
        replace(SUMMARY, recent=[event(1, "my password")], context={"card": "4111"}, context_version=1)
    )

    after = build(SUMMARY, mismatch="10 are missing", previous=before, shown=False).to_json()

    assert "password" not in str(after)
    assert "4111" not in str(after)


def told(previous: SessionStatus, status: SessionStatus) -> list[tuple[str, str, str]]:
    session = resource(session_body("alice"))
    return [(each.type, each.reason, each.note) for each in session_transitions(session, previous, status)]


def test_each_transition_is_told_once() -> None:
    active, dormant = build(), in_state("Dormant", previous=build())
    paused = in_state("Paused", previous=dormant)

    assert told(SessionStatus(), active) == [], "that it begins is no transition"
    assert told(active, dormant) == [
        ("Normal", "Dormant", "Nothing happened for 1h; the next message wakes the session.")
    ]
    assert told(dormant, in_state("Dormant", previous=dormant)) == []
    assert [reason for _, reason, _ in told(dormant, paused)] == ["SessionPaused"]
    assert [reason for _, reason, _ in told(paused, build(previous=paused))] == ["Active"]


def test_a_missing_transcript_is_told_once_as_a_warning() -> None:
    lacking = build(None, lacking="it is not there")

    assert told(SessionStatus(), lacking) == [
        ("Warning", "TranscriptNotFound", "spec.restoreFrom: it is not there.")
    ]
    assert told(lacking, build(None, lacking="it is still not there", previous=lacking)) == []


def test_that_an_agent_goes_and_comes_is_no_transition_of_the_session() -> None:
    """A thousand sessions of one agent would tell it a thousand times; the tasks that wait for it do."""
    active = build()
    without = build(agents={"support": False}, previous=active)

    assert told(active, without) == []
    assert told(without, build(previous=without)) == []


def test_falling_asleep_again_later_is_another_event() -> None:
    session, active = resource(session_body("alice")), build()
    first = session_transitions(session, active, in_state("Dormant"))
    later = replace(SUMMARY, state="Dormant", state_since=NOW, state_why="w", last_sequence=20)
    second = session_transitions(session, active, build(later))

    assert first[0].key != second[0].key
