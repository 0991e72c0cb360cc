"""The pods of the chart parley: what they are, what they are told, how they are replaced."""

import pytest

from tests.unit.charts.rendering import (
    ALL_SETTINGS,
    EXTERNAL,
    SIGNING,
    environment,
    manifests,
    named,
    of_kind,
    pod_templates,
)


@pytest.mark.parametrize("settings", ALL_SETTINGS)
def test_every_pod_is_restricted_and_bounded(settings: tuple[str, ...]) -> None:
    seen = 0
    for what, template in pod_templates(settings):
        spec = template["spec"]
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True, what
        assert security["runAsUser"] > 0, what
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, what
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & spec.keys(), what
        assert {next(iter(volume.keys() - {"name"})) for volume in spec["volumes"]} <= {"emptyDir"}, what
        assert spec["enableServiceLinks"] is False, what
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, what
            assert container["imagePullPolicy"] == "IfNotPresent", what
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), what
            assert "memory" in container["resources"]["limits"], what
            assert "hostPort" not in str(container.get("ports")), what
            seen += 1
    assert seen >= 3


@pytest.mark.parametrize("settings", ALL_SETTINGS)
def test_everything_is_labelled_and_selectors_find_the_pods(settings: tuple[str, ...]) -> None:
    templates = [template["metadata"]["labels"] for _, template in pod_templates(settings)]
    for manifest in manifests(settings):
        labels = manifest["metadata"]["labels"]
        what = f"{manifest['kind']} {manifest['metadata']['name']}"
        assert labels["app.kubernetes.io/name"] == "parley", what
        assert labels["app.kubernetes.io/instance"] == "parley", what
        assert labels["app.kubernetes.io/managed-by"] == "Helm", what
        spec = manifest.get("spec", {})
        if manifest["kind"] in {"Deployment", "StatefulSet"}:
            selector = spec["selector"]["matchLabels"]
            assert selector.items() <= spec["template"]["metadata"]["labels"].items(), what
            assert selector.keys() == {
                f"app.kubernetes.io/{key}" for key in ("name", "instance", "component")
            }, what
            assert "app.kubernetes.io/version" not in selector, what
        if manifest["kind"] in {"Service", "PodDisruptionBudget"}:
            selector = spec["selector"] if manifest["kind"] == "Service" else spec["selector"]["matchLabels"]
            matching = [template for template in templates if selector.items() <= template.items()]
            assert len(matching) == 1, what
            assert labels.items() <= matching[0].items(), f"{what} and its pods carry the same labels"


def test_components_are_operator_gateway_and_migration() -> None:
    components = [
        template["metadata"]["labels"]["app.kubernetes.io/component"]
        for _, template in pod_templates(EXTERNAL)
    ]
    assert sorted(components) == ["gateway", "migration", "operator"]


def test_the_operator_is_told_what_it_needs() -> None:
    spec = named("Deployment", "parley-operator")["spec"]
    container = spec["template"]["spec"]["containers"][0]
    assert environment(container) == {
        "PARLEY_DATABASE_URL": {"secretKeyRef": {"name": "parley-database", "key": "url"}},
        "PARLEY_NAMESPACE": {"fieldRef": {"fieldPath": "metadata.namespace"}},
        "PARLEY_POD_NAME": {"fieldRef": {"fieldPath": "metadata.name"}},
        "PARLEY_INSTALL": "parley",
        "PARLEY_RUNNER_IMAGE": "parley:0.1.0",
        "PARLEY_GATEWAY_URL": "http://parley-gateway.parley-system.svc:8080",
        "PARLEY_WATCH_NAMESPACES": "",
        "PARLEY_LOG_BYTES": "16384",
        "PARLEY_MAX_TASKS_PER_NAMESPACE": "0",
        "PARLEY_TASK_RETENTION": "2160h",
        "PARLEY_HTTP_PORT": "8081",
    }
    assert container["command"] == ["parley-operator"]
    assert (container["image"], spec["replicas"]) == ("parley:0.1.0", 2)
    service = named("Service", "parley-gateway")
    assert [port["port"] for port in service["spec"]["ports"]] == [8080]


def test_limits_reach_the_operator_as_whole_numbers() -> None:
    settings = (*EXTERNAL, "logs.keepBytes=1048576", "limits.maxTasksPerNamespace=2000000")
    container = named("Deployment", "parley-operator", settings)["spec"]["template"]["spec"]["containers"][0]
    told = environment(container)
    assert (told["PARLEY_LOG_BYTES"], told["PARLEY_MAX_TASKS_PER_NAMESPACE"]) == ("1048576", "2000000")


def test_names_follow_the_release() -> None:
    container = named("Deployment", "desk-parley-operator", release="desk", namespace="one")["spec"][
        "template"
    ]["spec"]["containers"][0]
    assert environment(container)["PARLEY_GATEWAY_URL"] == "http://desk-parley-gateway.one.svc:8080"
    assert environment(container)["PARLEY_INSTALL"] == "desk"
    named("Service", "desk-parley-gateway", release="desk", namespace="one")
    # Two releases that share nothing but their name and the cluster meet nowhere …
    restricted = (*EXTERNAL, "watchNamespaces={shop}")

    def of_the_cluster(settings: tuple[str, ...], namespace: str) -> set[str]:
        return {
            f"{manifest['kind']} {manifest['metadata']['name']}"
            for manifest in manifests((*settings, SIGNING[-1]), namespace=namespace)
            if "namespace" not in manifest["metadata"]
        }

    assert not of_the_cluster(restricted, "one") & of_the_cluster(restricted, "two")
    # … and two that would serve the same tasks meet, so that Helm refuses the second.
    assert of_the_cluster(EXTERNAL, "one") == of_the_cluster(EXTERNAL, "two")


@pytest.mark.parametrize("name", ["parley-operator", "parley-gateway"])
def test_an_upgrade_or_a_drain_leaves_one_running(name: str) -> None:
    settings = (*EXTERNAL, "gateway.replicas=2")
    deployment = named("Deployment", name, settings)["spec"]
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert named("PodDisruptionBudget", name, settings)["spec"]["minAvailable"] == 1
    spread = deployment["template"]["spec"]["topologySpreadConstraints"][0]
    assert spread["topologyKey"] == "kubernetes.io/hostname"
    assert spread["labelSelector"]["matchLabels"] == deployment["selector"]["matchLabels"]


def test_a_single_replica_does_not_block_a_drain() -> None:
    assert of_kind("PodDisruptionBudget", (*EXTERNAL, "operator.replicas=1")) == []


@pytest.mark.parametrize("name", ["parley-operator", "parley-gateway"])
def test_liveness_asks_the_process_and_readiness_what_it_needs(name: str) -> None:
    container = named("Deployment", name)["spec"]["template"]["spec"]["containers"][0]
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    port = environment(container)["PARLEY_HTTP_PORT"]
    assert container["ports"] == [{"name": "http", "containerPort": int(port)}]
