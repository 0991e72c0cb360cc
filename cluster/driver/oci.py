"""Streams an image to the node as an OCI archive that leaves out the layers it has."""

import hashlib
import io
import json
import tarfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import IO


@dataclass(frozen=True, slots=True)
class Exported:
    """An image as `buildah push dir:` leaves it: a manifest, and blobs named by their digest."""

    directory: Path
    manifest: bytes
    blobs: tuple[str, ...]


def read_exported(directory: Path) -> Exported:
    """Read what a push to `dir:` wrote."""
    manifest = (directory / "manifest.json").read_bytes()
    content = json.loads(manifest)
    digests = [content["config"]["digest"], *(layer["digest"] for layer in content["layers"])]
    return Exported(directory, manifest, tuple(digests))


def write_archive(
    image: Exported, names: Collection[str], present: Collection[str], stream: IO[bytes]
) -> None:
    """Write an OCI archive that gives the image all `names` and lacks the blobs that are `present`."""
    digest = f"sha256:{hashlib.sha256(image.manifest).hexdigest()}"
    media_type = json.loads(image.manifest)["mediaType"]
    entries = [
        {
            "mediaType": media_type,
            "digest": digest,
            "size": len(image.manifest),
            "annotations": {"io.containerd.image.name": name},
        }
        for name in names
    ]
    index = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
    with tarfile.open(fileobj=stream, mode="w|") as archive:
        _add(archive, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        _add(archive, _blob(digest), image.manifest)
        for blob in image.blobs:
            if blob not in present:
                archive.add(image.directory / blob.removeprefix("sha256:"), arcname=_blob(blob))
        _add(archive, "index.json", index)


def _blob(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))
