"""A kubelet for simulated nodes: ``python -m tests.bench.kubelet KUBECONFIG NODES``. Ends on SIGTERM.

What a pod is told to run is not run. A pod of a Job runs and has succeeded at once; any other runs until it is
deleted. A deleted pod is gone at once. It costs the control plane what a real kubelet's status writes cost.
"""

import datetime as dt
import json
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2

from tests.bench.simulated import MARK
from tests.cluster import Cluster

LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
HEARTBEAT = 10.0
"""Seconds between two signs of life; the node controller waits 40."""
PODS_PER_NODE = 250
_STRATEGIC = {"Content-Type": "application/strategic-merge-patch+json"}
_AT_ONCE = 4


def _now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _condition(kind: str, status: str, reason: str) -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason, "lastTransitionTime": _now()}


class SimulatedNodes:
    """Some nodes, and the pods that the scheduler put there."""

    def __init__(self, cluster: Cluster, names: list[str]) -> None:
        self._cluster = cluster
        self._names = names
        self._threads = ThreadPoolExecutor(_AT_ONCE)
        self._seen: set[tuple[str, str]] = set()
        self.stop = threading.Event()

    def add(self) -> None:
        """Make the nodes, ready."""
        size = {"cpu": "64", "memory": "256Gi", "ephemeral-storage": "1Ti", "pods": str(PODS_PER_NODE)}
        status = {
            "capacity": size,
            "allocatable": size,
            "conditions": [_condition("Ready", "True", "KubeletReady")],
            "nodeInfo": {"kubeletVersion": "v1.37.2", "operatingSystem": "linux", "architecture": "amd64"},
        }
        for name in self._names:
            labels = {MARK: "true", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}
            taint = {"key": MARK, "value": "true", "effect": "NoSchedule"}
            node = {"metadata": {"name": name, "labels": labels}, "spec": {"taints": [taint]}}
            self._ask("POST", "/api/v1/nodes", node)
            self._ask("PATCH", f"/api/v1/nodes/{name}/status", {"status": status})
            spec = {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": self._micro()}
            self._ask("POST", LEASES, {"metadata": {"name": name}, "spec": spec})

    def remove(self) -> None:
        """Take the nodes away."""
        for name in self._names:
            self._cluster.request("DELETE", f"/api/v1/nodes/{name}")
            self._cluster.request("DELETE", f"{LEASES}/{name}")

    def beat(self) -> None:
        """Show signs of life until stopped."""
        while not self.stop.wait(HEARTBEAT):
            for name in self._names:
                self._ask("PATCH", f"{LEASES}/{name}", {"spec": {"renewTime": self._micro()}})

    def serve(self) -> None:
        """Run what is put on the nodes, until stopped."""
        params = {"watch": "1", "resourceVersion": "0", "timeoutSeconds": "600"}
        while not self.stop.is_set():
            try:
                with self._cluster.stream("GET", "/api/v1/pods", params=params, timeout=30.0) as answer:
                    for line in answer.iter_lines():
                        self._see(json.loads(line))
            except httpx2.HTTPError:
                time.sleep(0.1)

    def _see(self, event: dict[str, Any]) -> None:
        pod = event["object"]
        metadata = pod.get("metadata", {})
        if pod.get("spec", {}).get("nodeName") not in self._names or event["type"] == "DELETED":
            return
        work = self._remove_pod if "deletionTimestamp" in metadata else self._run_pod
        key = (metadata["uid"], work.__name__)
        if key not in self._seen and (
            work == self._remove_pod or pod["status"]["phase"] in {"Pending", "Running"}
        ):
            self._seen.add(key)
            self._threads.submit(self._carefully, work, pod)

    def _carefully(self, work: Any, pod: dict[str, Any]) -> None:
        try:
            work(pod)
        except (httpx2.HTTPError, AssertionError) as error:
            print(f"{pod['metadata']['name']}: {error}", file=sys.stderr, flush=True)
            self._seen.discard((pod["metadata"]["uid"], work.__name__))

    def _remove_pod(self, pod: dict[str, Any]) -> None:
        # As a kubelet does that has nothing left to stop.
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}}
        self._cluster.request("DELETE", self._path(pod), json=body)

    def _run_pod(self, pod: dict[str, Any]) -> None:
        started = _now()
        self._write(pod, "Running", {"running": {"startedAt": started}}, ready=True)
        if pod["spec"].get("restartPolicy") == "Never":
            ended = {"exitCode": 0, "reason": "Completed", "startedAt": started, "finishedAt": _now()}
            self._write(pod, "Succeeded", {"terminated": ended}, ready=False)

    def _write(self, pod: dict[str, Any], phase: str, state: dict[str, Any], *, ready: bool) -> None:
        containers = [
            {
                "name": container["name"],
                "image": container["image"],
                "imageID": "simulated",
                "containerID": f"simulated://{pod['metadata']['uid']}",
                "ready": ready,
                "started": ready,
                "restartCount": 0,
                "state": state,
            }
            for container in pod["spec"]["containers"]
        ]
        is_ready = ("True", "") if ready else ("False", "PodCompleted")
        conditions = [
            _condition("Initialized", "True", ""),
            _condition("Ready", *is_ready),
            _condition("ContainersReady", *is_ready),
        ]
        status = {"phase": phase, "containerStatuses": containers, "conditions": conditions}
        if phase == "Running":
            status |= {"startTime": _now(), "podIP": "192.0.2.1", "podIPs": [{"ip": "192.0.2.1"}]}
        # A recreated pod of the same name must not get this one's status.
        body = {"metadata": {"uid": pod["metadata"]["uid"]}, "status": status}
        self._ask("PATCH", f"{self._path(pod)}/status", body)

    @staticmethod
    def _path(pod: dict[str, Any]) -> str:
        metadata = pod["metadata"]
        return f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"

    @staticmethod
    def _micro() -> str:
        return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def _ask(self, method: str, path: str, body: dict[str, Any]) -> None:
        headers = _STRATEGIC if method == "PATCH" else None
        answer = self._cluster.request(method, path, json=body, headers=headers)
        # 404, 409: the pod went meanwhile, or another has its name.
        assert answer.status_code < 300 or answer.status_code in {404, 409}, answer.text


def main() -> None:
    """Serve until told to end."""
    cluster = Cluster(Path(sys.argv[1]))
    nodes = SimulatedNodes(cluster, [f"simulated-{number}" for number in range(int(sys.argv[2]))])

    def end(*_: object) -> None:
        raise SystemExit

    signal.signal(signal.SIGTERM, end)
    try:
        nodes.add()
        for work in (nodes.beat, nodes.serve):
            threading.Thread(target=work, daemon=True).start()
        print("ready", flush=True)
        parent = os.getppid()
        while os.getppid() == parent:
            # A benchmark that was killed must not leave its nodes behind.
            time.sleep(1)
    finally:
        nodes.stop.set()
        nodes.remove()


if __name__ == "__main__":
    main()
