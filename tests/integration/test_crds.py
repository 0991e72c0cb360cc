"""The CRDs on a real API server: they are taken as they are, and each rule in them lets in and refuses."""

import copy
from datetime import UTC, datetime
from typing import Any

import pytest
from parley.resources.common import Usage
from parley.resources.conditions import merge_conditions, task_succeeded
from parley.resources.task import StepPhase, StepStatus, TaskPhase, TaskStatus

from tests.api_server import CRD_PATH, ApiServer, api_server, checked_in_crds, refusals
from tests.crd_flow_rules import FLOW_RULES
from tests.crd_rules import AGENT, ASK, RULES, RUN, SESSION, Rule, task

__all__ = ["api_server"]
pytestmark = pytest.mark.cluster

ALL_RULES = [*RULES, *FLOW_RULES]


def every_rule() -> list[str]:
    """The messages of all CEL rules of the CRDs."""

    def walk(node: Any) -> list[str]:
        if isinstance(node, list):
            return [message for child in node for message in walk(child)]
        if not isinstance(node, dict):
            return []
        own = [rule["message"] for rule in node.get("x-kubernetes-validations", [])]
        return own + [message for child in node.values() for message in walk(child)]

    return walk(checked_in_crds())


def test_every_rule_of_the_crds_has_a_case() -> None:
    messages = every_rule()
    assert [m for m in messages if not any(m.startswith(rule.message) for rule in ALL_RULES)] == []
    assert [rule.message for rule in ALL_RULES if not any(m.startswith(rule.message) for m in messages)] == []


@pytest.mark.parametrize("rule", ALL_RULES, ids=lambda rule: f"{rule.field}: {rule.message}")
def test_a_rule_lets_in_what_is_right_and_refuses_what_is_not(api_server: ApiServer, rule: Rule) -> None:
    good, bad = copy.deepcopy(rule.good), copy.deepcopy(rule.bad)
    if rule.first is None:
        answers = [api_server.create(manifest, dry_run=True) for manifest in (good, bad)]
    else:
        # Given an object of this manifest; when another is applied over it
        name = f"rule-{ALL_RULES.index(rule)}"
        first = {**rule.first, "metadata": {"name": name}}
        assert refusals(api_server.create(first)) == []
        good["metadata"]["name"] = bad["metadata"]["name"] = name
        answers = [api_server.replace(manifest, dry_run=True) for manifest in (good, bad)]
    # Then
    assert refusals(answers[0]) == []
    found = refusals(answers[1])
    assert any(field == rule.field and rule.message in message for field, message in found), found


@pytest.mark.parametrize("crd", checked_in_crds(), ids=lambda crd: crd["spec"]["names"]["kind"])
def test_the_api_server_takes_the_checked_in_crd(api_server: ApiServer, crd: dict[str, Any]) -> None:
    """Also over the installed one, as an upgrade would, and without a warning."""
    answer = api_server.cluster.request(
        "PATCH",
        f"{CRD_PATH}/{crd['metadata']['name']}",
        params={
            "fieldManager": "parley-tests",
            "force": "true",
            "dryRun": "All",
            "fieldValidation": "Strict",
        },
        headers={"Content-Type": "application/apply-patch+yaml"},
        json=crd,
    )
    assert answer.status_code in {200, 201}, answer.text
    assert "warning" not in answer.headers


def test_an_object_nobody_has_seen_is_in_progress_from_the_first_moment(api_server: ApiServer) -> None:
    created = api_server.create(task("unseen", **AGENT, message="m")).raise_for_status().json()
    assert created["status"] == {"observedGeneration": -1}
    assert created["spec"]["desiredState"] == "Running"


def test_tasks_are_selected_by_their_session_and_phase(api_server: ApiServer) -> None:
    def names(selector: str) -> list[str]:
        path = api_server.path("Task")
        answer = api_server.cluster.request("GET", path, params={"fieldSelector": selector})
        return sorted(item["metadata"]["name"] for item in answer.raise_for_status().json()["items"])

    # Given tasks of two sessions
    for name, of in (("one", "alice"), ("two", "alice"), ("three", "bob")):
        answer = api_server.create(task(name, sessionRef={"name": of}, message="m"))
        assert refusals(answer) == []
    # Then the API server itself tells them apart
    assert names("spec.sessionRef.name=alice") == ["one", "two"]
    assert names("spec.sessionRef.name=bob,status.phase=") == ["three"]
    assert names("spec.sessionRef.name=bob,spec.desiredState=Suspended") == []


def test_a_full_status_fits_the_schema_and_prints_its_columns(api_server: ApiServer) -> None:
    # Given a task, and a status that uses every field
    api_server.create(task("full", **SESSION, steps=[RUN, ASK])).raise_for_status()
    now = datetime(2026, 1, 1, tzinfo=UTC)
    step = StepStatus(
        name="run",
        phase=StepPhase.SUCCEEDED,
        attempt=2,
        job="full-0123456789",
        start_time=now,
        completion_time=now,
        reason="Succeeded",
        message="…" * 85,
        output={"free": [1, None, {"deep": True}]},
        truncated=True,
    )
    status = TaskStatus(
        observed_generation=1,
        phase=TaskPhase.SUCCEEDED,
        conditions=merge_conditions([], task_succeeded("done"), generation=1, now=now),
        start_time=now,
        completion_time=now,
        progress="2/2",
        agent="support",
        steps=[step, step.model_copy(update={"name": "ask", "output": "text"})],
        output="text",
        truncated=True,
        usage=Usage(input_tokens=1, output_tokens=2),
    )
    # When it is written as the operator writes it
    path = f"{api_server.path('Task')}/full"
    body = {
        "apiVersion": f"{api_server.group}/v1alpha1",
        "kind": "Task",
        "metadata": {"name": "full"},
        "status": status.to_json(),
    }
    written = api_server.cluster.request(
        "PATCH",
        f"{path}/status",
        params={"fieldManager": "parley-operator", "force": "true", "fieldValidation": "Strict"},
        headers={"Content-Type": "application/apply-patch+yaml"},
        json=body,
    )
    # Then nothing of it is lost
    assert written.status_code == 200, written.text
    assert TaskStatus.model_validate(written.json()["status"]) == status
    # And kubectl's table shows it
    table = api_server.cluster.request(
        "GET", path, headers={"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    ).json()
    row = {
        column["name"]: cell
        for column, cell in zip(table["columnDefinitions"], table["rows"][0]["cells"], strict=True)
        if not column["priority"]
    }
    del row["Age"]
    assert row == {
        "Name": "full",
        "Session": "s",
        "Agent": "support",
        "Phase": "Succeeded",
        "Progress": "2/2",
        "Reason": "Succeeded",
    }
