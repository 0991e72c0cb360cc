"""Builds the project's image from its ordinary Dockerfile, without Docker.

The tag is a hash of everything that goes in, so that a Deployment rolls
exactly when something changed.
"""

import hashlib
import shutil
from pathlib import Path

from cluster.driver.commands import run
from cluster.driver.console import step
from cluster.driver.layout import REPOSITORY, Layout
from cluster.driver.leftovers import mounts_below
from cluster.driver.oci import Exported, read_exported
from cluster.driver.packages import IMAGE, ensure_packages

_BASE_PACKAGES = ("python3", "python3-pip", "ca-certificates")
_BASE_RELEASE = "bookworm"
_CONTEXT = ("Dockerfile", ".dockerignore", "README.md", "LICENSE", "pyproject.toml", "uv.lock", "operator")
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_MOST_LAYERS = 300


def reference(context: Path = REPOSITORY) -> str:
    """Name the image of the sources in `context`: 12 hexadecimal digits of a hash over all of them."""
    digest = hashlib.sha256(" ".join((_BASE_RELEASE, *_BASE_PACKAGES)).encode())
    for top in _CONTEXT:
        for path in _files(context / top):
            digest.update(f"\n{path.relative_to(context)} {path.stat().st_mode & 0o777:o}\n".encode())
            digest.update(path.read_bytes())
    return f"parley:{digest.hexdigest()[:12]}"


def copy_context(target: Path) -> None:
    """Copy what goes into the image, so that a file saved during the build cannot make the tag a lie."""
    for top in _CONTEXT:
        for path in _files(REPOSITORY / top):
            copy = target / path.relative_to(REPOSITORY)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)


def _files(top: Path) -> list[Path]:
    if not top.is_dir():
        return [top] if top.exists() else []
    found = (path for path in top.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return sorted(found)


class Builder:
    """buildah with a storage of its own in the cache directory."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._root = layout.cache / "buildah"
        self._runroot = Path("/run/parley-buildah")

    def build(self, context: Path, exported: Path) -> Exported:
        """Build the image of `context` into the empty directory `exported`."""
        ensure_packages(IMAGE)
        self._clear_leftovers()
        base = self._ensure_base()
        with step("Building the image (a minute at first, then seconds)"):
            argv = self._buildah("build", "--isolation", "chroot", "--layers", "--quiet", "--format", "oci")
            argv += ["--build-arg", f"BASE={base}", "--tag", "localhost/parley:build"]
            if _CERTIFICATES.exists():
                # Where a proxy inspects TLS, only the machine's own bundle knows its certificate.
                argv += ["--volume", f"{_CERTIFICATES.parent}:{_CERTIFICATES.parent}:ro"]
                argv += [
                    "--build-arg",
                    f"PIP_CERT={_CERTIFICATES}",
                    "--build-arg",
                    f"SSL_CERT_FILE={_CERTIFICATES}",
                ]
            run([*argv, str(context)], timeout=1800)
            run(
                self._buildah(
                    "push", "--quiet", "--disable-compression", "localhost/parley:build", f"dir:{exported}"
                )
            )
        return read_exported(exported)

    def _buildah(self, *arguments: str) -> list[str]:
        driver = "vfs" if _on_overlay(self._layout.cache) else "overlay"
        return [
            "buildah",
            "--root",
            str(self._root),
            "--runroot",
            str(self._runroot),
            "--storage-driver",
            driver,
            *arguments,
        ]

    def _clear_leftovers(self) -> None:
        """Remove what an interrupted build left, and a storage that grew too large."""
        self._root.mkdir(parents=True, exist_ok=True)
        for mount in mounts_below(Path("/proc/self/mountinfo").read_text(), self._root):
            run(["umount", "--lazy", mount])
        layers = self._root / "overlay"
        if layers.is_dir() and sum(1 for _ in layers.iterdir()) > _MOST_LAYERS:
            shutil.rmtree(self._root)
            self._root.mkdir()
        run(self._buildah("rm", "--all"))

    def _ensure_base(self) -> str:
        """Return the base image's name; made from Debian packages once and cached as an archive."""
        key = hashlib.sha256(" ".join((_BASE_RELEASE, *_BASE_PACKAGES)).encode()).hexdigest()[:12]
        name = f"localhost/parley-base:{key}"
        if run(self._buildah("images", "--quiet", "--filter", f"reference={name}")).strip():
            return name
        archive = self._layout.cache / f"base-{key}.tar"
        if not archive.exists():
            with step("Making a Debian base image with mmdebstrap (once; about a minute)"):
                staged = archive.with_suffix(".new.tar")
                slim = [f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("doc", "man", "locale")]
                include = f"--include={','.join(_BASE_PACKAGES)}"
                run(["mmdebstrap", "--variant=minbase", include, *slim, _BASE_RELEASE, staged], timeout=1800)
                staged.replace(archive)
        with step("Importing the base image"):
            container = run(self._buildah("from", "scratch")).strip()
            run(self._buildah("add", "--quiet", container, str(archive), "/"))
            path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
            run(self._buildah("config", "--env", f"PATH={path}", "--env", "LANG=C.UTF-8", container))
            run(self._buildah("commit", "--quiet", "--rm", container, name))
        return name


def _on_overlay(directory: Path) -> bool:
    """An overlay cannot lie on another: there only plain copies (vfs) work."""
    return run(["stat", "--file-system", "--format=%T", directory]).strip() == "overlayfs"
