"""Fixtures for all tests, and their order."""

import pytest

from tests.postgres import database, empty_database, postgres_server

__all__ = ["database", "empty_database", "postgres_server"]

_ORDER = ("unit", "integration", "e2e")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Quick tests first; those that break the shared cluster last."""

    def rank(item: pytest.Item) -> tuple[bool, int]:
        folders = set(item.path.parts)
        place = next((i for i, name in enumerate(_ORDER) if name in folders), len(_ORDER))
        return item.get_closest_marker("disruptive") is not None, place

    items.sort(key=rank)
