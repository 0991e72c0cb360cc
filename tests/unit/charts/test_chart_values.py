"""The values of the chart parley: which are refused, and what the two kinds of database make of it."""

import base64
import json
import tomllib

import pytest
import yaml

from tests.unit.charts.rendering import (
    ALL_SETTINGS,
    BUNDLED,
    CHART,
    EVERYTHING,
    EXTERNAL,
    ROOT,
    Manifest,
    environment,
    helm,
    named,
    of_kind,
    pod_templates,
    render,
    sets,
)


def test_the_bench_of_settings_renders_every_template() -> None:
    rendered = {
        line.removeprefix("# Source: parley/")
        for settings in (EXTERNAL, EVERYTHING)
        for line in render(settings).splitlines()
        if line.startswith("# Source: ")
    }
    shipped = {str(path.relative_to(CHART)) for path in (CHART / "templates").rglob("*.yaml")}
    assert rendered == shipped


@pytest.mark.parametrize("settings", ALL_SETTINGS)
def test_helm_lint_finds_nothing(settings: tuple[str, ...]) -> None:
    linted = helm("lint", "--strict", CHART, *sets(settings))
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_a_database_of_your_own_is_migrated_before_anything_is_touched() -> None:
    job = named("Job", "parley-migrate")
    assert job["metadata"]["annotations"] == {
        "helm.sh/hook": "pre-install,pre-upgrade",
        "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded",
    }
    spec = job["spec"]["template"]["spec"]
    assert spec["containers"][0]["command"] == ["parley-migrate"]
    # Nothing of the release exists yet when a hook runs.
    assert spec["serviceAccountName"] == "default"
    assert job["spec"]["activeDeadlineSeconds"] > 0
    assert of_kind("StatefulSet") == []
    assert of_kind("Secret") == []


def test_the_bundled_database_is_migrated_while_the_release_starts() -> None:
    job = named("Job", "parley-migrate-1", BUNDLED)
    assert "annotations" not in job["metadata"]
    secret = named("Secret", "parley-postgres", BUNDLED)
    url = base64.b64decode(secret["data"]["url"]).decode()
    password = base64.b64decode(secret["data"]["password"]).decode()
    assert len(password) == 32
    assert url == f"postgresql://parley:{password}@parley-postgres.parley-system.svc:5432/parley"
    for _, template in pod_templates(BUNDLED):
        container = template["spec"]["containers"][0]
        if container["name"] != "postgres":
            reference = environment(container)["PARLEY_DATABASE_URL"]
            assert reference == {"secretKeyRef": {"name": "parley-postgres", "key": "url"}}
    postgres = named("StatefulSet", "parley-postgres", BUNDLED)["spec"]["template"]["spec"]["containers"][0]
    mounts = [mount["mountPath"] for mount in postgres["volumeMounts"]]
    assert environment(postgres)["PGDATA"].startswith(mounts[0] + "/")


@pytest.mark.parametrize(
    ("settings", "keeps"),
    [
        ((), True),
        (("postgres.persistence.whenDeleted=Delete",), False),
        (("postgres.persistence.enabled=false",), False),
    ],
)
def test_the_password_lives_as_long_as_the_volume(settings: tuple[str, ...], keeps: bool) -> None:
    secret = named("Secret", "parley-postgres", (*BUNDLED, *settings))
    kept = secret["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"
    assert kept is keeps
    spec = named("StatefulSet", "parley-postgres", (*BUNDLED, *settings))["spec"]
    retention = spec.get("persistentVolumeClaimRetentionPolicy", {}).get("whenDeleted", "Delete")
    assert (retention == "Retain") is keeps


@pytest.mark.parametrize(
    ("settings", "answer"),
    [
        ((), "there is no database: set database.urlSecretRef.name"),
        ((*EXTERNAL, *BUNDLED), "set either database.urlSecretRef.name or postgres.bundled=true, not both"),
        ((*EXTERNAL, "operator.replicas=two"), "/operator/replicas': got string, want integer"),
        ((*EXTERNAL, "operator.replica=2"), "/operator': additional properties 'replica' not allowed"),
        ((*EXTERNAL, "gateway.replicas=-1"), "/gateway/replicas'"),
        ((*EXTERNAL, "image.pullPolicy=Sometimes"), "/image/pullPolicy'"),
        ((*EXTERNAL, "image.repository="), "/image/repository'"),
        ((*EXTERNAL, "databse.url=x"), "additional properties 'databse' not allowed"),
        ((*EXTERNAL, "logs.keepBytes=-1"), "/logs/keepBytes'"),
        ((*EXTERNAL, "logs.keepBytes=2000000"), "/logs/keepBytes'"),
        ((*EXTERNAL, "limits.maxTasksPerNamespace=ten"), "/limits/maxTasksPerNamespace'"),
        ((*EXTERNAL, "retention.tasks=90d"), "/retention/tasks'"),
        ((*EXTERNAL, "retention.tasks=30m"), "/retention/tasks'"),
        ((*EXTERNAL, "watchNamespaces={Shop}"), "/watchNamespaces/0'"),
        ((*EXTERNAL, "watchNamespaces={shop,shop}"), "/watchNamespaces'"),
        ((*BUNDLED, "postgres.runAsUser=0"), "/postgres/runAsUser'"),
        ((*BUNDLED, "postgres.persistence.whenDeleted=Maybe"), "/postgres/persistence/whenDeleted'"),
        ((*BUNDLED, "postgres.persistence.size=big"), "/postgres/persistence/size'"),
    ],
)
def test_wrong_values_are_refused_by_name(settings: tuple[str, ...], answer: str) -> None:
    rendered = helm("template", "parley", CHART, *sets(settings))
    assert rendered.returncode != 0, rendered.stdout
    assert answer in rendered.stderr


def test_every_value_is_in_the_schema_and_described() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    text = (CHART / "values.yaml").read_text()
    values = yaml.safe_load(text)

    def check(value: object, part: Manifest, path: str) -> None:
        part = schema["definitions"][part["$ref"].rsplit("/", 1)[-1]] if "$ref" in part else part
        if isinstance(value, dict) and "properties" in part:
            assert part["additionalProperties"] is False, path
            for key, inner in value.items():
                assert key in part["properties"], f"{path}.{key} is not in values.schema.json"
                check(inner, part["properties"][key], f"{path}.{key}")

    check(values, schema, "")
    for key in values:
        assert f"\n{key}:" in text


def test_the_charts_version_is_the_programs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for chart in ("parley", "parley-crds"):
        metadata = yaml.safe_load((ROOT / "charts" / chart / "Chart.yaml").read_text())
        assert (metadata["version"], metadata["appVersion"]) == (project["version"], project["version"]), (
            chart
        )


@pytest.mark.parametrize("settings", ALL_SETTINGS)
def test_the_notes_say_what_to_do_next(settings: tuple[str, ...]) -> None:
    shown = helm(
        "install", "parley", CHART, "--dry-run=client", "--namespace", "parley-system", *sets(settings)
    )
    assert shown.returncode == 0, shown.stderr
    notes = shown.stdout.split("NOTES:")[1]
    assert "The kinds are missing: nothing happens before the chart parley-crds is installed" in notes
    documents = [line for line in notes.split("EOF")[1].splitlines() if line != "'"]
    applied = list(yaml.safe_load_all("\n".join(line.removeprefix("  ") for line in documents)))
    assert [document["kind"] for document in applied] == ["Agent", "Session", "Task"]
    assert ("Postgres" in notes) == ("postgres.bundled=true" in settings)
