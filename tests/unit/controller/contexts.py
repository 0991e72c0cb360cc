"""A leadership without a store: enough for what only reads and writes Kubernetes and the queue."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

from parley.controller.context import Context
from parley.controller.queue import Key, KeyedQueue
from parley.controller.settings import Settings
from parley.store.leader import Fence

from tests.fake_kube import FakeKube
from tests.unit.controller.objects import NAMESPACE


class StorelessContext(Context):
    """Lends a connection that only replaced store functions accept."""

    @asynccontextmanager
    async def store(self) -> AsyncGenerator[Any]:
        yield "connection"


def storeless(kube: FakeKube | None = None) -> Context:
    nothing = cast("Any", None)
    return StorelessContext(
        settings=Settings(
            database_url="",
            namespace="parley-system",
            identity="operator-0",
            install="parley",
            runner_image="parley:1",
            gateway_url="http://gateway:8080",
            watch_namespaces=(),
            http_port=0,
            workers=1,
        ),
        kube=kube or FakeKube(),
        pool=nothing,
        evaluator=nothing,
        queue=KeyedQueue(clock=lambda: 0.0),
        cluster="cluster-uid",
        store_id="store-id",
        fence=Fence("cluster-uid", "parley", 1),
        tell=lambda _: None,
    )


async def woken(context: Context) -> set[str]:
    """Take the keys that are queued now, as ``Kind name``."""
    found: set[str] = set()
    while len(context.queue):
        key: Key = await context.queue.get()
        context.queue.done(key)
        assert key.namespace == NAMESPACE
        found.add(f"{key.kind} {key.name}")
    return found
