"""The chart parley-crds carries the generated kinds, all of them and unchanged, and never takes them away."""

import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[3]
HELM = ROOT / "cluster/bin/helm"
CHART = ROOT / "charts/parley-crds"


def test_the_chart_renders_the_generated_kinds_and_keeps_them() -> None:
    rendered = subprocess.run(
        [HELM, "template", "parley-crds", CHART], capture_output=True, text=True, check=True, timeout=60
    )
    found = {
        document["metadata"]["name"]: document for document in yaml.safe_load_all(rendered.stdout) if document
    }
    generated = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / "crds").glob("*.yaml")}
    assert (
        found.keys() == generated.keys() >= {"agents.parley.dev", "sessions.parley.dev", "tasks.parley.dev"}
    )
    for name, document in found.items():
        annotations = document["metadata"].pop("annotations")
        assert annotations == {"helm.sh/resource-policy": "keep"}, name
        assert document == generated[name]


def test_helm_lint_finds_nothing() -> None:
    linted = subprocess.run(
        [HELM, "lint", "--strict", CHART], capture_output=True, text=True, check=False, timeout=60
    )
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_the_packaged_chart_holds_the_kinds(tmp_path: Path) -> None:
    subprocess.run([HELM, "package", CHART, "-d", tmp_path], capture_output=True, check=True, timeout=60)
    archive = next(tmp_path.glob("*.tgz"))
    shown = subprocess.run(
        [HELM, "template", "parley-crds", archive], capture_output=True, text=True, check=True, timeout=60
    )
    assert "name: tasks.parley.dev" in shown.stdout
