"""Templates run with inputs, and end as an exit code."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from parley.cli.failures import CliError
from parley.cli.running import Request, read_inputs
from parley.kube.client import JsonObject
from parley.kube.kinds import SCHEDULE, SESSION, TASK, TASK_TEMPLATE, Kind

from tests.unit.cli.cluster import FakeCluster, condition, ended
from tests.unit.cli.conftest import Run

SCHEMA: JsonObject = {
    "properties": {
        "order": {"type": "string"},
        "parcels": {"type": "integer"},
        "tags": {"type": "array"},
        "either": {"type": ["integer", "string"]},
    }
}


def ends_as(cluster: FakeCluster, **status: Any) -> list[JsonObject]:
    """The operator runs each Task to this end; returns the Tasks' specs as they were made."""
    made: list[JsonObject] = []

    def work(kind: Kind, body: JsonObject) -> None:
        if kind is TASK:
            made.append(body["spec"])
            cluster.update(TASK, body["metadata"]["name"], status=status)

    cluster.on_write = work
    cluster.put(TASK_TEMPLATE, "ship", spec={"inputSchema": SCHEMA, "task": {}})
    return made


def test_a_template_runs_to_its_output(cluster: FakeCluster, parley: Run) -> None:
    made = ends_as(cluster, **ended("Succeeded", "Succeeded", output={"label": "5-3"}))

    said = parley(
        "run", "ship", "-p", "order=5", "-p", "parcels=3", "--session", "alice", "--agent", "support"
    )

    assert said.code == 0
    assert json.loads(said.out) == {"label": "5-3"}
    assert made == [
        {
            "templateRef": {"name": "ship"},
            "inputs": {"order": "5", "parcels": 3},
            "sessionRef": {"name": "alice"},
            "agentRef": {"name": "support"},
        }
    ]


def test_only_the_output_is_on_stdout(cluster: FakeCluster, parley: Run) -> None:
    ends_as(cluster, **ended("Succeeded", "Succeeded", output="done"))

    loud, quiet = parley("run", "ship"), parley("run", "ship", "--quiet")

    assert loud.out == quiet.out == "done\n"
    assert "Task ship-" in loud.err
    assert quiet.err == ""


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (ended("Failed", "ExitCode", "it ended with 3"), 1),
        (ended("Cancelled", "Cancelled"), 3),
        ({"phase": "Running"}, 4),
    ],
)
def test_how_a_task_ends_is_the_exit_code(
    cluster: FakeCluster, parley: Run, status: dict[str, Any], code: int
) -> None:
    ends_as(cluster, **status)

    said = parley("run", "ship", "--timeout", "10ms")

    assert said.code == code
    if code == 1:
        assert "failed: ExitCode: it ended with 3" in said.err


def test_a_program_gets_the_task_and_a_person_beside_it_the_reason(cluster: FakeCluster, parley: Run) -> None:
    ends_as(cluster, **ended("Failed", "ExitCode", "it ended with 3"))

    said = parley("run", "ship", "-q", "-o", "json")

    assert (said.code, json.loads(said.out)["status"]["phase"]) == (1, "Failed")
    assert "failed: ExitCode: it ended with 3" in said.err


def test_a_task_that_waits_for_a_person_tells_how_to_answer(cluster: FakeCluster, parley: Run) -> None:
    waiting = [{"id": "w1", "step": "ok", "question": "Refund?", "choices": ["approve", "reject"]}]
    ends_as(cluster, phase="WaitingForInput", waiting=waiting)

    said = parley("run", "ship", "--name", "mine", "--timeout", "10ms")

    assert said.code == 4
    assert "parley approve mine -n shop" in said.err


def test_detached_only_the_name_is_printed(cluster: FakeCluster, parley: Run) -> None:
    ends_as(cluster, phase="Running")

    said = parley("run", "ship", "--detach", "--name", "mine")

    assert (said.code, said.out) == (0, "mine\n")
    assert parley("run", "ship", "--detach", "--name", "other", "-o", "name").out == "task.parley.dev/other\n"


@pytest.mark.parametrize(
    ("given", "inputs"),
    [
        (["order=12345"], {"order": "12345"}),
        (["order=a=b"], {"order": "a=b"}),
        (["order="], {"order": ""}),
        (["parcels=2"], {"parcels": 2}),
        (["tags=[1, 2]"], {"tags": [1, 2]}),
        (["either=2"], {"either": "2"}),
        (["unknown=true"], {"unknown": "true"}),
        (["unknown:=true"], {"unknown": True}),
        (["order=1", "order=2"], {"order": "2"}),
    ],
)
def test_inputs_are_read_as_the_schema_says(given: list[str], inputs: JsonObject) -> None:
    assert read_inputs(Request("ship", given, None), SCHEMA) == inputs


def test_inputs_of_a_file_are_below_those_of_the_command_line() -> None:
    file = b"order: '7'\nparcels: 1\nnested: {a: [1]}\n"

    assert read_inputs(Request("ship", ["parcels=2"], file), SCHEMA) == {
        "order": "7", "parcels": 2, "nested": {"a": [1]},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "file", "says"),
    [
        (["order"], None, "-p order: this is no input"),
        (["=5"], None, "-p =5: this is no input"),
        (["parcels=many"], None, "the template wants integer here"),
        (["x:={"], None, "is no JSON"),
        ([], b"[1]", "--inputs has no keys"),
        ([], b"a: [", "--inputs: "),
        ([], b"at: 2026-01-01", "quote dates"),
    ],
)
def test_an_input_that_cannot_be_read_is_named(given: list[str], file: bytes | None, says: str) -> None:
    with pytest.raises(CliError) as raised:
        read_inputs(Request("ship", given, file), SCHEMA)

    assert says in f"{raised.value.message} {raised.value.hint}"


def test_inputs_come_from_a_file(cluster: FakeCluster, parley: Run, tmp_path: Path) -> None:
    made = ends_as(cluster, **ended("Succeeded", "Succeeded"))
    (tmp_path / "inputs.yaml").write_text("order: '9'\n")

    assert parley("run", "ship", "--inputs", str(tmp_path / "inputs.yaml")).code == 0
    assert made[0]["inputs"] == {"order": "9"}


def test_what_is_missing_or_there_already_is_named(cluster: FakeCluster, parley: Run) -> None:
    ends_as(cluster, phase="Running")
    cluster.put(TASK, "taken", status={})

    assert "there is no TaskTemplate nix in namespace shop" in parley("run", "nix").err
    assert "there is a Task taken in namespace shop already" in parley("run", "ship", "--name", "taken").err


def test_a_schedule_runs_now_and_its_new_task_is_named(cluster: FakeCluster, parley: Run) -> None:
    labels = {"parley.dev/schedule": "report"}
    cluster.put(TASK, "report-1", metadata={"labels": labels}, status=ended("Succeeded", "Succeeded"))
    cluster.put(SCHEDULE, "report", spec={"schedule": "0 8 * * *"}, status={})

    def take(kind: Kind, body: JsonObject) -> None:
        if kind is SCHEDULE:
            asked = body["metadata"]["annotations"]["parley.dev/run-now"]
            status = ended("Succeeded", "Succeeded", output="12 orders")
            cluster.put(TASK, f"report-{len(cluster.objects)}", metadata={"labels": labels}, status=status)
            cluster.update(SCHEDULE, "report", status={"lastRunNow": asked})

    cluster.on_write = take

    assert parley("schedule", "run-now", "report").out == "Task report-2\n"
    said = parley("schedule", "run-now", "report", "--wait")
    assert (said.code, said.out) == (0, "12 orders\n")
    assert "there is no Schedule nix" in parley("schedule", "run-now", "nix").err


def test_a_schedule_that_makes_no_tasks_says_why(cluster: FakeCluster, parley: Run) -> None:
    stalled = {"conditions": [condition("Stalled", "True", "InvalidSpec", "spec.schedule: no such month")]}
    cluster.put(SCHEDULE, "report", spec={"schedule": "0 8 * 13 *", "suspend": True}, status=stalled)

    said = parley("schedule", "run-now", "report")

    assert said.code == 1
    assert "spec.schedule: no such month" in said.err
    assert "suspended" in parley("schedule", "list").out


@pytest.mark.parametrize(
    ("kind", "target", "before", "after"),
    [
        (TASK, "t", {"desiredState": "Running"}, {"desiredState": "Suspended"}),
        (TASK, "task/t", {}, {"desiredState": "Suspended"}),
        (SESSION, "session/t", {"desiredState": "Active"}, {"desiredState": "Paused"}),
        (SESSION, "ses/t", {}, {"desiredState": "Paused"}),
        (SCHEDULE, "schedules.parley.dev/t", {"suspend": False}, {"suspend": True}),
    ],
)
def test_what_is_suspended_goes_on_when_it_is_resumed(
    cluster: FakeCluster, parley: Run, kind: Kind, target: str, before: JsonObject, after: JsonObject
) -> None:
    cluster.put(kind, "t", spec={"kept": 1, **before}, status={})

    assert parley("suspend", target).code == 0
    assert cluster.get(kind, "shop", "t")["spec"] == {"kept": 1, **after}
    assert "is so already" in parley("suspend", target).out
    assert parley("resume", target).code == 0
    resumed = cluster.get(kind, "shop", "t")["spec"]
    assert resumed in (
        {"kept": 1, **before},
        {"kept": 1, "desiredState": "Running"},
        {"kept": 1, "desiredState": "Active"},
    )


def test_a_task_is_cancelled_and_its_end_waited_for(cluster: FakeCluster, parley: Run) -> None:
    cluster.put(TASK, "t", spec={}, status={"phase": "Running"})
    cluster.put(TASK, "over", spec={}, status=ended("Failed", "Error"))

    def stop(_kind: Kind, body: JsonObject) -> None:
        assert body["spec"] == {"desiredState": "Cancelled"}
        cluster.update(TASK, "t", status=ended("Cancelled", "Cancelled"))

    cluster.on_write = stop
    said = parley("cancel", "t", "over", "--wait")

    assert said.code == 0
    assert said.out.splitlines() == [
        "Task t is cancelled",
        "Task over has ended already (Failed)",
        "Task t has ended (Cancelled)",
    ]


def test_a_program_gets_what_was_steered(cluster: FakeCluster, parley: Run) -> None:
    cluster.put(TASK, "t", spec={}, status={"phase": "Running"})
    cluster.put(SESSION, "alice", spec={}, status={})

    both = parley("suspend", "t", "session/alice", "-o", "json")
    assert [(one["kind"], one["spec"]) for one in json.loads(both.out)["items"]] == [
        ("Task", {"desiredState": "Suspended"}),
        ("Session", {"desiredState": "Paused"}),
    ]
    assert "Task t is suspended" in both.err
    assert parley("resume", "session/alice", "-o", "name").out == "session.parley.dev/alice\n"
    cancelled = parley("cancel", "t", "-o", "yaml")
    assert yaml.safe_load(cancelled.out)["spec"] == {"desiredState": "Cancelled"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("suspend", "nix"), "there is no Task nix"),
        (("suspend", "over"), "has ended (Failed): that is final"),
        (("suspend", "agent/x"), "this is nothing to steer"),
        (("cancel", "session/x"), "only Tasks are cancelled"),
        (("resume", "session/x"), "has ended (Ended): that is final"),
    ],
)
def test_what_cannot_be_steered_says_why(
    cluster: FakeCluster, parley: Run, arguments: tuple[str, ...], says: str
) -> None:
    cluster.put(TASK, "over", spec={}, status=ended("Failed", "Error"))
    cluster.put(SESSION, "x", spec={"desiredState": "Ended"}, status={})

    said = parley(*arguments)

    assert said.code == 1
    assert says in said.err
