import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from cluster.driver.charts import hash_chart
from cluster.driver.containers import full_name, pause_archive
from cluster.driver.image import reference
from cluster.driver.oci import read_exported, write_archive


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _exported(directory: Path, layers: list[bytes]) -> bytes:
    """Lay an image out as `buildah push dir:` does; return its manifest."""
    config = b'{"os":"linux"}'
    for blob in (config, *layers):
        (directory / _digest(blob).removeprefix("sha256:")).write_bytes(blob)
    manifest = json.dumps(
        {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"digest": _digest(config)},
            "layers": [{"digest": _digest(layer)} for layer in layers],
        }
    ).encode()
    (directory / "manifest.json").write_bytes(manifest)
    return manifest


def test_only_layers_that_the_node_lacks_are_sent(tmp_path: Path) -> None:
    # Given an image of which the node has the large layer
    manifest = _exported(tmp_path, [b"dependencies", b"sources"])
    # When it is streamed under two names
    stream = io.BytesIO()
    write_archive(
        read_exported(tmp_path),
        ["docker.io/library/a:1", "docker.io/library/a:dev"],
        {_digest(b"dependencies")},
        stream,
    )
    # Then the archive has everything else, and both names lead to the same manifest
    stream.seek(0)
    with tarfile.open(fileobj=stream) as archive:
        members = {member.name: archive.extractfile(member).read() for member in archive}  # pyright: ignore[reportOptionalMemberAccess]
    blobs = {name for name in members if name.startswith("blobs/")}
    sent = {_digest(b"sources"), _digest(b'{"os":"linux"}'), _digest(manifest)}
    assert blobs == {f"blobs/sha256/{digest.removeprefix('sha256:')}" for digest in sent}
    entries = json.loads(members["index.json"])["manifests"]
    assert {(entry["annotations"]["io.containerd.image.name"], entry["digest"]) for entry in entries} == {
        ("docker.io/library/a:1", _digest(manifest)),
        ("docker.io/library/a:dev", _digest(manifest)),
    }


def test_the_pause_image_names_its_layer_by_the_layers_own_digest() -> None:
    with tarfile.open(fileobj=io.BytesIO(pause_archive(b"program"))) as archive:
        layer = archive.extractfile("layer.tar")
        config = archive.extractfile("config.json")
        assert layer is not None
        assert config is not None
        content = layer.read()
        assert json.load(config)["rootfs"]["diff_ids"] == [_digest(content)]
    with tarfile.open(fileobj=io.BytesIO(content)) as files:
        assert files.getmember("pause").mode == 0o755


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("parley:dev", "docker.io/library/parley:dev"),
        ("someone/parley:1", "docker.io/someone/parley:1"),
        ("parley.dev/pause:1", "parley.dev/pause:1"),
        ("localhost/parley:1", "localhost/parley:1"),
        ("registry:5000/parley:1", "registry:5000/parley:1"),
    ],
)
def test_image_names_are_completed_as_the_kubelet_does(short: str, full: str) -> None:
    assert full_name(short) == full


def test_the_tag_follows_what_goes_into_the_image_and_nothing_else(tmp_path: Path) -> None:
    # Given a context
    source = tmp_path / "operator" / "parley" / "engine.py"
    source.parent.mkdir(parents=True)
    source.write_text("a = 1\n")
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    first = reference(tmp_path)
    # When files change that do not go in, the tag stays
    (source.parent / "__pycache__").mkdir()
    (source.parent / "__pycache__" / "engine.pyc").write_bytes(b"\0")
    (tmp_path / "docs.md").write_text("text")
    assert reference(tmp_path) == first
    # When one changes that does, in content, in mode or in name, the tag changes
    source.chmod(0o755)
    second = reference(tmp_path)
    source.write_text("a = 2\n")
    third = reference(tmp_path)
    source.rename(source.with_name("plan.py"))
    assert len({first, second, third, reference(tmp_path)}) == 4


def test_a_chart_changes_with_a_directory_that_is_linked_into_it(tmp_path: Path) -> None:
    (tmp_path / "crds").mkdir()
    (tmp_path / "crds" / "tasks.yaml").write_text("a: 1")
    (tmp_path / "chart").mkdir()
    (tmp_path / "chart" / "files").symlink_to("../crds")
    before = hash_chart(tmp_path / "chart")
    (tmp_path / "crds" / "tasks.yaml").write_text("a: 2")
    assert hash_chart(tmp_path / "chart") != before
