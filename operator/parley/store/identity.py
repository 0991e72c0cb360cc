"""Which store this is. The id is random, made with the schema, and never changes."""

from parley.store.pool import Connection, StoreUnavailable
from parley.store.rows import fetch_value


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
