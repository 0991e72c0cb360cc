"""Connections to the database: the pool, and what its failures are called."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

Connection = AsyncConnection[TupleRow]
Pool = AsyncConnectionPool[Connection]


def open_pool(dsn: str, *, size: int) -> Pool:
    """Make a pool that never blocks a start: ``async with open_pool(dsn, size=8) as pool`` opens it at once, also
    while the database is away; connections come as they are asked for.
    """
    raise NotImplementedError


@asynccontextmanager
async def connect(pool: Pool) -> AsyncIterator[Connection]:
    """Lend a checked connection in autocommit mode.

    Raises:
        StoreUnavailable: the database is away, went away in the block, or lacks its schema. What the block had not
            committed is undone; whether a commit that was under way took place is unknown: repeat it, all calls are
            idempotent.
    """
    raise NotImplementedError
    yield  # pragma: no cover
