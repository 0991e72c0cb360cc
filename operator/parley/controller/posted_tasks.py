"""Tasks of messages that were posted at a gateway which then could not make them.

The gateway commits the message first and makes its Task afterwards. Should it die in between, or the API server be
away, the message waits in the queue without a Task: some seconds later the leader makes it.
"""

import logging
from datetime import timedelta

from parley.controller.context import TASK_KEY, TURNS_KEY, Context
from parley.controller.metrics import TASKS_ADOPTED
from parley.controller.resource import Resource
from parley.controller.sights import Sights
from parley.kube.client import JsonObject
from parley.kube.errors import AlreadyExists, Invalid, KubeError, KubeUnavailable
from parley.kube.kinds import TASK
from parley.resources.posted_task import is_posted_task, posted_task
from parley.store.lifecycle import FINAL
from parley.store.posting import Orphan, list_orphans, withdraw_post

GRACE = timedelta(seconds=10)
"""How long a gateway has to make the Task itself."""

log = logging.getLogger(__name__)


class PostedTasks:
    """Makes what gateways have left undone. All safe to repeat: a Task's name says which message it is of."""

    def __init__(self, context: Context, sights: Sights) -> None:
        self._context = context
        self._sights = sights

    async def adopt(self, older: timedelta = GRACE) -> int:
        """Make the Tasks of messages that have waited so long; return how many were made.

        Raises:
            KubeUnavailable: the API server does not answer; the rest comes another time.
            StoreUnavailable: the same.
        """
        context = self._context
        async with context.store() as connection:
            orphans = await list_orphans(connection, context.fence, older)
        made, full = 0, set[str]()
        for orphan in orphans:
            if not context.settings.watches(orphan.namespace) or orphan.namespace in full:
                continue
            try:
                made += await self._adopt(orphan)
            except KubeUnavailable:
                raise
            except KubeError as error:
                # A quota, a policy, or a namespace that is about to go: all pass, and hold up nobody else's.
                log.warning("Task %s/%s cannot be made yet: %s", orphan.namespace, orphan.task_name, error)
                if "exceeded quota" in error.message:
                    full.add(orphan.namespace)
        return made

    async def _adopt(self, orphan: Orphan) -> bool:
        projection = self._context.projection
        if projection.sessions.by_uid(orphan.session_uid) is None:
            # Gone, or not seen yet: the rows of the one are about to be closed, the other's come another time.
            return False
        if orphan.state in FINAL:
            await self._give_up(orphan, f"the Session is {orphan.state}")
            return False
        known = projection.tasks.get(orphan.namespace, orphan.task_name)
        if known is not None:
            self._context.wake(TASK_KEY, orphan.namespace, orphan.task_name)
            return False
        body = posted_task(
            orphan.task_name, orphan.namespace, orphan.session, orphan.session_uid, orphan.spec
        )
        try:
            created = await self._context.kube.create(TASK, orphan.namespace, body)
        except AlreadyExists:
            return await self._take_in(orphan)
        except Invalid as error:
            await self._give_up(orphan, f"the API server refuses its Task: {error.message}")
            return False
        TASKS_ADOPTED.inc()
        log.info("made Task %s/%s of a message that a gateway left", orphan.namespace, orphan.task_name)
        self._context.echoes.wrote(TASK, created)
        self._see(created)
        return True

    async def _take_in(self, orphan: Orphan) -> bool:
        existing = await self._context.kube.get(TASK, orphan.namespace, orphan.task_name)
        if existing is not None and is_posted_task(existing, orphan.session_uid):
            self._see(existing)
        elif existing is not None:
            await self._give_up(orphan, f"another Task has the name {orphan.task_name}")
        return False

    def _see(self, body: JsonObject) -> None:
        self._sights.see_resource(TASK, Resource.from_object(body))

    async def _give_up(self, orphan: Orphan, why: str) -> None:
        async with self._context.store() as connection:
            await withdraw_post(connection, self._context.fence, orphan)
        log.warning("a message in Session %s/%s gets no turn: %s", orphan.namespace, orphan.session, why)
        self._context.wake(TURNS_KEY, orphan.namespace, orphan.session)
