"""The charts on the real cluster: installed, upgraded and uninstalled as a user would, beside the shared release.

The release serves a namespace of its own only, and no task is made in it: the shared release would serve it too.
"""

import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from tests.cluster import ROOT, SYSTEM_NAMESPACE, Cluster
from tests.e2e import postgres_image
from tests.e2e.conftest import Store

pytestmark = pytest.mark.cluster

CHART = ROOT / "charts/parley"
DEPLOYMENTS = ("parley-gateway", "parley-operator")
OF_THE_RUNNING = {"events", "events.events.k8s.io", "endpoints", "endpointslices.discovery.k8s.io", "pods"}
OF_THE_NAMESPACE = {"configmaps/kube-root-ca.crt", "serviceaccounts/default"}
KEPT = {"configmaps/parley-store", "leases.coordination.k8s.io/parley-operator"}
"""What the operator made itself: whose store the tasks' results are in, and who led last."""


class Release:
    """The release ``parley`` in a namespace."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace
        image: str = running(cluster)["spec"]["template"]["spec"]["containers"][0]["image"]
        repository, _, tag = image.rpartition(":")
        self.settings = {
            "image.repository": repository,
            "image.tag": tag,
            "watchNamespaces": f"{{{namespace}}}",
            # Small, since many run on the test's machine.
            "operator.resources.requests.cpu": "10m",
            "gateway.resources.requests.cpu": "10m",
        }

    def install(self, *options: str, **settings: str) -> str:
        options = options or ("--wait", "--timeout=5m")
        return self._helm("upgrade", "--install", "parley", str(CHART), *options, **settings)

    def uninstall(self, *options: str) -> str:
        return self._helm("uninstall", "parley", "--wait", "--timeout=5m", *options)

    def _helm(self, *arguments: str, **settings: str) -> str:
        sets = {**self.settings, **settings} if arguments[0] == "upgrade" else {}
        words = [word for key, value in sets.items() for word in ("--set", f"{key}={value}")]
        done = subprocess.run(
            [ROOT / "cluster/bin/helm", *arguments, "--namespace", self.namespace, *words],
            env={**os.environ, "KUBECONFIG": str(self.cluster.kubeconfig)},
            capture_output=True,
            text=True,
            check=False,
            timeout=400,
        )
        if done.returncode:
            logs = self.cluster.kubectl(
                "logs", "-n", self.namespace, "-l", "app.kubernetes.io/name=parley", "--prefix", check=False
            )
            pytest.fail(
                f"helm {arguments[0]}: {done.stderr}\n{self.cluster.describe(self.namespace)}\n{logs}"
            )
        return done.stdout

    def pods(self, component: str) -> set[str]:
        found = self.cluster.list("pod", self.namespace, f"app.kubernetes.io/component={component}")
        return {pod["metadata"]["name"] for pod in found if "deletionTimestamp" not in pod["metadata"]}

    def leader(self) -> str:
        """The pod that holds the Lease; empty between two leaders."""
        lease = self.cluster.get("lease", self.namespace, "parley-operator")
        return (lease or {}).get("spec", {}).get("holderIdentity", "").rpartition("_")[0]

    def await_leader(self) -> str:
        def a_running_pod_leads() -> str:
            leader = self.leader()
            return leader if leader in self.pods("operator") else ""

        return self.cluster.wait("one of the operator's pods leads", self.namespace, a_running_pod_leads)

    def objects(self) -> set[str]:
        """Everything in the namespace that lasts, as <resource>/<name>, and everything of the cluster named after it."""
        kubectl = self.cluster.kubectl
        kinds = kubectl("api-resources", "--namespaced", "--verbs=list,get", "-o", "name").split()
        wanted = ",".join(sorted(set(kinds) - OF_THE_RUNNING))
        everything = kubectl("get", wanted, "-n", self.namespace, "-o", "name", "--ignore-not-found").split()
        policies = kubectl("api-resources", "--api-group=admissionregistration.k8s.io", "-o", "name").split()
        kinds_of_the_cluster = ",".join(["clusterroles", "clusterrolebindings", *policies])
        of_the_cluster = kubectl("get", kinds_of_the_cluster, "-o", "name").split()
        names = {_plural(name) for name in everything}
        return names | {name for name in of_the_cluster if self.namespace in name}

    def await_objects(self, expected: set[str]) -> None:
        """Wait until no pod is left, and of what lasts as much as is expected: owners go before what they own."""
        self.cluster.wait(
            "all pods end", self.namespace, lambda: self.cluster.list("pod", self.namespace) == []
        )
        try:
            self.cluster.wait(
                f"exactly {expected} is left", self.namespace, lambda: self.objects() == expected, every=1.0
            )
        except AssertionError:
            assert self.objects() == expected
            raise


def _plural(name: str) -> str:
    kind, _, rest = name.partition("/")
    head, dot, group = kind.partition(".")
    return f"{head}s{dot}{group}/{rest}" if not head.endswith("s") else name


def running(cluster: Cluster) -> dict[str, Any]:
    """The shared release's operator."""
    deployment = cluster.get("deployment", SYSTEM_NAMESPACE, "parley-operator")
    assert deployment, "Parley is not installed: run `make up`"
    return deployment


@pytest.fixture
def release(cluster: Cluster) -> Iterator[Release]:
    """A release to be installed in a namespace that enforces Pod Security restricted."""
    name = f"charts-{secrets.token_hex(3)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster.apply(
        name, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    )
    release = Release(cluster, name)
    yield release
    release.uninstall("--ignore-not-found")
    cluster.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")


@pytest.fixture
def database(release: Release, store: Store) -> Iterator[str]:
    """A Secret with the URL of a new database of the cluster's Postgres."""
    name = release.namespace.replace("-", "_")
    password = secrets.token_hex(8)
    identifier = sql.Identifier(name)
    store.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(identifier, sql.Literal(password)))
    store.execute(sql.SQL("CREATE DATABASE {0} OWNER {0}").format(identifier))
    url = f"postgresql://{name}:{password}@postgres.{SYSTEM_NAMESPACE}.svc:5432/{name}"
    release.cluster.apply(
        release.namespace,
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "database"}, "stringData": {"url": url}},
    )
    yield "database"
    store.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(identifier))
    store.execute(sql.SQL("DROP ROLE {}").format(identifier))


def check_serves(release: Release) -> None:
    """Pods are ready, one leads, the gateway answers, and nobody was refused a right it needs."""
    cluster, namespace = release.cluster, release.namespace
    for name in DEPLOYMENTS:
        deployment = cluster.get("deployment", namespace, name)
        assert deployment
        assert deployment["status"].get("readyReplicas") == deployment["spec"]["replicas"], deployment[
            "status"
        ]
    release.await_leader()
    ready = cluster.request(
        "GET", f"/api/v1/namespaces/{namespace}/services/parley-gateway:http/proxy/readyz"
    )
    assert ready.status_code == 200, ready.text
    # One by one: pods of the release before may be on their way out, and then gone.
    pods = sorted(release.pods("operator") | release.pods("gateway"))
    logs = "".join(cluster.kubectl("logs", "-n", namespace, pod) for pod in pods)
    refused = [line for line in logs.splitlines() if "orbidden" in line or "Traceback" in line]
    assert refused == []


def test_install_upgrade_uninstall_with_a_database_of_ones_own(release: Release, database: str) -> None:
    cluster, namespace = release.cluster, release.namespace
    before = release.objects()
    # when it is installed, it serves once `helm install --wait` returns, and the migration's Job goes
    release.install(**{"database.urlSecretRef.name": database})
    check_serves(release)
    cluster.wait("the migration's Job is gone", namespace, lambda: cluster.list("job", namespace) == [])
    first_leader, first_pods = release.await_leader(), release.pods("operator")
    # when it is upgraded, the pods are others and one of them leads
    release.install(
        **{
            "database.urlSecretRef.name": database,
            "operator.podAnnotations.changed": "yes",
            "gateway.replicas": "2",
        }
    )
    check_serves(release)
    cluster.wait("the old pods go", namespace, lambda: not first_pods & release.pods("operator"))
    assert release.await_leader() != first_leader
    cluster.wait("there are two gateways", namespace, lambda: len(release.pods("gateway")) == 2)
    # when it is uninstalled, nothing stays but what was there and what the operator must remember
    release.uninstall()
    release.await_objects(before | KEPT)
    # and nothing hangs in the namespace
    cluster.kubectl("delete", "namespace", namespace, "--timeout=240s")


def test_a_database_that_is_not_there_fails_the_install_and_touches_nothing(release: Release) -> None:
    cluster, namespace = release.cluster, release.namespace
    url = f"postgresql://nobody:x@postgres.{SYSTEM_NAMESPACE}.svc:5432/none"
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "database"},
        "stringData": {"url": url},
    }
    cluster.apply(namespace, secret)
    with pytest.raises(pytest.fail.Exception, match="pre-install"):
        release.install(**{"database.urlSecretRef.name": "database", "migration.activeDeadlineSeconds": "10"})
    assert cluster.list("deployment", namespace) == []


@pytest.mark.storeless
def test_the_bundled_postgres(release: Release, tmp_path: Path) -> None:
    cluster, namespace = release.cluster, release.namespace
    archive = tmp_path / "postgres.tar"
    postgres_image.write_archive(archive)
    subprocess.run([ROOT / "cluster/cluster", "load", archive], check=True, capture_output=True, timeout=300)
    before = release.objects()
    settings = {
        "postgres.bundled": "true",
        "postgres.image": postgres_image.NAME,
        # The local cluster has no storage for claims.
        "postgres.persistence.enabled": "false",
    }
    # when it is installed, `helm install --wait` returns once all of it serves
    release.install(**settings)
    check_serves(release)
    password = cluster.get("secret", namespace, "parley-postgres")
    postgres = release.pods("postgres")
    # when it is upgraded, the password and the server stay
    release.install(**settings, **{"operator.podAnnotations.changed": "yes"})
    check_serves(release)
    assert (cluster.get("secret", namespace, "parley-postgres") or {})["data"] == (password or {})["data"]
    assert release.pods("postgres") == postgres
    # when it is uninstalled, nothing stays
    release.uninstall()
    release.await_objects(before | KEPT)


@pytest.mark.storeless
def test_a_kept_volume_keeps_its_password(release: Release) -> None:
    cluster, namespace = release.cluster, release.namespace
    nothing_runs = {"postgres.bundled": "true", "operator.replicas": "0", "gateway.replicas": "0"}
    release.install("--wait=hookOnly", **nothing_runs)
    first = cluster.get("secret", namespace, "parley-postgres")
    cluster.wait(
        "the volume's claim is there",
        namespace,
        lambda: "data-parley-postgres-0" in cluster.kubectl("get", "persistentvolumeclaims", "-n", namespace),
    )
    # when the release is uninstalled and installed again, the volume and the password it was made with are there
    release.uninstall()
    assert "data-parley-postgres-0" in cluster.kubectl("get", "persistentvolumeclaims", "-n", namespace)
    release.install("--wait=hookOnly", **nothing_runs)
    second = cluster.get("secret", namespace, "parley-postgres")
    assert first
    assert second
    assert second["data"] == first["data"]


@pytest.mark.storeless
def test_the_kinds_stay_when_their_chart_is_uninstalled(cluster: Cluster) -> None:
    for kind in ("agents", "sessions", "tasks", "tasktemplates", "schedules", "replies"):
        shown = cluster.kubectl("get", "crd", f"{kind}.parley.dev", "-o", "json")
        annotations = json.loads(shown)["metadata"]["annotations"]
        assert annotations["helm.sh/resource-policy"] == "keep"
        assert annotations["meta.helm.sh/release-name"] == "parley-crds"
