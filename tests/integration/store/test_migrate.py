"""The schema comes into being once, whoever runs the migrations and however often."""

import asyncio
import os
import signal
import sys

import pytest
from parley.store.identity import store_id
from parley.store.migrate import MigrationError, migrate, require_schema, schema_version, shipped_migrations
from parley.store.pool import StoreUnavailable, connect, open_pool

MAIN = [sys.executable, "-c", "from parley.store.migrate import main; main()"]


async def migrate_process(url: str | None) -> asyncio.subprocess.Process:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}
    if url is not None:
        environment["PARLEY_DATABASE_URL"] = url
    return await asyncio.create_subprocess_exec(*MAIN, env=environment, stderr=asyncio.subprocess.PIPE)


async def test_an_empty_database_is_refused_then_migrated_once(empty_database: str) -> None:
    newest = shipped_migrations()[-1].number
    async with open_pool(empty_database, size=2) as pool:
        async with connect(pool) as conn:
            assert await schema_version(conn) == 0
            with pytest.raises(StoreUnavailable, match="run parley-migrate"):
                await require_schema(conn)
        with pytest.raises(StoreUnavailable, match="run parley-migrate"):
            async with connect(pool) as conn:
                await store_id(conn)

        assert len(await migrate(empty_database)) == newest
        async with connect(pool) as conn:
            await require_schema(conn)
            assert await schema_version(conn) == newest
            first = await store_id(conn)

        assert await migrate(empty_database) == []
        async with connect(pool) as conn:
            assert await store_id(conn) == first


async def test_every_store_has_its_own_identity(database: str, empty_database: str) -> None:
    await migrate(empty_database)
    ids: list[str] = []
    for dsn in (database, empty_database):
        async with open_pool(dsn, size=1) as pool, connect(pool) as conn:
            ids.append(await store_id(conn))
    assert ids[0] != ids[1]


async def test_many_migrators_at_once_apply_each_file_once(empty_database: str) -> None:
    applied = await asyncio.gather(*[migrate(empty_database) for _ in range(4)])
    assert sorted(name for names in applied for name in names) == [
        f"{migration.number:04}_{migration.name}" for migration in shipped_migrations()
    ]


async def test_a_changed_migration_is_refused_by_name(database: str) -> None:
    async with open_pool(database, size=1) as pool, connect(pool) as conn:
        await conn.execute("UPDATE migrations SET checksum = 'another' WHERE number = 1")
    with pytest.raises(MigrationError, match="0001_store"):
        await migrate(database)
    process = await migrate_process(database)
    _, said = await process.communicate()
    assert process.returncode == 1
    assert b"0001_store" in said
    assert b"Traceback" not in said


async def test_a_schema_from_a_newer_version_is_fine(database: str) -> None:
    async with open_pool(database, size=1) as pool, connect(pool) as conn:
        await conn.execute("INSERT INTO migrations (number, name, checksum) VALUES (9999, 'later', 'x')")
        await require_schema(conn)
    assert await migrate(database) == []


async def test_the_command_migrates_and_says_so(empty_database: str) -> None:
    shipped = ", ".join(f"{migration.number:04}_{migration.name}" for migration in shipped_migrations())
    for words in (f"Applied {shipped}.".encode(), b"The schema is up to date."):
        process = await migrate_process(empty_database)
        _, said = await process.communicate()
        assert (process.returncode, words in said) == (0, True), said


async def test_the_command_waits_for_the_database_and_ends_on_sigterm() -> None:
    process = await migrate_process("postgresql://parley:secret@127.0.0.1:1/parley")
    assert process.stderr is not None
    first = await process.stderr.readline()
    assert b"Waiting for the database at 127.0.0.1:1/parley" in first
    process.send_signal(signal.SIGTERM)
    rest = await process.stderr.read()
    assert await process.wait() == 128 + signal.SIGTERM
    assert b"secret" not in first + rest
    assert b"Traceback" not in rest


async def test_the_command_needs_a_url() -> None:
    process = await migrate_process(None)
    _, said = await process.communicate()
    assert process.returncode == 1
    assert said.startswith(b"PARLEY_DATABASE_URL is not set")
