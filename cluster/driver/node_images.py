"""Keeps the image of the present sources in the node."""

import tempfile
from pathlib import Path

from cluster.driver import containers, image
from cluster.driver.console import ClusterError, step
from cluster.driver.layout import Layout

STABLE_NAME = "parley:dev"
_KEPT = 5


def ensure_image(layout: Layout) -> str:
    """Build and load the image of the present sources unless the node has it; return its reference.

    The same image is there as `parley:dev`, for examples and tests.
    """
    wanted = image.reference()
    if _is_loaded(layout, wanted):
        return wanted
    with tempfile.TemporaryDirectory(prefix="image-", dir=layout.run) as scratch:
        context, exported = Path(scratch, "context"), Path(scratch, "exported")
        image.copy_context(context)
        wanted = image.reference(context)
        built = image.Builder(layout).build(context, exported)
        with step(f"Loading {wanted} into the node"):
            containers.import_exported(layout, built, (wanted, STABLE_NAME))
    _forget_old(layout, wanted)
    return wanted


def load_archive(layout: Layout, archive: Path) -> None:
    """Load a docker-archive or OCI archive from a file."""
    if not archive.is_file():
        raise ClusterError(
            f"{archive} is no file; give the path of an image archive (docker save, buildah push)"
        )
    containers.import_archive(layout, archive)


def _is_loaded(layout: Layout, wanted: str) -> bool:
    present = containers.images(layout)
    stable = present.get(containers.full_name(STABLE_NAME))
    return stable is not None and present.get(containers.full_name(wanted)) == stable


def _forget_old(layout: Layout, newest: str) -> None:
    """Keep the last few builds, so that what runs now can still be restarted."""
    record = layout.records / "images"
    known = record.read_text().split() if record.exists() else []
    known = [*(name for name in known if name != newest), newest]
    present = containers.images(layout)
    old = [containers.full_name(name) for name in known[:-_KEPT]]
    containers.remove_images(layout, [name for name in old if name in present])
    record.write_text("\n".join(known[-_KEPT:]))
