"""Point 3: bad manifests are refused by the API server where it can know, else named in the object's conditions."""

from typing import Any

import pytest

from tests.bad_manifests import REFUSED, STORED
from tests.cluster import Cluster, Refused, condition
from tests.e2e.conftest import container, task
from tests.kstatus import kstatus

pytestmark = pytest.mark.cluster

SHOWN = ("a misspelt field", "two kinds in one step", "other inputs for a task that exists")


def test_what_kubectl_says_of_manifests_that_the_api_server_refuses(cluster: Cluster, namespace: str) -> None:
    chosen = [bad for bad in REFUSED if bad.what in SHOWN]
    assert len(chosen) == len(SHOWN)
    for bad in chosen:
        if (first := bad.load_first()) is not None:
            first["spec"]["desiredState"] = "Suspended"
            cluster.apply(namespace, first)
        with pytest.raises(Refused) as refused:
            cluster.apply(namespace, bad.load())
        for word in (bad.field, *bad.words):
            assert word in str(refused.value), bad.what


def test_what_only_the_operator_can_know_is_said_in_conditions(cluster: Cluster, namespace: str) -> None:
    # Given every bad manifest that the API server lets in, and a good task among them
    assert len(STORED) >= 20
    named: dict[str, dict[str, Any]] = {}
    for number, bad in enumerate(STORED):
        named[f"bad-{number}"] = bad.load() | {"metadata": {"name": f"bad-{number}"}}
    objects = list(named.values())
    good = task("good", steps=[{"name": "only", "container": container("true")}])
    cluster.apply(namespace, *objects[: len(objects) // 2], good, *objects[len(objects) // 2 :])

    # When the operator has seen them, then each says the field and what is wrong there
    for number, bad in enumerate(STORED):
        name = f"bad-{number}"
        kind = str(named[name]["kind"]).lower()

        def stalled(kind: str = kind, name: str = name) -> dict[str, Any] | None:
            found = cluster.get(kind, namespace, name)
            return found if found and condition(found, "Stalled").get("status") == "True" else None

        found = cluster.wait(f"{kind} {name} ({bad.what}) is stalled", namespace, stalled)
        assert kstatus(found).status == "Failed", bad.what
        for kind_of in ("Stalled", "Ready"):
            verdict = condition(found, kind_of)
            assert verdict["reason"] == "InvalidSpec", bad.what
            for word in (bad.field, *bad.words):
                assert word in verdict["message"], bad.what
        if kind == "task":
            assert found["status"]["phase"] == "Failed", bad.what

    # And nothing of them ran, and the good one did
    assert cluster.wait_task(namespace, "good")["status"]["phase"] == "Succeeded"
    jobs = cluster.list("job", namespace)
    assert {job["metadata"]["labels"]["parley.dev/task"] for job in jobs} == {"good"}


def test_a_spec_without_a_bottom_stops_nobody(cluster: Cluster, namespace: str) -> None:
    # Given inputs as deep as the API server takes them
    levels = 9000
    body = '{"apiVersion":"parley.dev/v1alpha1","kind":"Task","metadata":{"name":"deep"},"spec":{"steps":'
    body += (
        '[{"name":"only","container":{"image":"parley:dev"}}],"inputs":'
        + '{"a":' * levels
        + "1"
        + "}" * levels
        + "}}"
    )
    answer = cluster.request(
        "POST",
        f"/apis/parley.dev/v1alpha1/namespaces/{namespace}/tasks",
        content=body,
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 201, answer.text[:500]
    try:
        # Then it is refused in words, and tasks made after it run
        cluster.apply(namespace, task("good", steps=[{"name": "only", "container": container("true")}]))
        cluster.kubectl(
            "wait", "-n", namespace, "task/deep", "--for=condition=Stalled", "--timeout=240s", "-o=name"
        )
        said = cluster.kubectl(
            "get", "-n", namespace, "task/deep", "-o=jsonpath={.status.conditions[?(@.type=='Stalled')]}"
        )
        assert "InvalidSpec" in said
        assert "spec.inputs: is nested deeper than 64 levels" in said
        assert cluster.wait_task(namespace, "good")["status"]["phase"] == "Succeeded"
    finally:
        cluster.delete("task", namespace, "deep")
