"""Background processes that outlive the command that started them."""

import os
import pwd
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.driver.console import ClusterError
from cluster.driver.layout import Layout


@dataclass(frozen=True, slots=True)
class Record:
    """A started process: its start time tells it from a later one with the same id."""

    pid: int
    started: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class ProcessTable:
    """The processes of one cluster, by component name, kept in pid files."""

    layout: Layout

    def pidfile(self, name: str) -> Path:
        return self.layout.run / f"{name}.pid"

    def log(self, name: str) -> Path:
        return self.layout.logs / f"{name}.log"

    def find(self, name: str) -> Record | None:
        """Return the component's process if it lives."""
        try:
            pid, started, fingerprint = self.pidfile(name).read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        record = Record(int(pid), int(started), fingerprint)
        return record if start_time(record.pid) == record.started else None

    def start(
        self,
        name: str,
        argv: Sequence[str],
        *,
        fingerprint: str,
        user: str | None,
        environment: Mapping[str, str],
    ) -> None:
        """Start the component in a session of its own, appending to its log."""
        self.layout.run.mkdir(parents=True, exist_ok=True)
        self.layout.logs.mkdir(parents=True, exist_ok=True)
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
                env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
                | dict(environment),
                user=user,
                group=pwd.getpwnam(user).pw_gid if user else None,
                extra_groups=[] if user else None,
            )
        started = start_time(process.pid)
        staged = self.pidfile(name).with_suffix(".new")
        staged.write_text(f"{process.pid} {started or 0} {fingerprint}\n")
        staged.replace(self.pidfile(name))
        # The process belongs to init once this command ends; nobody waits for it here.
        process.returncode = 0

    def stop(self, name: str, *, sign: signal.Signals = signal.SIGTERM, patience: float = 30.0) -> None:
        """End the component; after `patience` seconds with SIGKILL."""
        record = self.find(name)
        if record is not None:
            end_process(record.pid, record.started, sign, patience)
        self.pidfile(name).unlink(missing_ok=True)

    def log_tail(self, name: str, lines: int = 15) -> str:
        try:
            with self.log(name).open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - 20_000))
                return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return "(no log)"


def start_time(pid: int) -> int | None:
    """Return the process's start time in clock ticks since boot, None if it is gone or a zombie.

    A zombie whose other threads have not ended yet still holds its ports, so it counts as alive.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    threads = int(fields[17])
    return None if fields[0] in {"Z", "X"} and threads <= 1 else int(fields[19])


def end_process(pid: int, started: int, sign: signal.Signals, patience: float) -> None:
    """Signal one process and wait until it is gone; SIGKILL when it stays."""
    for number, limit in ((sign, patience), (signal.SIGKILL, 10.0)):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            if start_time(pid) != started:
                return
            time.sleep(0.02)
    raise ClusterError(f"process {pid} does not end, not even by SIGKILL; look at /proc/{pid}/stack")
