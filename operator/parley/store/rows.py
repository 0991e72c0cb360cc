"""How queries run here: SQL as a literal, parameters by name, rows as dataclasses, JSON as cleaned text."""

import json
import math
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import LiteralString, TypeVar

from psycopg import AsyncCursor, AsyncTransaction
from psycopg.rows import class_row, scalar_row
from pydantic import JsonValue

from parley.protocol.messages import MAX_OUTPUT_BYTES
from parley.resources.common import is_deeper_than
from parley.store.errors import ResultTooLarge
from parley.store.pool import Connection

Row = TypeVar("Row")
Parameters = Mapping[str, object]
Statement = tuple[LiteralString, Parameters]
MAX_STORED_BYTES = 16 * 1024 * 1024
"""Largest value, as JSON, of an output that comes from a file or from many items, and of a list of items."""
MAX_LEVELS = 128
"""Levels of lists and maps in a stored value: pydantic reads 200, and rows are read inside a few of their own."""
NUL = "\x00"
REPLACEMENT = "\ufffd"


async def execute(conn: Connection, query: LiteralString, parameters: Parameters) -> int:
    """Run a statement and return how many rows it touched."""
    async with await conn.execute(query, parameters) as cursor:
        return cursor.rowcount


async def execute_all(conn: Connection, *statements: Statement) -> list[int]:
    """Run statements of the caller's transaction in this order in one round trip; return how many rows each touched.

    None of them may need what another returns. The first error is raised: nothing of the transaction stays.
    """
    if not statements:
        return []
    async with conn.pipeline():
        cursors = [await conn.execute(query, parameters) for query, parameters in statements]
    return [cursor.rowcount for cursor in cursors]


async def ask(
    conn: Connection, row: type[Row], query: LiteralString, parameters: Parameters
) -> AsyncCursor[Row]:
    """Ask a question in a ``conn.pipeline()``; once that is left, ``fetchone`` or ``fetchall`` tell the answer."""
    cursor = conn.cursor(row_factory=class_row(row))
    await cursor.execute(query, parameters)
    return cursor


@asynccontextmanager
async def at_once(conn: Connection) -> AsyncGenerator[None]:
    """Ask what the block asks in one round trip, outside of a transaction.

    After an error psycopg may believe in statements that the server never got to prepare; a transaction's end makes it
    forget them, and nothing else does: so the connection is closed.
    """
    try:
        async with conn.pipeline():
            yield
    except BaseException:
        await conn.close()
        raise


@asynccontextmanager
async def beginning(conn: Connection, transaction: AsyncExitStack) -> AsyncGenerator[None]:
    """Begin a transaction, which ends with the stack, in one round trip with what the block asks."""
    async with conn.pipeline():
        # Not conn.transaction(): in a pipeline that one keeps the pipeline for the whole transaction.
        await transaction.enter_async_context(AsyncTransaction(conn))
        yield


async def fetch_one(
    conn: Connection, row: type[Row], query: LiteralString, parameters: Parameters
) -> Row | None:
    """Return the first row, its columns passed to ``row`` by name, or None."""
    async with conn.cursor(row_factory=class_row(row)) as cursor:
        await cursor.execute(query, parameters)
        return await cursor.fetchone()


async def fetch_all(
    conn: Connection, row: type[Row], query: LiteralString, parameters: Parameters
) -> list[Row]:
    """Return all rows, their columns passed to ``row`` by name."""
    async with conn.cursor(row_factory=class_row(row)) as cursor:
        await cursor.execute(query, parameters)
        return await cursor.fetchall()


async def fetch_values(
    conn: Connection, kind: type[Row], query: LiteralString, parameters: Parameters
) -> list[Row]:
    """Return the only column of all rows; NULLs are left out."""
    async with conn.cursor(row_factory=scalar_row) as cursor:
        await cursor.execute(query, parameters)
        return [value for value in await cursor.fetchall() if isinstance(value, kind)]


async def fetch_value(
    conn: Connection, kind: type[Row], query: LiteralString, parameters: Parameters
) -> Row | None:
    """Return the only column of the first row, or None for no row or NULL."""
    async with conn.cursor(row_factory=scalar_row) as cursor:
        await cursor.execute(query, parameters)
        value = await cursor.fetchone()
    if value is not None and not isinstance(value, kind):
        raise TypeError(f"expected {kind.__name__}, got {type(value).__name__}")
    return value


def encode(value: JsonValue) -> str:
    """Return compact JSON that Postgres can store and read again.

    Its text holds neither NUL nor lone surrogates: both become U+FFFD. NaN and infinities become null.
    """
    return json.dumps(_storable(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def encode_limited(value: JsonValue, what: str, limit: int = MAX_OUTPUT_BYTES) -> str:
    """Like ``encode``, for a value that a user or a model made; ``what`` names it in the refusal.

    Raises:
        ResultTooLarge: it is over ``limit`` bytes as JSON, or nested deeper than can be read again.
    """
    if is_deeper_than(value, MAX_LEVELS):
        raise ResultTooLarge(f"{what} is nested deeper than {MAX_LEVELS} levels.")
    text = encode(value)
    size = len(text.encode())
    if size > limit:
        raise too_large(what, size, limit)
    return text


def too_large(what: str, size: int, limit: int) -> ResultTooLarge:
    """Say that a value is too large."""
    return ResultTooLarge(f"{what} is {size:,} bytes as JSON; at most {limit:,} are stored.")


def _storable(value: JsonValue) -> JsonValue:
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {storable_text(key): _storable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_storable(item) for item in value]
    return value


def storable_text(text: str) -> str:
    """Return the text without NUL and lone surrogates, which no Postgres text can hold."""
    if NUL in text:
        text = text.replace(NUL, REPLACEMENT)
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
