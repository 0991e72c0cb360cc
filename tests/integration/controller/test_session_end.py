"""What becomes of what was said: cleared on request, too old, hidden, or handed on to a new Session."""

import pytest
from parley.kube.kinds import SESSION
from parley.protocol.messages import InputBody, InputMessage
from parley.resources.reasons import Reason
from parley.store import runner_calls
from parley.store.pool import connect

from tests.integration.controller.cluster import NAMESPACE, Cluster, Run, labels_of
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


async def say(cluster: Cluster, run: Run, text: str) -> None:
    """Let a runner that goes on store what it tells the model."""
    uid, holder = labels_of(run.body)["parley.dev/task-uid"], f"pod-{run.job}-{run.index}/nonce"
    async with connect(cluster.pool) as connection:
        taken = await runner_calls.take(
            connection, job=run.job, index=run.index, task_uid=uid, namespace=NAMESPACE, holder=holder
        )
        asked = InputBody(messages=[InputMessage(role="user", content=text)])
        await runner_calls.record_input(connection, taken.attempt, holder, asked)


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
    await say(cluster, run, f"My card is {SECRET}")

    edit(cluster, clearHistory={"throughSequence": 100})
    await cluster.settle()
    assert shown(cluster)["clearedThrough"] == 1
    assert await sql(cluster, "SELECT messages::text LIKE %s FROM inputs", f"%{SECRET}%") == [(True,)]
    await cluster.end(run, "Thank you")
    await cluster.settle()

    assert cluster.status("first")["output"] == "Thank you", "its end is shown before it is erased"
    for _ in range(100):
        if await sql(cluster, "SELECT spec FROM tasks") == [({},)]:
            break
        await cluster.settle()
    assert await sql(cluster, "SELECT messages FROM inputs") == [(None,)]
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
