"""Sessions: their row, the order of their turns, and what their status shows."""

import logging
from datetime import UTC, datetime

from parley.controller.context import TASK_KEY, Context
from parley.controller.finality import is_final
from parley.controller.projection import Resource, referred
from parley.controller.session_status import build_session_status
from parley.kube.client import JsonObject
from parley.kube.errors import Invalid
from parley.kube.kinds import SESSION
from parley.resources.session import SessionSpec, SessionStatus, StatusText
from parley.store.leader import leading
from parley.store.pool import Connection
from parley.store.sessions import register_session, session_summary
from parley.store.turns import queue_turns

log = logging.getLogger(__name__)


class SessionReconciler:
    """Reconciles Sessions by name."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def register(self, connection: Connection, session: Resource) -> None:
        """Make sure that the session has its row."""
        if session.uid in self._context.known_sessions:
            return
        await register_session(
            connection,
            self._context.fence,
            uid=session.uid,
            cluster=self._context.cluster,
            namespace=session.namespace,
            name=session.name,
        )
        shown = SessionStatus.model_validate(session.status).events
        summary = await session_summary(connection, session.uid, recent=0)
        held = summary.last_sequence if summary else 0
        if shown is not None and shown.last_sequence > held:
            # Going on would number new events as old ones.
            self._context.mismatched_sessions[session.uid] = (
                f"the status shows {shown.last_sequence} events, this store holds {held}: the conversation was held in "
                "another store. Create the Session anew to begin again"
            )
        self._context.known_sessions.add(session.uid)

    async def show(self, namespace: str, name: str) -> None:
        """Write the session's status if it is not what it should be."""
        context = self._context
        session = context.projection.sessions.get(namespace, name)
        if session is None or session.deleting:
            return
        reading = await context.specs.read(SessionSpec, session)
        agent = referred(session, "agentRef") or ""
        async with context.store() as connection:
            await self.register(connection, session)
            # Under the fence, for what is shown must come from the store this leadership began with.
            async with leading(connection, context.fence):
                summary = await session_summary(connection, session.uid)
        status = build_session_status(
            summary,
            problems=reading.problems,
            mismatch=context.mismatched_sessions.get(session.uid),
            agent=agent,
            agent_found=context.projection.agents.get(namespace, agent) is not None,
            shown=reading.spec is None or reading.spec.status_text is StatusText.SHOW,
            generation=session.generation,
            now=datetime.now(UTC),
            previous=SessionStatus.model_validate(session.status),
        )
        if status.to_json() == session.status:
            return
        try:
            written = await self._apply(session, status)
        except Invalid as error:
            # The context can be JSON that the API server cannot hold, such as a number of 400 digits.
            log.warning("Session %s/%s is shown without its context: %s", namespace, name, error)
            bare = status.model_copy(update={"context": None, "context_truncated": True})
            written = await self._apply(session, bare)
        context.echoes.wrote(SESSION, written)
        context.projection.sessions.see(Resource.from_object(written))

    async def _apply(self, session: Resource, status: SessionStatus) -> JsonObject:
        return await self._context.kube.apply_status(
            SESSION,
            session.namespace,
            session.name,
            status.to_json(),
            resource_version=session.resource_version,
        )

    async def queue(self, namespace: str, name: str) -> None:
        """Give tickets to the session's ready steps, and wake the task whose turn it is."""
        context = self._context
        session = context.projection.sessions.get(namespace, name)
        if session is None or session.uid in context.mismatched_sessions:
            return
        tasks = [
            task
            for task in context.projection.tasks.referring_to(namespace, name)
            if not task.deleting and not is_final(task)
        ]
        ready = context.ready_steps.in_order(tasks)
        if ready is None:
            return
        async with context.store() as connection:
            await self.register(connection, session)
            turns = await queue_turns(connection, context.fence, session.uid, ready)
        if not turns or any(turn.state == "Held" for turn in turns):
            return
        for task in tasks:
            if task.uid == turns[0].task_uid:
                context.wake(TASK_KEY, namespace, task.name)
