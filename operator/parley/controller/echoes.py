"""Do our own writes come back through the watches?

A watch that is stuck looks healthy from outside (Kopf issue 614).
"""

import time
from collections import defaultdict
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager

from pydantic import JsonValue

from parley.kube.client import JsonObject
from parley.kube.kinds import Kind


def _version(body: JsonObject) -> int:
    metadata: JsonValue = body.get("metadata")
    return int(str(metadata.get("resourceVersion", 0))) if isinstance(metadata, dict) else 0


class Echoes:
    """For each kind: the newest version its watch brought, and the oldest write it has not brought yet."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._heard: defaultdict[str, int] = defaultdict(int)
        self._awaited: dict[str, tuple[int, float]] = {}
        self._under_way: dict[str, Mapping[str, JsonValue]] = {}

    @contextmanager
    def writing(self, uid: str, status: Mapping[str, JsonValue]) -> Generator[None]:
        """Remember the status that is being written to an object: the watch may bring it before the answer comes."""
        self._under_way[uid] = status
        try:
            yield
        finally:
            # Two writes of one object may be under way: each takes back no more than its own.
            if self._under_way.get(uid) is status:
                del self._under_way[uid]

    def is_under_way(self, uid: str, status: Mapping[str, JsonValue]) -> bool:
        """Whether an object has the status that is being written to it just now."""
        return self._under_way.get(uid) == status

    def wrote(self, kind: Kind, written: JsonObject) -> None:
        """Expect an object, as the API server answered the write, to come back."""
        version = _version(written)
        if version > self._heard[kind.plural]:
            self._awaited.setdefault(kind.plural, (version, self._clock()))

    def heard(self, kind: Kind, body: JsonObject) -> None:
        """Take in what a watch brought."""
        version = _version(body)
        self._heard[kind.plural] = max(self._heard[kind.plural], version)
        awaited = self._awaited.get(kind.plural)
        if awaited and version >= awaited[0]:
            del self._awaited[kind.plural]

    def overdue(self) -> float:
        """Seconds that the oldest write has waited to come back; 0 if none waits."""
        now = self._clock()
        return max((now - since for _, since in self._awaited.values()), default=0.0)
