"""The stored context of a session: what its steps have learned, for those that come after."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from parley.store.pool import Connection
from parley.store.rows import encode_limited, execute, fetch_one, fetch_value

MAX_CONTEXT_BYTES = 256 * 1024
"""Largest context, as JSON: it is part of the request of every attempt in its session."""

READ = "SELECT context FROM sessions WHERE uid = %(session_uid)s"
VERSION = "SELECT context_version FROM sessions WHERE uid = %(session_uid)s"
WRITE = """
UPDATE sessions SET context = %(context)s::json, context_version = context_version + 1 WHERE uid = %(session_uid)s
"""


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
