import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.driver.layout import Layout
from cluster.driver.leftovers import mounts_below
from cluster.driver.process import ProcessTable, start_time

HALF_DEAD = """
import ctypes, sys, threading
threading.Thread(target=sys.stdin.read).start()
EXIT_OF_ONE_THREAD = 60
ctypes.CDLL(None).syscall(EXIT_OF_ONE_THREAD, 0)
"""
STUBBORN = "trap '' TERM; echo deaf; while :; do sleep 0.05; done"


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[ProcessTable]:
    table = ProcessTable(Layout(root=tmp_path / "cluster", cache=tmp_path / "cache"))
    yield table
    table.stop("part", sign=signal.SIGKILL)


def _start(table: ProcessTable, *argv: str) -> None:
    table.start("part", argv, fingerprint="f1", user=None, environment={})


def test_a_component_outlives_its_starter_and_is_found_by_its_pid_file(processes: ProcessTable) -> None:
    _start(processes, "sleep", "1000")
    # Another command, that knows the directory only, finds the same process.
    found = ProcessTable(processes.layout).find("part")
    assert found is not None
    assert found.fingerprint == "f1"
    assert Path(f"/proc/{found.pid}/stat").read_text().split()[5] == str(found.pid), (
        "it leads a session of its own"
    )
    processes.stop("part")
    assert processes.find("part") is None
    assert start_time(found.pid) != found.started


def test_a_process_that_got_the_same_id_later_is_not_taken_for_the_component(processes: ProcessTable) -> None:
    _start(processes, "sleep", "1000")
    found = processes.find("part")
    assert found is not None
    # Given a pid file of an earlier process with that id
    pidfile = processes.pidfile("part")
    pidfile.write_text(f"{found.pid} {found.started - 1} f1\n")
    # Then it is not found, and stopping the component does not touch it
    assert processes.find("part") is None
    processes.stop("part")
    assert start_time(found.pid) == found.started
    pidfile.write_text(f"{found.pid} {found.started} f1\n")


def test_a_component_that_ignores_its_stop_signal_is_killed(processes: ProcessTable) -> None:
    _start(processes, "sh", "-c", STUBBORN)
    deadline = time.monotonic() + 30
    while "deaf" not in processes.log_tail("part"):
        assert time.monotonic() < deadline, processes.log_tail("part")
        time.sleep(0.01)
    found = processes.find("part")
    assert found is not None
    processes.stop("part", patience=0.2)
    assert start_time(found.pid) != found.started


def test_a_damaged_pid_file_means_that_nothing_runs(processes: ProcessTable) -> None:
    processes.pidfile("part").parent.mkdir(parents=True)
    processes.pidfile("part").write_text("")
    assert processes.find("part") is None


def test_mounts_are_taken_away_from_the_inside_out_and_only_the_clusters_own() -> None:
    mountinfo = "\n".join(
        f"{number} 1 0:1 / {point} rw - tmpfs tmpfs rw"
        for number, point in enumerate(
            ["/", "/var/lib/c", "/var/lib/cc", "/var/lib/c/a", "/var/lib/c/a/with\\040space"]
        )
    )
    assert mounts_below(mountinfo, Path("/var/lib/c")) == [
        "/var/lib/c/a/with space",
        "/var/lib/c/a",
        "/var/lib/c",
    ]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="system calls have other numbers")
def test_a_process_is_gone_when_its_last_thread_is() -> None:
    # Given a process whose first thread has ended, as after a signal that has not reached the others yet
    with subprocess.Popen([sys.executable, "-c", HALF_DEAD], stdin=subprocess.PIPE) as process:
        try:
            stat = Path(f"/proc/{process.pid}/stat")
            deadline = time.monotonic() + 30
            while ") Z " not in stat.read_text():
                assert time.monotonic() < deadline, stat.read_text()
                time.sleep(0.01)

            # Then it is alive, for it holds what it has opened; and gone when the last thread is
            assert start_time(process.pid) is not None
            assert process.stdin is not None
            process.stdin.close()
            while start_time(process.pid) is not None:
                assert time.monotonic() < deadline, stat.read_text()
                time.sleep(0.01)
        finally:
            process.kill()
