"""Renders the chart parley with helm itself, once for each group of settings."""

import functools
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
HELM = ROOT / "cluster/bin/helm"
CHART = ROOT / "charts/parley"
EXTERNAL = ("database.urlSecretRef.name=parley-database",)
BUNDLED = ("postgres.bundled=true",)
SIGNING = (*EXTERNAL, "--api-versions=admissionregistration.k8s.io/v1/MutatingAdmissionPolicy")
EVERYTHING = (
    *BUNDLED,
    SIGNING[-1],
    "gateway.replicas=2",
    "networkPolicy.enabled=true",
    "metrics.podMonitor.enabled=true",
    "watchNamespaces={shop,desk}",
    "imagePullSecrets[0].name=registry",
)
ALL_SETTINGS = [
    pytest.param(EXTERNAL, id="external"),
    pytest.param(BUNDLED, id="bundled"),
    pytest.param((*EXTERNAL, "watchNamespaces={shop,desk}"), id="namespaces"),
    pytest.param(SIGNING, id="signing"),
    pytest.param(EVERYTHING, id="everything"),
]
Manifest = dict[str, Any]


def helm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    if not HELM.exists():
        pytest.fail(f"{HELM} is missing: run `make up` (or `cluster/cluster up`) once, it builds helm")
    return subprocess.run([HELM, *arguments], capture_output=True, text=True, check=False, timeout=60)


def sets(settings: tuple[str, ...]) -> list[str]:
    """The values among the settings; the others are options of ``helm template`` alone."""
    return [word for one in settings if not one.startswith("--") for word in ("--set", one)]


@functools.cache
def render(
    settings: tuple[str, ...] = EXTERNAL, release: str = "parley", namespace: str = "parley-system"
) -> str:
    options = [one for one in settings if one.startswith("--")]
    rendered = helm("template", release, CHART, "--namespace", namespace, *sets(settings), *options)
    assert rendered.returncode == 0, rendered.stderr
    return rendered.stdout


def manifests(settings: tuple[str, ...] = EXTERNAL, **release: str) -> list[Manifest]:
    return [document for document in yaml.safe_load_all(render(settings, **release)) if document]


def of_kind(kind: str, settings: tuple[str, ...] = EXTERNAL, **release: str) -> list[Manifest]:
    return [manifest for manifest in manifests(settings, **release) if manifest["kind"] == kind]


def named(kind: str, name: str, settings: tuple[str, ...] = EXTERNAL, **release: str) -> Manifest:
    found = [
        manifest for manifest in of_kind(kind, settings, **release) if manifest["metadata"]["name"] == name
    ]
    assert len(found) == 1, f"{len(found)} of {kind} {name}"
    return found[0]


def pod_templates(settings: tuple[str, ...]) -> Iterator[tuple[str, Manifest]]:
    for manifest in manifests(settings):
        if manifest["kind"] in {"Deployment", "StatefulSet", "Job", "DaemonSet", "CronJob", "Pod"}:
            yield f"{manifest['kind']} {manifest['metadata']['name']}", manifest["spec"]["template"]


def rules(settings: tuple[str, ...]) -> Iterator[tuple[str, Manifest]]:
    for manifest in manifests(settings):
        if manifest["kind"] in {"Role", "ClusterRole"}:
            for rule in manifest["rules"]:
                yield f"{manifest['kind']} {manifest['metadata']['name']}", rule


def environment(container: Manifest) -> dict[str, Any]:
    return {
        variable["name"]: variable.get("value", variable.get("valueFrom")) for variable in container["env"]
    }
