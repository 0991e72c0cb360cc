"""Post Kubernetes Events in the background, so that no reconcile waits for one and a lost one harms nobody."""

import asyncio

from parley.controller.metrics import EVENTS_DROPPED
from parley.kube.client import KubeApi
from parley.kube.events import Transition, post_event

_MOST_WAITING = 1000


class Announcer:
    """A bounded queue of Events and the task that posts them."""

    def __init__(self, kube: KubeApi, instance: str) -> None:
        self._kube = kube
        self._instance = instance
        self._waiting: asyncio.Queue[Transition] = asyncio.Queue(_MOST_WAITING)

    def tell(self, transition: Transition) -> None:
        """Queue an Event; drops it when too many wait."""
        try:
            self._waiting.put_nowait(transition)
        except asyncio.QueueFull:
            EVENTS_DROPPED.inc()

    async def run(self) -> None:
        """Post until cancelled."""
        while True:
            await post_event(self._kube, await self._waiting.get(), instance=self._instance)
