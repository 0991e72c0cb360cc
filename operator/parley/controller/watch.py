"""Kopf's part: watch Parley's kinds and its own Jobs and pods, and hand every sight to the operator's event loop.

Kopf runs in a thread with an event loop of its own, for it takes every task in its loop for its own and installs
signal handlers where it can. Handlers do no more than pass the object on: they are not retried, so they must not
fail, and they keep a queue waiting, so they must not wait (Kopf's docs on low-level handlers).
"""

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any, cast

import kopf

# Not public, but a parameter of kopf.operator; test_watch.py tells when it changes.
from kopf._core.reactor.inventory import ResourceMemories, ResourceMemory

from parley.controller.job_builder import MANAGED_BY_LABEL
from parley.controller.resource import is_kept_annotation
from parley.kube.client import FIELD_MANAGER, JsonObject
from parley.kube.kinds import AGENT, DEPLOYMENT, JOB, POD, REPLY, SCHEDULE, SESSION, TASK, TASK_TEMPLATE, Kind

_UNREAD = frozenset({"managedFields", "annotations"})
_ANNOTATIONS = "annotations"
_IDENTITY = frozenset({"apiVersion", "kind", "metadata"})

WATCHED = (AGENT, SESSION, TASK, TASK_TEMPLATE, SCHEDULE, REPLY, JOB, POD, DEPLOYMENT)
_STOP_SECONDS = 10.0

Sight = Callable[[Kind, JsonObject, bool], None]
"""Called in the operator's loop with the kind, the object, and whether it was deleted."""


class NoMemories(ResourceMemories):
    """Remembers nothing between two sights of an object: Kopf would keep some 3 KB of every object there is."""

    async def recall(
        self,
        raw_body: Any,  # noqa: ANN401 - Kopf's types
        *,
        memobase: Any = None,  # noqa: ANN401
        noticed_by_listing: bool = False,
        ephemeral: bool = True,
    ) -> ResourceMemory:
        """Make a memory for this sight alone."""
        del ephemeral
        return await super().recall(
            raw_body, memobase=memobase, noticed_by_listing=noticed_by_listing, ephemeral=True
        )


class NoDiffBase(kopf.DiffBaseStorage):
    """Compares nothing: Kopf would copy every object at every sight, though no handler asks what has changed."""

    def build(self, **_: object) -> Any:  # noqa: ANN401 - Kopf's types
        """Nothing of an object is essential."""
        return {}

    def fetch(self, **_: object) -> None:
        """Nothing was stored."""

    def store(self, **_: object) -> None:
        """Nothing is stored."""


class Watch:
    """The watches, as long as the ``async with`` lasts."""

    def __init__(self, on_sight: Sight, namespaces: tuple[str, ...]) -> None:
        self._on_sight = on_sight
        self._namespaces = namespaces
        self._loop = asyncio.get_running_loop()
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._ended = asyncio.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="kopf", daemon=True)

    async def __aenter__(self) -> "Watch":
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.to_thread(self._thread.join, _STOP_SECONDS)

    async def ended(self) -> None:
        """Wait for the end of the watches.

        Raises:
            RuntimeError: they ended although nobody stopped them.
        """
        await self._ended.wait()
        if not self._stop.is_set():
            raise RuntimeError("the watches ended by themselves") from self._error

    def _run(self) -> None:
        try:
            asyncio.run(self._operate())
        except BaseException as error:  # noqa: BLE001 - whatever ended Kopf is told to the operator's loop
            self._error = error
        finally:
            self._loop.call_soon_threadsafe(self._ended.set)

    async def _operate(self) -> None:
        await kopf.operator(
            registry=self._registry(),
            settings=_settings(),
            memories=NoMemories(),
            standalone=True,
            clusterwide=not self._namespaces,
            namespaces=list(self._namespaces),
            stop_flag=self._stop,
            ready_flag=self._ready,
            # Not used without peering; Kopf's default asks for the user's name, and a pod's user has none.
            identity=cast("Any", FIELD_MANAGER),
        )

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()

        async def login(**kwargs: Any) -> kopf.ConnectionInfo | None:  # noqa: ANN401 - Kopf's handler protocol
            return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

        kopf.on.login(registry=registry)(cast("Any", login))
        for kind in WATCHED:
            kopf.on.event(kind.group, kind.version, kind.plural, registry=registry, id=f"see-{kind.plural}")(
                cast("Any", self._handler(kind))
            )
        return registry

    def _handler(self, kind: Kind) -> Callable[..., object]:
        async def see(event: Any, **_: Any) -> None:  # noqa: ANN401 - Kopf's handler protocol
            deleted = event["type"] == "DELETED"
            self._loop.call_soon_threadsafe(self._on_sight, kind, taken(event["object"]), deleted)

        return see


def taken(body: dict[str, Any]) -> JsonObject:
    """Take an object over from Kopf, without what nobody reads, and leave it only the metadata.

    Kopf's tasks hold each object until Python's collector comes by: thousands of pods, after a long list.
    """
    metadata: Mapping[str, Any] = body["metadata"]
    kept: dict[str, Any] = {key: value for key, value in metadata.items() if key not in _UNREAD}
    annotations: Mapping[str, str] = metadata.get(_ANNOTATIONS) or {}
    if read := {key: value for key, value in annotations.items() if is_kept_annotation(key)}:
        kept[_ANNOTATIONS] = read
    taken_over = {**body, "metadata": kept}
    for part in body.keys() - _IDENTITY:
        del body[part]
    body["metadata"].pop("managedFields", None)
    return taken_over


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.persistence.diffbase_storage = NoDiffBase()
    # A worker holds the last sight of its object until it ends; a list makes one for every object there is.
    settings.queueing.idle_timeout = 0.1
    # A watch that goes silent behind a load balancer is asked again (Kopf issues 585, 955).
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.connect_timeout = 30
    settings.watching.chunk_size = 500
    settings.watching.reconnect_backoff = 0.1
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.networking.enforce_retry_after = True
    settings.networking.error_backoffs = (0.2, 0.5, 1, 2, 4, 4, 4, 4)
    own = f"{MANAGED_BY_LABEL}={FIELD_MANAGER}"
    settings.watching.label_selectors[JOB.group, JOB.version, JOB.plural] = own
    settings.watching.label_selectors[POD.version, POD.plural] = own
    settings.watching.label_selectors[DEPLOYMENT.group, DEPLOYMENT.version, DEPLOYMENT.plural] = own
    return settings
