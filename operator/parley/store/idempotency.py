"""What requests with an idempotency key were answered, for a day: a repeat gets the same answer."""

from dataclasses import dataclass

from pydantic import JsonValue

from parley.store.errors import KeyReused
from parley.store.leader import Fence, leading
from parley.store.pool import Connection
from parley.store.rows import encode, execute, fetch_one, fetch_value

STORED = "SELECT body_hash, answer FROM idempotency WHERE scope = %(scope)s AND key = %(key)s"
REMEMBER = """
INSERT INTO idempotency (scope, key, body_hash, answer)
VALUES (%(scope)s, %(key)s, %(body_hash)s, %(answer)s::json)
ON CONFLICT DO NOTHING
"""
FORGET = """
WITH old AS (DELETE FROM idempotency WHERE at < now() - interval '24 h' RETURNING key) SELECT count(*) FROM old
"""


@dataclass(frozen=True, slots=True)
class _Stored:
    body_hash: str
    answer: JsonValue


async def remembered(conn: Connection, scope: str, key: str, body_hash: str) -> JsonValue | None:
    """Return what a request with this key was answered, None for a new one.

    Raises:
        KeyReused: the key came with another body.
    """
    found = await fetch_one(conn, _Stored, STORED, {"scope": scope, "key": key})
    if found is None:
        return None
    if found.body_hash != body_hash:
        raise KeyReused(key)
    return found.answer


async def remember(conn: Connection, scope: str, key: str, body_hash: str, answer: JsonValue) -> JsonValue:
    """Keep an answer; returns the first one that was kept, which may be another's who came at the same time.

    Raises:
        KeyReused: that other came with another body.
    """
    row = {"scope": scope, "key": key, "body_hash": body_hash, "answer": encode(answer)}
    await execute(conn, REMEMBER, row)
    return await remembered(conn, scope, key, body_hash)


async def forget_answers(conn: Connection, fence: Fence) -> int:
    """Drop what is older than a day; return how many answers that were."""
    async with leading(conn, fence):
        return await fetch_value(conn, int, FORGET, {}) or 0
