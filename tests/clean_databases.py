"""Migrated, empty databases for one test after the other: to empty one is a fraction of the work of copying a template."""

from collections.abc import Iterator
from typing import LiteralString
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from tests.postgres import EmbeddedPostgres

USES = 40
"""After which a database is thrown away: rows that were deleted take room until then."""
_END_OTHERS: LiteralString = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
_TABLES: LiteralString = (
    "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1"
)
_FIRST_NUMBERS: LiteralString = (
    "SELECT setval(format('%I.%I', schemaname, sequencename)::regclass, start_value, false) FROM pg_sequences"
)
_SHAPE: LiteralString = """
SELECT md5(string_agg(part, ' ' ORDER BY part)) FROM (
  SELECT format('%s.%s %s', attrelid::regclass, attname, atttypid) FROM pg_attribute
   WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)
  UNION ALL SELECT format('%s %s %s', tgrelid::regclass, tgname, tgenabled) FROM pg_trigger
  UNION ALL SELECT md5(prosrc) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
  UNION ALL SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace
) AS parts (part)
"""


class CleanDatabases:
    """Copies of the server's database ``migrated``, lent to one test at a time."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self._server = server
        self._free: list[tuple[str, int]] = []
        with psycopg.connect(server.dsn("migrated")) as conn:
            self._expected = _fixed(conn, _filled(conn))

    def lend(self) -> tuple[str, int]:
        """Return the name of a database that is as migrated, and how often it was lent before."""
        if self._free:
            return self._free.pop()
        name = f"test_{uuid4().hex}"
        self._server.create(name, "migrated")
        return name, 0

    def take_back(self, name: str, uses: int) -> None:
        """Empty a database; one that a test has changed otherwise, or that was used often, goes."""
        if uses + 1 < USES and self._emptied(name):
            self._free.append((name, uses + 1))
        else:
            self._server.drop(name)

    def _emptied(self, name: str) -> bool:
        with psycopg.connect(self._server.dsn(name), autocommit=True) as conn:
            conn.execute(_END_OTHERS)
            kept, shape = self._expected
            # Past triggers, which forbid to delete what has ended, and foreign keys.
            conn.execute("SET session_replication_role = replica")
            for table in _filled(conn):
                if table not in kept:
                    conn.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))
            conn.execute(_FIRST_NUMBERS)
            return _fixed(conn, list(kept)) == (kept, shape)


def _filled(conn: psycopg.Connection) -> list[str]:
    """Names of the tables that have rows."""
    tables = [sql.Identifier(name) for (name,) in conn.execute(_TABLES)]
    has_rows = [sql.SQL("EXISTS (SELECT FROM {})").format(table) for table in tables]
    row = conn.execute(sql.SQL("SELECT {}").format(sql.SQL(", ").join(has_rows))).fetchone()
    assert row is not None
    return [name for (name,), filled in zip(conn.execute(_TABLES), row, strict=True) if filled]


def _fixed(conn: psycopg.Connection, tables: list[str]) -> tuple[dict[str, str], str]:
    """What no test changes: the rows of these tables, and the shape of all of them, as hashes."""
    rows: dict[str, str] = {}
    for table in tables:
        question = sql.SQL("SELECT md5(string_agg(t::text, ' ' ORDER BY t::text)) FROM {} t")
        rows[table] = str(_one(conn, question.format(sql.Identifier(table))))
    return rows, str(_one(conn, sql.SQL(_SHAPE)))


def _one(conn: psycopg.Connection, question: sql.Composable) -> object:
    row = conn.execute(question).fetchone()
    assert row is not None
    return row[0]


@pytest.fixture(scope="session")
def clean_databases(postgres_server: EmbeddedPostgres) -> CleanDatabases:
    """See CleanDatabases."""
    return CleanDatabases(postgres_server)


@pytest.fixture
def database(postgres_server: EmbeddedPostgres, clean_databases: CleanDatabases) -> Iterator[str]:
    """URL of a migrated, empty database that only this test uses."""
    name, uses = clean_databases.lend()
    yield postgres_server.dsn(name)
    clean_databases.take_back(name, uses)
