"""Tasks of messages that were posted at a gateway which then could not make them.

The gateway commits the message first and makes its Task afterwards. Should it die in between, or the API server be
away, the message waits in the queue without a Task: some seconds later the leader makes it.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
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

FIRST_PAUSE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 600.0
"""How long a message is passed over that was tried in vain, first and at most."""
TRIED_AGAIN = 10
"""Of those, so many of a namespace are tried again at a time: half of what is looked at, so that the new have room."""
_REMEMBERED = 10_000
_OF_ONE = frozenset({429, 500})
"""Answers that a namespace's admission webhook is reason enough for: they say nothing of other namespaces' Tasks."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Vain:
    """A message that was tried in vain, and passed over until then."""

    namespace: str
    pause: float
    until: float


class InVain:
    """The names of Tasks that were tried in vain: passed over for a while that grows, so that they hold up no others.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._names: OrderedDict[str, _Vain] = OrderedDict()

    def begin(self) -> tuple[set[str], set[str]]:
        """Return which to pass over now, and which to try again."""
        now, again, room = self._clock(), set[str](), dict[str, int]()
        for name, vain in sorted(self._names.items(), key=lambda item: item[1].until):
            left = room.setdefault(vain.namespace, TRIED_AGAIN)
            if vain.until <= now and left > 0:
                again.add(name)
                room[vain.namespace] = left - 1
        return self._names.keys() - again, again

    def add(self, name: str, namespace: str) -> None:
        """Pass over one from now on."""
        known = self._names.get(name)
        pause = FIRST_PAUSE_SECONDS if known is None else min(known.pause * 2, LONGEST_PAUSE_SECONDS)
        self._names[name] = _Vain(namespace, pause, self._clock() + pause)
        self._names.move_to_end(name)
        if len(self._names) > _REMEMBERED:
            self._names.popitem(last=False)

    def forget(self, names: Iterable[str]) -> None:
        """These need no Task any more, or have one."""
        for name in names:
            self._names.pop(name, None)


class PostedTasks:
    """Makes what gateways have left undone. All safe to repeat: a Task's name says which message it is of.

    Args:
        context: the leader's.
        sights: takes in what is made.
        clock: monotonic seconds, for tests.
    """

    def __init__(
        self, context: Context, sights: Sights, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._context = context
        self._sights = sights
        self._in_vain = InVain(clock)

    async def adopt(self, older: timedelta = GRACE) -> int:
        """Make the Tasks of messages that have waited so long; return how many were made.

        Raises:
            KubeUnavailable: the API server is away; the rest comes another time.
            StoreUnavailable: the same.
        """
        context = self._context
        passing, again = self._in_vain.begin()
        async with context.store() as connection:
            orphans = await list_orphans(connection, context.fence, older, passing)
        self._in_vain.forget(again - {orphan.task_name for orphan in orphans})
        made, full = 0, set[str]()
        for orphan in orphans:
            if not context.settings.watches(orphan.namespace) or orphan.namespace in full:
                continue
            try:
                settled = await self._adopt(orphan)
            except KubeError as error:
                if isinstance(error, KubeUnavailable) and error.status not in _OF_ONE:
                    raise
                # A quota, a policy, or a namespace that is about to go: all pass, and hold up nobody else's.
                log.warning("Task %s/%s cannot be made yet: %s", orphan.namespace, orphan.task_name, error)
                if "exceeded quota" in error.message:
                    # It refuses every Task of the namespace, and when it has room the first one is due.
                    full.add(orphan.namespace)
                    continue
                settled = None
            if settled is None:
                self._in_vain.add(orphan.task_name, orphan.namespace)
            else:
                self._in_vain.forget([orphan.task_name])
                made += settled
        return made

    async def _adopt(self, orphan: Orphan) -> bool | None:
        """Return whether its Task was made; None while it waits for what others do."""
        projection = self._context.projection
        if projection.sessions.by_uid(orphan.session_uid) is None:
            # Gone, or not seen yet: the rows of the one are about to be closed, the other's come another time.
            return None
        if orphan.state in FINAL:
            await self._give_up(orphan, f"the Session is {orphan.state}")
            return False
        known = projection.tasks.get(orphan.namespace, orphan.task_name)
        if known is not None:
            self._context.wake(TASK_KEY, orphan.namespace, orphan.task_name)
            return None
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
