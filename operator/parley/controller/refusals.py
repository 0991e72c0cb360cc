"""Why the Job controller could not create a pod: only its Events say so, the Job's own status stays empty.

One list answers for all Jobs of a namespace and is kept for some seconds, so that a thousand Jobs that wait for a
quota cost no more than one.
"""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pydantic import JsonValue

from parley.kube.client import JsonObject, KubeApi
from parley.kube.errors import KubeError
from parley.kube.kinds import EVENT

log = logging.getLogger(__name__)
_KEPT_SECONDS = 5.0
_FIELDS = {"reason": "FailedCreate", "regarding.kind": "Job"}
# The pod's name is another with each try; with it the status would change, and be written, each time.
_POD_OF_ONE_TRY = re.compile(r'^Error creating: pods "[^"]*" is ')
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class _Namespace:
    read_at: float = float("-inf")
    by_job: Mapping[str, str] = field(default_factory=dict[str, str])
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Refusals:
    """The newest refusal of each Job's pod, by the Job's uid."""

    def __init__(self, kube: KubeApi, clock: Callable[[], float] = time.monotonic) -> None:
        self._kube = kube
        self._clock = clock
        self._namespaces: dict[str, _Namespace] = {}

    async def in_namespace(self, namespace: str) -> Mapping[str, str]:
        """Return the sentences by Job uid, up to five seconds old.

        They only inform: when the API server does not give the Events, the last ones known are returned.
        """
        known = self._namespaces.setdefault(namespace, _Namespace())
        async with known.lock:
            now = self._clock()
            if now - known.read_at >= _KEPT_SECONDS:
                known.read_at = now
                try:
                    events = await self._kube.list(EVENT, namespace=namespace, fields=_FIELDS)
                except KubeError as error:
                    log.warning("cannot read why pods in %s were not created: %s", namespace, error)
                else:
                    known.by_job = newest_refusals(events.items)
        self._drop_old(now)
        return known.by_job

    def _drop_old(self, now: float) -> None:
        for name, entry in tuple(self._namespaces.items()):
            if now - entry.read_at > 10 * _KEPT_SECONDS and not entry.lock.locked():
                del self._namespaces[name]


def newest_refusals(events: list[JsonObject]) -> dict[str, str]:
    """Read the Job controller's ``FailedCreate`` Events into a sentence for each Job's uid."""
    found: dict[str, str] = {}
    for event in sorted(events, key=_last_seen):
        regarding = event.get("regarding")
        if isinstance(regarding, dict):
            note = str(event.get("note") or "the Job controller could not create the pod")
            found[str(regarding.get("uid"))] = _POD_OF_ONE_TRY.sub("the step's pod is ", note)
    return found


def _last_seen(event: JsonObject) -> datetime:
    series = event.get("series")
    times: list[JsonValue] = [
        series.get("lastObservedTime") if isinstance(series, dict) else None,
        event.get("deprecatedLastTimestamp"),
        event.get("eventTime"),
    ]
    return next((datetime.fromisoformat(time) for time in times if isinstance(time, str)), _LONG_AGO)
