"""Is Postgres the store this cluster was used with?

The store's random id is kept in the ConfigMap ``parley-store`` on first use. While the two differ nothing is planned
or written; a person confirms the change by setting ``data.accept`` to the new id.
"""

from typing import cast

from parley.kube.client import JsonObject, KubeApi
from parley.kube.errors import AlreadyExists
from parley.kube.kinds import CONFIG_MAP
from parley.store.errors import SchemaMissing
from parley.store.identity import store_id
from parley.store.pool import Pool, connect

CONFIG_MAP_NAME = "parley-store"


class StoreMismatch(Exception):
    """Postgres is another store than the one this cluster was used with."""

    def __init__(self, expected: str, found: str | None) -> None:
        if found is None:
            message = (
                f"Postgres is empty, but this cluster was used with store id {expected}: restore that database, or run "
                "parley-migrate on this one and accept the id it then has"
            )
        else:
            message = (
                f"Postgres has store id {found}, but this cluster was used with {expected}: restore that database, or, "
                f"to go on with this one, set data.accept of ConfigMap {CONFIG_MAP_NAME} to {found}"
            )
        super().__init__(message)
        self.expected = expected
        self.found = found


async def read_store_id(pool: Pool) -> str | None:
    """Return the store's id; None for a database without Parley's schema.

    Raises:
        StoreUnavailable: the database cannot be used.
    """
    try:
        async with connect(pool) as connection:
            return await store_id(connection)
    except SchemaMissing:
        return None


async def check_store(kube: KubeApi, namespace: str, found: str | None) -> str:
    """Compare the store's id with the ConfigMap's; on first use, or when accepted, write it there.

    Returns:
        The id.

    Raises:
        StoreMismatch: the ids differ and nobody accepted the new one.
        SchemaMissing: the store is empty, as it is before its first migration.
        KubeError: the ConfigMap could not be read or written.
    """
    config = await kube.get(CONFIG_MAP, namespace, CONFIG_MAP_NAME)
    if config is None:
        if found is None:
            raise SchemaMissing("the database has no schema of Parley yet: run parley-migrate")
        body: JsonObject = {"metadata": {"name": CONFIG_MAP_NAME}, "data": {"id": found}}
        try:
            await kube.create(CONFIG_MAP, namespace, body)
        except AlreadyExists:
            return await check_store(kube, namespace, found)
        return found
    data = cast("dict[str, str]", config.get("data") or {})
    if found is not None and data.get("id") == found:
        return found
    if found is None or data.get("accept") != found:
        raise StoreMismatch(data.get("id", "none"), found)
    await kube.replace(CONFIG_MAP, namespace, {**config, "data": {"id": found}})
    return found
