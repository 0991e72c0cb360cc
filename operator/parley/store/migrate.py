"""Migrations: plain SQL files, forward only, each applied once, in a transaction, under an advisory lock."""

from parley.store.pool import Connection


async def schema_version(conn: Connection) -> int:
    """Return the number of the newest migration applied, 0 for an empty database."""
    raise NotImplementedError


async def require_schema(conn: Connection) -> None:
    """Check that the database has every migration this version of Parley needs; a newer schema is fine.

    Raises:
        StoreUnavailable: with a sentence that says which is missing and what to run.
    """
    raise NotImplementedError


def main() -> None:
    """``parley-migrate``: wait for the database in PARLEY_DATABASE_URL, then apply what is missing."""
    raise NotImplementedError
