"""The Jobs that are made, whole: golden files that a reader can judge.

After a wanted change: ``PARLEY_UPDATE_GOLDEN=1 pytest tests/unit/controller/test_job_builder.py``, then read the diff.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from parley.controller.job_builder import ContainerWorkload, JobOwner, Round, RunnerWorkload, build_job
from parley.controller.pod_builder import Gateway
from parley.controller.pod_view import controlling_job, read_job
from parley.engine.names import job_name
from parley.protocol.messages import RUNNER_LIFE_SECONDS
from parley.protocol.model_keys import model_key_variable
from parley.resources.common import SecretKeyRef
from parley.resources.runtime import RunnerPod

from tests.pod_security import restricted_violations

GOLDEN = Path(__file__).parent / "golden"
OWNER = JobOwner(namespace="team", name="refund-12345", uid="0b5e36a4-6ddd-4e0a-9d39-3d2f5f6c2a11")
LONGEST = JobOwner(namespace="team", name="t" * 52, uid=OWNER.uid)
GATEWAY = Gateway(image="parley:1", url="http://parley-gateway.parley-system.svc:8080", store_id="s-1")
RUNNER = RunnerWorkload(gateway=GATEWAY)
KEY = SecretKeyRef(name="openai", key="api-key")
SPARE = SecretKeyRef(name="anthropic", key="api-key")
POD = RunnerPod.model_validate(
    {
        "serviceAccountName": "support",
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
        "nodeSelector": {"pool": "models"},
        "labels": {"team": "desk"},
        "annotations": {"example.com/note": "slow"},
    }
)
SCORE = ContainerWorkload(image="ghcr.io/acme/score:1", gateway=GATEWAY)
CASES: dict[str, tuple[JobOwner, RunnerWorkload | ContainerWorkload, str]] = {
    "runner": (OWNER, RUNNER, "classify"),
    "runner-with-key": (OWNER, replace(RUNNER, api_keys=[KEY]), "classify"),
    "runner-with-keys": (OWNER, replace(RUNNER, api_keys=[SPARE, KEY]), "classify"),
    "runner-round": (OWNER, RUNNER, "classify"),
    "runner-with-pod-settings": (OWNER, replace(RUNNER, pod=POD), "classify"),
    "runner-of-a-task": (OWNER, replace(RUNNER, stays="with its task", api_keys=[KEY]), "classify"),
    "container": (OWNER, SCORE, "score"),
    "container-with-everything": (
        OWNER,
        replace(
            SCORE,
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
    "container-with-input-file": (OWNER, replace(SCORE, input_file=True), "score"),
    "container-with-output-file": (OWNER, replace(SCORE, output_file=True), "score"),
    "container-with-both-files": (OWNER, replace(SCORE, input_file=True, output_file=True), "score"),
    "longest-names": (LONGEST, ContainerWorkload(image="i"), "s" * 63),
}
ROUNDS = {"runner-round": Round(items=25, parallelism=10)}
FILES = [case for case in CASES if "file" in case]


def build(case: str) -> dict[str, Any]:
    owner, workload, step = CASES[case]
    name = job_name(owner.name, owner.uid, step, -1, 2)
    round_ = ROUNDS.get(case)
    return build_job(owner, workload, name=name, step=step, number=2, timeout_seconds=300, round_=round_)


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
    assert [token["audience"] for token in tokens] == (
        ["parley"] if case.startswith("runner") or case in FILES else []
    )


@pytest.mark.parametrize("case", CASES)
def test_a_job_never_replaces_its_pod(case: str) -> None:
    """Every further run is an attempt of the operator's."""
    spec = build(case)["spec"]

    limit = "backoffLimitPerIndex" if case in ROUNDS else "backoffLimit"
    assert (spec[limit], spec["podReplacementPolicy"]) == (0, "Failed")
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    action = "FailIndex" if case in ROUNDS else "FailJob"
    assert {rule["action"] for rule in spec["podFailurePolicy"]["rules"]} == {action}


@pytest.mark.parametrize("case", CASES)
def test_the_jobs_own_deadline_comes_well_after_the_steps(case: str) -> None:
    net = 300 + 15 * 60
    turns = {"runner-round": 3 * net, "runner-of-a-task": RUNNER_LIFE_SECONDS + net}

    assert build(case)["spec"]["activeDeadlineSeconds"] == turns.get(case, net)


def test_in_a_round_no_item_ends_another() -> None:
    spec = build("runner-round")["spec"]

    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 25, 10)
    # A limit of the Job's would end it, with all its pods, at the first item that fails.
    assert "backoffLimit" not in spec
    assert "maxFailedIndexes" not in spec
    assert spec["template"]["spec"]["activeDeadlineSeconds"] == 300 + 15 * 60


def test_a_round_of_few_items_asks_for_no_more_pods() -> None:
    job: Any = build_job(
        OWNER,
        RUNNER,
        name="j",
        step="s",
        number=1,
        timeout_seconds=60,
        round_=Round(items=2, parallelism=10),
    )

    assert (job["spec"]["completions"], job["spec"]["parallelism"]) == (2, 2)
    assert job["spec"]["activeDeadlineSeconds"] == 60 + 15 * 60


def test_a_runner_that_stays_is_marked_for_the_gateway() -> None:
    assert build("runner-of-a-task")["metadata"]["labels"]["parley.dev/runtime"] == "task"
    assert "parley.dev/runtime" not in build("runner")["metadata"]["labels"]
    (container,) = pod_of(build("runner-of-a-task"))["containers"]
    assert container["command"] == ["parley-runner", "serve"]


@pytest.mark.parametrize("case", FILES)
def test_the_users_container_sees_no_token(case: str) -> None:
    pod = pod_of(build(case))
    (step,) = pod["containers"]

    assert step["name"] == "step"
    assert "token" not in [mount["name"] for mount in step["volumeMounts"]]
    for beside in pod["initContainers"]:
        assert beside["image"] == GATEWAY.image
        assert "token" in [mount["name"] for mount in beside["volumeMounts"]]
        # Nor can it touch what they keep for themselves.
        assert "tmp" not in [mount["name"] for mount in beside["volumeMounts"]]


def test_files_are_shared_by_those_who_need_them() -> None:
    pod = pod_of(build("container-with-both-files"))

    mounts = {
        container["name"]: mount.get("readOnly", False)
        for container in [*pod["initContainers"], *pod["containers"]]
        for mount in container["volumeMounts"]
        if mount["mountPath"] == "/parley"
    }
    assert mounts == {"input": False, "output": True, "step": False}
    (only,) = pod_of(build("container-with-input-file"))["containers"]
    assert {"name": "files", "mountPath": "/parley", "readOnly": True} in only["volumeMounts"]


def test_the_uploader_handles_signals_before_the_container_starts_and_has_time_after_it() -> None:
    pod = pod_of(build("container-with-output-file"))
    (uploader,) = pod["initContainers"]

    assert uploader["restartPolicy"] == "Always"
    assert "/tmp/ready" in uploader["lifecycle"]["postStart"]["exec"]["command"][-1]
    assert pod["terminationGracePeriodSeconds"] == 240
    assert pod_of(build("container-with-input-file"))["terminationGracePeriodSeconds"] == 30


@pytest.mark.parametrize("case", CASES)
def test_each_directory_and_each_container_of_ours_has_a_limit(case: str) -> None:
    pod = pod_of(build(case))

    assert all("sizeLimit" in volume["emptyDir"] for volume in pod["volumes"] if "emptyDir" in volume)
    ours = [*pod.get("initContainers", []), *(pod["containers"] if case.startswith("runner") else [])]
    for container in ours:
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("case", CASES)
def test_names_and_labels_are_what_the_api_server_takes(case: str) -> None:
    job = build(case)
    metadata, template = job["metadata"], job["spec"]["template"]["metadata"]

    assert len(metadata["name"]) <= 63
    assert all(len(value) <= 63 for value in metadata["labels"].values())
    assert metadata["labels"].items() <= template["labels"].items(), "they are watched by the same labels"
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
    (container,) = pod_of(build("runner-with-keys"))["containers"]

    keys = [variable for variable in container["env"] if "valueFrom" in variable]
    assert keys == [
        {
            "name": model_key_variable(each),
            "valueFrom": {"secretKeyRef": {"name": each.name, "key": each.key}},
        }
        for each in (SPARE, KEY)
    ]
    assert len({variable["name"] for variable in keys}) == 2


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
