"""Every version of a kind's objects that watchers like Flux or ``kubectl wait`` get to see, in order."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from tests.cluster import GROUP, Cluster
from tests.kstatus import kstatus

_PIECE_SECONDS = 3


class Recording:
    """What a watch of one kind in one namespace brought."""

    def __init__(self, cluster: Cluster, kind: str, namespace: str) -> None:
        self._cluster = cluster
        self._kind = kind
        self._namespace = namespace
        self._stop = threading.Event()
        self.versions: list[dict[str, Any]] = []
        answer = cluster.request("GET", f"{GROUP}/namespaces/{namespace}/{kind}s").raise_for_status().json()
        self._version = answer["metadata"]["resourceVersion"]

    def of(self, name: str) -> list[dict[str, Any]]:
        """The versions of one object, oldest first."""
        return [body for body in self.versions if body["metadata"]["name"] == name]

    def verdicts(self, name: str) -> list[str]:
        """What kstatus said of one object, without repeats of the same word."""
        said = [kstatus(body).status for body in self.of(name)]
        return [word for index, word in enumerate(said) if index == 0 or said[index - 1] != word]

    def run(self) -> None:
        """Record until told to end, and then what happened until that."""
        last = False
        while not last:
            # The piece that begins after the end was asked for holds all that happened before it.
            last = self._stop.is_set()
            seconds = 1 if last else _PIECE_SECONDS
            for event in self._cluster.watch(self._kind, self._namespace, self._version, seconds):
                if event["type"] == "ERROR":
                    raise AssertionError(f"the watch broke: {event['object']}")
                self._version = event["object"]["metadata"]["resourceVersion"]
                if event["type"] != "DELETED":
                    self.versions.append(event["object"])

    def end(self) -> None:
        """Tell it to end."""
        self._stop.set()


@contextmanager
def recorded(cluster: Cluster, kind: str, namespace: str) -> Iterator[Recording]:
    """Record while the block runs; complete after it."""
    recording = Recording(cluster, kind, namespace)
    with ThreadPoolExecutor(max_workers=1) as thread:
        running = thread.submit(recording.run)
        try:
            yield recording
        finally:
            recording.end()
        running.result()
