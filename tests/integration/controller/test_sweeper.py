"""What is gone is erased in its time, with the operator's own eyes on the cluster."""

from datetime import date, timedelta
from typing import Any, cast

import pytest
from parley.controller import sweeper as sweeping
from parley.controller.metrics import ERASURE_HELD
from parley.controller.sweeper import Sweeper, are_too_many
from parley.kube.kinds import CONFIG_MAP, SESSION, TASK
from parley.resources.reasons import Reason
from parley.store.sweeping import count_kept

from tests.integration.controller.cluster import NAMESPACE, Cluster
from tests.integration.controller.test_session_life import ask, begin, sql

SECRET = "4111-1111-1111-1111"


async def gone_for(cluster: Cluster, passed: timedelta) -> None:
    for table in ("sessions", "tasks"):
        await sql(cluster, f"ALTER TABLE {table} DISABLE TRIGGER USER")
        await sql(cluster, f"UPDATE {table} SET gone_since = gone_since - %s::interval", passed)
        await sql(cluster, f"ALTER TABLE {table} ENABLE TRIGGER USER")


async def test_what_is_gone_is_swept_in_its_time(cluster: Cluster) -> None:
    await begin(cluster, retention={"after": "1h"})
    await ask(cluster, "first", f"My card is {SECRET}")
    sweeper = Sweeper(cluster.context)
    await cluster.kube.delete(SESSION, NAMESPACE, "alice")
    await cluster.settle()

    assert await sweeper.sweep() == 0
    await gone_for(cluster, timedelta(hours=2))
    assert await sweeper.sweep() == 1

    assert await sql(cluster, "SELECT count(*) FROM events") == [(0,)]
    assert await sql(cluster, "SELECT count(*) FROM tasks") == [(0,)]
    await cluster.settle()
    assert cluster.status("first")["phase"] == "Succeeded", "its Task stays as it ended"
    cluster.lead_anew()
    await cluster.settle()
    assert cluster.status("first")["phase"] == "Succeeded"
    assert len(cluster.runs) == 1, "and runs no second time"


async def test_what_exists_is_never_swept(cluster: Cluster) -> None:
    """Its row says it is gone: a list lied, once."""
    await begin(cluster)
    await ask(cluster, "first")
    uid = cluster.object(SESSION, "alice")["metadata"]["uid"]
    await sql(cluster, "UPDATE sessions SET gone_since = now() - interval '1 year' WHERE uid = %s", uid)

    assert await Sweeper(cluster.context).sweep() == 0
    assert await sql(cluster, "SELECT count(*) FROM events") == [(2,)]


async def many_are_gone(cluster: Cluster, gone: int, living: int) -> None:
    rows = (
        "INSERT INTO sessions (uid, cluster, install, namespace, name, retention, gone_since) SELECT"
        " %s || n, %s, 'parley', %s, 'name', '{\"transcript\": \"Delete\", \"afterSeconds\": 3600}',"
        " CASE WHEN %s THEN now() - interval '2 h' END FROM generate_series(1, %s) AS n"
    )
    cluster_uid = cluster.context.cluster
    await sql(cluster, rows, "gone-", cluster_uid, NAMESPACE, True, gone)
    await sql(cluster, rows, "living-", cluster_uid, NAMESPACE, False, living)


async def test_much_of_a_namespace_at_once_waits_for_a_person(cluster: Cluster) -> None:
    await many_are_gone(cluster, gone=30, living=60)
    days = [date(2026, 11, 23)]
    sweeper = Sweeper(cluster.context, lambda: days[-1])

    assert await sweeper.sweep() == 0
    assert await sweeper.sweep() == 0

    warnings = [each for each in cluster.told if each.reason == Reason.ERASURE_HELD]
    assert {(each.type, each.key) for each in warnings} == {("Warning", warnings[0].key)}
    assert f"30 of the 90 sessions and tasks of namespace {NAMESPACE}" in warnings[0].note
    assert ERASURE_HELD.labels(NAMESPACE)._value.get() == 30

    confirmed = f"{NAMESPACE}/2026-11-23"
    assert f"write {confirmed} into data.erase of ConfigMap parley-store" in warnings[0].note

    body: Any = {"metadata": {"name": "parley-store"}, "data": {"id": "x", "erase": NAMESPACE}}
    await cluster.kube.create(CONFIG_MAP, "parley-system", body)
    assert await sweeper.sweep() == 0, "a name alone would count for ever"
    confirm(cluster, f"other/2026-11-23, {confirmed}")
    assert await sweeper.sweep() == 30
    assert ERASURE_HELD.labels(NAMESPACE)._value.get() == 0


async def test_what_was_confirmed_once_lifts_the_brake_once(cluster: Cluster) -> None:
    """Nobody took the word out again, and a month later a list lies."""
    days = [date(2026, 11, 23)]
    sweeper = Sweeper(cluster.context, lambda: days[-1])
    body: Any = {"metadata": {"name": "parley-store"}, "data": {"id": "x"}}
    await cluster.kube.create(CONFIG_MAP, "parley-system", body)
    confirm(cluster, f"{NAMESPACE}/2026-11-23")
    await many_are_gone(cluster, gone=30, living=60)
    assert await sweeper.sweep() == 30
    await sql(cluster, "UPDATE sessions SET gone_since = now() - interval '2 h'")

    days.append(date(2026, 12, 24))

    assert await sweeper.sweep() == 0
    (warning,) = [each for each in cluster.told if each.reason == Reason.ERASURE_HELD]
    assert f"write {NAMESPACE}/2026-12-24" in warning.note


def confirm(cluster: Cluster, entries: str) -> None:
    cluster.kube.edit(
        CONFIG_MAP,
        "parley-system",
        "parley-store",
        lambda body: cast("dict[str, Any]", body["data"]).update(erase=entries),
    )


async def test_a_few_go_without_a_word(cluster: Cluster) -> None:
    await many_are_gone(cluster, gone=20, living=1)

    assert await Sweeper(cluster.context).sweep() == 20
    assert cluster.told == []


@pytest.mark.parametrize(
    ("due", "kept", "held"),
    [
        (20, 20, False),
        (21, 21, True),
        (21, 104, True),
        (21, 105, False),
        (1000, 4999, True),
        (1000, 5000, False),
    ],
)
def test_how_much_is_too_much(due: int, kept: int, held: bool) -> None:
    assert are_too_many(due, kept) is held


async def test_only_namespaces_that_are_watched_are_swept(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    await many_are_gone(cluster, gone=3, living=0)
    asked: list[str] = []

    async def counted(*given: Any) -> dict[str, int]:
        asked.append("counted")
        return await count_kept(*given)

    monkeypatch.setattr(sweeping, "count_kept", counted)
    monkeypatch.setattr(type(cluster.context.settings), "watches", lambda _, namespace: namespace == "other")

    assert await Sweeper(cluster.context).sweep() == 0
    assert asked == []
    assert await sql(cluster, "SELECT count(*) FROM sessions") == [(3,)]


async def test_a_task_that_is_still_open_keeps_its_sessions_rows(cluster: Cluster) -> None:
    await begin(cluster, retention={"after": "1h"})
    cluster.behaviour = lambda _: None
    await ask(cluster, "first")
    await cluster.kube.delete(SESSION, NAMESPACE, "alice")
    # The rows are closed, and before the Task's status says so
    await sql(cluster, "UPDATE sessions SET gone_since = now() - interval '2 h'")
    assert cluster.object(TASK, "first")["status"]["phase"] == "Running"

    assert await Sweeper(cluster.context).sweep() == 0
