"""Nodes that only say that they run pods: for more pods at once than this machine could start.

Real pods never get there (a taint keeps them off) and pods of a benchmark's namespaces get nowhere else: the API server
itself writes the node selector and the toleration into them, so Jobs and Tasks need not say anything.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.cluster import ROOT, Cluster

MARK = "parley.dev/simulated"
"""Label of the nodes and of the namespaces whose pods go there; key of the taint."""
NODES = 20
_ADMISSION = "/apis/admissionregistration.k8s.io/v1"
_NAME = "parley-bench-simulated"
_TOLERATION = f'Object.spec.tolerations{{key: "{MARK}", operator: "Exists"}}'
_PATCHES = (
    f'[JSONPatch{{op: "add", path: "/spec/nodeSelector", value: {{"{MARK}": "true"}}}},'
    f' JSONPatch{{op: "add", path: "/spec/tolerations", value: [{_TOLERATION}]}}]'
)


def _policy() -> dict[str, Any]:
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}
    return {
        "metadata": {"name": _NAME},
        "spec": {
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {MARK: "true"}},
                "resourceRules": [rule],
            },
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": _PATCHES}}],
        },
    }


@contextmanager
def simulated_nodes(cluster: Cluster) -> Iterator[None]:
    """The nodes, as long as the ``with`` lasts; namespaces labelled with MARK must be gone before."""
    binding = {"metadata": {"name": _NAME}, "spec": {"policyName": _NAME}}
    objects = (("mutatingadmissionpolicies", _policy()), ("mutatingadmissionpolicybindings", binding))
    # Two at a time would write over each other's nodes.
    first = cluster.request("POST", f"{_ADMISSION}/{objects[0][0]}", json=objects[0][1])
    assert first.status_code != 409, (
        f"another benchmark has simulated nodes; if it was killed: kubectl delete {objects[0][0]} {_NAME}"
    )
    assert first.status_code == 201, f"this needs MutatingAdmissionPolicy v1: {first.text}"
    try:
        answer = cluster.request("POST", f"{_ADMISSION}/{objects[1][0]}", json=objects[1][1])
        assert answer.status_code in {201, 409}, answer.text
        command = [sys.executable, "-m", "tests.bench.kubelet", str(cluster.kubeconfig), str(NODES)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as kubelet:
            try:
                assert kubelet.stdout is not None
                assert kubelet.stdout.readline() == "ready\n", "the simulated nodes did not come up"
                yield
            finally:
                kubelet.terminate()
    finally:
        for plural, _ in reversed(objects):
            cluster.request("DELETE", f"{_ADMISSION}/{plural}/{_NAME}")
