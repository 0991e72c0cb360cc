"""What becomes of what was said: cleared on request, too old, swept when its Session is gone, or handed on."""

from datetime import timedelta
from typing import Any

import pytest
from parley.controller import sweeper as sweeping
from parley.controller.metrics import ERASURE_HELD
from parley.controller.sweeper import Sweeper, are_too_many
from parley.kube.kinds import CONFIG_MAP, SESSION, TASK
from parley.resources.reasons import Reason
from parley.store.sweeping import count_kept

from tests.integration.controller.cluster import NAMESPACE, Cluster
from tests.integration.controller.test_session_life import (
    ALICE,
    ask,
    begin,
    condition,
    edit,
    shown,
    sql,
    states,
    told,
)

SECRET = "4111-1111-1111-1111"


def texts(cluster: Cluster, name: str = "alice") -> list[str | None]:
    return [each.get("text") for each in shown(cluster, name)["recentEvents"]]


async def gone_for(cluster: Cluster, passed: timedelta) -> None:
    for table in ("sessions", "tasks"):
        await sql(cluster, f"ALTER TABLE {table} DISABLE TRIGGER USER")
        await sql(cluster, f"UPDATE {table} SET gone_since = gone_since - %s::interval", passed)
        await sql(cluster, f"ALTER TABLE {table} ENABLE TRIGGER USER")


async def test_a_request_clears_the_history_and_says_who_asked(cluster: Cluster) -> None:
    await begin(cluster)
    await ask(cluster, "first", f"My card is {SECRET}")
    assert SECRET in str(shown(cluster))

    edit(cluster, clearHistory={"throughSequence": 2, "by": "maria"})
    await cluster.settle()

    assert SECRET not in str(shown(cluster))
    assert shown(cluster)["clearedThrough"] == 2
    assert texts(cluster)[:2] == [None, None]
    assert '"by":"maria"' in str(texts(cluster)[2])
    assert [each.note for each in cluster.told if each.reason == Reason.CLEARED] == [
        "What was said up to event 2 was erased as maria asked."
    ]
    assert await sql(cluster, "SELECT spec FROM tasks") == [({},)]
    await ask(cluster, "second")
    assert cluster.status("second")["phase"] == "Succeeded"
    assert shown(cluster)["events"]["lastSequence"] == 5
    assert await states(cluster) == ["Cleared"]


async def test_a_turn_under_way_loses_its_words_once_its_status_is_written(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parley.controller.session_keeping._BUSY_SECONDS", 0.2)
    await begin(cluster)
    cluster.behaviour = lambda _: None
    await ask(cluster, "first", f"My card is {SECRET}")
    (run,) = cluster.running.values()

    edit(cluster, clearHistory={"throughSequence": 100})
    await cluster.settle()
    await cluster.end(run, "Thank you")
    await cluster.settle()

    assert cluster.status("first")["output"] == "Thank you", "its end is shown before it is erased"
    for _ in range(100):
        if await sql(cluster, "SELECT spec FROM tasks") == [({},)]:
            break
        await cluster.settle()
    assert await sql(cluster, "SELECT spec, output, erased_at IS NOT NULL FROM tasks") == [({}, None, True)]


async def test_what_is_too_old_is_erased_and_the_status_forgets_it(cluster: Cluster) -> None:
    await begin(cluster, retention={"maxAge": "24h"})
    await ask(cluster, "first", f"My card is {SECRET}")
    await sql(cluster, "UPDATE events SET time = time - interval '25 h'")
    await sql(cluster, "ALTER TABLE tasks DISABLE TRIGGER USER")
    await sql(cluster, "UPDATE tasks SET registered_at = registered_at - interval '25 h'")
    await sql(cluster, "ALTER TABLE tasks ENABLE TRIGGER USER")
    await ask(cluster, "second", "Hello again")

    assert SECRET not in str(shown(cluster))
    assert texts(cluster) == [None, None, "Hello again", "answer of reply"]
    assert shown(cluster)["clearedThrough"] == 2
    assert told(cluster) == [], "time passes: that is no transition"


async def test_hidden_texts_stay_hidden_also_where_a_person_is_asked(cluster: Cluster) -> None:
    await begin(cluster, statusText="Hide", context={"card": SECRET})
    question = {
        "name": "confirm",
        "wait": {"question": f"Charge {SECRET}?", "choices": ["approve", "reject"]},
    }
    await cluster.task("note", {"name": "note", "set": {"context": {"paid": SECRET}}}, **ALICE)
    await cluster.task("charge", question, **ALICE)
    await ask(cluster, "first", f"My card is {SECRET}")

    assert SECRET not in str(shown(cluster))
    assert shown(cluster)["contextVersion"] == 1
    assert shown(cluster)["tasks"]["waiting"] == 1


async def test_a_session_made_anew_starts_clean(cluster: Cluster) -> None:
    await begin(cluster)
    await ask(cluster, "first", f"My card is {SECRET}")
    await cluster.kube.delete(SESSION, NAMESPACE, "alice")
    await cluster.settle()

    await cluster.session()
    await ask(cluster, "second")

    assert shown(cluster)["events"]["count"] == 2
    assert SECRET not in str(shown(cluster))


async def test_a_session_goes_on_with_an_earlier_transcript(cluster: Cluster) -> None:
    await begin(cluster, context={"order": "12345"})
    await cluster.task("note", {"name": "note", "set": {"context": {"paid": True}}}, **ALICE)
    await ask(cluster, "first")
    old = cluster.object(SESSION, "alice")["metadata"]["uid"]
    await cluster.kube.delete(SESSION, NAMESPACE, "alice")
    await cluster.settle()

    await cluster.session(restoreFrom={"uid": old})
    await ask(cluster, "second")

    assert cluster.status("second")["phase"] == "Succeeded"
    assert condition(cluster, "Ready") == ("True", "Ready")
    assert shown(cluster)["events"]["lastSequence"] == 5
    assert shown(cluster)["events"]["messages"] == 4
    assert shown(cluster)["context"] == {"order": "12345", "paid": True}
    assert shown(cluster)["tasks"]["succeeded"] == 3
    assert await states(cluster) == ["Restored"]


async def test_no_turn_starts_until_the_transcript_is_there(cluster: Cluster) -> None:
    """Applied together: the new Session is there before the old one is deleted."""
    await begin(cluster)
    await ask(cluster, "first")
    old = cluster.object(SESSION, "alice")["metadata"]["uid"]
    await cluster.session("bob", restoreFrom={"uid": old})
    keep = {"name": "keep", "set": {"context": {"kept": True}}}
    await cluster.task(
        "second", keep, {"name": "reply", "prompt": {"text": "Hello"}}, sessionRef={"name": "bob"}
    )
    await cluster.settle()

    assert condition(cluster, "Ready", "bob") == ("False", "TranscriptNotFound")
    assert shown(cluster, "bob")["phase"] == "Pending"
    assert "alice" in shown(cluster, "bob")["conditions"][0]["message"]
    assert cluster.status("second")["phase"] not in {"Succeeded", "Failed", "Running"}
    assert len(cluster.runs) == 1
    assert told(cluster, "bob") == ["TranscriptNotFound"]

    await cluster.kube.delete(SESSION, NAMESPACE, "alice")
    await cluster.settle()

    assert condition(cluster, "Ready", "bob") == ("True", "Ready")
    assert cluster.status("second")["phase"] == "Succeeded"
    assert shown(cluster, "bob")["events"]["lastSequence"] == 5


async def test_a_transcript_that_is_not_kept_is_not_found(cluster: Cluster) -> None:
    await begin(cluster, restoreFrom={"uid": "no-such-uid"})

    assert condition(cluster, "Ready") == ("False", "TranscriptNotFound")
    assert "no-such-uid" in shown(cluster)["conditions"][0]["message"]


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
    sweeper = Sweeper(cluster.context)

    assert await sweeper.sweep() == 0
    assert await sweeper.sweep() == 0

    warnings = [each for each in cluster.told if each.reason == Reason.ERASURE_HELD]
    assert {(each.type, each.key) for each in warnings} == {("Warning", warnings[0].key)}
    assert f"30 of the 90 sessions and tasks of namespace {NAMESPACE}" in warnings[0].note
    assert ERASURE_HELD.labels(NAMESPACE)._value.get() == 30

    body: Any = {"metadata": {"name": "parley-store"}, "data": {"id": "x", "erase": f"other, {NAMESPACE}"}}
    await cluster.kube.create(CONFIG_MAP, "parley-system", body)
    assert await sweeper.sweep() == 30
    assert ERASURE_HELD.labels(NAMESPACE)._value.get() == 0


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
