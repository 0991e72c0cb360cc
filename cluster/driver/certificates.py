"""The cluster's certificates, service account key and kubeconfigs."""

import base64
import json
import secrets
from pathlib import Path

from cluster.driver.commands import run
from cluster.driver.layout import DOMAIN, NODE_NAME, Layout

_CLIENTS = {
    "admin": "/O=system:masters/CN=admin",
    "kube-apiserver-kubelet-client": "/O=parley:kubelet-clients/CN=kube-apiserver-kubelet-client",
    "kube-apiserver-etcd-client": "/CN=kube-apiserver-etcd-client",
    "kube-controller-manager": "/CN=system:kube-controller-manager",
    "kube-scheduler": "/CN=system:kube-scheduler",
    "kube-proxy": "/CN=system:kube-proxy",
    "coredns": "/CN=parley:coredns",
    "kubelet": f"/O=system:nodes/CN=system:node:{NODE_NAME}",
}


def ensure_certificates(layout: Layout) -> None:
    """Make what is missing; everything that exists is kept."""
    directory = layout.certificates
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)
    for authority in ("ca", "front-proxy-ca"):
        _issue(directory, authority, f"/CN=parley-cluster-{authority}", [], authority=None)
    _issue(
        directory,
        "front-proxy-client",
        "/CN=front-proxy-client",
        ["extendedKeyUsage=clientAuth"],
        "front-proxy-ca",
    )
    for name, subject in _CLIENTS.items():
        _issue(directory, name, subject, ["extendedKeyUsage=clientAuth"])
    in_cluster = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        f"kubernetes.default.svc.{DOMAIN}",
    ]
    names = ",".join(
        [f"DNS:{name}" for name in [*in_cluster, "localhost", NODE_NAME]]
        + [f"IP:{address}" for address in (layout.address, layout.first_service_address, "127.0.0.1")]
    )
    for server in ("kube-apiserver", "etcd", "kubelet-server"):
        usage = "serverAuth,clientAuth" if server == "etcd" else "serverAuth"
        _issue(directory, server, f"/CN={server}", [f"subjectAltName={names}", f"extendedKeyUsage={usage}"])
    key = directory / "service-account.key"
    if not key.exists():
        staged = key.with_suffix(".new")
        run(
            [
                "openssl",
                "genpkey",
                "-algorithm",
                "EC",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-out",
                staged,
            ]
        )
        staged.replace(key)
    public = directory / "service-account.pub"
    if not public.exists():
        run(["openssl", "pkey", "-in", key, "-pubout", "-out", public])
    password = directory / "postgres-password"
    if not password.exists():
        password.write_text(secrets.token_urlsafe(24))


def _issue(
    directory: Path, name: str, subject: str, extensions: list[str], authority: str | None = "ca"
) -> None:
    certificate, key = directory / f"{name}.crt", directory / f"{name}.key"
    if certificate.exists():
        return
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    argv += ["-days", "3650", "-subj", subject, "-keyout", str(key), "-out", f"{certificate}.new"]
    if authority is not None:
        argv += ["-CA", str(directory / f"{authority}.crt"), "-CAkey", str(directory / f"{authority}.key")]
        argv += ["-addext", "basicConstraints=critical,CA:FALSE"]
    for extension in extensions:
        argv += ["-addext", extension]
    run(argv)
    Path(f"{certificate}.new").replace(certificate)


def write_kubeconfigs(layout: Layout) -> None:
    """Write one kubeconfig per client; the administrator's has everything embedded."""
    layout.config.mkdir(parents=True, exist_ok=True)
    targets = {name: layout.kubeconfig_of(name) for name in _CLIENTS if not name.startswith("kube-apiserver")}
    targets["admin"] = layout.kubeconfig

    def embedded(file: str) -> str:
        return base64.b64encode((layout.certificates / file).read_bytes()).decode()

    for name, path in targets.items():
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "parley",
                    "cluster": {"server": layout.api_url, "certificate-authority-data": embedded("ca.crt")},
                }
            ],
            "users": [
                {
                    "name": name,
                    "user": {
                        "client-certificate-data": embedded(f"{name}.crt"),
                        "client-key-data": embedded(f"{name}.key"),
                    },
                }
            ],
            "contexts": [{"name": "parley", "context": {"cluster": "parley", "user": name}}],
            "current-context": "parley",
        }
        text = json.dumps(content, indent=1)
        if not path.exists() or path.read_text() != text:
            path.touch(0o600)
            path.write_text(text)
