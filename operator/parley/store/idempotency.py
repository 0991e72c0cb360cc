"""What requests with an idempotency key were answered, for a day: a repeat gets the same answer.

What is asked for with a key that was drawn at random may be kept for less. ``at`` of a row is a day before it runs out,
whatever its time, so that one index finds what is over. Nobody is told what is over, whether it was dropped or not.
"""

from dataclasses import dataclass
from datetime import timedelta

from pydantic import JsonValue

from parley.store.errors import KeyReused
from parley.store.leader import Fence, leading
from parley.store.pool import Connection
from parley.store.rows import encode, execute, fetch_one

DAY = timedelta(days=1)
MOST_FORGOTTEN = 10_000
"""Rows that one sweep drops: it holds the leader's fence meanwhile, and another comes within a minute."""

STORED = """
SELECT body_hash, answer, at <= now() - %(day)s AS is_over FROM idempotency
WHERE scope = %(scope)s AND key = %(key)s
"""
REMEMBER = """
INSERT INTO idempotency AS old (scope, key, body_hash, answer, at)
VALUES (%(scope)s, %(key)s, %(body_hash)s, %(answer)s::json, now() + %(keep)s - %(day)s)
ON CONFLICT (scope, key) DO UPDATE SET body_hash = excluded.body_hash, answer = excluded.answer, at = excluded.at
WHERE old.at <= now() - %(day)s
"""
REPLACE = """
UPDATE idempotency SET answer = %(answer)s::json
WHERE scope = %(scope)s AND key = %(key)s AND body_hash = %(body_hash)s
"""
# Asked twice: a row may be taken anew between the two.
FORGET = """
DELETE FROM idempotency WHERE (scope, key) IN
  (SELECT scope, key FROM idempotency WHERE at <= now() - %(day)s ORDER BY at LIMIT %(most)s)
  AND at <= now() - %(day)s
"""


@dataclass(frozen=True, slots=True)
class _Stored:
    body_hash: str
    answer: JsonValue
    is_over: bool


async def remembered(conn: Connection, scope: str, key: str, body_hash: str) -> JsonValue | None:
    """Return what a request with this key was answered, None for a new one and for one whose time is over.

    Raises:
        KeyReused: the key came with another body.
    """
    found = await _stored(conn, scope, key)
    return None if found is None or found.is_over else _checked(found, key, body_hash)


async def remember(
    conn: Connection, scope: str, key: str, body_hash: str, answer: JsonValue, keep: timedelta = DAY
) -> JsonValue:
    """Keep an answer; returns the first one that was kept, which may be another's who came at the same time.

    Raises:
        KeyReused: that other came with another body.
    """
    row = {"scope": scope, "key": key, "body_hash": body_hash, "answer": encode(answer)}
    await execute(conn, REMEMBER, {**row, "keep": keep, "day": DAY})
    # One that runs out between the two is an answer still.
    found = await _stored(conn, scope, key)
    return answer if found is None else _checked(found, key, body_hash)


async def replace_answer(conn: Connection, scope: str, key: str, body_hash: str, answer: JsonValue) -> None:
    """Put another answer in the place of the one that is kept, for the rest of its time."""
    row = {"scope": scope, "key": key, "body_hash": body_hash, "answer": encode(answer)}
    await execute(conn, REPLACE, row)


async def forget_answers(conn: Connection, fence: Fence, most: int = MOST_FORGOTTEN) -> int:
    """Drop what is over, the oldest first, so many rows at most; return how many that were."""
    async with leading(conn, fence):
        return await execute(conn, FORGET, {"day": DAY, "most": most})


async def _stored(conn: Connection, scope: str, key: str) -> _Stored | None:
    return await fetch_one(conn, _Stored, STORED, {"scope": scope, "key": key, "day": DAY})


def _checked(found: _Stored, key: str, body_hash: str) -> JsonValue:
    if found.body_hash != body_hash:
        raise KeyReused(key)
    return found.answer
