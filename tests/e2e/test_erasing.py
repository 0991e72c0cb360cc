"""Point 6: what was said and is to be forgotten: on request, with age, and when the object is gone; and what is restored."""

import json
from typing import Any

import pytest

from tests.cluster import Cluster, Refused, condition
from tests.e2e.conftest import ONE_RUNNER, Store, agent, new_namespace, reply, say, session, task
from tests.e2e.seen import becomes
from tests.e2e.servers import call
from tests.e2e.test_replies_signed import needs_signing
from tests.e2e.test_tools import events_of, succeeded

pytestmark = pytest.mark.cluster

CLEARER = "maria@company.com"
SWEEP = 240.0
"""Seconds until the sweeper, who looks every minute, has surely come by."""


def clear(cluster: Cluster, namespace: str, name: str, through: int, *options: str, **more: object) -> None:
    """Ask for a session's history to be erased up to an event."""
    patch = json.dumps({"spec": {"clearHistory": {"throughSequence": through, **more}}})
    words = ("patch", "session", name, "-n", namespace, "--type=merge", "-p", patch)
    cluster.kubectl(*words, *options)


def contents(store: Store, uid: str) -> list[Any]:
    """The contents of a session's events, in order; None where it was erased."""
    rows = store.rows("SELECT content FROM events WHERE session_uid = %s ORDER BY sequence", uid)
    return [content for (content,) in rows]


def uid_of(cluster: Cluster, namespace: str, name: str) -> str:
    """The uid of a session that is there."""
    found = cluster.get("session", namespace, name)
    assert found is not None
    return found["metadata"]["uid"]


def texts_left(store: Store, namespace: str, text: str) -> list[str]:
    """Names of the tables that still hold a text, in rows of a namespace's sessions and tasks."""
    questions = {
        "events": "SELECT count(*) FROM events e JOIN sessions s ON s.uid = e.session_uid WHERE s.namespace = %s AND e::text LIKE %s",
        "tasks": "SELECT count(*) FROM tasks t WHERE t.namespace = %s AND t::text LIKE %s",
        "attempts": "SELECT count(*) FROM attempts a JOIN tasks t ON t.uid = a.task_uid WHERE t.namespace = %s AND a::text LIKE %s",
        "journal": "SELECT count(*) FROM journal j JOIN tasks t ON t.uid = j.task_uid WHERE t.namespace = %s AND j::text LIKE %s",
        "inputs": "SELECT count(*) FROM inputs i JOIN tasks t ON t.uid = i.task_uid WHERE t.namespace = %s AND i::text LIKE %s",
        "waits": "SELECT count(*) FROM waits w JOIN tasks t ON t.uid = w.task_uid WHERE t.namespace = %s AND w::text LIKE %s",
        "replies": "SELECT count(*) FROM replies r JOIN tasks t ON t.uid = r.task_uid WHERE t.namespace = %s AND r::text LIKE %s",
        "turns": "SELECT count(*) FROM turns u JOIN sessions s ON s.uid = u.session_uid WHERE s.namespace = %s AND u::text LIKE %s",
        "outputs": "SELECT count(*) FROM outputs o JOIN tasks t ON t.uid = o.task_uid WHERE t.namespace = %s AND o::text LIKE %s",
        "sessions": "SELECT count(*) FROM sessions s WHERE s.namespace = %s AND s::text LIKE %s",
    }  # fmt: skip
    found = {
        table: store.rows(question, namespace, f"%{text}%")[0][0] for table, question in questions.items()
    }
    return [table for table, count in found.items() if count]


def test_who_has_a_history_cleared(cluster: Cluster, namespace: str, store: Store) -> None:
    # Given a conversation, and one who may change sessions
    needs_signing(cluster)
    cluster.kubectl(
        "create", "rolebinding", "editor", "-n", namespace, "--clusterrole=edit", f"--user={CLEARER}"
    )
    cluster.apply(
        namespace,
        agent(runtime=ONE_RUNNER),
        session("alice"),
        say("hello", "alice", "My name is Zacharias."),
    )
    succeeded(cluster, namespace, "hello")
    cluster.apply(namespace, say("who", "alice", "What is my name?"))
    assert "Zacharias" in succeeded(cluster, namespace, "who")["status"]["output"]
    uid = uid_of(cluster, namespace, "alice")

    # When somebody has it cleared in another's name, then that is refused
    cluster.wait(
        "the role is bound",
        namespace,
        lambda: cluster.kubectl(
            "auth", "can-i", "patch", "sessions.parley.dev", "-n", namespace, "--as", CLEARER, check=False
        ).startswith("yes"),
    )
    with pytest.raises(Refused, match=rf'spec\.clearHistory\.by must be "{CLEARER}"'):
        clear(cluster, namespace, "alice", 2, "--as", CLEARER, by="boss")

    # When she does so in her own, then the API server signs it, and the contents are gone while the numbers stay
    clear(cluster, namespace, "alice", 2, "--as", CLEARER)

    def cleared() -> dict[str, Any] | None:
        found = cluster.get("session", namespace, "alice")
        return found if found and found["status"].get("clearedThrough") == 2 else None

    alice = cluster.wait("the history is cleared", namespace, cleared)
    assert alice["spec"]["clearHistory"] == {"throughSequence": 2, "by": CLEARER}
    left = contents(store, uid)
    assert left[:2] == [None, None]
    assert left[2] is not None
    assert left[-1]["by"] == CLEARER
    assert len(left) == alice["status"]["events"]["lastSequence"] == alice["status"]["events"]["count"]
    assert "Zacharias" not in json.dumps(alice["status"]["recentEvents"][:2])

    # And whoever applies the same again changes nothing, nor who it was
    clear(cluster, namespace, "alice", 2)
    with pytest.raises(Refused, match="cannot be changed"):
        clear(cluster, namespace, "alice", 2, by="system:admin")
    with pytest.raises(Refused, match="rise"):
        clear(cluster, namespace, "alice", 1)
    clear(cluster, namespace, "alice", 4)
    cluster.wait("all is cleared", namespace, lambda: contents(store, uid)[:4] == [None] * 4)
    found = cluster.get("session", namespace, "alice")
    assert found is not None
    assert found["spec"]["clearHistory"]["by"] != CLEARER

    # And nothing is left of it, and the model knows nothing of it either
    cluster.kubectl("delete", "task", "hello", "who", "-n", namespace)
    cluster.wait("nothing is left", namespace, lambda: texts_left(store, namespace, "Zacharias") == [])
    cluster.apply(namespace, say("again", "alice", "What is my name?"))
    assert succeeded(cluster, namespace, "again")["status"]["output"] == "I do not know your name."


def test_what_is_under_way_is_erased_when_it_has_ended(
    cluster: Cluster, namespace: str, store: Store
) -> None:
    # Given a task that has spoken, has called a tool, and asks a person now
    nothing = {"type": "object", "additionalProperties": False}
    strict = {"name": "look_up", "http": {"url": "http://nowhere.invalid"}, "parameters": nothing}
    cluster.apply(namespace, agent("clerk", tools=[strict]), session("alice", agentRef={"name": "clerk"}))
    steps = [
        {"name": "tell", "prompt": {"text": "My name is Ulrike."}},
        {"name": "call", "prompt": {"text": call("look_up", who="Ulrike")}},
        {"name": "ask", "wait": {"question": "Is it Ulrike?", "choices": ["yes", "no"]}},
        {"name": "end", "prompt": {"text": "echo: {{ steps.ask.output.choice }}"}},
    ]
    stays = {"runtime": {"mode": "Task"}}
    cluster.apply(namespace, task("under-way", sessionRef={"name": "alice"}, steps=steps, **stays))
    waits = cluster.wait_task(namespace, "under-way", "WaitingForInput")["status"]["waiting"]
    places = {"events", "tasks", "attempts", "journal", "inputs", "outputs", "waits"}
    assert set(texts_left(store, namespace, "Ulrike")) == places

    # When what it has said is cleared, then that goes at once, and the rest stays as long as the task needs it
    said = ("SELECT max(sequence) FROM events WHERE session_uid = %s", uid_of(cluster, namespace, "alice"))
    [(last,)] = store.rows(*said)
    clear(cluster, namespace, "alice", last)

    def cleared_through() -> int | None:
        return (cluster.get("session", namespace, "alice") or {})["status"].get("clearedThrough")

    cluster.wait("the history is cleared", namespace, lambda: cleared_through() == last)
    assert set(texts_left(store, namespace, "Ulrike")) == places - {"events"}
    answer = reply("yes", "under-way", waits[0]["id"], choice="yes", message="It is Ulrike.")
    cluster.apply(namespace, answer)
    assert succeeded(cluster, namespace, "under-way")["status"]["output"] == "yes"

    # Then all of it has gone by itself soon after its end, but for the answer, which came later
    cluster.wait(
        "only the answer's event is left",
        namespace,
        lambda: texts_left(store, namespace, "Ulrike") == ["events"],
    )
    [(last,)] = store.rows(*said)
    clear(cluster, namespace, "alice", last)
    cluster.wait("nothing is left", namespace, lambda: texts_left(store, namespace, "Ulrike") == [])


def away(store: Store, namespace: str, number: int) -> bool:
    """Whether the store has seen so many sessions go."""
    gone = "SELECT count(*) FROM sessions WHERE namespace = %s AND gone_since IS NOT NULL"
    return store.rows(gone, namespace)[0][0] == number


def test_a_transcript_is_restored_once_and_by_nobody_else(
    cluster: Cluster, namespace: str, store: Store
) -> None:
    # Given a conversation whose Session was deleted
    cluster.apply(
        namespace, agent(runtime=ONE_RUNNER), session("yola"), say("hello", "yola", "My name is Yolanda.")
    )
    succeeded(cluster, namespace, "hello")
    room = {"name": "set", "set": {"context": {"room": "blue"}}}
    cluster.apply(namespace, task("room", sessionRef={"name": "yola"}, steps=[room]))
    succeeded(cluster, namespace, "room")
    uid = uid_of(cluster, namespace, "yola")
    cluster.kubectl("delete", "session", "yola", "-n", namespace)
    cluster.wait("the store has seen it go", namespace, lambda: away(store, namespace, 1))

    # When a Session is made again under the old name, then it knows nothing
    restored = {"restoreFrom": {"uid": uid}}
    cluster.apply(namespace, session("yola"), say("anew", "yola", "What is my name?"))
    assert succeeded(cluster, namespace, "anew")["status"]["output"] == "I do not know your name."

    # And one of another namespace gets nothing, whatever uid it names
    with new_namespace(cluster, "restore") as elsewhere:
        cluster.apply(elsewhere, session("thief", **restored), say("steal", "thief", "What is my name?"))
        thief = cluster.wait(
            "it says that there is no such transcript here",
            elsewhere,
            lambda: found_reason(cluster, elsewhere, "thief", "TranscriptNotFound"),
        )
        assert uid in condition(thief, "Ready")["message"]
        steal = cluster.get("task", elsewhere, "steal")
        assert steal is not None
        assert not steal["status"].get("completionTime")

    # And one that takes it over goes on where it was
    cluster.apply(namespace, session("heir", **restored), say("known", "heir", "What is my name?"))
    look = {"name": "look", "return": {"value": "{{ session.context.room }}"}}
    cluster.apply(namespace, task("where", sessionRef={"name": "heir"}, steps=[look]))
    assert succeeded(cluster, namespace, "known")["status"]["output"] == "Your name is Yolanda."
    assert succeeded(cluster, namespace, "where")["status"]["output"] == "blue"
    heir = becomes(cluster, namespace, "heir", "Active")
    stored = [content for kind, content in events_of(store, namespace, "heir") if kind == "message"]
    assert stored[0] == "My name is Yolanda."
    assert heir["status"]["events"]["messages"] == 4

    # And there is one heir
    cluster.apply(namespace, session("second", **restored))
    cluster.wait(
        "a second one is refused",
        namespace,
        lambda: found_reason(cluster, namespace, "second", "TranscriptNotFound"),
    )


def test_age_takes_contents_and_leaves_numbers(cluster: Cluster, namespace: str, store: Store) -> None:
    # Given a conversation that forgets what is older than an hour
    cluster.apply(namespace, session("aged", retention={"maxAge": "1h"}))
    cluster.apply(namespace, say("hello", "aged", "My name is Wilhelmina."))
    succeeded(cluster, namespace, "hello")
    uid = uid_of(cluster, namespace, "aged")
    assert "Wilhelmina" in json.dumps(contents(store, uid))

    # When that hour is over, and the operator looks at it
    store.rewrite("UPDATE events SET time = time - interval '2 hours' WHERE session_uid = %s", uid)
    cluster.kubectl("annotate", "session", "aged", "-n", namespace, "look=now")

    # Then the contents are gone and the numbers are not
    cluster.wait("age has taken the contents", namespace, lambda: contents(store, uid)[:2] == [None, None])
    rows = store.rows(
        "SELECT sequence, role FROM events WHERE session_uid = %s ORDER BY sequence LIMIT 2", uid
    )
    assert rows == [(1, "user"), (2, "assistant")]


def test_what_is_gone_is_erased_or_kept(cluster: Cluster, namespace: str, store: Store) -> None:
    # Given conversations, of which one is to be erased an hour after its end and one is kept, and a task of neither
    brief = {"transcript": "Delete", "after": "1h"}
    names = {"erased": "Xanthippe", "retained": "Yolanda", "later": "Zenobia"}
    cluster.apply(
        namespace,
        agent(runtime=ONE_RUNNER),
        session("erased", retention=brief, context={"secret": "Xanthippe"}),
        session("retained", retention={"transcript": "Retain"}),
        session("later", retention=brief),
        task("alone", agentRef={"name": "support"}, message="I am Quasimodo"),
        *(say(f"{name}-1", name, f"My name is {who}.") for name, who in names.items()),
    )
    for name in ("alone", "erased-1", "retained-1", "later-1"):
        succeeded(cluster, namespace, name)
    uid = uid_of(cluster, namespace, "erased")

    # When they are deleted, with their tasks, and for all but one a long time goes by
    cluster.kubectl("delete", "session", *names, "-n", namespace)
    cluster.kubectl("delete", "task", *(f"{name}-1" for name in names), "-n", namespace)
    cluster.wait("the store has seen them go", namespace, lambda: away(store, namespace, 3))
    assert texts_left(store, namespace, "Xanthippe"), "not before its time"
    past = "UPDATE sessions SET gone_since = gone_since - interval '100 days' WHERE namespace = %s AND name <> 'later'"
    store.rewrite(past, namespace)

    # Then what was to go is gone from every table, and what was to stay is there
    cluster.wait(
        "it is erased",
        namespace,
        lambda: texts_left(store, namespace, "Xanthippe") == [],
        timeout=SWEEP,
        every=0.5,
    )
    assert store.rows("SELECT 1 FROM sessions WHERE uid = %s", uid) == []
    for kept in ("Yolanda", "Zenobia"):
        assert {"events", "tasks"} <= set(texts_left(store, namespace, kept)), kept
    assert "Quasimodo" in json.dumps(store.rows("SELECT output FROM tasks WHERE namespace = %s", namespace))


def found_reason(cluster: Cluster, namespace: str, name: str, reason: str) -> dict[str, Any] | None:
    """A session that is not ready for that reason."""
    found = cluster.get("session", namespace, name)
    return found if found and condition(found, "Ready").get("reason") == reason else None
