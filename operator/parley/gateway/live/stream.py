"""One reader's stream: what is committed, from the store and in its order; pieces of answers in between.

Whatever wakes it, it reads the events after the last one that it has sent: so it skips none and repeats none, after
whatever break and at whatever gateway. It reads one page, sends it, and reads on: a slow reader costs one page.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from parley.api.stream import TaskChange
from parley.gateway.live.hub import Live
from parley.gateway.live.phases import task_change
from parley.gateway.live.readers import Delta, Reader
from parley.store.errors import StoreUnavailable
from parley.store.following import FollowedTask, Look, look
from parley.store.pool import Connection
from parley.store.transcript import EventRow

EVENTS_AT_ONCE = 100
LIFE_SECONDS = 900.0
_PAUSE_SECONDS = 0.01
"""Between two looks: a turn makes several notices within milliseconds."""
_AGAIN_SECONDS = 1.0
_SAID_TASKS = 256
_UNKNOWN_LOOKS = 60
"""How often a session that is not in the store is looked for, once a second."""

log = logging.getLogger(__name__)


class Store(Protocol):
    """Where connections come from."""

    def store(self) -> AbstractAsyncContextManager[Connection]:
        """Lend one."""
        ...


@dataclass(frozen=True, slots=True)
class SessionIs:
    """The session's state, when it is another than was told last."""

    look: Look


@dataclass(frozen=True, slots=True)
class TaskIs:
    """A task, when something else is to be told of it than was told last."""

    task: FollowedTask
    change: TaskChange


@dataclass(frozen=True, slots=True)
class NoTask:
    """There will be no task for the message that is followed."""

    look: Look


@dataclass(frozen=True, slots=True)
class Silence:
    """Nothing was said for a while."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The stream ends here."""

    gone: bool
    """The session is gone; else this gateway ends, or the stream has lasted long enough."""


Item = EventRow | Delta | SessionIs | TaskIs | NoTask | Silence | Ended


class SessionStream:
    """Follows a session, or one task of it, from a sequence on.

    Args:
        store: the gateway's.
        live: what wakes it.
        session_uid: of the session.
        after: the last sequence that the reader has.
        task: name of the only task to follow; None: all of the session.
        up_to_date: nothing that the reader lacks can be there yet, so the first look has time.
        silence: seconds without an item after which ``Silence`` comes.
        life: seconds after which it ends: whoever reads on is asked anew who they are and what they may.
    """

    def __init__(
        self,
        store: Store,
        live: Live,
        session_uid: str,
        after: int,
        *,
        task: str | None = None,
        up_to_date: bool = False,
        silence: float,
        life: float = LIFE_SECONDS,
    ) -> None:
        self._store = store
        self._live = live
        self._session_uid = session_uid
        self._after = after
        self._task = task
        self._up_to_date = up_to_date
        self._task_uid: str | None = None
        self._silence = silence
        self._life = life
        self._open: dict[str, TaskChange] = {}
        """By uid: what was told last of tasks that have not ended."""
        self._state: tuple[str, str | None] | None = None
        self._said: OrderedDict[tuple[str, str], int] = OrderedDict()
        """By task and step: the newest attempt whose words are committed and sent."""
        self._patience = _UNKNOWN_LOOKS

    async def items(self) -> AsyncGenerator[Item]:
        """Yield what there is to tell until the session is gone, the gateway ends, or the caller closes it."""
        clock = asyncio.get_running_loop().time
        async with self._live.reading(self._session_uid, up_to_date=self._up_to_date) as reader:
            told = clock()
            end = told + self._life
            while True:
                looked, items = clock(), await self._next(reader)
                for item in items:
                    yield item
                    told = clock()
                    if isinstance(item, Ended | NoTask):
                        return
                if self._live.is_ending or clock() >= end:
                    yield Ended(gone=False)
                    return
                if 0 < self._patience < _UNKNOWN_LOOKS:
                    await asyncio.sleep(_AGAIN_SECONDS)
                    reader.notice()
                left = told + self._silence - clock()
                if left > 0 and await reader.wait(left):
                    await asyncio.sleep(max(0.0, looked + _PAUSE_SECONDS - clock()))
                    continue
                yield Silence()
                told = clock()
                # A net under the notices.
                reader.notice()

    async def _next(self, reader: Reader) -> list[Item]:
        items: list[Item] = []
        if reader.take_changed():
            try:
                items = await self._look(reader)
            except StoreUnavailable as error:
                log.warning("a stream waits for the store: %s", error)
                await asyncio.sleep(_AGAIN_SECONDS)
                reader.notice()
        return [*items, *(delta for delta in reader.take_deltas() if self._is_news(delta))]

    async def _look(self, reader: Reader) -> list[Item]:
        async with self._store.store() as conn:
            found = await look(
                conn,
                self._session_uid,
                after=self._after,
                limit=EVENTS_AT_ONCE,
                known=list(self._open) if self._task_uid is None else [self._task_uid],
                name=self._task if self._task_uid is None else None,
            )
        if found is None:
            return self._unknown()
        seen, rows = found
        self._patience = 0
        if self._task_uid is None:
            named = [task for task in seen.tasks if task.name == self._task]
            self._task_uid = max(named, key=lambda task: task.registered_at).uid if named else None
        if rows:
            self._after = rows[-1].sequence
        if self._after < seen.last_sequence:
            reader.notice()
            # What has ended is told after all that it has said.
            return [*self._events(rows)]
        items: list[Item] = [*self._events(rows), *self._changes(seen)]
        if self._task_uid is None and seen.withdrawn:
            items.append(NoTask(seen))
        elif seen.gone:
            items.append(Ended(gone=True))
        return items

    def _unknown(self) -> list[Item]:
        """The operator may not have taken the session in yet; it is erased when that does not come."""
        self._patience -= 1
        return [Ended(gone=True)] if self._patience < 0 else []

    def _events(self, rows: Sequence[EventRow]) -> list[EventRow]:
        for row in rows:
            if (
                row.task is not None
                and row.step is not None
                and row.attempt is not None
                and row.role != "user"
                # It comes before anything that the attempt says.
                and row.type != "summary"
            ):
                place = (row.task, row.step)
                self._said[place] = max(self._said.get(place, 0), row.attempt)
                self._said.move_to_end(place)
                if len(self._said) > _SAID_TASKS:
                    self._said.popitem(last=False)
        return [row for row in rows if self._task is None or row.task == self._task]

    def _changes(self, seen: Look) -> list[Item]:
        items: list[Item] = []
        if self._task is None and (seen.state, seen.why) != self._state:
            self._state = (seen.state, seen.why)
            items.append(SessionIs(seen))
        for task in seen.tasks:
            if self._task is not None and task.uid != self._task_uid:
                continue
            change = task_change(task)
            if self._open.get(task.uid) != change:
                items.append(TaskIs(task, change))
            if task.ended is None and not task.gone:
                self._open[task.uid] = change
            else:
                self._open.pop(task.uid, None)
        return items

    def _is_news(self, delta: Delta) -> bool:
        """Whether a piece is not part of what was committed and sent already."""
        if self._task is not None and delta.task != self._task:
            return False
        return delta.attempt > self._said.get((delta.task, delta.step), 0)
