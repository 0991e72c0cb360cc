"""Migrations: plain SQL files, forward only, each applied once, in a transaction, under an advisory lock.

A file that has been released never changes: write a new one. Old and new versions of Parley overlap during an
upgrade, so a migration only adds; what the old version needs is dropped one release later.
"""

import asyncio
import hashlib
import logging
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import LiteralString, cast

from psycopg import AsyncConnection, OperationalError, errors
from psycopg.conninfo import conninfo_to_dict

from parley.store.errors import StoreError, StoreUnavailable
from parley.store.pool import Connection, conninfo, first_line
from parley.store.rows import execute, fetch_all, fetch_value

LOCK_KEY = 0x7061726C6579
"""The letters of "parley": the advisory lock that lets one process migrate at a time."""
PAUSE = 1.0
REMIND_AFTER = 10
"""Tries after which the same trouble is told again."""
EXIT_INTERRUPTED = 128 + signal.SIGTERM

CREATE_TABLE = """
CREATE TABLE IF NOT EXISTS migrations (
  number     int PRIMARY KEY,
  name       text NOT NULL,
  checksum   text NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT now()
)
"""
RECORD = "INSERT INTO migrations (number, name, checksum) VALUES (%(number)s, %(name)s, %(checksum)s)"

Say = Callable[[str], None]
logger = logging.getLogger("parley.migrate")


class MigrationError(StoreError):
    """The database and the migrations of this version do not go together. A person must look."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file ``NNNN_name.sql``."""

    number: int
    name: str
    checksum: str
    statements: str


@dataclass(frozen=True, slots=True)
class Applied:
    """A migration as the database remembers it."""

    number: int
    name: str
    checksum: str


def shipped_migrations() -> list[Migration]:
    """Return this version's migrations in their order, numbered from 1."""
    found: list[Migration] = []
    for path in files("parley.store").joinpath("migrations").iterdir():
        if path.name.endswith(".sql"):
            statements = path.read_text("utf-8")
            number, name = path.name.removesuffix(".sql").split("_", 1)
            checksum = hashlib.sha256(statements.encode()).hexdigest()
            found.append(Migration(int(number), name, checksum, statements))
    return sorted(found, key=lambda migration: migration.number)


async def schema_version(conn: Connection) -> int:
    """Return the number of the newest migration applied, 0 for an empty database."""
    if await fetch_value(conn, str, "SELECT to_regclass('migrations')::text", {}) is None:
        return 0
    return await fetch_value(conn, int, "SELECT max(number) FROM migrations", {}) or 0


async def require_schema(conn: Connection) -> None:
    """Check that the database has every migration this version of Parley needs; a newer schema is fine.

    Raises:
        StoreUnavailable: with a sentence that says which is missing and what to run.
    """
    needed = shipped_migrations()[-1].number
    found = await schema_version(conn)
    if found < needed:
        message = f"The database's schema is at {found}, this version needs {needed}: run parley-migrate."
        raise StoreUnavailable(message)


async def migrate(dsn: str, say: Say = logger.info) -> list[str]:
    """Wait for the database, then apply what is missing.

    Returns:
        The names of the migrations applied now, such as ``0001_store``.

    Raises:
        MigrationError: a migration that was applied has changed since.
    """
    conn = await _connect(dsn, say)
    async with conn:
        if not await fetch_value(conn, bool, "SELECT pg_try_advisory_lock(%(key)s)", {"key": LOCK_KEY}):
            say("Another process is migrating this database: waiting for it.")
            await conn.execute("SELECT pg_advisory_lock(%(key)s)", {"key": LOCK_KEY})
        await conn.execute(CREATE_TABLE)
        return [await _apply(conn, migration, say) for migration in await _missing(conn)]


async def _missing(conn: Connection) -> list[Migration]:
    applied = {
        row.number: row
        for row in await fetch_all(conn, Applied, "SELECT number, name, checksum FROM migrations", {})
    }
    missing: list[Migration] = []
    for migration in shipped_migrations():
        row = applied.get(migration.number)
        if row is None:
            missing.append(migration)
        elif row.checksum != migration.checksum:
            message = (
                f"Migration {_label(migration)} was applied as {row.name} with checksum {row.checksum[:12]},"
                f" this version has {migration.checksum[:12]}: another store's, or a changed file."
                " Nothing was done."
            )
            raise MigrationError(message)
    return missing


async def _apply(conn: Connection, migration: Migration, say: Say) -> str:
    say(f"Applying {_label(migration)}.")
    while True:
        try:
            await _apply_once(conn, migration)
        except errors.DeadlockDetected:
            # Somebody works meanwhile and had locked in another order: nothing was done.
            say(f"{_label(migration)} stood in the way of another transaction, trying again.")
        else:
            return _label(migration)


async def _apply_once(conn: Connection, migration: Migration) -> None:
    async with conn.transaction():
        # The file ships with this package: no outsider's text.
        await conn.execute(cast("LiteralString", migration.statements))
        parameters = {"number": migration.number, "name": migration.name, "checksum": migration.checksum}
        await execute(conn, RECORD, parameters)


def _label(migration: Migration) -> str:
    return f"{migration.number:04}_{migration.name}"


async def _connect(dsn: str, say: Say) -> Connection:
    """Connect, however long that takes, and tell what it waits for."""
    # No statement timeout: a migration may take its time.
    target = conninfo(dsn, "parley-migrate", settings="")
    told, tries = "", 0
    while True:
        try:
            return await AsyncConnection.connect(target, autocommit=True)
        except OperationalError as error:
            trouble = first_line(error)
            if trouble != told or tries % REMIND_AFTER == 0:
                say(f"Waiting for the database at {_place(dsn)}: {trouble}")
            told, tries = trouble, tries + 1
            await asyncio.sleep(PAUSE)


def _place(dsn: str) -> str:
    """Say where a database is, without its password."""
    parts = conninfo_to_dict(dsn)
    return f"{parts.get('host', 'localhost')}:{parts.get('port', 5432)}/{parts.get('dbname', '')}"


async def _run(dsn: str) -> int:
    """Migrate until done or until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    work = asyncio.create_task(migrate(dsn))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, work.cancel)
    try:
        applied = await work
    except asyncio.CancelledError:
        logger.info("Interrupted. What was not committed is undone; run it again.")
        return EXIT_INTERRUPTED
    except MigrationError as error:
        logger.error("%s", error)  # noqa: TRY400 - the sentence is for a person, the traceback for nobody
        return 1
    logger.info("Applied %s.", ", ".join(applied)) if applied else logger.info("The schema is up to date.")
    return 0


def main() -> None:
    """``parley-migrate``: wait for the database in PARLEY_DATABASE_URL, then apply what is missing."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    dsn = os.environ.get("PARLEY_DATABASE_URL")
    if not dsn:
        sys.exit(
            "PARLEY_DATABASE_URL is not set: give it the database's URL, postgresql://user:password@host/name."
        )
    sys.exit(asyncio.run(_run(dsn)))
