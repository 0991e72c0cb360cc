"""The storm's verdict finds what it is there to find: each kind of fault, and none where there is none."""

import random
from collections.abc import Sequence
from typing import Any, cast

import psycopg
import pytest

from tests.chaos.shapes import SHAPES, Work, mixed
from tests.chaos.test_chaos import SEED
from tests.chaos.verdict import judge
from tests.cluster import Cluster
from tests.e2e.conftest import Store

TURN = Work({"metadata": {"name": "turn"}}, "hello", turns=1)
GOOD = """
INSERT INTO sessions (uid, cluster, install, namespace, name, last_sequence, messages, last_ticket)
VALUES ('s', 'c', 'i', 'n', 'alice', 2, 2, 1);
INSERT INTO tasks (uid, cluster, install, namespace, name, session_uid, spec, created_at)
VALUES ('t', 'c', 'i', 'n', 'turn', 's', '{}', now());
INSERT INTO turns (session_uid, ticket, task_uid, task_name, step, state, granted_at, ended_at)
VALUES ('s', 1, 't', 'turn', 'reply', 'Done', now(), now());
INSERT INTO attempts (task_uid, step, number, cause, state, request, deadline, ended_at)
VALUES ('t', 'reply', 1, 'First', 'Succeeded', '{}', now(), now());
INSERT INTO events (session_uid, sequence, id, type, role, content, task_uid, task, step)
VALUES ('s', 1, gen_random_uuid(), 'message', 'user', '"hi"', 't', 'turn', 'reply'),
       ('s', 2, gen_random_uuid(), 'message', 'assistant', '"hello"', 't', 'turn', 'reply');
"""
REPEATED = """
INSERT INTO events (session_uid, sequence, id, type, role, content, task_uid, task, step)
VALUES ('s', 3, gen_random_uuid(), 'message', 'assistant', '"hello"', 't', 'turn', 'reply');
UPDATE sessions SET last_sequence = 3 WHERE uid = 's';
"""
LEFT_OPEN = """
INSERT INTO attempts (task_uid, step, number, cause, request, deadline) VALUES ('t', 'other', 1, 'First', '{}', now());
INSERT INTO turns (session_uid, ticket, task_uid, task_name, step) VALUES ('s', 2, 't', 'turn', 'other');
INSERT INTO waits (id, task_uid, step, kind, body) VALUES (gen_random_uuid(), 't', 'ask', 'Question', '{}');
"""
TWO_CHILDREN = """
INSERT INTO tasks (uid, cluster, install, namespace, name, spec, created_at, parent_uid, parent_attempt, root_uid, depth)
VALUES ('a', 'c', 'i', 'n', 'child-a', '{}', now(), 't', 7, 't', 1),
       ('b', 'c', 'i', 'n', 'child-b', '{}', now(), 't', 7, 't', 1);
"""
GAP = "UPDATE sessions SET last_sequence = 4 WHERE uid = 's'"
UNANSWERED = "DELETE FROM events WHERE sequence = 2"


class Seen:
    """A cluster as far as the verdict looks at it."""

    def __init__(self, tasks: Sequence[dict[str, Any]], replies: Sequence[dict[str, Any]] = ()) -> None:
        self._objects = {"task": tasks, "reply": replies}

    def list(self, kind: str, _namespace: str) -> Sequence[dict[str, Any]]:
        """Objects of a kind."""
        return self._objects[kind]


def body(output: object = "hello", phase: str = "Succeeded") -> dict[str, Any]:
    """A task as the API server has it."""
    return {"metadata": {"name": "turn"}, "status": {"phase": phase, "output": output}}


UNJUDGED = {"metadata": {"name": "yes"}, "status": {"observedGeneration": -1}}


@pytest.mark.parametrize(
    ("sql", "tasks", "replies", "found"),
    [
        ("SELECT 1", [body()], [], (0, 0, 0)),
        ("SELECT 1", [], [], (1, 0, 0)),
        ("SELECT 1", [body("bye")], [], (1, 0, 0)),
        ("SELECT 1", [body(None, "Failed")], [], (1, 0, 0)),
        ("SELECT 1", [body(None, "Running")], [], (0, 0, 1)),
        ("SELECT 1", [body()], [UNJUDGED], (0, 0, 1)),
        (REPEATED, [body()], [], (0, 2, 0)),
        (LEFT_OPEN, [body()], [], (0, 0, 3)),
        (TWO_CHILDREN, [body()], [], (0, 1, 0)),
        (GAP, [body()], [], (1, 0, 0)),
        (UNANSWERED, [body()], [], (3, 0, 0)),
    ],
    ids=["good", "gone", "wrong", "failed", "running", "unjudged", "repeated", "open", "twins", "gap", "unanswered"],
)  # fmt: skip
def test_a_fault_is_found(
    database: str,
    sql: str,
    tasks: list[dict[str, Any]],
    replies: list[dict[str, Any]],
    found: tuple[int, int, int],
) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(GOOD.encode())
        connection.execute(sql.encode())
    verdict = judge(cast("Cluster", Seen(tasks, replies)), Store(database), "n", [TURN])
    assert (len(verdict.lost), len(verdict.duplicate), len(verdict.stuck)) == found, str(verdict)
    assert verdict.good == (found == (0, 0, 0))


def test_a_time_of_the_schedule_that_was_missed_is_found(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(GOOD.encode())
    made = {"metadata": {"name": "every-minute-0000000007"}, "status": {"phase": "Succeeded"}}
    seen = cast("Cluster", Seen([body(), made]))
    assert judge(seen, Store(database), "n", [TURN], [7]).good
    assert len(judge(seen, Store(database), "n", [TURN], [7, 8]).lost) == 1


def test_a_storm_of_a_seed_is_the_same_each_time_and_has_all_shapes() -> None:
    assert mixed(24, random.Random(SEED)) == mixed(24, random.Random(SEED))
    shapes = {work.name.rpartition("-")[0] for work in mixed(24, random.Random(SEED))}
    assert shapes == {shape.__name__ for shape in SHAPES}
