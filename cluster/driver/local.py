"""Brings the local cluster up and down."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

from cluster.driver import containers, control_plane, leftovers, node
from cluster.driver.certificates import ensure_certificates, write_kubeconfigs
from cluster.driver.commands import run
from cluster.driver.component import Component
from cluster.driver.console import ClusterError, say, step
from cluster.driver.layout import NODE_NAME, Layout
from cluster.driver.manifests import base_objects
from cluster.driver.network import ensure_network, remove_network
from cluster.driver.node_binary import ensure_node_binary, link_programs
from cluster.driver.packages import NODE, ensure_packages
from cluster.driver.postgres import clear_stale_lock, ensure_postgres, postgres
from cluster.driver.process import ProcessTable

# In the order of starting; each wave waits until the one before it is ready.
_WAVES: tuple[tuple[Callable[[Layout], Component], ...], ...] = (
    (control_plane.etcd, postgres, node.containerd),
    (control_plane.api_server,),
    (control_plane.controller_manager, control_plane.scheduler, node.kubelet, node.kube_proxy, node.coredns),
)
_STATE_VERSION = "1"
_START_PATIENCE = 120.0


@dataclass(frozen=True, slots=True)
class LocalCluster:
    """The one-node cluster of this machine; every method may be called in any state."""

    layout: Layout

    @property
    def processes(self) -> ProcessTable:
        return ProcessTable(self.layout)

    def components(self) -> list[list[Component]]:
        return [[build(self.layout) for build in wave] for wave in _WAVES]

    def component(self, name: str) -> Component:
        every = {component.name: component for wave in self.components() for component in wave}
        if name not in every:
            raise ClusterError(f"there is no component {name!r}; there are {', '.join(every)}")
        return every[name]

    def up(self) -> None:
        """Make the cluster run with the present sources' programs and settings; quick when it does."""
        if os.geteuid() != 0:
            raise ClusterError(
                "the local cluster needs root: it makes cgroups, mounts and a bridge (or use CLUSTER=kind)"
            )
        ensure_packages(NODE)
        with self.locked():
            self._prepare_state()
            binary = ensure_node_binary(self.layout)
            link_programs(self.layout, binary)
            ensure_certificates(self.layout)
            write_kubeconfigs(self.layout)
            self._clear_leftovers()
            ensure_postgres(self.layout)
            leftovers.ensure_cgroups(self.layout)
            ensure_network(self.layout)
            for wave in self.components():
                self._start_wave(wave)
                if any(component.name == "containerd" for component in wave):
                    containers.ensure_pause_image(self.layout, binary / "pause")
            self._apply_base_objects()
            self._await_node()

    def down(self) -> None:
        """End the cluster and delete its state; what is cached for the next one stays."""
        if not self.layout.root.exists():
            return
        with self.locked(), step("Stopping the cluster"):
            # The kubelet first: it would start again what is stopped below.
            names = [component for wave in reversed(_names()) for component in wave]
            for name in sorted(names, key=lambda name: name != "kubelet"):
                self.processes.stop(
                    name, sign=signal.SIGINT if name == "postgres" else signal.SIGTERM, patience=5
                )
            leftovers.kill_strays(self.layout, known=())
            leftovers.clear_node(self.layout)
            remove_network(self.layout)
            self._delete_state()

    def start(self, name: str) -> None:
        """Start one component that was stopped or killed, and wait until it is ready."""
        with self.locked():
            if name == "postgres" and self.processes.find(name) is None:
                leftovers.kill_strays(self.layout, known=self._live_pids().values())
                clear_stale_lock(self.layout)
                # Its data directory may have been put aside to get an empty one.
                ensure_postgres(self.layout)
            self._start_wave([self.component(name)])

    def stop(self, name: str) -> None:
        self._stop_one(self.component(name))

    def kill(self, name: str) -> None:
        """End one component with SIGKILL."""
        self.component(name)
        self.processes.stop(name, sign=signal.SIGKILL)

    def status(self) -> bool:
        """Print a line per component; True when all are ready."""
        well = True
        for component in (component for wave in self.components() for component in wave):
            record = self.processes.find(component.name)
            ready = record is not None and component.ready(self.layout)
            well = well and ready
            state = "ready" if ready else "not ready" if record else "stopped"
            print(f"{component.name:<24} {state:<10} {f'pid {record.pid}' if record else ''}")
        return well

    @contextlib.contextmanager
    def locked(self) -> Generator[None]:
        """Let one command at a time change the cluster; the lock ends with its process."""
        lock_file = self.layout.root.with_name(self.layout.root.name + ".lock")
        lock_file.parent.mkdir(parents=True, exist_ok=True)
        with lock_file.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("Another command is changing the cluster; waiting for it …")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _prepare_state(self) -> None:
        """Keep the state of an earlier cluster unless it cannot be used any more."""
        mark = self.layout.root / "state-version"
        wanted = f"{_STATE_VERSION} {self.layout.address}"
        if self.layout.root.exists() and (not mark.exists() or mark.read_text() != wanted):
            if any(self.layout.root.iterdir()) and not mark.exists():
                raise ClusterError(
                    f"{self.layout.root} exists and is no cluster's; move it or set PARLEY_CLUSTER_DIR"
                )
            say("The state of an older cluster cannot be used; starting afresh")
            leftovers.kill_strays(self.layout, known=())
            leftovers.clear_node(self.layout)
            self._delete_state()
        self.layout.root.mkdir(parents=True, exist_ok=True)
        mark.write_text(wanted)
        for directory in (self.layout.run, self.layout.data, self.layout.logs, self.layout.records):
            directory.mkdir(exist_ok=True)

    def _delete_state(self) -> None:
        root = self.layout.root
        if leftovers.mounts_below(Path("/proc/self/mountinfo").read_text(), root):
            raise ClusterError(f"something is still mounted below {root}; not deleting it")
        # The mark goes last, so that an interrupted deletion is known for one.
        for entry in sorted(root.iterdir(), key=lambda entry: entry.name == "state-version"):
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        root.rmdir()

    def _live_pids(self) -> dict[str, int]:
        found = {name: self.processes.find(name) for wave in _names() for name in wave}
        return {name: record.pid for name, record in found.items() if record is not None}

    def _clear_leftovers(self) -> None:
        live = self._live_pids()
        leftovers.kill_strays(self.layout, known=live.values())
        if "postgres" not in live:
            clear_stale_lock(self.layout)
        if "containerd" not in live and "kubelet" not in live:
            leftovers.clear_node(self.layout)

    def _start_wave(self, wave: list[Component]) -> None:
        started = [component for component in wave if self._start_one(component)]
        deadline = time.monotonic() + _START_PATIENCE
        waiting = {component.name: component for component in wave}
        begun = time.monotonic()
        while waiting:
            for component in list(waiting.values()):
                if component.ready(self.layout):
                    del waiting[component.name]
                elif self.processes.find(component.name) is None:
                    raise ClusterError(
                        f"{component.name} ended while starting; the end of {self.processes.log(component.name)}:\n"
                        f"{self.processes.log_tail(component.name)}"
                    )
            if waiting and time.monotonic() > deadline:
                first = next(iter(waiting))
                raise ClusterError(
                    f"{', '.join(waiting)} not ready after {_START_PATIENCE:.0f} s; the end of "
                    f"{self.processes.log(first)}:\n{self.processes.log_tail(first)}"
                )
            if waiting:
                time.sleep(0.05)
        if started:
            names = ", ".join(component.name for component in started)
            say(f"  ready after {time.monotonic() - begun:.1f} s: {names}")

    def _stop_one(self, component: Component) -> None:
        sign = signal.Signals[component.stop_signal]
        self.processes.stop(component.name, sign=sign, patience=component.patience)

    def _start_one(self, component: Component) -> bool:
        """Start it unless it runs just as it should."""
        fingerprint = component.fingerprint()
        record = self.processes.find(component.name)
        if record is not None:
            if record.fingerprint == fingerprint:
                return False
            say(f"  {component.name} runs with other settings; restarting it")
            self._stop_one(component)
        component.write_files()
        self.processes.start(
            component.name,
            component.argv,
            fingerprint=fingerprint,
            user=component.user,
            environment=component.environment,
        )
        return True

    def _apply_base_objects(self) -> None:
        objects = base_objects(self.layout)
        digest = hashlib.sha256(objects.encode()).hexdigest()
        record = self.layout.records / "base-objects"
        if record.exists() and record.read_text() == digest:
            return
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", text=objects)
        record.write_text(digest)

    def _await_node(self) -> None:
        if self._node_is_ready():
            return
        with step("Waiting for the node"):
            deadline = time.monotonic() + _START_PATIENCE
            while not self._node_is_ready():
                if time.monotonic() > deadline:
                    raise ClusterError(
                        f"the node is not Ready; kubelet says:\n{self.processes.log_tail('kubelet')}"
                    )
                time.sleep(0.2)

    def _node_is_ready(self) -> bool:
        """Ask for the Ready condition as the kubelet that runs now reported it."""
        path = "{.status.conditions[?(@.type=='Ready')].status}"
        try:
            answer = self.kubectl("get", "node", NODE_NAME, "-o", f"jsonpath={path}")
            account = self.kubectl("get", "serviceaccount", "default", "-n", "default", "-o", "name")
        except ClusterError:
            return False
        return answer == "True" and bool(account)

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        return run(
            [self.layout.bin / "kubectl", "--kubeconfig", self.layout.kubeconfig, *arguments], text=text
        )


def _names() -> list[list[str]]:
    """Return the component names by wave, also where what they need is not installed yet."""
    return [
        ["etcd", "postgres", "containerd"],
        ["kube-apiserver"],
        ["kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "coredns"],
    ]
