"""Which store this is. The id is random, made with the schema, and never changes."""

from parley.store.pool import Connection


async def store_id(conn: Connection) -> str:
    """Return the store's id, a UUID.

    Raises:
        StoreUnavailable: the schema is not there yet.
    """
    raise NotImplementedError
