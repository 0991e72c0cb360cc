"""The runner's call that changes the session's context: merged and journaled in one transaction."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from parley.protocol.messages import ContextBody, StoredAnswer
from parley.store.context import merge_context
from parley.store.errors import NotAllowed, ResultTooLarge
from parley.store.holding import Held, LockedAttempt, holding
from parley.store.journal import has_result, store_result, stored
from parley.store.pool import Connection
from parley.store.rows import encode, fetch_one
from parley.store.tools import journaled_call, offers

TOOL = "update_context"
CURRENT = "SELECT context, context_version AS version FROM sessions WHERE uid = %(session_uid)s"
# What an earlier call of the step was answered: what the model has seen since.
SEEN = """
SELECT j.result -> 'context' AS context, %(version)s::bigint AS version
FROM journal j JOIN journal r USING (task_uid, step, item, round)
WHERE j.task_uid = %(task_uid)s AND j.step = %(step)s AND j.item = %(item)s AND j.call >= 0 AND r.call = -1
  AND r.result -> 'calls' -> j.call ->> 'name' = 'update_context'
  AND json_typeof(j.result) = 'object' AND j.result ->> 'version' = %(version)s::bigint::text
  AND json_typeof(j.result -> 'context') = 'object'
LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class _Context:
    context: dict[str, JsonValue] | None
    version: int


async def update_context_call(
    conn: Connection, attempt: int, holder: str, round_number: int, call: int, body: ContextBody
) -> StoredAnswer:
    """Run a call of update_context and journal its result: ``{context, version}`` as they are then.

    ``body.version`` is of the context that the model has seen: the request's, or that of a result of its step. Where
    a key to be changed was changed by others since, nothing is merged and the result has an ``error`` too; so has
    that of a context which would be too large. A repeat gets the first result.

    Raises:
        NotAllowed: the journal has no such call, its agent has no such tool, or the task no session.
    """
    async with holding(conn, attempt, holder, session=True) as held:
        held.require_running()
        asked = await journaled_call(conn, held.attempt, round_number, call)
        if asked.name != TOOL or not offers(held.attempt, TOOL):
            raise NotAllowed(f"Call {call} of round {round_number} is none of {TOOL} that the agent has.")
        if not await has_result(conn, held.attempt, round_number, call):
            result = await _update(conn, held, body)
            await store_result(conn, held.attempt, round_number, call, encode(result))
        return await stored(conn, held.attempt, round_number, call)


async def _update(conn: Connection, held: Held, body: ContextBody) -> dict[str, JsonValue]:
    session_uid = held.task.session_uid
    if session_uid is None:
        raise NotAllowed("The task has no session, and so no context.")
    first = _first_context(held.attempt)
    current = await _current(conn, session_uid, first)
    changed = await _changed_since(conn, held.attempt, body, current)
    error = f"changed by others meanwhile: {', '.join(changed)}; nothing was written" if changed else None
    if error is None:
        try:
            await merge_context(conn, session_uid, body.changes, first)
        except ResultTooLarge as refused:
            error = str(refused)
        else:
            current = await _current(conn, session_uid, first)
    state: dict[str, JsonValue] = {"context": dict(current.context or {}), "version": current.version}
    return state if error is None else {"error": error} | state


async def _current(conn: Connection, session_uid: str, first: Mapping[str, JsonValue]) -> _Context:
    found = await fetch_one(conn, _Context, CURRENT, {"session_uid": session_uid})
    if found is None:
        raise LookupError(f"no session {session_uid}")
    return found if found.context is not None else _Context(dict(first), found.version)


async def _changed_since(
    conn: Connection, attempt: LockedAttempt, body: ContextBody, current: _Context
) -> list[str]:
    """Return the keys to be changed that others have changed since what the model has seen."""
    if body.version is None or body.version == current.version:
        return []
    seen = await _seen(conn, attempt, body.version)
    now = current.context or {}
    return [key for key in body.changes if seen is None or seen.get(key) != now.get(key)]


async def _seen(conn: Connection, attempt: LockedAttempt, version: int) -> dict[str, JsonValue] | None:
    """Return the context of a version that the step was shown, None for one that it was not."""
    session = attempt.request.get("session")
    if isinstance(session, dict) and session.get("contextVersion", 0) == version:
        return _first_context(attempt)
    found = await fetch_one(conn, _Context, SEEN, attempt.place | {"version": version})
    return found.context if found is not None else None


def _first_context(attempt: LockedAttempt) -> dict[str, JsonValue]:
    """Return the context in the request: the Session's own while nothing was stored."""
    session = attempt.request.get("session")
    context = session.get("context") if isinstance(session, dict) else None
    return context if isinstance(context, dict) else {}
