"""The stored context of a session: what its steps have learned, for those that come after."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from parley.store.errors import ContextChanged, SessionNotReady, SessionOver
from parley.store.locks import lock_session
from parley.store.pool import Connection
from parley.store.rows import encode, encode_limited, execute, fetch_one, fetch_value

MAX_CONTEXT_BYTES = 256 * 1024
"""Largest context, as JSON: it is part of the request of every attempt in its session."""

READ = "SELECT context FROM sessions WHERE uid = %(session_uid)s"
VERSION = "SELECT context_version FROM sessions WHERE uid = %(session_uid)s"
WRITE = """
UPDATE sessions SET context = %(context)s::json, context_version = context_version + 1 WHERE uid = %(session_uid)s
"""

STORED = """
SELECT context, context_version AS version, gone_since IS NOT NULL AS gone FROM sessions WHERE uid = %(session_uid)s
"""
# The leader shows it in the Session's status.
TELL = "SELECT pg_notify('parley', %(session_uid)s)"


@dataclass(frozen=True, slots=True)
class _Stored:
    context: dict[str, JsonValue] | None


async def context_version(conn: Connection, session_uid: str) -> int:
    """Return how often the context was changed."""
    return await fetch_value(conn, int, VERSION, {"session_uid": session_uid}) or 0


async def merge_context(
    conn: Connection,
    session_uid: str,
    changes: Mapping[str, JsonValue],
    base: Mapping[str, JsonValue] | None,
) -> None:
    """Merge changes key by key into what is stored, or into ``base`` while nothing is; null removes a key.

    The caller's transaction holds the session's row, so two writers never lose a change.

    Raises:
        ResultTooLarge: the context would be over MAX_CONTEXT_BYTES.
    """
    found = await fetch_one(conn, _Stored, READ, {"session_uid": session_uid})
    stored = found.context if found is not None and found.context is not None else base or {}
    kept = {key: value for key, value in stored.items() if key not in changes or changes[key] is not None}
    merged: dict[str, JsonValue] = kept | {key: value for key, value in changes.items() if value is not None}
    text = encode_limited(merged, "The session's context", MAX_CONTEXT_BYTES)
    await execute(conn, WRITE, {"session_uid": session_uid, "context": text})


@dataclass(frozen=True, slots=True)
class StoredContext:
    """A session's context as it is stored. ``context`` is None while only the Session's own counts.

    Attributes:
        gone: the Session was seen to be deleted.
    """

    context: dict[str, JsonValue] | None
    version: int
    gone: bool


async def read_context(conn: Connection, session_uid: str) -> StoredContext | None:
    """Return a session's context; None for a session that is not registered."""
    return await fetch_one(conn, StoredContext, STORED, {"session_uid": session_uid})


async def change_context(
    conn: Connection,
    session_uid: str,
    changes: Mapping[str, JsonValue],
    *,
    base: Mapping[str, JsonValue],
    version: int | None,
) -> StoredContext:
    """Merge a person's changes into the context; a repeat changes nothing again.

    Args:
        conn: a connection to the store.
        session_uid: of the session.
        changes: by key; null removes one.
        base: the Session's own context, which counts while nothing is stored.
        version: of the context that the person has seen; None: write in any case.

    Raises:
        SessionNotReady: the session is not registered.
        SessionOver: it is gone.
        ContextChanged: a key to be changed has become something else since that version.
        ResultTooLarge: the context would be over MAX_CONTEXT_BYTES.
    """
    async with conn.transaction():
        if not await lock_session(conn, session_uid):
            raise (
                SessionOver("Gone")
                if await read_context(conn, session_uid)
                else SessionNotReady("The operator has not taken this Session in yet.")
            )
        stored = await _stored(conn, session_uid)
        current = stored.context if stored.context is not None else base
        # As JSON: to Python True is 1.
        differing = [key for key, value in changes.items() if encode(current.get(key)) != encode(value)]
        if version is not None and version != stored.version and differing:
            raise ContextChanged(differing, stored.version)
        if differing:
            await merge_context(conn, session_uid, changes, base)
            await execute(conn, TELL, {"session_uid": session_uid})
        return await _stored(conn, session_uid)


async def _stored(conn: Connection, session_uid: str) -> StoredContext:
    found = await read_context(conn, session_uid)
    if found is None:
        raise LookupError(f"no session {session_uid}")
    return found
