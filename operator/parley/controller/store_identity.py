"""Is Postgres the store this cluster was used with?

The store's random id is kept in the ConfigMap ``parley-store`` on first use. While the two differ nothing is planned
or written; a person confirms the change by setting ``data.accept`` to the new id.
"""

from typing import cast

from parley.kube.client import JsonObject, KubeApi
from parley.kube.errors import AlreadyExists
from parley.kube.kinds import CONFIG_MAP

CONFIG_MAP_NAME = "parley-store"


class StoreMismatch(Exception):
    """Postgres is another store than the one this cluster was used with."""

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(
            f"Postgres has store id {found}, but this cluster was used with {expected}: restore that database, or, to "
            f"go on with this one, set data.accept of ConfigMap {CONFIG_MAP_NAME} to {found}"
        )
        self.expected = expected
        self.found = found


async def check_store(kube: KubeApi, namespace: str, found: str) -> None:
    """Compare the store's id with the ConfigMap's; on first use, or when accepted, write it there.

    Raises:
        StoreMismatch: the ids differ and nobody accepted the new one.
        KubeError: the ConfigMap could not be read or written.
    """
    config = await kube.get(CONFIG_MAP, namespace, CONFIG_MAP_NAME)
    if config is None:
        body: JsonObject = {"metadata": {"name": CONFIG_MAP_NAME}, "data": {"id": found}}
        try:
            await kube.create(CONFIG_MAP, namespace, body)
        except AlreadyExists:
            await check_store(kube, namespace, found)
        return
    data = cast("dict[str, str]", config.get("data") or {})
    if data.get("id") == found:
        return
    if data.get("accept") != found:
        raise StoreMismatch(data.get("id", "none"), found)
    await kube.replace(CONFIG_MAP, namespace, {**config, "data": {"id": found}})
