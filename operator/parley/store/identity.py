"""Which store this is. The id is random, made with the schema, and never changes."""

import asyncio
from weakref import WeakKeyDictionary

from parley.store.pool import Connection, StoreUnavailable
from parley.store.rows import fetch_value

_KNOWN_SECONDS = 1.0
_known: WeakKeyDictionary[Connection, tuple[float, str]] = WeakKeyDictionary()
"""What each connection's store is, and until when that is believed."""


async def store_id(conn: Connection) -> str:
    """Return the store's id, a UUID.

    Raises:
        StoreUnavailable: the schema is not there yet.
    """
    found = await fetch_value(conn, str, "SELECT id::text FROM store", {})
    if found is None:
        raise StoreUnavailable(
            "The database has no store identity: run parley-migrate (the chart's migration job)."
        )
    return found


async def recent_store_id(conn: Connection) -> str:
    """Return the same, as it was on this connection at most a second ago: another store's are other connections.

    Raises:
        StoreUnavailable: the schema is not there yet.
    """
    now = asyncio.get_running_loop().time()
    until, known = _known.get(conn, (0.0, ""))
    if now < until:
        return known
    found = await store_id(conn)
    _known[conn] = now + _KNOWN_SECONDS, found
    return found
