"""Fixtures for all tests, and their order."""

import pytest

from tests.clean_databases import clean_databases, database
from tests.postgres import empty_database, postgres_server

__all__ = ["clean_databases", "database", "empty_database", "postgres_server"]

_ON_CLUSTER = {"e2e", "chaos"}
_ORDER = ("unit", "integration", "e2e")
_ONE_BY_ONE = "api_server"
"""A fixture that takes long and weighs on the API server: tests that use it share one worker."""
_LONGEST = ("test_postgres_away_for_three_minutes",)
"""Begun first, longest first, so that nothing waits for one of them alone at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest first, else the quick ones; and who shares a worker when tests run side by side.

    Raises:
        pytest.UsageError: a test has not the marks that its folder or another mark asks for, and so would be left out
            of a whole run.
    """
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}
        folders = item.path.relative_to(item.config.rootpath).parts[1:-1]
        if folders != ("integration",) and ("cluster" in marks) != bool(_ON_CLUSTER & set(folders)):
            message = (
                f"{item.nodeid}: tests of {sorted(_ON_CLUSTER)} have the mark `cluster`, of the others only some that"
                " lie in tests/integration itself"
            )
            raise pytest.UsageError(message)
        if "timed" in marks and "disruptive" not in marks:
            raise pytest.UsageError(f"{item.nodeid}: what is `timed` is `disruptive`")
        if "cluster" in marks and _ONE_BY_ONE in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group(_ONE_BY_ONE))

    def rank(item: pytest.Item) -> tuple[bool, int, int]:
        folders, name = set(item.path.parts), getattr(item, "originalname", item.name)
        place = next((i for i, folder in enumerate(_ORDER) if folder in folders), len(_ORDER))
        among = _LONGEST.index(name) if name in _LONGEST else len(_LONGEST)
        return item.get_closest_marker("disruptive") is not None, among, place

    items.sort(key=rank)
