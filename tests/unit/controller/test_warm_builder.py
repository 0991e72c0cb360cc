"""The Deployments of warm runners, whole: golden files that a reader can judge.

After a wanted change: ``PARLEY_UPDATE_GOLDEN=1 pytest tests/unit/controller/test_warm_builder.py``, then read the diff.
"""

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from parley.controller.settings import Settings
from parley.controller.warm_builder import WarmOwner, build_deployment, deployment_name, in_pool
from parley.controller.warm_runners import agent_of_deployment, agent_uid_of_pod, pool_of_pod, read_deployment
from parley.controller.workloads import warm_workload
from parley.resources.agent import AgentSpec
from parley.resources.common import DNS_LABEL

from tests.pod_security import restricted_violations

GOLDEN = Path(__file__).parent / "golden" / "warm"
OWNER = WarmOwner(
    cluster="3f0c", namespace="team", name="support", uid="0b5e36a4-6ddd-4e0a-9d39-3d2f5f6c2a11"
)
LONGEST = replace(OWNER, name="support.of.shop." + "a" * 230)
SETTINGS = Settings(
    database_url="",
    namespace="parley-system",
    identity="operator-0",
    install="parley",
    runner_image="parley:1",
    gateway_url="http://parley-gateway.parley-system.svc:8080",
    watch_namespaces=(),
    http_port=0,
    workers=1,
)
KEY = {"name": "openai", "key": "api-key"}


def tool(name: str, secret: str) -> dict[str, Any]:
    token = {"name": "Authorization", "valueFrom": {"secretKeyRef": {"name": secret, "key": "token"}}}
    return {
        "name": name,
        "description": "Look it up.",
        "parameters": {"type": "object"},
        "http": {"url": "http://orders/", "headers": [token]},
    }


PLAIN: dict[str, Any] = {"model": {"provider": "OpenAI", "name": "m"}, "runtime": {"mode": "Warm"}}
WITH_SECRETS: dict[str, Any] = {
    **PLAIN,
    "model": {**PLAIN["model"], "apiKeySecretRef": KEY},
    "tools": [tool("orders", "orders"), tool("letters", "letters")],
}
WITH_PODS: dict[str, Any] = {
    **PLAIN,
    "runtime": {
        "mode": "Warm",
        "warm": {"replicas": 3, "concurrency": 20, "idleTimeout": "30s"},
        "pod": {
            "serviceAccountName": "support",
            "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "2Gi"}},
            "nodeSelector": {"pool": "models"},
            "tolerations": [{"key": "models", "operator": "Exists", "effect": "NoSchedule"}],
            "labels": {"team": "desk"},
            "annotations": {"example.com/note": "warm"},
            "imagePullSecrets": [{"name": "registry"}],
            "runtimeClassName": "gvisor",
            "priorityClassName": "high",
        },
    },
}
CASES: dict[str, tuple[WarmOwner, dict[str, Any], int]] = {
    "plain": (OWNER, PLAIN, 1),
    "with-secrets": (OWNER, WITH_SECRETS, 1),
    "with-everything-of-its-pods": (OWNER, WITH_PODS, 3),
    "idle": (OWNER, PLAIN, 0),
    "longest-names": (LONGEST, PLAIN, 1),
}


def build(case: str) -> dict[str, Any]:
    owner, spec, replicas = CASES[case]
    workload = in_pool(owner, warm_workload(AgentSpec.model_validate(spec), SETTINGS, "s-1"))
    return build_deployment(owner, workload, replicas)


def pool(
    spec: dict[str, Any], owner: WarmOwner = OWNER, settings: Settings = SETTINGS, store: str = "s-1"
) -> str:
    return in_pool(owner, warm_workload(AgentSpec.model_validate(spec), settings, store)).pool


@pytest.mark.parametrize("case", CASES)
def test_the_deployment_is_as_agreed(case: str) -> None:
    path = GOLDEN / f"{case}.yaml"
    made = yaml.dump(build(case), Dumper=_NoAliases, sort_keys=False, width=110)
    if os.environ.get("PARLEY_UPDATE_GOLDEN"):
        path.write_text(made)

    assert path.exists(), f"{path.name} is missing: see the module's docstring"
    assert path.read_text() == made


def test_each_golden_file_has_a_case() -> None:
    assert {path.stem for path in GOLDEN.glob("*.yaml")} == set(CASES)


@pytest.mark.parametrize("case", CASES)
def test_its_pods_are_restricted_and_have_no_token_but_the_gateways(case: str) -> None:
    pod = build(case)["spec"]["template"]["spec"]

    assert restricted_violations(pod) == []
    assert pod["automountServiceAccountToken"] is False
    sources = [s for v in pod["volumes"] for s in v.get("projected", {}).get("sources", [])]
    assert [s["serviceAccountToken"]["audience"] for s in sources] == ["parley"]


@pytest.mark.parametrize("case", CASES)
def test_what_was_built_is_read_back(case: str) -> None:
    owner, _, replicas = CASES[case]
    made = build(case)
    made["metadata"] |= {"uid": "d-1", "resourceVersion": "7"}

    seen, pod = read_deployment(made), made["spec"]["template"]
    assert (seen.name, seen.replicas, seen.ready) == (deployment_name(owner), replicas, 0)
    assert agent_of_deployment(made) == (owner.name, owner.uid)
    assert (agent_uid_of_pod(pod), pool_of_pod(pod)) == (owner.uid, seen.pool)
    selector = made["spec"]["selector"]["matchLabels"]
    assert selector.items() <= pod["metadata"]["labels"].items()


@pytest.mark.parametrize("case", CASES)
def test_names_and_labels_are_such_as_kubernetes_takes(case: str) -> None:
    made = build(case)
    labels = made["spec"]["template"]["metadata"]["labels"]

    # The ReplicaSet and the pod add 17 characters to the Deployment's name.
    assert len(made["metadata"]["name"]) <= 63
    for name in (made["metadata"]["name"], labels["parley.dev/pool"]):
        assert re.fullmatch(DNS_LABEL, name), name
    assert all(len(value) <= 63 for value in labels.values())


CHANGES: dict[str, dict[str, Any]] = {
    "another key of the model": {**PLAIN, "model": {**PLAIN["model"], "apiKeySecretRef": KEY}},
    "a tool with a Secret": {**PLAIN, "tools": [tool("orders", "orders")]},
    "more attempts at a time": {**PLAIN, "runtime": {"warm": {"concurrency": 3}}},
    "more memory": {**PLAIN, "runtime": {"pod": {"resources": {"limits": {"memory": "2Gi"}}}}},
    "another node": {**PLAIN, "runtime": {"pod": {"nodeSelector": {"pool": "models"}}}},
}
NO_CHANGES: dict[str, dict[str, Any]] = {
    "instructions": {**PLAIN, "instructions": "Be brief."},
    "another model": {**PLAIN, "model": {**PLAIN["model"], "name": "other"}},
    "more pods": {**PLAIN, "runtime": {"mode": "Warm", "warm": {"replicas": 5, "idleTimeout": "1h"}}},
    "the mode": {**PLAIN, "runtime": {"mode": "Job"}},
    "a tool without a Secret": {
        **PLAIN,
        "tools": [{**tool("orders", "orders"), "http": {"url": "http://orders/"}}],
    },
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_its_pods_are_given_makes_another_pool(what: str) -> None:
    assert pool(CHANGES[what]) != pool(PLAIN)


@pytest.mark.parametrize("what", NO_CHANGES)
def test_what_each_attempt_carries_itself_makes_none(what: str) -> None:
    assert pool(NO_CHANGES[what]) == pool(PLAIN)


def test_the_order_of_tools_makes_no_other_pool() -> None:
    turned = {**WITH_SECRETS, "tools": WITH_SECRETS["tools"][::-1]}

    assert pool(turned) == pool(WITH_SECRETS)


def test_a_pool_is_of_one_agent_cluster_store_and_image() -> None:
    pools = {
        pool(PLAIN),
        pool(PLAIN, replace(OWNER, uid="another")),
        pool(PLAIN, replace(OWNER, cluster="another")),
        pool(PLAIN, store="another"),
        pool(PLAIN, settings=replace(SETTINGS, runner_image="parley:2")),
        pool(PLAIN, settings=replace(SETTINGS, gateway_url="http://another")),
    }

    assert len(pools) == 6


class _NoAliases(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        return True
