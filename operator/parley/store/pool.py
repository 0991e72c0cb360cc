"""Connections to the database: the pool, and what its failures are called."""

import asyncio
import select
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

from psycopg import AsyncConnection, InterfaceError, OperationalError, errors
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from parley.store.errors import SchemaMissing, StoreUnavailable

__all__ = ["Connection", "Pool", "StoreUnavailable", "connect", "conninfo", "open_pool", "url_of"]

Connection = AsyncConnection[TupleRow]
Pool = AsyncConnectionPool[Connection]

BOUNDED = "-c statement_timeout=10s -c idle_in_transaction_session_timeout=15s"
CHECKOUT_TIMEOUT = 5.0
"""Seconds a caller waits for a connection before it hears StoreUnavailable."""
RECONNECT_TIMEOUT = 5.0
"""Seconds the pool tries to replace a lost connection by itself; later callers make it try again. The pause
between tries doubles, so with a longer time everybody would wait for minutes after a long outage."""

_TRUSTED_SECONDS = 30.0
"""How long a connection that worked is not tried before it is lent again: that would be one more question for each, and
one that the server has closed meanwhile is seen without."""
_PREPARE_AFTER = 1
"""Uses of a query on one connection after which it is prepared there: there are few, and all come again and again."""
_used: WeakKeyDictionary[Connection, float] = WeakKeyDictionary()
"""When each connection last worked, by its loop's clock."""


def conninfo(dsn: str, application: str, settings: str = BOUNDED) -> str:
    """Add to a database's URL what every connection of Parley has: a name, UTC and an end to every wait."""
    return make_conninfo(
        dsn,
        connect_timeout=5,
        keepalives_idle=5,
        keepalives_interval=5,
        keepalives_count=3,
        tcp_user_timeout=20_000,
        options=f"-c application_name={application} -c timezone=UTC {settings}",
    )


def open_pool(dsn: str, *, size: int) -> Pool:
    """Make a pool of at most ``size`` connections; ``async with`` it, or ``await pool.open()``.

    Opening never waits for the database: connections come as they are asked for.
    """
    return AsyncConnectionPool(
        conninfo(dsn, "parley"),
        connection_class=AsyncConnection[TupleRow],
        kwargs={"autocommit": True, "prepare_threshold": _PREPARE_AFTER},
        min_size=1,
        max_size=size,
        open=False,
        timeout=CHECKOUT_TIMEOUT,
        reconnect_timeout=RECONNECT_TIMEOUT,
        name="parley",
    )


def url_of(pool: Pool) -> str:
    """Return where a pool's connections go; it holds a password."""
    return str(pool.conninfo)


@asynccontextmanager
async def connect(pool: Pool) -> AsyncGenerator[Connection, None]:
    """Lend a checked connection in autocommit mode.

    Raises:
        StoreUnavailable: the database is away, went away in the block, or lacks its schema. What the block
            had not committed is undone. Whether a commit that was under way took place is unknown: repeat the
            call, each one is idempotent.
    """
    before = _cancellations()
    try:
        conn = await _checked(pool)
        try:
            _raise_lost_cancellation(before)
            yield conn
            _used[conn] = asyncio.get_running_loop().time()
        except BaseException:
            _used.pop(conn, None)
            raise
        finally:
            await pool.putconn(conn)
    except PoolTimeout as error:
        message = f"The database gave no connection within {pool.timeout:.0f} s."
        raise StoreUnavailable(message) from error
    except errors.UndefinedTable as error:
        message = "The database has no schema of Parley yet: run parley-migrate (the chart's migration job)."
        raise SchemaMissing(message) from error
    except (
        OperationalError,
        InterfaceError,
        errors.ReadOnlySqlTransaction,  # a standby, or a primary that was demoted
        errors.IdleInTransactionSessionTimeout,
    ) as error:
        raise StoreUnavailable(f"The database cannot be used: {first_line(error)}") from error


def _cancellations() -> int:
    """Return how often the current task was asked to end and has not answered."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def _raise_lost_cancellation(before: int) -> None:
    """End the current task where that was asked for meanwhile and nobody heard it.

    The pool waits by ``asyncio.wait_for``, which until Python 3.12 forgets a cancellation that comes together
    with what is waited for (https://github.com/python/cpython/issues/86296): the task would run on, and whoever
    cancelled it wait for ever.
    """
    if _cancellations() > before:
        raise asyncio.CancelledError


async def _checked(pool: Pool) -> Connection:
    """Take a connection that works: one that was used a moment ago is believed to.

    After a restart of the database all idle ones are broken. They are thrown away at once; the pool's own check
    would sleep longer and longer after each and give up before it has seen them all.
    """
    clock = asyncio.get_running_loop().time
    end = clock() + pool.timeout
    while True:
        conn = await pool.getconn(timeout=end - clock())
        if clock() < _used.get(conn, 0.0) + _TRUSTED_SECONDS and _is_silent(conn):
            return conn
        try:
            await pool.check_connection(conn)
        except (OperationalError, InterfaceError):
            await pool.putconn(conn)
        except BaseException:
            await pool.putconn(conn)
            raise
        else:
            return conn


def _is_silent(conn: Connection) -> bool:
    """Whether the server has said nothing unasked: it would, were it to close the connection."""
    poll = select.poll()
    poll.register(conn.pgconn.socket, select.POLLIN)
    return not conn.closed and not poll.poll(0)


def first_line(error: BaseException) -> str:
    """Return what an error says, without details over several lines."""
    return (str(error) or type(error).__name__).splitlines()[0]
