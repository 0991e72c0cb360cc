"""Debian packages that the local cluster needs, installed when one is missing."""

import os
import shutil
from pathlib import Path

from cluster.driver.commands import run
from cluster.driver.console import ClusterError, step

# What is looked for (a program, or a file by its full path) → the package that has it.
NODE = {
    "containerd": "containerd",
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "nft": "nftables",
    "ip": "iproute2",
    "openssl": "openssl",
    "setpriv": "util-linux",
    "mount": "mount",
    "modprobe": "kmod",
}
IMAGE = {"mmdebstrap": "mmdebstrap", "buildah": "buildah"}


def ensure_packages(wanted: dict[str, str]) -> None:
    """Install the packages of what is missing.

    Raises:
        ClusterError: this is not Debian (or alike), or apt failed.
    """
    missing = sorted({package for what, package in wanted.items() if not _present(what)})
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise ClusterError(
            f"the local cluster needs {', '.join(missing)}; install them (there is no apt-get here)"
        )
    with step(f"Installing {', '.join(missing)} with apt"):
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        # A package's own services would fight the cluster's over sockets and the network.
        policy = _deny_service_starts()
        try:
            run(["apt-get", "update", "-q"], env=environment, timeout=600)
            install = ["apt-get", "install", "-q", "-y", "--no-install-recommends", *missing]
            run(install, env=environment, timeout=1800)
        finally:
            if policy is not None:
                policy.unlink(missing_ok=True)


def _present(what: str) -> bool:
    return Path(what).exists() if what.startswith("/") else shutil.which(what) is not None


def _deny_service_starts() -> Path | None:
    policy = Path("/usr/sbin/policy-rc.d")
    if policy.exists():
        return None
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    return policy
