"""The schema comes into being once, whoever runs the migrations and however often."""

import pytest
from parley.store.identity import store_id
from parley.store.migrate import migrate, require_schema, schema_version, shipped_migrations
from parley.store.pool import StoreUnavailable, connect, open_pool


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
            first = await store_id(conn)

        assert await migrate(empty_database) == []
        async with connect(pool) as conn:
            assert await store_id(conn) == first
