"""The objects that the cluster itself needs."""

import json

from cluster.driver.layout import SYSTEM_NAMESPACE, Layout


def base_objects(layout: Layout) -> str:
    """Return a List: the system namespace, Postgres's Service, what CoreDNS and the API server may do."""
    items = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM_NAMESPACE}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "postgres", "namespace": SYSTEM_NAMESPACE},
            "spec": {"ports": [{"name": "postgres", "port": 5432}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "postgres-host",
                "namespace": SYSTEM_NAMESPACE,
                "labels": {"kubernetes.io/service-name": "postgres"},
            },
            "addressType": "IPv4",
            "ports": [{"name": "postgres", "port": 5432, "protocol": "TCP"}],
            "endpoints": [{"addresses": [layout.address], "conditions": {"ready": True}}],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "parley:coredns"},
            "rules": [
                {"apiGroups": [""], "resources": ["services", "namespaces"], "verbs": ["list", "watch"]},
                {
                    "apiGroups": ["discovery.k8s.io"],
                    "resources": ["endpointslices"],
                    "verbs": ["list", "watch"],
                },
            ],
        },
        _binding("parley:coredns", "parley:coredns", "parley:coredns"),
        _binding("parley:kubelet-client", "system:kubelet-api-admin", "kube-apiserver-kubelet-client"),
    ]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def _binding(name: str, role: str, user: str) -> dict[str, object]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    }
