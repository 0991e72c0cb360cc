"""Take keys from the queue and reconcile them; what fails comes back later, with a growing pause."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from parley.controller.agent_counts import AgentCounts
from parley.controller.context import (
    AGENT_KEY,
    GONE_SESSION_KEY,
    GONE_TASK_KEY,
    REPLY_KEY,
    SCHEDULE_KEY,
    SESSION_KEY,
    TASK_KEY,
    TEMPLATE_KEY,
    TURNS_KEY,
    WARM_KEY,
    Context,
)
from parley.controller.metrics import RECONCILE_SECONDS, RECONCILES
from parley.controller.queue import Key
from parley.controller.reply_reconciler import ReplyReconciler
from parley.controller.schedule_reconciler import ScheduleReconciler
from parley.controller.session_reconciler import SessionReconciler
from parley.controller.spec_reconciler import SpecReconciler
from parley.controller.task_reconciler import TaskReconciler
from parley.controller.warm_reconciler import WarmReconciler
from parley.kube.errors import Conflict, KubeUnavailable, NotFound
from parley.kube.kinds import AGENT, TASK_TEMPLATE
from parley.kube.lease import LostLease
from parley.resources.agent import AgentSpec, AgentStatus
from parley.resources.task_template import TaskTemplateSpec, TaskTemplateStatus
from parley.store.errors import Fenced, StoreUnavailable
from parley.store.tasks import load_task, task_gone

log = logging.getLogger(__name__)
_LONGEST_RECONCILE = 60.0
_LONGEST_PAUSE = 60.0


class Workers:
    """Some workers on one queue. They run until cancelled, or until this process may lead no longer."""

    def __init__(self, context: Context) -> None:
        self._context = context
        sessions = SessionReconciler(context)
        tasks = TaskReconciler(context, sessions)
        self._by_kind: dict[str, Callable[[str, str], Awaitable[None]]] = {
            TASK_KEY: tasks.reconcile,
            SESSION_KEY: sessions.show,
            TURNS_KEY: sessions.queue,
            AGENT_KEY: SpecReconciler(
                context,
                (AGENT, AGENT_KEY),
                context.projection.agents,
                (AgentSpec, AgentStatus),
                "the agent can be used",
                AgentCounts(context).of,
            ).reconcile,
            TEMPLATE_KEY: SpecReconciler(
                context,
                (TASK_TEMPLATE, TEMPLATE_KEY),
                context.projection.templates,
                (TaskTemplateSpec, TaskTemplateStatus),
                "Tasks can use the template",
            ).reconcile,
            SCHEDULE_KEY: ScheduleReconciler(context).reconcile,
            WARM_KEY: WarmReconciler(context).reconcile,
            REPLY_KEY: ReplyReconciler(context).reconcile,
            GONE_TASK_KEY: self._close_task,
            GONE_SESSION_KEY: sessions.close,
        }
        self.last_done = time.monotonic()

    async def run(self) -> None:
        """Work. Raises LostLease or Fenced when this process must stop leading, else only ends when cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._context.settings.workers):
                group.create_task(self._work(), name=f"worker-{number}")

    async def _work(self) -> None:
        queue = self._context.queue
        while True:
            key = await queue.get()
            try:
                await self._reconcile(key)
            finally:
                queue.done(key)
                self.last_done = time.monotonic()

    async def _reconcile(self, key: Key) -> None:
        queue, started = self._context.queue, time.perf_counter()
        outcome = "error"
        try:
            async with asyncio.timeout(_LONGEST_RECONCILE):
                await self._by_kind[key.kind](key.namespace, key.name)
        except (LostLease, Fenced):
            raise
        except Conflict:
            # The projection is behind; the watch is about to bring the newer object and queue the key.
            outcome = "conflict"
            queue.retry(key)
        except NotFound:
            outcome = "gone"
            queue.forget(key)
        except (StoreUnavailable, KubeUnavailable) as error:
            outcome = "unavailable"
            asked = error.retry_after or 0.0 if isinstance(error, KubeUnavailable) else 0.0
            delay = queue.retry(key, min(asked, _LONGEST_PAUSE))
            log.warning("%s waits %.1f s: %s", key, delay, error)
        except Exception:
            delay = queue.retry(key)
            log.exception("%s failed, next try in %.1f s", key, delay)
        else:
            outcome = "done"
            queue.forget(key)
        RECONCILES.labels(key.kind, outcome).inc()
        RECONCILE_SECONDS.labels(key.kind).observe(time.perf_counter() - started)

    async def _close_task(self, _namespace: str, uid: str) -> None:
        context = self._context
        async with context.store() as connection:
            if not await task_gone(connection, context.fence, uid):
                return
            record = await load_task(connection, uid)
        session = context.projection.sessions.by_uid(record.session_uid or "") if record else None
        if session is not None:
            # Its status counts its tasks, and may have been shown before this one was closed.
            context.wake(SESSION_KEY, session.namespace, session.name)
        if record is not None:
            for reply in context.projection.replies.referring_to(record.namespace, record.name):
                context.wake(REPLY_KEY, reply.namespace, reply.name)
