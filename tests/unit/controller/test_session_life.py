"""What state a session should be in: its spec, what happened in it, and the clock decide."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley.controller.session_gate import gate_of
from parley.controller.session_life import Life, life_of
from parley.resources.session import SessionSpec
from parley.store.lifecycle import FINAL
from parley.store.session_records import LifeState, SessionFacts, SessionSummary

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HELD = SessionSummary(
    last_sequence=0, messages=0, last_time=None, recent=[], input_tokens=0, output_tokens=0,
    tasks_active=0, tasks_succeeded=0, tasks_failed=0, now=NOW, state="Active", state_since=NOW, active_at=NOW,
)  # fmt: skip
STATES: tuple[LifeState, ...] = ("Active", "Dormant", "Paused", "Expired", "Ended", "Archived")


def spec(state: str = "Active", **fields: Any) -> SessionSpec:
    limits = {
        key: value for key, value in fields.items() if key in {"idleTimeout", "expireAfter", "maxMessages"}
    }
    rest = {key: value for key, value in fields.items() if key not in limits}
    return SessionSpec.model_validate(
        {"agentRef": {"name": "support"}, "desiredState": state, "limits": limits, **rest}
    )


def life(wanted: SessionSpec, *, quiet: timedelta = timedelta(0), newest: Any = None, **held: Any) -> Life:
    return life_of(wanted, replace(HELD, active_at=NOW - quiet, **held), newest)


def test_a_session_without_limits_lives_for_ever() -> None:
    assert life(spec(), quiet=timedelta(days=1000)) == Life("Active", "")


def test_a_session_sleeps_when_nothing_has_happened_for_its_idle_timeout() -> None:
    wanted = spec(idleTimeout="1h")

    assert life(wanted, quiet=59 * MINUTE) == Life("Active", "", NOW + MINUTE)
    assert life(wanted, quiet=60 * MINUTE).state == "Dormant"
    assert life(wanted, quiet=60 * MINUTE).why == "nothing happened for 1h"


def test_a_session_with_open_tasks_does_not_sleep() -> None:
    wanted = spec(idleTimeout="1h")

    assert life(wanted, quiet=80 * MINUTE, tasks_active=1, newest=NOW - 80 * MINUTE) == Life("Active", "")


def test_a_task_that_no_row_tells_of_yet_counts_from_its_making() -> None:
    wanted = spec(idleTimeout="1h")

    assert life(wanted, quiet=80 * MINUTE, newest=NOW - 50 * MINUTE) == Life("Active", "", NOW + 10 * MINUTE)


def test_a_task_that_has_ended_keeps_nobody_awake_though_its_status_does_not_say_so_yet() -> None:
    """The session is looked at before that status is written, and not again because of it."""
    wanted = spec(idleTimeout="1h")

    assert life(wanted, quiet=MINUTE, newest=NOW - 5 * MINUTE) == Life("Active", "", NOW + 59 * MINUTE)


def test_what_happens_wakes_it() -> None:
    woken = life(spec(idleTimeout="1h"), quiet=MINUTE, state="Dormant")

    assert (woken.state, woken.why) == ("Active", "something happens in it again")


def test_a_session_expires_for_good() -> None:
    wanted = spec(expireAfter="720h", idleTimeout="1h")

    assert life(wanted, quiet=timedelta(days=29), state="Dormant") == Life(
        "Dormant", "nothing happened for 1h", NOW + timedelta(days=1)
    )
    assert life(wanted, quiet=timedelta(days=30), state="Dormant").state == "Expired"
    assert life(wanted, quiet=timedelta(0), state="Expired").state == "Expired"


def test_a_task_that_only_waits_keeps_nothing_alive_but_one_that_runs_does() -> None:
    wanted, old = spec(expireAfter="720h"), timedelta(days=31)

    assert life(wanted, quiet=old, tasks_active=1, newest=NOW - old).state == "Expired"
    assert life(wanted, quiet=old, tasks_active=1, newest=NOW - old, running=True).state == "Active"


def test_a_message_that_came_while_nobody_looked_keeps_a_session_alive() -> None:
    """The operator was away: a Task exists that no row tells of."""
    assert life(spec(expireAfter="720h"), quiet=timedelta(days=31), newest=NOW - MINUTE).state == "Active"


def test_a_session_does_not_age_while_it_is_paused() -> None:
    limits = {"expireAfter": "720h", "idleTimeout": "1h"}
    quiet = timedelta(days=31)

    assert life(spec("Paused", **limits), quiet=quiet) == Life("Paused", "spec.desiredState is Paused")
    resumed = life(spec(**limits), quiet=quiet, state="Paused")
    assert resumed == Life("Active", "spec.desiredState is Active", NOW + timedelta(hours=1))


@pytest.mark.parametrize(
    ("asked", "before", "after"),
    [
        ("Ended", "Active", "Ended"),
        ("Ended", "Expired", "Ended"),
        ("Archived", "Ended", "Archived"),
        ("Archived", "Paused", "Archived"),
        ("Active", "Ended", "Ended"),
        ("Paused", "Expired", "Expired"),
        ("Ended", "Archived", "Archived"),
    ],
)
def test_what_is_asked_is_done_as_far_as_it_may(asked: str, before: LifeState, after: str) -> None:
    assert life(spec(asked), state=before).state == after


quiets = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=100))


@given(
    asked=st.sampled_from(["Active", "Paused", "Ended", "Archived"]),
    limits=st.fixed_dictionaries(
        {},
        optional={
            "idleTimeout": st.sampled_from(["1m", "24h"]),
            "expireAfter": st.sampled_from(["1h", "720h"]),
        },
    ),
    state=st.sampled_from(STATES),
    quiet=quiets,
    active=st.integers(0, 1),
    running=st.booleans(),
    newest=st.none() | quiets,
)
def test_a_state_holds_until_the_time_it_names(
    asked: str,
    limits: Any,
    state: LifeState,
    quiet: timedelta,
    active: int,
    running: bool,
    newest: timedelta | None,
) -> None:
    """Final states stay; the state asked for again is the same; and nothing changes before ``next_at`` by itself."""
    wanted = spec(asked, **limits)
    seen = replace(
        HELD, active_at=NOW - quiet, state=state, tasks_active=active, running=running and active > 0
    )
    open_since = None if newest is None else NOW - newest

    first = life_of(wanted, seen, open_since)

    if state in FINAL:
        assert first.state in FINAL
        assert FINAL.index(first.state) >= FINAL.index(state)
    assert first.next_at is None or first.next_at > NOW
    paused_until_now = {"active_at": NOW} if state == "Paused" else {}
    stored = replace(seen, state=first.state, **paused_until_now)
    assert life_of(wanted, stored, open_since).state == first.state
    before_next = (first.next_at or NOW + timedelta(days=1000)) - timedelta(seconds=1)
    assert life_of(wanted, replace(stored, now=before_next), open_since).state == first.state
    if first.next_at is not None:
        assert life_of(wanted, replace(stored, now=first.next_at), open_since).state != first.state


def facts(state: LifeState = "Active", **fields: Any) -> SessionFacts:
    return SessionFacts(state=state, since=NOW, messages=fields.pop("messages", 0), **fields)


@pytest.mark.parametrize(
    ("asked", "state", "over"),
    [
        ("Active", "Active", False),
        ("Active", "Dormant", False),
        ("Paused", "Active", False),
        ("Active", "Expired", True),
        ("Ended", "Active", True),
        ("Archived", "Ended", True),
        ("Active", "Ended", True),
    ],
)
def test_a_session_that_has_ended_takes_no_more_turns(asked: str, state: LifeState, over: bool) -> None:
    gate = gate_of(spec(asked), facts(state))

    assert (gate.session_over is not None) is over
    assert (gate.session_hold is not None) is (asked == "Paused")
    assert gate.turn_refusal is None


def test_the_spec_counts_before_the_store_has_followed() -> None:
    assert gate_of(spec("Ended"), None).session_over == "the session has ended"
    held = gate_of(spec("Paused"), facts("Active")).session_hold
    assert held is not None
    assert held.reason == "SessionPaused"
    assert gate_of(spec("Active"), facts("Paused")).session_hold is None


@pytest.mark.parametrize(("messages", "refused"), [(0, False), (9, False), (10, True), (11, True)])
def test_a_session_that_is_full_refuses_turns(messages: int, refused: bool) -> None:
    gate = gate_of(spec(maxMessages=10), facts(messages=messages))

    assert (gate.turn_refusal is not None) is refused
    if gate.turn_refusal is not None:
        assert gate.turn_refusal.reason == "MessageLimit"
        assert "spec.limits.maxMessages is 10" in gate.turn_refusal.message


def test_nothing_happens_in_a_session_that_lacks_its_transcript() -> None:
    wanted = spec(restoreFrom={"uid": "old"})

    for lacking in (None, facts(), facts(restored_from="another")):
        blocked = gate_of(wanted, lacking).hold
        assert blocked is not None
        assert blocked.reason == "TranscriptNotFound"
    assert gate_of(wanted, facts(restored_from="old")).hold is None
