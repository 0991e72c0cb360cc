"""What a leader does, from winning the Lease to losing it.

Order matters: the store's identity before anything is read from it; the epoch before anything is written; complete
lists before anything is decided. What runs then runs until one part ends or the Lease is lost; whatever happens, the
process ends afterwards and starts anew as a candidate.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from itertools import count
from typing import TypeVar, cast

from parley.controller.announcer import Announcer
from parley.controller.context import (
    AGENT_KEY,
    REPLY_KEY,
    SCHEDULE_KEY,
    SESSION_KEY,
    TASK_KEY,
    TEMPLATE_KEY,
    TURNS_KEY,
    WARM_KEY,
    Context,
)
from parley.controller.finality import is_final, is_settled
from parley.controller.health import Health
from parley.controller.listing import take_in_everything
from parley.controller.metrics import DEADLINES_MOVED_SECONDS, LEADER, QUEUE_LENGTH, STORE_MISMATCH
from parley.controller.posted_tasks import PostedTasks
from parley.controller.queue import KeyedQueue
from parley.controller.settings import Settings
from parley.controller.sights import Sights
from parley.controller.store_identity import CONFIG_MAP_NAME, StoreMismatch, check_store, read_store_id
from parley.controller.sweeper import Sweeper
from parley.controller.watch import Watch
from parley.controller.workers import Workers
from parley.kube.client import JsonObject, KubeApi
from parley.kube.errors import KubeError
from parley.kube.events import Transition
from parley.kube.kinds import CONFIG_MAP, NAMESPACE
from parley.kube.lease import LeaseElector
from parley.resources.reasons import Reason
from parley.store.errors import Fenced, StoreUnavailable
from parley.store.leader import Fence, raise_epoch, tick
from parley.store.listener import listen
from parley.store.pool import Pool, connect
from parley.templates.evaluator import Evaluator

log = logging.getLogger(__name__)
_T = TypeVar("_T")
_TICK_SECONDS = 5.0
_SWEEP_SECONDS = 60.0
_SWEEPS_TO_A_LIST = 10
_RESYNC_SECONDS = _SWEEP_SECONDS * _SWEEPS_TO_A_LIST
_RETRY_SECONDS = 1.0
_ADOPT_SECONDS = 5.0


class Leadership:
    """One term as the leader."""

    def __init__(
        self, settings: Settings, kube: KubeApi, pool: Pool, elector: LeaseElector, health: Health
    ) -> None:
        self._settings = settings
        self._kube = kube
        self._pool = pool
        self._elector = elector
        self._health = health
        self._announcer = Announcer(kube, elector.identity)
        self._told_mismatch: str | None = None

    async def lead(self) -> None:
        """Lead until cancelled; raises what makes this process unfit to go on."""
        LEADER.set(1)
        log.info("leading as %s", self._elector.identity)
        async with asyncio.TaskGroup() as group:
            announcing = group.create_task(self._announcer.run(), name="announcer")
            await self._lead_with_store()
            announcing.cancel()

    async def _lead_with_store(self) -> None:
        """Find the right store, raise the epoch, and work until the store or the fence changes under us."""
        while True:
            cluster = await self._until_done("reading the cluster's id", self._cluster_id)
            found = await self._until_done("checking the store", self._checked_store)
            fence = await self._until_done("raising the epoch", partial(self._raise_epoch, cluster))
            try:
                await self._work(cluster, found, fence)
            except* Fenced as group:
                # The store forgot our epoch, or another leader raised it: only the Lease knows which.
                if not await self._until_done("reading the Lease", self._elector.still_holder):
                    raise group from None
                log.warning("the store refused the epoch, but the Lease is ours: raising it again")
            except* StoreMismatch as group:
                log.warning("planning stops: %s", group.exceptions[0])

    async def _work(self, cluster: str, found: str, fence: Fence) -> None:
        queue = KeyedQueue()
        async with Evaluator() as evaluator:
            context = Context(
                settings=self._settings,
                kube=self._kube,
                pool=self._pool,
                evaluator=evaluator,
                queue=queue,
                cluster=cluster,
                store_id=found,
                fence=fence,
                tell=self._announcer.tell,
            )
            sights = Sights(context)
            await self._until_done("listing", lambda: take_in_everything(context, sights))
            context.slots.expect(task.uid for task in context.projection.tasks if not is_final(task))
            workers = Workers(context)
            self._health.lead(context.echoes.overdue)
            self._health.ready()
            try:
                async with (
                    Watch(sights.see, self._settings.watch_namespaces) as watch,
                    asyncio.TaskGroup() as group,
                ):
                    group.create_task(watch.ended(), name="watch")
                    group.create_task(workers.run(), name="workers")
                    group.create_task(self._tick(context), name="tick")
                    group.create_task(self._listen(context), name="listener")
                    group.create_task(self._resync(context, sights), name="resync")
                    group.create_task(_adopt(PostedTasks(context, sights)), name="posted tasks")
            finally:
                self._health.lead(None)

    async def _tick(self, context: Context) -> None:
        """Say that leader and store are there, and see that it is still the same store."""
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            QUEUE_LENGTH.set(len(context.queue))
            try:
                found = await read_store_id(self._pool)
                if found != context.store_id:
                    raise StoreMismatch(context.store_id, found)
                async with connect(self._pool) as connection:
                    moved = await tick(connection, context.fence)
            except StoreUnavailable as error:
                self._health.not_ready(f"the store is away: {error}")
                log.warning("the store is away: %s", error)
                continue
            self._health.ready()
            if moved:
                DEADLINES_MOVED_SECONDS.inc(moved.total_seconds())
                log.warning("the store or the operator was away: open deadlines moved by %s", moved)
                _wake_all(context)

    async def _listen(self, context: Context) -> None:
        def on_notify(uid: str) -> None:
            task = context.projection.tasks.by_uid(uid)
            if task is not None and not is_final(task):
                context.wake(TASK_KEY, task.namespace, task.name)
            # People change its context at the gateway.
            session = context.projection.sessions.by_uid(uid)
            if session is not None:
                context.wake(SESSION_KEY, session.namespace, session.name)

        await listen(self._settings.database_url, on_notify, lambda: _wake_all(context), asyncio.Event())

    async def _resync(self, context: Context, sights: Sights) -> None:
        """List everything now and then, and sweep while the last list was complete; the first one was."""
        sweeper, complete = Sweeper(context), True
        for turn in count(1):
            try:
                if complete:
                    await sweeper.sweep()
            except (KubeError, StoreUnavailable) as error:
                log.warning("what is gone could not be swept: %s", error)
            await asyncio.sleep(_SWEEP_SECONDS)
            if turn % _SWEEPS_TO_A_LIST == 0:
                complete = await self._list_again(context, sights)

    async def _list_again(self, context: Context, sights: Sights) -> bool:
        try:
            await take_in_everything(context, sights)
        except (KubeError, StoreUnavailable) as error:
            log.warning("the complete list failed, the next is in %d s: %s", _RESYNC_SECONDS, error)
            return False
        _wake_all(context)
        return True

    async def _cluster_id(self) -> str:
        body = await self._kube.get(NAMESPACE, None, "kube-system")
        if body is None:
            raise RuntimeError("there is no namespace kube-system: its uid is the cluster's id")
        return str(cast("JsonObject", body["metadata"])["uid"])

    async def _checked_store(self) -> str:
        found = await read_store_id(self._pool)
        try:
            known = await check_store(self._kube, self._settings.namespace, found)
        except StoreMismatch as error:
            STORE_MISMATCH.set(1)
            if self._told_mismatch != str(error):
                await self._tell_mismatch(error)
                self._told_mismatch = str(error)
            raise
        STORE_MISMATCH.set(0)
        self._told_mismatch = None
        return known

    async def _tell_mismatch(self, error: StoreMismatch) -> None:
        config = await self._kube.get(CONFIG_MAP, self._settings.namespace, CONFIG_MAP_NAME)
        metadata = config.get("metadata") if config else None
        self._announcer.tell(
            Transition(
                kind=CONFIG_MAP,
                namespace=self._settings.namespace,
                name=CONFIG_MAP_NAME,
                uid=str(metadata["uid"]) if isinstance(metadata, dict) else "",
                type="Warning",
                reason=Reason.STORE_MISMATCH,
                note=str(error),
                # The same store may stand in the right one's place again, a month later.
                key=datetime.now(UTC).isoformat(),
            )
        )

    async def _raise_epoch(self, cluster: str) -> Fence:
        self._elector.assert_fresh()
        async with connect(self._pool) as connection:
            return await raise_epoch(connection, cluster, self._settings.install, self._elector.identity)

    async def _until_done(self, what: str, attempt: Callable[[], Awaitable[_T]]) -> _T:
        while True:
            try:
                return await attempt()
            except (KubeError, StoreUnavailable, StoreMismatch) as error:
                self._health.not_ready(f"{what}: {error}")
                log.warning("%s: %s; trying again", what, error)
                await asyncio.sleep(_RETRY_SECONDS)


async def _adopt(posted: PostedTasks) -> None:
    """Make Tasks that gateways have left, at once and then every few seconds."""
    while True:
        try:
            await posted.adopt()
        except (KubeError, StoreUnavailable) as error:
            log.warning("messages without a Task were not looked for: %s", error)
        await asyncio.sleep(_ADOPT_SECONDS)


def _wake_all(context: Context) -> None:
    """Queue everything that has not ended."""
    for task in context.projection.tasks:
        if not is_settled(task):
            context.wake(TASK_KEY, task.namespace, task.name)
    for session in context.projection.sessions:
        context.wake(SESSION_KEY, session.namespace, session.name)
        context.wake(TURNS_KEY, session.namespace, session.name)
    for cache, key in (
        (context.projection.agents, AGENT_KEY),
        (context.projection.agents, WARM_KEY),
        (context.projection.templates, TEMPLATE_KEY),
        (context.projection.schedules, SCHEDULE_KEY),
        (context.projection.replies, REPLY_KEY),
    ):
        for resource in cache:
            context.wake(key, resource.namespace, resource.name)
