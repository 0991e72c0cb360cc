"""etcd, API server, controller manager and scheduler."""

import json

from cluster.driver.component import Component
from cluster.driver.layout import DOMAIN, SYSTEM_NAMESPACE, Layout
from cluster.driver.probes import https_ok, tcp_open

# What Parley's own processes ask for, without bodies: a test compares it with what they are allowed.
_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "Metadata", "userGroups": [f"system:serviceaccounts:{SYSTEM_NAMESPACE}"]},
        {"level": "None"},
    ],
}


def etcd(layout: Layout) -> Component:
    certificates = layout.certificates
    client, peer = f"https://{layout.address}:2379", f"https://{layout.address}:2380"
    pair = (f"{certificates}/etcd.crt", f"{certificates}/etcd.key")
    return Component(
        name="etcd",
        argv=(
            str(layout.bin / "etcd"),
            "--name=parley",
            f"--data-dir={layout.data}/etcd",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=parley={peer}",
            f"--cert-file={pair[0]}",
            f"--key-file={pair[1]}",
            f"--trusted-ca-file={certificates}/ca.crt",
            "--client-cert-auth",
            f"--peer-cert-file={pair[0]}",
            f"--peer-key-file={pair[1]}",
            f"--peer-trusted-ca-file={certificates}/ca.crt",
            "--peer-client-cert-auth",
            "--log-level=warn",
        ),
        needs=(layout.bin / "etcd", certificates / "etcd.crt"),
        ready=lambda at: https_ok(at, f"https://{at.address}:2379/health", "kube-apiserver-etcd-client"),
    )


def api_server(layout: Layout) -> Component:
    certificates = layout.certificates
    audit_policy = layout.config / "audit-policy.json"
    return Component(
        name="kube-apiserver",
        argv=(
            str(layout.bin / "kube-apiserver"),
            f"--bind-address={layout.address}",
            f"--advertise-address={layout.address}",
            "--secure-port=6443",
            f"--etcd-servers=https://{layout.address}:2379",
            f"--etcd-cafile={certificates}/ca.crt",
            f"--etcd-certfile={certificates}/kube-apiserver-etcd-client.crt",
            f"--etcd-keyfile={certificates}/kube-apiserver-etcd-client.key",
            f"--tls-cert-file={certificates}/kube-apiserver.crt",
            f"--tls-private-key-file={certificates}/kube-apiserver.key",
            f"--client-ca-file={certificates}/ca.crt",
            f"--kubelet-certificate-authority={certificates}/ca.crt",
            f"--kubelet-client-certificate={certificates}/kube-apiserver-kubelet-client.crt",
            f"--kubelet-client-key={certificates}/kube-apiserver-kubelet-client.key",
            "--kubelet-preferred-address-types=InternalIP",
            f"--requestheader-client-ca-file={certificates}/front-proxy-ca.crt",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={certificates}/front-proxy-client.crt",
            f"--proxy-client-key-file={certificates}/front-proxy-client.key",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            f"--service-cluster-ip-range={layout.service_network}",
            f"--service-account-issuer=https://kubernetes.default.svc.{DOMAIN}",
            f"--service-account-key-file={certificates}/service-account.pub",
            f"--service-account-signing-key-file={certificates}/service-account.key",
            f"--audit-policy-file={audit_policy}",
            f"--audit-log-path={layout.logs}/audit.log",
            "--audit-log-maxsize=50",
            "--audit-log-maxbackup=3",
        ),
        files={audit_policy: json.dumps(_AUDIT_POLICY, indent=1)},
        needs=(layout.bin / "kube-apiserver", certificates / "kube-apiserver.crt"),
        # It would wait a minute for its clients' open watches; what it promised is in etcd already.
        patience=3.0,
        ready=lambda at: https_ok(at, f"{at.api_url}/readyz"),
    )


def controller_manager(layout: Layout) -> Component:
    certificates = layout.certificates
    kubeconfig = layout.kubeconfig_of("kube-controller-manager")
    return Component(
        name="kube-controller-manager",
        argv=(
            str(layout.bin / "kube-controller-manager"),
            f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            f"--bind-address={layout.address}",
            # One replica: a lease would only add a pause to every restart.
            "--leader-elect=false",
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={certificates}/service-account.key",
            f"--root-ca-file={certificates}/ca.crt",
            f"--cert-dir={layout.run}/kube-controller-manager",
        ),
        needs=(layout.bin / "kube-controller-manager", kubeconfig),
        ready=lambda at: tcp_open(at.address, 10257),
    )


def scheduler(layout: Layout) -> Component:
    kubeconfig = layout.kubeconfig_of("kube-scheduler")
    return Component(
        name="kube-scheduler",
        argv=(
            str(layout.bin / "kube-scheduler"),
            f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            f"--bind-address={layout.address}",
            "--leader-elect=false",
            f"--cert-dir={layout.run}/kube-scheduler",
        ),
        needs=(layout.bin / "kube-scheduler", kubeconfig),
        ready=lambda at: tcp_open(at.address, 10259),
    )
