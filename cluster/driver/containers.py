"""Images in the node's containerd."""

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Collection
from pathlib import Path

from cluster.driver.commands import run
from cluster.driver.console import ClusterError
from cluster.driver.layout import PAUSE_IMAGE, Layout
from cluster.driver.oci import Exported, write_archive

_NAMESPACE = "k8s.io"


def ctr(layout: Layout, *arguments: str | Path) -> str:
    """Call containerd's own client in the kubelet's namespace."""
    return run(["ctr", "--address", layout.containerd_socket, "--namespace", _NAMESPACE, *arguments])


def images(layout: Layout) -> dict[str, str]:
    """Return the node's images: name → digest."""
    lines = ctr(layout, "images", "list").splitlines()[1:]
    return {fields[0]: fields[2] for line in lines if len(fields := line.split()) > 2}


def full_name(reference: str) -> str:
    """Complete a short image name as the kubelet does: `parley:dev` → `docker.io/library/parley:dev`."""
    first, _, rest = reference.partition("/")
    if rest and ("." in first or ":" in first or first == "localhost"):
        return reference
    return f"docker.io/{reference}" if rest else f"docker.io/library/{reference}"


def import_archive(layout: Layout, archive: Path) -> None:
    """Import a docker-archive or an OCI archive."""
    ctr(layout, "images", "import", archive)


def blobs(layout: Layout) -> set[str]:
    """Return the digests of all content that the node has."""
    return set(ctr(layout, "content", "list", "--quiet").split())


def import_exported(layout: Layout, image: Exported, names: Collection[str]) -> None:
    """Give the node an image under all `names`, sending only what it lacks."""
    argv = [
        "ctr",
        "--address",
        str(layout.containerd_socket),
        "--namespace",
        _NAMESPACE,
        "images",
        "import",
        "-",
    ]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as ctr_import:
        assert ctr_import.stdin is not None
        assert ctr_import.stdout is not None
        try:
            write_archive(image, [full_name(name) for name in names], blobs(layout), ctr_import.stdin)
            ctr_import.stdin.close()
        except BrokenPipeError:
            pass
        said = ctr_import.stdout.read().decode(errors="replace")
    if ctr_import.returncode != 0:
        raise ClusterError(f"importing the image failed: {said[-2000:]}")


def remove_images(layout: Layout, names: Collection[str]) -> None:
    """Forget image names; what running containers use stays until they end."""
    if names:
        ctr(layout, "images", "remove", *names)


def ensure_pause_image(layout: Layout, program: Path) -> None:
    """Import the sandbox image, packed from the static program here and now."""
    if PAUSE_IMAGE in images(layout):
        return
    archive = layout.run / "pause.tar"
    archive.write_bytes(pause_archive(program.read_bytes()))
    import_archive(layout, archive)
    archive.unlink()


def pause_archive(program: bytes) -> bytes:
    """Pack one static program as a docker-archive with a single layer."""
    layer = _tar({"pause": program}, mode=0o755)
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
    ).encode()
    manifest = json.dumps(
        [{"Config": "config.json", "RepoTags": [PAUSE_IMAGE], "Layers": ["layer.tar"]}]
    ).encode()
    return _tar({"config.json": config, "layer.tar": layer, "manifest.json": manifest})


def _tar(files: dict[str, bytes], mode: int = 0o644) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), mode
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
