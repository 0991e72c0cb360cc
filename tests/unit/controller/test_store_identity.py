"""Is it the store this cluster was used with? An empty or foreign one must never look like a fresh start."""

from typing import Any

import pytest
from parley.controller.store_identity import CONFIG_MAP_NAME, StoreMismatch, check_store
from parley.kube.errors import AlreadyExists, KubeUnavailable
from parley.kube.kinds import CONFIG_MAP
from parley.store.errors import SchemaMissing

from tests.fake_kube import FakeKube

NAMESPACE = "parley-system"
KEY = ("ConfigMap", NAMESPACE, CONFIG_MAP_NAME)


async def cluster_used_with(store: str | None, **data: str) -> FakeKube:
    kube = FakeKube()
    if store is not None:
        made = {"metadata": {"name": CONFIG_MAP_NAME}, "data": {"id": store, **data}}
        await kube.create(CONFIG_MAP, NAMESPACE, made)
        kube.requests.clear()
    return kube


def stored(kube: FakeKube) -> Any:
    return kube.objects[KEY]["data"]


def writes(kube: FakeKube) -> list[str]:
    return [request.verb for request in kube.requests if request.verb not in {"get", "list"}]


async def test_the_first_store_is_written_down() -> None:
    kube = await cluster_used_with(None)

    assert await check_store(kube, NAMESPACE, "store-1") == "store-1"

    assert stored(kube) == {"id": "store-1"}


async def test_the_right_store_is_only_read() -> None:
    kube = await cluster_used_with("store-1")

    assert await check_store(kube, NAMESPACE, "store-1") == "store-1"

    assert writes(kube) == []


async def test_another_store_is_refused_and_nothing_is_written() -> None:
    kube = await cluster_used_with("store-1")

    with pytest.raises(StoreMismatch) as refused:
        await check_store(kube, NAMESPACE, "store-2")

    assert (refused.value.expected, refused.value.found) == ("store-1", "store-2")
    for words in ("store-1", "store-2", "data.accept", CONFIG_MAP_NAME):
        assert words in str(refused.value)
    assert writes(kube) == []


async def test_an_empty_database_is_refused_where_another_was_used() -> None:
    kube = await cluster_used_with("store-1")

    with pytest.raises(StoreMismatch, match="store-1"):
        await check_store(kube, NAMESPACE, None)

    assert writes(kube) == []


async def test_an_empty_database_is_waited_for_on_first_use() -> None:
    kube = await cluster_used_with(None)

    with pytest.raises(SchemaMissing, match="parley-migrate"):
        await check_store(kube, NAMESPACE, None)

    assert writes(kube) == []


async def test_a_person_can_accept_another_store_once() -> None:
    kube = await cluster_used_with("store-1", accept="store-2")

    assert await check_store(kube, NAMESPACE, "store-2") == "store-2"

    assert stored(kube) == {"id": "store-2"}, "what was accepted must not be accepted again"


@pytest.mark.parametrize("found", ["store-3", None])
async def test_accepting_one_store_accepts_no_other(found: str | None) -> None:
    kube = await cluster_used_with("store-1", accept="store-2")

    with pytest.raises(StoreMismatch):
        await check_store(kube, NAMESPACE, found)

    assert stored(kube) == {"id": "store-1", "accept": "store-2"}


@pytest.mark.parametrize("found", ["store-1", None])
@pytest.mark.parametrize("data", [{}, {"accept": "store-2"}, None])
async def test_a_config_map_without_an_id_is_no_first_use(
    data: dict[str, str] | None, found: str | None
) -> None:
    kube = await cluster_used_with("store-1")
    kube.objects[KEY]["data"] = data  # type: ignore[assignment]

    with pytest.raises(StoreMismatch):
        await check_store(kube, NAMESPACE, found)


async def test_two_leaders_at_the_first_use_agree_on_the_first_write() -> None:
    """Given another operator that wrote between our read and our write."""
    kube = await cluster_used_with(None)
    created = kube.create

    async def create_too_late(*arguments: Any) -> Any:
        await created(
            CONFIG_MAP, NAMESPACE, {"metadata": {"name": CONFIG_MAP_NAME}, "data": {"id": "store-2"}}
        )
        raise AlreadyExists(409, "AlreadyExists", f"{arguments[0].plural} exist")

    kube.create = create_too_late  # type: ignore[method-assign]

    with pytest.raises(StoreMismatch):
        await check_store(kube, NAMESPACE, "store-1")

    assert stored(kube) == {"id": "store-2"}


async def test_an_api_server_that_is_away_decides_nothing() -> None:
    kube = await cluster_used_with("store-1")
    kube.fail(KubeUnavailable(503, "ServiceUnavailable", "away"), verb="get")

    with pytest.raises(KubeUnavailable):
        await check_store(kube, NAMESPACE, "store-2")
