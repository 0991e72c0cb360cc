"""The Jobs that are made, whole: golden files that a reader can judge.

After a wanted change: ``PARLEY_UPDATE_GOLDEN=1 pytest tests/unit/controller/test_job_builder.py``, then read the diff.
"""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from parley.controller.job_builder import ContainerWorkload, JobOwner, RunnerWorkload, build_job
from parley.controller.pod_view import controlling_job, read_job
from parley.engine.names import job_name

from tests.pod_security import restricted_violations

GOLDEN = Path(__file__).parent / "golden"
OWNER = JobOwner(namespace="team", name="refund-12345", uid="0b5e36a4-6ddd-4e0a-9d39-3d2f5f6c2a11")
LONGEST = JobOwner(namespace="team", name="t" * 52, uid=OWNER.uid)
RUNNER = RunnerWorkload(
    image="parley:1", gateway_url="http://parley-gateway.parley-system.svc:8080", store_id="s-1"
)
CASES: dict[str, tuple[JobOwner, RunnerWorkload | ContainerWorkload, str]] = {
    "runner": (OWNER, RUNNER, "classify"),
    "runner-with-key": (
        OWNER,
        RunnerWorkload(
            image=RUNNER.image,
            gateway_url=RUNNER.gateway_url,
            store_id=RUNNER.store_id,
            api_key=("openai", "api-key"),
        ),
        "classify",
    ),
    "container": (OWNER, ContainerWorkload(image="ghcr.io/acme/score:1"), "score"),
    "container-with-everything": (
        OWNER,
        ContainerWorkload(
            image="ghcr.io/acme/score:1",
            command=["score", "--json"],
            args=["12345", ""],
            env=[
                {"name": "ORDER", "value": "12345"},
                {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "shop", "key": "token"}}},
                {"name": "REGION", "valueFrom": {"configMapKeyRef": {"name": "shop", "key": "region"}}},
            ],
            resources={"requests": {"cpu": "100m"}, "limits": {"memory": "256Mi"}},
            image_pull_policy="Always",
        ),
        "score",
    ),
    "longest-names": (LONGEST, ContainerWorkload(image="i"), "s" * 63),
}


def build(case: str) -> dict[str, Any]:
    owner, workload, step = CASES[case]
    name = job_name(owner.name, owner.uid, step, -1, 2)
    return build_job(owner, workload, name=name, step=step, number=2, timeout_seconds=300)


def pod_of(job: dict[str, Any]) -> dict[str, Any]:
    return job["spec"]["template"]["spec"]


@pytest.mark.parametrize("case", CASES)
def test_the_job_is_as_agreed(case: str) -> None:
    path = GOLDEN / f"{case}.yaml"
    made = yaml.safe_dump(build(case), sort_keys=False, width=110)
    if os.environ.get("PARLEY_UPDATE_GOLDEN"):
        path.write_text(made)

    assert path.exists(), f"{path.name} is missing: see the module's docstring"
    assert yaml.safe_load(path.read_text()) == build(case)
    assert path.read_text() == made, "the file differs in form only: write it anew"


def test_each_golden_file_has_a_case() -> None:
    assert {path.stem for path in GOLDEN.glob("*.yaml")} == set(CASES)


@pytest.mark.parametrize("case", CASES)
def test_its_pod_meets_pod_securitys_restricted_profile(case: str) -> None:
    assert restricted_violations(pod_of(build(case))) == []


@pytest.mark.parametrize("case", CASES)
def test_no_pod_has_the_kubernetes_api_token(case: str) -> None:
    pod = pod_of(build(case))

    assert pod["automountServiceAccountToken"] is False
    tokens = [
        source["serviceAccountToken"]
        for volume in pod["volumes"]
        for source in volume.get("projected", {}).get("sources", [])
    ]
    assert [token["audience"] for token in tokens] == (["parley"] if case.startswith("runner") else [])


@pytest.mark.parametrize("case", CASES)
def test_a_job_never_replaces_its_pod(case: str) -> None:
    """Every further run is an attempt of the operator's."""
    spec = build(case)["spec"]

    assert (spec["backoffLimit"], spec["podReplacementPolicy"]) == (0, "Failed")
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert {rule["action"] for rule in spec["podFailurePolicy"]["rules"]} == {"FailJob"}


@pytest.mark.parametrize("case", CASES)
def test_the_jobs_own_deadline_comes_well_after_the_steps(case: str) -> None:
    assert build(case)["spec"]["activeDeadlineSeconds"] == 300 + 15 * 60


@pytest.mark.parametrize("case", CASES)
def test_names_and_labels_are_what_the_api_server_takes(case: str) -> None:
    job = build(case)
    metadata, template = job["metadata"], job["spec"]["template"]["metadata"]

    assert len(metadata["name"]) <= 63
    assert all(len(value) <= 63 for value in metadata["labels"].values())
    assert metadata["labels"] == template["labels"], "Jobs and pods are watched by the same labels"
    assert metadata["labels"]["app.kubernetes.io/component"] == (
        "runner" if case.startswith("runner") else "step"
    )


def test_labels_and_environment_are_not_shared_between_objects() -> None:
    """Whoever changes one must not change the other."""
    job = build("container-with-everything")

    job["metadata"]["labels"]["x"] = "y"
    pod_of(job)["containers"][0]["env"][0]["value"] = "changed"

    assert "x" not in job["spec"]["template"]["metadata"]["labels"]
    assert build("container-with-everything")["spec"] != job["spec"]


def test_secrets_go_by_reference() -> None:
    (container,) = pod_of(build("runner-with-key"))["containers"]

    keys = [variable for variable in container["env"] if variable["name"] == "PARLEY_MODEL_API_KEY"]
    assert keys == [
        {"name": "PARLEY_MODEL_API_KEY", "valueFrom": {"secretKeyRef": {"name": "openai", "key": "api-key"}}}
    ]


def test_what_is_built_is_what_is_read_back() -> None:
    job = build("container")
    job["metadata"]["uid"] = "job-uid"
    pod = {
        "metadata": {
            "ownerReferences": [{"kind": "Job", "name": job["metadata"]["name"], "controller": True}]
        }
    }

    assert read_job(job).name == job["metadata"]["name"] == controlling_job(pod)
    assert not read_job(job).ended


def test_kubernetes_expands_nothing_in_rendered_values() -> None:
    """A value from a model or a user that says ``$(TOKEN)`` must not be given the variable."""
    workload = ContainerWorkload(
        image="i", command=["echo"], args=["$(TOKEN) costs $5"], env=[{"name": "ORDER", "value": "$(TOKEN)"}]
    )

    job: Any = build_job(OWNER, workload, name="j", step="s", number=1, timeout_seconds=300)

    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["$$(TOKEN) costs $$5"]
    assert container["env"] == [{"name": "ORDER", "value": "$$(TOKEN)"}]
