"""Parley's kinds on the real API server, apart from the installed ones: no controller acts on them.

The CRDs are those of ``crds/`` under a group of the test run's own. Names that all groups share on a kubectl command
line (plurals, short names, the category) are changed, so that other tests' ``kubectl get tasks`` never meets them.
"""

import copy
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from parley.resources.crd import KINDS, build_crd

from tests.cluster import ROOT, Cluster

CRD_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_PLURALS = {kind.name: kind.plural for kind in KINDS}


class ApiServer:
    """Creates and changes objects the way kubectl does, with strict validation."""

    def __init__(self, cluster: Cluster, group: str, namespace: str) -> None:
        self.cluster = cluster
        self.group = group
        self.namespace = namespace

    def path(self, kind: str) -> str:
        """Where the objects of a kind are."""
        return f"/apis/{self.group}/v1alpha1/namespaces/{self.namespace}/x{_PLURALS[kind]}"

    def create(self, manifest: Mapping[str, Any], *, dry_run: bool = False) -> httpx2.Response:
        """Create an object; its answer may be a refusal."""
        return self._send("POST", self.path(manifest["kind"]), manifest, dry_run=dry_run)

    def replace(self, manifest: Mapping[str, Any], *, dry_run: bool = False) -> httpx2.Response:
        """Write a changed manifest over an object, as ``kubectl apply`` would with every field."""
        path = f"{self.path(manifest['kind'])}/{manifest['metadata']['name']}"
        now = self.cluster.request("GET", path).raise_for_status().json()
        version = now["metadata"]["resourceVersion"]
        manifest = {**manifest, "metadata": {**manifest["metadata"], "resourceVersion": version}}
        return self._send("PUT", path, manifest, dry_run=dry_run)

    def write_status(self, kind: str, name: str, status: dict[str, Any]) -> dict[str, Any]:
        """Write a status as the operator writes it, and return what was stored."""
        body = {
            "apiVersion": f"{self.group}/v1alpha1",
            "kind": kind,
            "metadata": {"name": name},
            "status": status,
        }
        written = self.cluster.request(
            "PATCH",
            f"{self.path(kind)}/{name}/status",
            params={"fieldManager": "parley-operator", "force": "true", "fieldValidation": "Strict"},
            headers={"Content-Type": "application/apply-patch+yaml"},
            json=body,
        )
        assert written.status_code == 200, written.text
        return written.json()["status"]

    def printed(self, kind: str, name: str, *, wide: bool = False) -> dict[str, Any]:
        """What ``kubectl get`` prints of an object, by column, without its name and age."""
        table = self.cluster.request(
            "GET",
            f"{self.path(kind)}/{name}",
            headers={"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"},
        ).json()
        columns, cells = table["columnDefinitions"], table["rows"][0]["cells"]
        row = {c["name"]: cell for c, cell in zip(columns, cells, strict=True) if wide or not c["priority"]}
        return {name: cell for name, cell in row.items() if name not in {"Name", "Age"}}

    def _send(self, method: str, path: str, manifest: Mapping[str, Any], *, dry_run: bool) -> httpx2.Response:
        body = {**manifest, "apiVersion": f"{self.group}/v1alpha1"}
        params = {"fieldValidation": "Strict", **({"dryRun": "All"} if dry_run else {})}
        return self.cluster.request(method, path, params=params, json=body)


def refusals(answer: httpx2.Response) -> list[tuple[str, str]]:
    """The (field, message) pairs of a refusal; empty if the object was let in."""
    if answer.status_code < 300:
        return []
    status = answer.json()
    causes = status.get("details", {}).get("causes") or []
    return [(cause.get("field", ""), cause["message"]) for cause in causes] or [("", status["message"])]


@pytest.fixture(scope="module")
def api_server() -> Iterator[ApiServer]:
    """The real API server with Parley's kinds; the cluster must be up."""
    told = subprocess.run(["make", "-s", "kubeconfig"], cwd=ROOT, capture_output=True, text=True, check=True)
    kubeconfig = Path(told.stdout.strip())
    assert kubeconfig.is_file(), "no cluster: run `make up`"
    cluster = Cluster(kubeconfig)
    unique = secrets.token_hex(4)
    server = ApiServer(cluster, f"t{unique}.test.parley.dev", f"crds-{unique}")
    crds = [_renamed(build_crd(kind), server.group) for kind in KINDS]
    try:
        for crd in crds:
            cluster.request("POST", CRD_PATH, json=crd).raise_for_status()
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": server.namespace}}
        cluster.request("POST", "/api/v1/namespaces", json=namespace).raise_for_status()
        for kind in KINDS:
            _wait_served(server, kind.name)
        yield server
    finally:
        cluster.request("DELETE", f"/api/v1/namespaces/{server.namespace}")
        for crd in crds:
            cluster.request("DELETE", f"{CRD_PATH}/{crd['metadata']['name']}")
        cluster.close()


def checked_in_crds() -> list[dict[str, Any]]:
    """The CRDs as they lie in ``crds/``."""
    return [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").iterdir())]


def _renamed(crd: Mapping[str, Any], group: str) -> dict[str, Any]:
    crd = copy.deepcopy(dict(crd))
    names = crd["spec"]["names"]
    names |= {"plural": f"x{names['plural']}", "singular": f"x{names['singular']}"}
    names |= {"shortNames": [], "categories": []}
    crd["spec"]["group"] = group
    crd["metadata"]["name"] = f"{names['plural']}.{group}"
    return crd


def _wait_served(server: ApiServer, kind: str) -> None:
    end = time.monotonic() + 60
    while (answer := server.cluster.request("GET", server.path(kind))).status_code != 200:
        assert time.monotonic() < end, f"{kind} is not served after a minute: {answer.text}"
        time.sleep(0.05)
