"""What is done about a session by itself, as time passes or its spec asks: its state, and what is erased of it."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from pydantic import JsonValue, ValidationError

from parley.controller.context import SESSION_KEY, TASK_KEY, TURNS_KEY, Context
from parley.controller.finality import is_final
from parley.controller.metrics import HISTORIES_CLEARED, SESSION_TRANSITIONS
from parley.controller.queue import Key
from parley.controller.resource import Resource
from parley.controller.session_life import life_of
from parley.kube.events import Transition
from parley.kube.kinds import SESSION
from parley.resources.reasons import Reason
from parley.resources.session import Retention, SessionSpec
from parley.store.erasing import clear_history, erase_old, finish_erasing
from parley.store.lifecycle import set_retention, set_session_state
from parley.store.pool import Connection
from parley.store.session_records import SessionSummary

_BUSY_SECONDS = 5.0
"""Until it is looked again whether the status of a task says that it is over."""
_ERASE_EVERY = 60.0
"""Seconds between two looks for what has grown too old: each erases all there is."""


class SessionKeeper:
    """Brings a session's rows in line with its spec and the clock."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def keep(
        self, connection: Connection, session: Resource, spec: SessionSpec, summary: SessionSummary
    ) -> bool:
        """Do what is due, and see to it that the session is looked at when the next thing is.

        Returns:
            Whether anything changed: then the summary must be read, and this called, again.
        """
        fence = self._context.fence
        retention = retention_row(spec.retention)
        if summary.retention != retention:
            await set_retention(connection, fence, session.uid, retention)
        if await self._erase(connection, session, spec, summary):
            return True
        life = life_of(spec, summary, self._newest_open(session))
        if life.state != summary.state and (
            await set_session_state(connection, fence, session.uid, life.state, life.why) is not None
        ):
            SESSION_TRANSITIONS.labels(life.state).inc()
            self.wake_tasks(session)
            return True
        self._look_again(session, summary, life.next_at)
        return False

    async def wake_up(self, connection: Connection, session: Resource) -> None:
        """Wake a session that is Dormant because a turn of it is about to begin."""
        why = "a turn begins"
        if await set_session_state(connection, self._context.fence, session.uid, "Active", why) is not None:
            SESSION_TRANSITIONS.labels("Active").inc()
            self._context.wake(SESSION_KEY, session.namespace, session.name)

    def wake_tasks(self, session: Resource) -> None:
        """Queue the session's open tasks, and its turns."""
        for task in self._open_tasks(session):
            self._context.wake(TASK_KEY, task.namespace, task.name)
        self._context.wake(TURNS_KEY, session.namespace, session.name)

    async def _erase(
        self, connection: Connection, session: Resource, spec: SessionSpec, summary: SessionSummary
    ) -> bool:
        fence, uid = self._context.fence, session.uid
        asked, max_age = spec.clear_history, spec.retention.max_age_or_none()
        if asked is not None and asked.through_sequence > summary.clear_asked:
            busy = self._busy(session)
            reached = await clear_history(connection, fence, uid, asked.through_sequence, asked.by, busy)
            if reached is not None:
                HISTORIES_CLEARED.labels("Request").inc()
                self._tell_cleared(session, reached, asked.through_sequence, asked.by)
                return True
        is_old = max_age is not None and _is_past(summary.oldest, max_age, summary.now)
        if (
            max_age
            and is_old
            and await erase_old(connection, fence, uid, max_age, self._busy(session)) is not None
        ):
            HISTORIES_CLEARED.labels("Age").inc()
            return True
        if summary.cleared_through and await finish_erasing(connection, fence, uid, self._busy(session)):
            self._context.queue.add_after(_key(session), _BUSY_SECONDS)
        if max_age is not None and summary.oldest is not None and summary.now is not None:
            due = (summary.oldest + max_age - summary.now).total_seconds()
            self._context.queue.add_after(_key(session), max(due, _ERASE_EVERY))
        return False

    def _look_again(self, session: Resource, summary: SessionSummary, at: datetime | None) -> None:
        if at is not None and summary.now is not None:
            # The store's clock is read in milliseconds: a little late beats a round too early.
            self._context.queue.add_after(_key(session), (at - summary.now).total_seconds() + 0.05)

    def _open_tasks(self, session: Resource) -> list[Resource]:
        tasks = self._context.projection.tasks.referring_to(session.namespace, session.name)
        return [task for task in tasks if not is_final(task)]

    def _busy(self, session: Resource) -> list[str]:
        """Return the tasks whose status does not say yet how they ended; children and queued ones name no session."""
        tasks = self._context.projection.tasks
        return [task.uid for task in tasks if task.namespace == session.namespace and not is_final(task)]

    def _newest_open(self, session: Resource) -> datetime | None:
        return max((task.created for task in self._open_tasks(session)), default=None)

    def _tell_cleared(self, session: Resource, reached: int, asked: int, by: str | None) -> None:
        whose = f" as {by} asked" if by else ""
        self._context.tell(
            Transition(
                kind=SESSION,
                namespace=session.namespace,
                name=session.name,
                uid=session.uid,
                type="Normal",
                reason=Reason.CLEARED,
                note=f"What was said up to event {reached} was erased{whose}.",
                key=str(asked),
            )
        )


def retention_row(retention: Retention) -> dict[str, JsonValue]:
    """What the store remembers of a retention, for when the Session can be asked no more."""
    after = retention.after_gone
    row: dict[str, JsonValue] = {"transcript": str(retention.transcript)}
    return row if after is None else {**row, "afterSeconds": after.total_seconds()}


def written_retention(spec: Mapping[str, JsonValue]) -> dict[str, JsonValue] | None:
    """Like ``retention_row``, from a spec as it is written; None for one that cannot be read."""
    try:
        return retention_row(Retention.model_validate(spec.get("retention") or {}))
    except (ValidationError, ValueError):
        return None


def _is_past(start: datetime | None, age: timedelta, now: datetime | None) -> bool:
    return start is not None and now is not None and start + age < now


def _key(session: Resource) -> Key:
    return Key(SESSION_KEY, session.namespace, session.name)
