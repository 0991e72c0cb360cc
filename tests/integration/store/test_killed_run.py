"""A run of the tests that is killed leaves no server behind."""

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

ROOT = Path(__file__).parents[3]
RUN = """
import time
from tests.postgres import EmbeddedPostgres
server = EmbeddedPostgres()
server.start()
print(server.dsn(), flush=True)
time.sleep(600)
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short path that the server's own user may enter: its socket lies below."""
    made = Path(tempfile.mkdtemp(prefix="parley-run-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


def test_the_server_of_a_killed_run_ends(directory: Path) -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", RUN],
        cwd=ROOT,
        env={"TMPDIR": str(directory), "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        text=True,
    )
    with run:
        assert run.stdout is not None
        dsn = run.stdout.readline().strip()
        psycopg.connect(dsn, connect_timeout=5).close()
        assert list(directory.glob("*/data/postmaster.pid"))

        run.send_signal(signal.SIGKILL)

    end = time.monotonic() + 60
    while list(directory.glob("*/data/postmaster.pid")):
        assert time.monotonic() < end, f"the server at {dsn} still runs"
        time.sleep(0.05)
