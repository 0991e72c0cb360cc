"""Clearing what a cluster leaves behind that was killed and not stopped.

Afterwards the node is as after a reboot: no container runs, nothing is
mounted, no network namespace or cgroup is left; images and data stay.
"""

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from cluster.driver.commands import run, succeeds
from cluster.driver.console import ClusterError
from cluster.driver.layout import Layout
from cluster.driver.network import links_on_bridge
from cluster.driver.process import start_time

_CGROUPS = Path("/sys/fs/cgroup")
_V1_CONTROLLERS = (
    "cpu",
    "cpuacct",
    "cpuset",
    "memory",
    "pids",
    "blkio",
    "devices",
    "freezer",
    "hugetlb",
    "systemd",
)


def kill_strays(layout: Layout, known: Iterable[int]) -> None:
    """End this cluster's processes that no pid file knows, such as a start that was interrupted."""
    kept = set(known)
    _kill([pid for pid in _processes() if pid not in kept and _is_component(layout, pid)])


def clear_node(layout: Layout) -> None:
    """Clear the node; only for when neither containerd nor the kubelet runs."""
    _kill([pid for pid in _processes() if _is_shim(layout, pid)])
    for _ in range(5):
        inside = list(_processes_in_cgroups(layout))
        if not inside:
            break
        _kill(inside)
    for mount in mounts_below(Path("/proc/self/mountinfo").read_text(), layout.root):
        run(["umount", "--lazy", mount])
    for directory in ("containerd", "addresses"):
        shutil.rmtree(layout.run / directory, ignore_errors=True)
    for link in links_on_bridge(layout):
        # The kernel may be taking it away by itself: its namespace has just ended.
        succeeds(["ip", "link", "delete", link])
    remove_cgroups(layout)


def ensure_cgroups(layout: Layout) -> None:
    """Make the parent cgroup of all pods in every hierarchy."""
    if (_CGROUPS / "cgroup.controllers").exists():
        for controller in (_CGROUPS / "cgroup.controllers").read_text().split():
            # One by one: a controller that something else holds would refuse them all.
            with contextlib.suppress(OSError):
                (_CGROUPS / "cgroup.subtree_control").write_text(f"+{controller}")
        (_CGROUPS / layout.cgroup).mkdir(exist_ok=True)
        return
    for controller in _V1_CONTROLLERS:
        parent = _CGROUPS / controller
        if not parent.is_dir():
            continue
        group = parent / layout.cgroup
        group.mkdir(exist_ok=True)
        if controller == "cpuset":
            for file in ("cpuset.cpus", "cpuset.mems"):
                if not (group / file).read_text().strip():
                    (group / file).write_text((parent / file).read_text())


def remove_cgroups(layout: Layout) -> None:
    """Remove the pods' cgroups; a directory whose last process is still ending is tried again."""
    deadline = time.monotonic() + 10
    for top in _cgroup_tops(layout):
        while top.exists():
            for directory, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    Path(directory).rmdir()
            if time.monotonic() > deadline:
                raise ClusterError(f"{top} cannot be removed: a process in it does not end")
            if top.exists():
                time.sleep(0.05)


def mounts_below(mountinfo: str, root: Path) -> list[str]:
    """Return the mount points at or below `root`, innermost first."""
    points = [line.split()[4].encode().decode("unicode_escape") for line in mountinfo.splitlines()]
    return [point for point in reversed(points) if point == str(root) or point.startswith(f"{root}/")]


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _arguments(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def _is_shim(layout: Layout, pid: int) -> bool:
    arguments = _arguments(pid)
    return (
        Path(arguments[0]).name.startswith("containerd-shim") and str(layout.containerd_socket) in arguments
        if arguments
        else False
    )


def _is_component(layout: Layout, pid: int) -> bool:
    arguments = _arguments(pid)
    if not arguments:
        return False
    if arguments[0].startswith((f"{layout.bin}/", f"{layout.root}/postgres/")):
        return not arguments[0].endswith(("/kubectl", "/helm"))
    if arguments[0].startswith("postgres: "):
        # A server killed with -9 leaves workers that hold its shared memory for a moment.
        return _has_directory(pid, layout.data / "postgres") and _parent(pid) == 1
    return Path(arguments[0]).name == "containerd" and str(layout.config / "containerd.toml") in arguments


def _has_directory(pid: int, directory: Path) -> bool:
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == directory
    except OSError:
        return False


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _cgroup_tops(layout: Layout) -> list[Path]:
    if (_CGROUPS / "cgroup.controllers").exists():
        return [_CGROUPS / layout.cgroup]
    # Beside the old hierarchies there may be the new one, where runc makes groups too.
    return [_CGROUPS / controller / layout.cgroup for controller in (*_V1_CONTROLLERS, "unified")]


def _processes_in_cgroups(layout: Layout) -> Iterator[int]:
    for top in _cgroup_tops(layout):
        for directory, _, _ in os.walk(top):
            try:
                yield from (int(pid) for pid in (Path(directory) / "cgroup.procs").read_text().split())
            except OSError:
                continue


def _kill(pids: Iterable[int]) -> None:
    """Send SIGKILL to each and wait until they are gone."""
    waiting = {pid: started for pid in pids if (started := start_time(pid)) is not None}
    for pid in waiting:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    deadline = time.monotonic() + 10
    while any(start_time(pid) == started for pid, started in waiting.items()):
        if time.monotonic() > deadline:
            raise ClusterError(f"processes {sorted(waiting)} do not end by SIGKILL")
        time.sleep(0.02)
