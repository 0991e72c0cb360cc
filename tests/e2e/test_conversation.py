"""Point 1: a conversation, remembered in order, one turn at a time, apart from every other."""

from itertools import pairwise

import pytest

from tests.cluster import Cluster, condition, step_of
from tests.e2e.conftest import ONE_RUNNER, Store, agent, session, task

pytestmark = pytest.mark.cluster


def events_of(store: Store, session_uid: str) -> list[tuple[int, str, str | None, str]]:
    rows = store.rows(
        "SELECT sequence, type, role, content FROM events WHERE session_uid = %s ORDER BY sequence",
        session_uid,
    )
    return [(sequence, kind, role, str(content)) for sequence, kind, role, content in rows]


def test_the_second_reply_uses_what_was_said_in_the_first_turn(
    cluster: Cluster, namespace: str, store: Store
) -> None:
    # Given a session, and two tasks with a message each
    cluster.apply(namespace, session("alice"), session("bob"))
    cluster.apply(namespace, task("hello", sessionRef={"name": "alice"}, message="Hi, my name is Alice."))
    first = cluster.wait_task(namespace, "hello")
    assert first["status"]["phase"] == "Succeeded", cluster.describe(namespace)

    # When the second asks for what the first one said, and another session asks the same
    cluster.apply(
        namespace,
        task("who", sessionRef={"name": "alice"}, message="What is my name?"),
        task("who-else", sessionRef={"name": "bob"}, message="What is my name?"),
    )
    second = cluster.wait_task(namespace, "who")
    other = cluster.wait_task(namespace, "who-else")

    # Then the one remembers and the other knows nothing
    assert "Alice" in second["status"]["output"]
    assert "Alice" not in other["status"]["output"]

    # And whoever sees Succeeded sees the events in the session's status
    alice = cluster.get("session", namespace, "alice")
    assert alice is not None
    assert condition(alice, "Ready")["status"] == "True"
    assert alice["status"]["events"]["count"] == 4
    assert alice["status"]["events"]["messages"] == 4
    assert alice["status"]["events"]["lastSequence"] == 4
    shown = [(e["sequence"], e["role"], e["task"]) for e in alice["status"]["recentEvents"]]
    assert shown == [
        (1, "user", "hello"),
        (2, "assistant", "hello"),
        (3, "user", "who"),
        (4, "assistant", "who"),
    ]
    assert alice["status"]["tasks"] == {"active": 0, "waiting": 0, "succeeded": 2, "failed": 0}
    assert alice["status"]["usage"]["inputTokens"] > 0

    # And Postgres holds them numbered without a gap
    stored = events_of(store, alice["metadata"]["uid"])
    assert [row[0] for row in stored] == [1, 2, 3, 4]
    assert "my name is Alice" in stored[0][3]


def test_turns_of_one_session_go_one_at_a_time_in_the_order_of_creation(
    cluster: Cluster, namespace: str, store: Store
) -> None:
    # Given a session whose runner would take all at once, and six tasks, whose names give the order
    cluster.apply(namespace, agent(runtime=ONE_RUNNER), session("alice"))
    names = [f"turn-{number}" for number in range(6)]
    cluster.apply(namespace, *(task(n, sessionRef={"name": "alice"}, message=f"echo: {n}") for n in names))

    # When all have ended
    ended = [cluster.wait_task(namespace, name) for name in names]
    assert [t["status"]["phase"] for t in ended] == ["Succeeded"] * 6

    # Then each turn's two events stand together, and turns granted never overlapped
    alice = cluster.get("session", namespace, "alice")
    assert alice is not None
    rows = store.rows(
        "SELECT task, count(*), max(sequence) - min(sequence) FROM events WHERE session_uid = %s"
        " GROUP BY task ORDER BY min(sequence)",
        alice["metadata"]["uid"],
    )
    assert [(count, span) for _, count, span in rows] == [(2, 1)] * 6
    turns = store.rows(
        "SELECT granted_at, ended_at FROM turns WHERE session_uid = %s AND state = 'Done' ORDER BY ticket",
        alice["metadata"]["uid"],
    )
    assert len(turns) == 6
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(turns))
    order = sorted(ended, key=lambda t: (t["metadata"]["creationTimestamp"], t["metadata"]["name"]))
    assert [row[0] for row in rows] == [t["metadata"]["name"] for t in order]


def test_a_message_is_literal_text_of_any_letters_never_a_template(cluster: Cluster, namespace: str) -> None:
    said = "{{ inputs.secret }} 😀 👩‍👧 \u2028 𝄞 ß"
    cluster.apply(namespace, session("alice"))
    cluster.apply(namespace, task("braces", sessionRef={"name": "alice"}, message=f"echo: {said}"))
    ended = cluster.wait_task(namespace, "braces")
    assert ended["status"]["output"] == said
    assert step_of(ended, "reply")["phase"] == "Succeeded"

    def shown() -> bool:
        found = cluster.get("session", namespace, "alice")
        return [one["text"] for one in found["status"]["recentEvents"]] == [f"echo: {said}", said]

    cluster.wait("its Session shows both", namespace, shown)
