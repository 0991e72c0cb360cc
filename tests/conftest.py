"""Fixtures for all tests, and their order."""

import pytest

from tests.clean_databases import clean_databases, database
from tests.postgres import empty_database, postgres_server

__all__ = ["clean_databases", "database", "empty_database", "postgres_server"]

_ORDER = ("unit", "integration", "e2e")
_ON_CLUSTER = {"e2e", "chaos"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Quick tests first; those that break the shared cluster last.

    Raises:
        pytest.UsageError: a test is in the wrong folder for its mark, and so would be left out of a whole run.
    """
    for item in items:
        marked, folders = item.get_closest_marker("cluster") is not None, set(item.path.parts)
        if (marked and "unit" in folders) or (not marked and folders & _ON_CLUSTER):
            message = (
                f"{item.nodeid}: tests of {sorted(_ON_CLUSTER)} have the mark `cluster`, unit tests have not"
            )
            raise pytest.UsageError(message)

    def rank(item: pytest.Item) -> tuple[bool, int]:
        folders = set(item.path.parts)
        place = next((i for i, name in enumerate(_ORDER) if name in folders), len(_ORDER))
        return item.get_closest_marker("disruptive") is not None, place

    items.sort(key=rank)
