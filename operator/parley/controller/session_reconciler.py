"""Sessions: their row, the order of their turns, and what their status shows."""

import logging
from datetime import UTC, datetime

from parley.controller.context import SESSION_KEY, TASK_KEY, Context
from parley.controller.finality import is_final
from parley.controller.metrics import SESSIONS, TRANSCRIPTS_RESTORED
from parley.controller.queue import Key
from parley.controller.resource import Resource, all_referred
from parley.controller.session_keeping import SessionKeeper, written_retention
from parley.controller.session_status import build_session_status, session_transitions
from parley.kube.client import JsonObject
from parley.kube.errors import Invalid
from parley.kube.kinds import SESSION
from parley.resources.session import SessionPhase, SessionSpec, SessionStatus
from parley.store.leader import leading
from parley.store.pool import Connection
from parley.store.restoring import restore
from parley.store.session_records import SessionSummary
from parley.store.sessions import register_session, session_gone, session_summary
from parley.store.turns import queue_turns

log = logging.getLogger(__name__)
_LOOK_FOR_TRANSCRIPT = 60.0
"""Seconds until a session looks again for the transcript it is to go on with; its end is told at once."""
_MOST_CHANGES = 5
"""More things than can be due about a session at once."""


class SessionReconciler:
    """Reconciles Sessions by name."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._keeper = SessionKeeper(context)
        self._lacking: dict[str, str] = {}
        """By uid: why a session does not have the transcript it is to go on with."""
        self._hoped_for: dict[str, Resource] = {}
        """By the uid of the session whose transcript it is: who waits for it."""
        sessions = context.projection.sessions
        SESSIONS.watch(
            lambda: ((each.namespace, str(each.status.get("phase", "Pending"))) for each in sessions)
        )

    async def register(self, connection: Connection, session: Resource) -> None:
        """Make sure that the session has its row, and in it the transcript that it is to go on with."""
        if session.uid in self._context.known_sessions:
            return
        await register_session(
            connection,
            self._context.fence,
            uid=session.uid,
            cluster=self._context.cluster,
            namespace=session.namespace,
            name=session.name,
            retention=written_retention(session.spec),
        )
        if not await self._restore(connection, session):
            return
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

    async def _restore(self, connection: Connection, session: Resource) -> bool:
        """Let the session go on with the transcript that its spec names; tell whether it has all it is to have."""
        reference = session.spec.get("restoreFrom")
        wanted = reference.get("uid") if isinstance(reference, dict) else None
        if not isinstance(wanted, str):
            return True
        restored = await restore(connection, self._context.fence, session.uid, wanted)
        if restored.problem is not None:
            self._lacking[session.uid] = restored.problem
            self._hoped_for[wanted] = session
            return False
        self._hoped_for.pop(wanted, None)
        if restored.now:
            TRANSCRIPTS_RESTORED.inc()
            log.info("Session %s/%s goes on with the transcript of %s", *session.key, wanted)
        if self._lacking.pop(session.uid, None) is not None or restored.now:
            self._keeper.wake_tasks(session)
            self._context.wake(SESSION_KEY, session.namespace, session.name)
        return True

    async def close(self, _namespace: str, uid: str) -> None:
        """Close the rows of a session that is gone, and let who waits for its transcript look again."""
        async with self._context.store() as connection:
            await session_gone(connection, self._context.fence, uid)
        self._lacking.pop(uid, None)
        self._context.lines.forget(uid)
        heir = self._hoped_for.pop(uid, None)
        if heir is not None:
            self._context.wake(SESSION_KEY, heir.namespace, heir.name)

    async def show(self, namespace: str, name: str) -> None:
        """Do what is due about the session, and write its status if it is not what it should be."""
        context = self._context
        session = context.projection.sessions.get(namespace, name)
        if session is None or session.deleting:
            return
        # All that it was to be looked at for later is looked at now.
        context.queue.drop_wake(Key(SESSION_KEY, namespace, name))
        reading = await context.specs.read(SessionSpec, session)
        async with context.store() as connection:
            await self.register(connection, session)
            summary = await self._summary(connection, session)
            if session.uid in self._lacking:
                context.queue.add_after(Key(SESSION_KEY, namespace, name), _LOOK_FOR_TRANSCRIPT)
            elif reading.spec is not None and session.uid not in context.mismatched_sessions:
                summary = await self._keep(connection, session, reading.spec, summary)
        previous = SessionStatus.model_validate(session.status)
        agents = context.projection.agents
        status = build_session_status(
            summary,
            spec=reading.spec,
            problems=reading.problems,
            mismatch=context.mismatched_sessions.get(session.uid),
            lacking=self._lacking.get(session.uid),
            agents={
                each: agents.get(namespace, each) is not None for each in all_referred(session, "agentRef")
            },
            generation=session.generation,
            now=datetime.now(UTC),
            previous=previous,
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
        for transition in session_transitions(session, previous, status):
            context.tell(transition)

    async def _keep(
        self, connection: Connection, session: Resource, spec: SessionSpec, summary: SessionSummary | None
    ) -> SessionSummary | None:
        for _ in range(_MOST_CHANGES):
            if summary is None or not await self._keeper.keep(connection, session, spec, summary):
                break
            summary = await self._summary(connection, session)
        return summary

    async def _summary(self, connection: Connection, session: Resource) -> SessionSummary | None:
        # Under the fence, for what is shown must come from the store this leadership began with.
        async with leading(connection, self._context.fence):
            return await session_summary(connection, session.uid)

    async def _apply(self, session: Resource, status: SessionStatus) -> JsonObject:
        body = status.to_json()
        with self._context.echoes.writing(session.uid, body):
            return await self._context.kube.apply_status(
                SESSION,
                session.namespace,
                session.name,
                body,
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
            if session.uid in self._lacking:
                return
            if ready and session.status.get("phase") == SessionPhase.DORMANT:
                await self._keeper.wake_up(connection, session)
            turns = await queue_turns(connection, context.fence, session.uid, ready)
        due = context.lines.note(session.uid, turns)
        if turns and turns[0].task_uid is not None and all(turn.state != "Held" for turn in turns):
            due.add(turns[0].task_uid)
        for task in tasks:
            if task.uid in due:
                context.wake(TASK_KEY, namespace, task.name)
