"""The CRDs on a real API server: they are taken as they are, and each rule in them lets in and refuses."""

import copy
from datetime import UTC, datetime
from typing import Any

import pytest
from parley.resources.common import Usage
from parley.resources.conditions import Verdict, is_ready, merge_conditions, task_succeeded
from parley.resources.reasons import Reason
from parley.resources.reply import ReplyStatus
from parley.resources.schedule import ActiveTask, ScheduleStatus
from parley.resources.task import (
    AttemptStatus,
    ItemCounts,
    StepPhase,
    StepStatus,
    TaskPhase,
    TaskStatus,
    WaitingEntry,
    WaitingKind,
)
from parley.resources.task_template import TaskTemplateStatus

from tests.api_server import CRD_PATH, ApiServer, api_server, checked_in_crds, refusals
from tests.crd_flow_rules import FLOW_RULES
from tests.crd_rules import AGENT, ASK, RULES, RUN, SESSION, Rule, task
from tests.crd_runtime_rules import RUNTIME_RULES
from tests.crd_session_rules import SESSION_RULES
from tests.crd_tool_rules import TOOL_RULES

__all__ = ["api_server"]
pytestmark = [pytest.mark.cluster, pytest.mark.storeless]

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ALL_RULES = [*RULES, *FLOW_RULES, *RUNTIME_RULES, *SESSION_RULES, *TOOL_RULES]


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
    now = NOW
    step = StepStatus(
        name="run",
        phase=StepPhase.SUCCEEDED,
        attempt=2,
        job="full-0123456789",
        start_time=now,
        completion_time=now,
        task="child",
        items=ItemCounts(total=4, succeeded=1, failed=1, active=2),
        attempts=[
            AttemptStatus(
                number=number,
                item=3,
                phase=StepPhase.FAILED,
                reason="ExitCode",
                message="exit code 3",
                exit_code=3,
                start_time=now,
                completion_time=now,
            )
            for number in (1, 2, 3)
        ],
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
        parent="above",
        waiting=[
            WaitingEntry(
                id="w",
                step="ask",
                item=1,
                kind=WaitingKind.APPROVAL,
                call="pay",
                arguments='{"amount": 1}',
                truncated=True,
                question="Pay?",
                choices=["yes", "no"],
                since=now,
                deadline=now,
            )
        ]
        * 8,
        waiting_total=9,
        steps=[step, step.model_copy(update={"name": "ask", "output": "text"})],
        output="text",
        truncated=True,
        usage=Usage(input_tokens=1, output_tokens=2),
    )
    # When it is written as the operator writes it, then nothing of it is lost
    assert TaskStatus.model_validate(api_server.write_status("Task", "full", status.to_json())) == status
    # And kubectl's table shows it
    row = api_server.printed("Task", "full", wide=True)
    del row["Completed"]
    assert row == {
        "Session": "s",
        "Agent": "support",
        "Phase": "Succeeded",
        "Progress": "2/2",
        "Reason": "Succeeded",
        "Message": "done",
        "Parent": "above",
        "Waiting": "Pay?",
    }


def test_a_full_status_of_a_schedule_fits_the_schema_and_prints_its_columns(api_server: ApiServer) -> None:
    scheduled = {"spec": {"steps": [RUN]}}
    spec = {"schedule": "0 9 * * 1-5", "taskTemplate": scheduled}
    api_server.create({"kind": "Schedule", "metadata": {"name": "full"}, "spec": spec}).raise_for_status()
    status = ScheduleStatus(
        observed_generation=1,
        conditions=merge_conditions([], is_ready("next"), generation=1, now=NOW),
        last_schedule_time=NOW,
        next_schedule_time=NOW,
        last_run_now="2",
        active=[ActiveTask(name="full-0029453280", uid="u"), ActiveTask(name="full-0029453281", uid="v")],
    )
    written = api_server.write_status("Schedule", "full", status.to_json())
    assert ScheduleStatus.model_validate(written) == status
    row = api_server.printed("Schedule", "full")
    assert row.pop("Last")
    assert row == {
        "Schedule": "0 9 * * 1-5",
        "TimeZone": "Etc/UTC",
        "Suspend": False,
        "Next": "2026-01-01T00:00:00Z",
        "Ready": "True",
    }


def test_a_full_status_of_a_reply_fits_the_schema_and_prints_its_columns(api_server: ApiServer) -> None:
    spec = {"taskRef": {"name": "t"}, "waitID": "w", "value": {"a": [None]}, "by": "alice"}
    answer = api_server.create({"kind": "Reply", "metadata": {"name": "full"}, "spec": spec})
    assert answer.raise_for_status().json()["spec"] == spec
    verdicts = [Verdict("Accepted", "False", Reason.TOO_LATE, "it came late")]
    status = ReplyStatus(
        observed_generation=1, conditions=merge_conditions([], verdicts, generation=1, now=NOW)
    )
    written = api_server.write_status("Reply", "full", status.to_json())
    assert ReplyStatus.model_validate(written) == status
    assert api_server.printed("Reply", "full", wide=True) == {
        "Task": "t",
        "By": "alice",
        "Accepted": "False",
        "Reason": "TooLate",
        "WaitID": "w",
        "Message": "it came late",
    }


def test_a_status_of_a_template_fits_the_schema(api_server: ApiServer) -> None:
    spec = {"task": {"message": "hi"}, "inputSchema": {"required": ["a"]}}
    api_server.create({"kind": "TaskTemplate", "metadata": {"name": "full"}, "spec": spec}).raise_for_status()
    status = TaskTemplateStatus(
        observed_generation=1, conditions=merge_conditions([], is_ready("good"), generation=1, now=NOW)
    )
    written = api_server.write_status("TaskTemplate", "full", status.to_json())
    assert TaskTemplateStatus.model_validate(written) == status
    assert api_server.printed("TaskTemplate", "full") == {"Ready": "True", "Reason": "Ready"}


FULL_NAME = "s" * 60


def largest_flow() -> list[dict[str, Any]]:
    """As many steps as there may be, each of which needs all above it, with names as long as they may be."""
    names = [f"{FULL_NAME}{number}" for number in range(64)]
    return [{"name": name, "needs": names[:index], **_RUN} for index, name in enumerate(names)]


_RUN = {"container": {"image": "i"}}


@pytest.mark.parametrize(
    "manifest",
    [
        task("largest", steps=largest_flow()),
        {
            "kind": "Schedule",
            "metadata": {"name": "largest"},
            "spec": {"schedule": "0 9 * * *", "taskTemplate": {"spec": {"steps": largest_flow()}}},
        },
        {
            "kind": "TaskTemplate",
            "metadata": {"name": "largest"},
            "spec": {"task": {"steps": largest_flow()}},
        },
    ],
    ids=lambda manifest: manifest["kind"],
)
def test_the_largest_flow_is_within_the_cost_of_the_rules(
    api_server: ApiServer, manifest: dict[str, Any]
) -> None:
    # Given the largest flow; when it is made, and then applied again
    assert refusals(api_server.create(manifest)) == []
    assert refusals(api_server.replace(manifest)) == []
    # Then its rules were not left out: what they forbid is still refused
    steps = manifest["spec"].get("steps") or manifest["spec"].get("task", {}).get("steps")
    steps = steps or manifest["spec"]["taskTemplate"]["spec"]["steps"]
    steps[0]["needs"] = [f"{FULL_NAME}63"]
    bad = {**manifest, "metadata": {"name": "larger"}}
    assert any("needs may name only steps" in message for _, message in refusals(api_server.create(bad)))
