"""Fixtures for all tests, and their order."""

import pytest

from tests.clean_databases import clean_databases, database
from tests.postgres import empty_database, postgres_server

__all__ = ["clean_databases", "database", "empty_database", "postgres_server"]

_ON_CLUSTER = {"e2e", "chaos"}
_ORDER = ("unit", "integration", "e2e")
_ONE_BY_ONE = "api_server"
"""A fixture that takes long and weighs on the API server: tests that use it share one worker."""
_LONGEST = (
    "test_the_bundled_postgres",
    "test_the_pages_commands_run",
    "test_the_examples_and_their_guides",
    "test_the_demo_runs_the_examples_and_a_second_run_changes_nothing",
    "test_a_frozen_runner_is_started_again",
    "test_a_quota_holds_a_task_up_and_says_which",
    "test_install_upgrade_uninstall_with_a_database_of_ones_own",
    "test_the_guides_commands_run",
    "test_pods_that_cannot_start_say_what_is_missing_until_it_is_there_or_time_is_up",
    "test_a_window_a_budget_and_a_summary",
    "test_what_is_gone_is_erased_or_kept",
    "test_when_no_model_answers_all_their_words_are_told",
    "test_what_parley_may_do_is_what_it_does",
    "test_a_change_of_the_agent_loses_no_turn",
    "test_suspend_and_resume_in_every_state",
    "test_what_has_ended_is_removed_after_its_time",
    "test_many_items_and_a_small_status",
)
"""Begun first, longest first, so that nothing waits for one of them alone at the end."""


# The worker of xdist reads in the same hook which tests share a worker.
@pytest.hookimpl(tryfirst=True)
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
        if "integration" in folders and "cluster" in marks and "storeless" not in marks:
            raise pytest.UsageError(f"{item.nodeid}: what needs Parley on the cluster lies in tests/e2e")
        for mark in marks & {"timed", "outage"}:
            if "disruptive" not in marks:
                raise pytest.UsageError(f"{item.nodeid}: what is `{mark}` is `disruptive`")
        if "storeless" in marks and ("cluster" not in marks or "disruptive" in marks):
            raise pytest.UsageError(
                f"{item.nodeid}: what is `storeless` needs the cluster, and breaks nothing"
            )
        if "cluster" in marks and _ONE_BY_ONE in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group(_ONE_BY_ONE))

    def rank(item: pytest.Item) -> tuple[bool, int, int]:
        folders, name = set(item.path.parts), getattr(item, "originalname", item.name)
        place = next((i for i, folder in enumerate(_ORDER) if folder in folders), len(_ORDER))
        among = _LONGEST.index(name) if name in _LONGEST else len(_LONGEST)
        if item.get_closest_marker("xdist_group"):
            among = -1
        return item.get_closest_marker("disruptive") is not None, among, place

    items.sort(key=rank)
