"""The generated CRDs: fresh, structural, bounded, described."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from parley.resources.__main__ import main
from parley.resources.crd import KINDS, MAX_CRD_BYTES, build_crd, render_crds, write_crds

CRDS = Path(__file__).parents[3] / "crds"
CRD = {kind.name: json.loads(json.dumps(build_crd(kind))) for kind in KINDS}
TASK_SPECS = ("Task.spec", "TaskTemplate.spec.task", "Schedule.spec.taskTemplate.spec")
FORBIDDEN_IN_BRANCHES = {"default", "description", "additionalProperties", "nullable", "properties"}


def root(kind: str) -> dict[str, Any]:
    return CRD[kind]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema node with its path; list items as [], map values as *."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from nodes(schema["additionalProperties"], f"{path}.*")


ALL_NODES = [
    (f"{kind}{path}", node)
    for kind in CRD
    for field in ("spec", "status")
    for path, node in nodes(root(kind)["properties"][field], f".{field}")
]


def test_the_checked_in_crds_are_what_the_models_say() -> None:
    on_disk = {path.name: path.read_text() for path in CRDS.iterdir()}
    assert on_disk == render_crds(), "crds/ is stale: run `make crds`"


@pytest.mark.parametrize("kind", CRD)
def test_a_crd_is_small_enough_for_client_side_apply(kind: str) -> None:
    text = render_crds()[f"{CRD[kind]['spec']['names']['plural']}.parley.dev.yaml"]
    assert yaml.safe_load(text) == CRD[kind]
    assert len(text.encode()) < MAX_CRD_BYTES


@pytest.mark.parametrize("kind", CRD)
def test_an_object_that_nobody_has_seen_says_so(kind: str) -> None:
    assert root(kind)["properties"]["status"]["default"] == {"observedGeneration": -1}
    assert root(kind)["required"] == ["spec"]
    assert CRD[kind]["spec"]["versions"][0]["subresources"] == {"status": {}}


def test_every_field_is_described() -> None:
    bare = [
        path for path, node in ALL_NODES if not path.endswith(("[]", "*")) and not node.get("description")
    ]
    assert bare == []


def test_everything_is_bounded_and_nothing_is_a_float() -> None:
    loose: list[str] = []
    for path, node in ALL_NODES:
        free = node.get("x-kubernetes-preserve-unknown-fields")
        match node.get("type"):
            case "string":
                good = "maxLength" in node or "enum" in node or node.get("format") == "date-time"
            case "array":
                good = "maxItems" in node
            case "object":
                good = "properties" in node or "maxProperties" in node
            case "integer" | "boolean":
                good = True
            case None:
                good = free or (node.get("x-kubernetes-int-or-string") and "maxLength" in node)
            case _:
                good = False
        if not good:
            loose.append(path)
    assert loose == []


def test_schemas_are_structural() -> None:
    for path, node in ALL_NODES:
        assert not ({"$ref", "$defs", "title", "const", "examples"} & node.keys()), path
        assert not ("properties" in node and "additionalProperties" in node), path
        assert not any(key.startswith("x-parley") for key in node), path
        for branch in [*node.get("anyOf", []), *node.get("oneOf", [])]:
            assert not (FORBIDDEN_IN_BRANCHES & branch.keys()), path


def test_lists_say_how_they_merge() -> None:
    kinds = {path: node["x-kubernetes-list-type"] for path, node in ALL_NODES if node.get("type") == "array"}
    maps = {path for path, kind in kinds.items() if kind == "map"}
    assert maps == {
        *(f"{kind}.status.conditions" for kind in CRD),
        *(f"{spec}.steps" for spec in TASK_SPECS),
        *(f"{spec}.steps[].container.env" for spec in TASK_SPECS),
        *(
            f"Agent.spec.{field}"
            for field in ("tools", "tools[].container.env", "runtime.pod.imagePullSecrets")
        ),
        *(f"Agent.spec.tools[].{kind}.headers" for kind in ("http", "mcp")),
        *(f"Session.spec.{field}" for field in ("agents", "users")),
        "Task.status.steps",
    }
    sets = {path for path, kind in kinds.items() if kind == "set"}
    assert sets == {
        "Agent.spec.builtinTools",
        "Agent.spec.tools[].mcp.toolNames",
        *(
            f"{spec}.steps[]{field}"
            for spec in TASK_SPECS
            for field in (".needs", ".wait.choices", ".retry.causes")
        ),
    }
    keys = {path: node["x-kubernetes-list-map-keys"] for path, node in ALL_NODES if path in maps}
    assert keys["Task.spec.steps"] == keys["Task.status.steps"] == ["name"]
    assert keys["Task.status.conditions"] == ["type"]
    assert keys["Agent.spec.tools"] == keys["Session.spec.agents"] == ["name"]
    assert keys["Session.spec.users"] == ["id"]
    by_path = dict(ALL_NODES)
    assert by_path["Task.status.steps[]"]["x-kubernetes-map-type"] == "atomic"


def test_only_what_is_selected_by_or_printed_has_a_stored_default() -> None:
    defaults = {path: node["default"] for path, node in ALL_NODES if "default" in node}
    statuses = {f"{kind}.status" for kind in CRD}
    assert {path: default for path, default in defaults.items() if path not in statuses} == {
        "Task.spec.desiredState": "Running",
        "Schedule.spec.taskTemplate.spec.desiredState": "Running",
        "Session.spec.desiredState": "Active",
        "Schedule.spec.timeZone": "Etc/UTC",
        "Schedule.spec.suspend": False,
    }


def test_every_field_of_a_task_but_two_is_immutable() -> None:
    spec = root("Task")["properties"]["spec"]
    immutable = {r["fieldPath"] for r in spec["x-kubernetes-validations"] if "is immutable" in r["message"]}
    assert immutable == {f".{name}" for name in spec["properties"]} - {".desiredState", ".ttlAfterFinished"}
    assert all(
        f"self.{name} == oldSelf.{name}" in json.dumps(spec["x-kubernetes-validations"])
        for name in spec["properties"].keys() - {"desiredState", "ttlAfterFinished"}
    )
    for rule in spec["x-kubernetes-validations"]:
        if "is immutable:" in rule["message"]:
            assert "Immutable." in spec["properties"][rule["fieldPath"][1:]]["description"]
            assert "delete the Task and create it again" in rule["message"]
            assert "Flux: force: true" in rule["message"]


def test_fields_are_called_immutable_where_they_are() -> None:
    said = {path for path, node in ALL_NODES if "Immutable." in node.get("description", "")}
    immutable = root("Task")["properties"]["spec"]["properties"].keys() - {"desiredState", "ttlAfterFinished"}
    reply = root("Reply")["properties"]["spec"]["properties"]
    assert said == {
        *(f"Session.spec.{name}" for name in ("agentRef", "agents", "restoreFrom")),
        *(f"Task.spec.{name}" for name in immutable),
        *(f"Reply.spec.{name}" for name in reply),
    }


def test_the_task_of_a_schedule_may_change_and_its_other_rules_are_those_of_a_task() -> None:
    scheduled = root("Schedule")["properties"]["spec"]["properties"]["taskTemplate"]["properties"]["spec"]
    own = root("Task")["properties"]["spec"]
    kept = {name: {**field, "description": ""} for name, field in own["properties"].items()}
    assert {name: {**field, "description": ""} for name, field in scheduled["properties"].items()} == kept
    assert scheduled["x-kubernetes-validations"] == [
        rule for rule in own["x-kubernetes-validations"] if "oldSelf" not in rule["rule"]
    ]


def test_every_rule_has_a_message_and_a_path_that_exists() -> None:
    for path, node in ALL_NODES:
        for rule in node.get("x-kubernetes-validations", []):
            assert rule["message"], path
            below = node
            for field in rule.get("fieldPath", "").split(".")[1:]:
                assert field in below["properties"], f"{path}: {field}"
                below = below["properties"][field]


def test_columns_and_selectable_fields_point_at_fields() -> None:
    known = {re.sub(r"\[\]|\.\*", "", path) for path, _ in ALL_NODES}
    for kind, crd in CRD.items():
        version = crd["spec"]["versions"][0]
        paths = [column["jsonPath"] for column in version["additionalPrinterColumns"]]
        paths += [field["jsonPath"] for field in version.get("selectableFields", [])]
        for path in paths:
            plain = re.sub(r"\[\?\(.*\)\]|\[[0-9*]\]", "", path)
            assert plain == ".metadata.creationTimestamp" or f"{kind}{plain}" in known, path
        assert version["additionalPrinterColumns"][-1]["name"] == "Age"


def test_a_task_prints_its_session_agent_parent_phase_progress_and_age() -> None:
    columns = CRD["Task"]["spec"]["versions"][0]["additionalPrinterColumns"]
    shown = [column["name"] for column in columns if not column.get("priority")]
    assert shown == ["Session", "Agent", "Parent", "Phase", "Progress", "Reason", "Age"]


def test_the_command_writes_the_crds_or_prints_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(tmp_path / "out")])
    assert {path.name: path.read_text() for path in (tmp_path / "out").iterdir()} == render_crds()
    assert capsys.readouterr().out.count("wrote ") == len(KINDS)
    main([])
    assert list(yaml.safe_load_all(capsys.readouterr().out)) == list(CRD.values())
    assert sorted(path.name for path in write_crds(tmp_path / "again")) == sorted(render_crds())
