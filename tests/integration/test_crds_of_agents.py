"""The CRDs of Agents and Sessions on a real API server: the largest ones, their statuses, and what is selected by."""

from datetime import UTC, datetime
from typing import Any

import pytest
from parley.resources.agent import AgentStatus, UsageToday
from parley.resources.common import Usage
from parley.resources.conditions import is_ready, is_waiting, merge_conditions, session_inactive
from parley.resources.reasons import Reason
from parley.resources.session import (
    EventCounts,
    RecentEvent,
    SessionPhase,
    SessionStatus,
    TaskCounts,
)

from tests.api_server import ApiServer, api_server, refusals
from tests.crd_session_rules import alice, several
from tests.crd_tool_rules import tools

__all__ = ["api_server"]
pytestmark = [pytest.mark.cluster, pytest.mark.storeless]

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def largest_tool(index: int) -> dict[str, Any]:
    """A tool with as many headers as it may have, each as long as Secrets' names are."""
    headers = [
        {
            "name": f"X-{'h' * 240}-{number}",
            "valueFrom": {"secretKeyRef": {"name": "s" * 253, "key": "k" * 253}},
        }
        for number in range(32)
    ]
    return {
        "name": f"t{index}{'o' * 40}",
        "description": "d" * 1024,
        "parameters": {"type": "object"},
        "resultSchema": {"type": "object"},
        "approval": "Required",
        "approvalTimeout": "24h",
        "onApprovalTimeout": "Approve",
        "http": {"url": f"http://{'h' * 60}/{'a' * 4000}", "headers": headers, "timeout": "9m59s999ms"},
    }


def test_the_largest_agent_is_within_the_cost_of_the_rules(api_server: ApiServer) -> None:
    # Given as many tools as there may be; when they are made, and then applied again
    agent = tools(*(largest_tool(index) for index in range(32)), builtinTools=["update_context"])
    assert refusals(api_server.create(agent)) == []
    assert refusals(api_server.replace(agent)) == []
    # Then the rules of the last one were not left out
    agent["spec"]["tools"][31]["mcp"] = {"url": "http://h/mcp"}
    assert any("exactly one of http, mcp" in message for _, message in refusals(api_server.replace(agent)))


def test_the_largest_session_is_within_the_cost_of_the_rules(api_server: ApiServer) -> None:
    names = [f"a{number}{'a' * 250}" for number in range(8)]
    users = [{"id": f"{number}{'u' * 250}", "name": "n" * 256, "about": "b" * 4096} for number in range(32)]
    session = {**several(*names, users=users), "metadata": {"name": "largest"}}
    assert refusals(api_server.create(session)) == []
    assert refusals(api_server.replace(session)) == []


def test_a_full_status_of_an_agent_fits_the_schema_and_prints_its_columns(api_server: ApiServer) -> None:
    api_server.create({**tools(), "metadata": {"name": "full"}}).raise_for_status()
    status = AgentStatus(
        observed_generation=1,
        conditions=merge_conditions([], is_ready("good"), generation=1, now=NOW),
        sessions=3,
        active_tasks=2,
        usage=Usage(input_tokens=10**12, output_tokens=7),
        usage_today=UsageToday(input_tokens=5, output_tokens=1, day="2026-01-01"),
    )
    written = api_server.write_status("Agent", "full", status.to_json())
    assert AgentStatus.model_validate(written) == status
    assert api_server.printed("Agent", "full", wide=True) == {
        "Model": "m",
        "Ready": "True",
        "Reason": "Ready",
        "Sessions": 3,
        "Active": 2,
    }


def test_a_full_status_of_a_session_fits_the_schema_and_prints_its_columns(api_server: ApiServer) -> None:
    api_server.create({**several("support", "writer"), "metadata": {"name": "full"}}).raise_for_status()
    verdicts = [
        *is_ready("its agents exist"),
        *session_inactive(Reason.DORMANT, "nothing happened for 1h"),
        *is_waiting("a task waits"),
    ]
    event = RecentEvent(
        sequence=7,
        time=NOW,
        type="message",
        role="user",
        speaker="Alice",
        task="t",
        step="ask",
        text="é" * 256,
    )
    status = SessionStatus(
        observed_generation=1,
        phase=SessionPhase.DORMANT,
        agent="support +1",
        conditions=merge_conditions([], verdicts, generation=1, now=NOW),
        events=EventCounts(count=7, messages=4, last_sequence=7, last_time=NOW),
        recent_events=[event] * 10,
        tasks=TaskCounts(active=1, waiting=1, succeeded=2, failed=3),
        context={"order": {"number": "12345"}},
        context_truncated=True,
        context_version=9,
        dormant_since=NOW,
        cleared_through=3,
        usage=Usage(input_tokens=1, output_tokens=2),
    )
    written = api_server.write_status("Session", "full", status.to_json())
    assert SessionStatus.model_validate(written) == status
    row = api_server.printed("Session", "full", wide=True)
    assert row.pop("Last")
    assert row == {
        "Agent": "support +1",
        "Phase": "Dormant",
        "Ready": "True",
        "Messages": 4,
        "Reason": "Ready",
        "Why": "Dormant",
    }


@pytest.mark.parametrize("phase", list(SessionPhase))
def test_every_phase_of_a_session_can_be_written(api_server: ApiServer, phase: SessionPhase) -> None:
    name = f"phase-{phase.lower()}"
    api_server.create({**alice(), "metadata": {"name": name}}).raise_for_status()
    assert api_server.write_status("Session", name, {"phase": phase})["phase"] == phase


def test_sessions_are_selected_by_what_is_wanted_of_them(api_server: ApiServer) -> None:
    # Given a session that says nothing, and one that is paused
    for name, spec in (("says-nothing", {}), ("stands-still", {"desiredState": "Paused"})):
        manifest = {**alice(metadata={"test": "selected"}, **spec), "metadata": {"name": name}}
        assert refusals(api_server.create(manifest)) == []
    # Then the API server itself tells them apart
    selector = {"fieldSelector": "spec.desiredState=Paused"}
    answer = api_server.cluster.request("GET", api_server.path("Session"), params=selector).raise_for_status()
    assert [item["metadata"]["name"] for item in answer.json()["items"]] == ["stands-still"]
