"""Tasks as lists and as trees, followed to their end."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import yaml
from parley.cli.following import Family, follow, follow_family, load_family
from parley.cli.progress import family_lines
from parley.kube.errors import KubeUnavailable
from parley.kube.kinds import TASK

from tests.unit.cli.cluster import FakeCluster, condition, ended
from tests.unit.cli.conftest import Run


def ship_all(cluster: FakeCluster) -> None:
    """A Task of two steps, the first of which is a Task for each of two items, one of them failed."""
    steps = [{"name": "ship", "task": {"templateRef": {"name": "ship"}}}, {"name": "bill", "sleep": {}}]
    status = {
        "phase": "Running",
        "progress": "0/2",
        "conditions": [condition("Succeeded", "Unknown", "Running")],
        "steps": [
            {"name": "ship", "phase": "Running", "items": {"total": 2, "succeeded": 1, "failed": 1}},
            {"name": "bill", "phase": "Pending"},
        ],
    }
    cluster.put(TASK, "ship-all", spec={"steps": steps}, status=status)
    child(cluster, "ship-all-ship-a", ended("Succeeded", "Succeeded", output={"label": "1"}))
    child(cluster, "ship-all-ship-b", ended("Failed", "ExitCode", "it ended with 3"))


def child(cluster: FakeCluster, name: str, status: dict[str, Any]) -> None:
    labels = {"parley.dev/parent": "ship-all"}
    cluster.put(TASK, name, metadata={"labels": labels}, spec={"steps": []}, status=status)


def test_a_list_has_each_child_below_its_parent(cluster: FakeCluster, parley: Run) -> None:
    ship_all(cluster)
    cluster.put(TASK, "alone", spec={"sessionRef": {"name": "alice"}}, status={"phase": "Queued"})

    lines = parley("tasks").out.splitlines()

    names = [line.split("   ")[0].rstrip() for line in lines]
    assert names == ["NAME", "alone", "ship-all", "├─ ship-all-ship-a", "└─ ship-all-ship-b"]
    assert lines[3].endswith('{"label": "1"}')
    assert lines[4].endswith("it ended with 3")


def test_a_list_is_chosen_by_session_agent_and_phase(cluster: FakeCluster, parley: Run) -> None:
    cluster.put(TASK, "a", spec={"sessionRef": {"name": "alice"}}, status={"phase": "Queued", "agent": "one"})
    cluster.put(TASK, "b", spec={"sessionRef": {"name": "bob"}}, status={"phase": "Queued", "agent": "two"})
    cluster.put(TASK, "c", "other", spec={"sessionRef": {"name": "bob"}}, status={"phase": "Running"})

    assert parley("tasks", "--session", "alice", "-o", "name").out == "task.parley.dev/a\n"
    assert parley("tasks", "--agent", "two", "-o", "name").out == "task.parley.dev/b\n"
    assert parley("tasks", "-A", "--phase", "Running", "-o", "name").out == "task.parley.dev/c\n"
    assert "No tasks in namespace shop" in parley("tasks", "--phase", "Failed").err


def test_one_task_is_a_tree_of_its_steps_and_their_tasks(cluster: FakeCluster, parley: Run) -> None:
    ship_all(cluster)

    said = parley("tasks", "ship-all")

    assert said.code == 0
    assert said.out.splitlines() == [
        "● ship-all  Running  0/2",
        "├─ ● ship  Running  1/2 items, 1 failed",
        "│  ├─ ✓ ship-all-ship-a  Succeeded  1/1",
        "│  └─ ✗ ship-all-ship-b  Failed  1/1  ExitCode  (it ended with 3)",
        "└─ · bill",
    ]


def test_a_program_gets_the_object(cluster: FakeCluster, parley: Run) -> None:
    ship_all(cluster)
    cluster.update(
        TASK, "ship-all", metadata={**cluster.get(TASK, "shop", "ship-all")["metadata"], "managedFields": []}
    )

    shown = yaml.safe_load(parley("tasks", "ship-all", "-o", "yaml").out)

    assert shown["kind"] == "Task"
    assert shown["status"]["progress"] == "0/2"
    assert "managedFields" not in shown["metadata"]


def test_a_task_that_is_not_there_is_told_with_what_to_do(parley: Run) -> None:
    said = parley("tasks", "nix", "-n", "shop")

    assert said.code == 1
    assert said.err.splitlines() == [
        "error: there is no Task nix in namespace shop",
        "next:  see which there are: parley tasks -n shop",
    ]


def test_a_question_is_shown_with_the_command_that_answers_it(cluster: FakeCluster, parley: Run) -> None:
    waiting = [{"id": "w1", "step": "ok", "question": "Refund?", "choices": ["approve", "reject"]}]
    cluster.put(TASK, "refund", spec={"steps": []}, status={"phase": "WaitingForInput", "waiting": waiting})

    assert "? Refund?\n  parley approve refund -n shop" in parley("tasks", "refund").out


def test_watching_ends_with_the_task_and_its_exit_code(cluster: FakeCluster, parley: Run) -> None:
    for phase, reason, code in (
        ("Succeeded", "Succeeded", 0),
        ("Failed", "Error", 1),
        ("Cancelled", "Cancelled", 3),
    ):
        cluster.put(TASK, f"t-{code}", spec={"steps": []}, status=ended(phase, reason))
        assert parley("tasks", f"t-{code}", "--watch").code == code


def test_a_program_that_watches_gets_the_task_as_it_ended(cluster: FakeCluster, parley: Run) -> None:
    cluster.put(TASK, "slow", spec={"steps": []}, status={"phase": "Running"})
    timer = threading.Timer(
        0.2, cluster.update, (TASK, "slow"), {"status": ended("Failed", "ExitCode", "it ended with 3")}
    )
    timer.start()

    said = parley("tasks", "slow", "--watch", "-o", "json")
    timer.join()

    assert (said.code, json.loads(said.out)["status"]["phase"]) == (1, "Failed")


def test_a_phase_is_one_of_those_there_are(cluster: FakeCluster, parley: Run) -> None:
    ship_all(cluster)
    assert "ship-all-ship-b" in parley("tasks", "--phase", "failed").out
    for command in ("tasks", "sessions"):
        said = parley(command, "--phase", "Gone")
        assert said.code == 2
        assert "--phase Gone: there is no such phase; there are Pending, " in said.err


def test_watching_for_too_long_is_an_exit_code_of_its_own(cluster: FakeCluster, parley: Run) -> None:
    cluster.put(TASK, "slow", spec={"steps": []}, status={"phase": "Running"})

    said = parley("tasks", "slow", "--watch", "--timeout", "10ms")

    assert said.code == 4
    assert "next:  parley tasks slow -n shop --watch" in said.err


def test_every_change_is_seen_also_over_watches_that_end(cluster: FakeCluster) -> None:
    cluster.put(TASK, "t", status={"phase": "Pending"})

    def work() -> None:
        for phase in ("Queued", "Running", "Succeeded"):
            changed.wait(5)
            changed.clear()
            cluster.update(TASK, "t", status={"phase": phase})

    changed = threading.Event()
    worker = threading.Thread(target=work)
    worker.start()
    seen: list[str] = []
    for task in follow(cluster, TASK, "shop", "t"):
        assert task is not None
        seen.append(task["status"]["phase"])
        changed.set()
        if seen[-1] == "Succeeded":
            break
    worker.join(5)

    assert [phase for index, phase in enumerate(seen) if seen[index - 1 : index] != [phase]] == [
        "Pending", "Queued", "Running", "Succeeded",
    ]  # fmt: skip


def test_a_task_made_again_under_the_same_name_is_another(cluster: FakeCluster) -> None:
    cluster.put(TASK, "t", status={"phase": "Running"})
    following = follow(cluster, TASK, "shop", "t")
    next(following)

    cluster.remove(TASK, "t")
    cluster.put(TASK, "t", status={"phase": "Running"})

    assert next(following) is None


def test_an_api_server_that_is_away_for_a_moment_is_waited_for(
    cluster: FakeCluster, monkeypatch: Any
) -> None:
    monkeypatch.setattr("parley.cli.following._RETRY_SECONDS", 0.001)
    cluster.put(TASK, "t", status={"phase": "Running"})
    following = follow(cluster, TASK, "shop", "t")
    next(following)

    cluster.away = KubeUnavailable(0, "Unreachable", "gone")
    back = threading.Timer(0.02, setattr, (cluster, "away", None))
    back.start()
    cluster.update(TASK, "t", status={"phase": "Succeeded"})
    task = next(following)
    back.join()

    assert task is not None
    assert task["status"]["phase"] == "Succeeded"


def test_tasks_that_come_while_it_is_followed_join_the_tree(cluster: FakeCluster) -> None:
    ship_all(cluster)
    following = follow_family(cluster, "shop", "ship-all", tick=0.05)
    assert len(next(following).below) == 2

    child(cluster, "ship-all-ship-c", {"phase": "Running"})
    family = next(family for family in following if len(family.below) == 3)

    assert any("ship-all-ship-c" in str(line) for line in family_lines(family))


def until_below(following: Iterator[Family], name: str) -> Family:
    end = time.monotonic() + 60
    for family in following:
        if name in family.below:
            return family
        assert time.monotonic() < end, sorted(family.below)
    raise AssertionError("following ends with its caller only")


def test_however_many_tasks_are_below_one_watch_tells_of_them_all(cluster: FakeCluster) -> None:
    def below(parent: str, name: str) -> None:
        metadata = {"labels": {"parley.dev/parent": parent}}
        spec = {"templateRef": {"name": "deep"}}
        cluster.put(TASK, name, metadata=metadata, spec=spec, status={"phase": "Running"})

    ship_all(cluster)
    below("another", "of-another")
    following = follow_family(cluster, "shop", "ship-all", tick=0.05)
    next(following)

    # When more parents come than a selector has room for, and the last one has a child
    for number in range(101):
        below("ship-all", f"z-{number:03}")
        until_below(following, f"z-{number:03}")
    below("z-100", "deepest")
    family = until_below(following, "deepest")

    assert "of-another" not in family.below
    assert {labels: len(threads) for labels, threads in cluster.watchers.items() if labels} == {
        "parley.dev/parent": 1
    }


def test_who_stops_following_leaves_no_thread_behind(cluster: FakeCluster, monkeypatch: Any) -> None:
    monkeypatch.setattr("parley.cli.following._NEWS", 1)
    monkeypatch.setattr("parley.cli.following._RETRY_SECONDS", 0.001)
    ship_all(cluster)
    before = set(threading.enumerate())
    following = follow_family(cluster, "shop", "ship-all", tick=0.05)
    next(following)
    next(following)
    begun = [one for one in threading.enumerate() if one not in before]
    assert len(begun) == 2

    # When it stops while there is more to tell than is read
    following.close()
    for number in range(10):
        cluster.update(TASK, "ship-all", status={"phase": "Running", "progress": f"{number}/10"})
        child(cluster, "ship-all-ship-a", {"phase": "Running", "progress": f"{number}/10"})

    for thread in begun:
        thread.join(30)
        assert not thread.is_alive(), thread


def test_a_grandchild_stands_below_its_parent(cluster: FakeCluster) -> None:
    ship_all(cluster)
    cluster.put(
        TASK,
        "ship-all-ship-a",
        metadata={"labels": {"parley.dev/parent": "ship-all"}},
        spec={"templateRef": {"name": "deep"}},
        status={"phase": "Running", "steps": [{"name": "down", "phase": "Running", "task": "deepest"}]},
    )
    cluster.put(
        TASK,
        "deepest",
        metadata={"labels": {"parley.dev/parent": "ship-all-ship-a"}},
        status={"phase": "Running"},
    )

    lines = [str(line) for line in family_lines(load_family(cluster, "shop", "ship-all"))]

    assert lines[2:5] == [
        "│  ├─ ● ship-all-ship-a  Running",
        "│  │  └─ ● down  Running",
        "│  │     └─ ● deepest  Running",
    ]


def test_children_stand_below_the_step_that_made_them(cluster: FakeCluster) -> None:
    long = "a-task-with-a-name-that-is-as-long-as-it-may-be"
    steps = [
        {"name": "ship", "phase": "Running", "items": {"total": 1}},
        {"name": "ship-b", "phase": "Running", "items": {"total": 1}},
    ]
    spec = {"steps": [{"name": "ship", "task": {"spec": {}}}, {"name": "ship-b", "task": {"spec": {}}}]}
    for parent, names in (
        ("all", ("all-ship-0123456789", "all-ship-b-0123456789")),
        (long, (f"{long[:41].rstrip('-')}-0123456789",)),
    ):
        cluster.put(TASK, parent, spec=spec, status={"phase": "Running", "steps": steps})
        for name in names:
            labels = {"parley.dev/parent": parent}
            cluster.put(TASK, name, metadata={"labels": labels}, status={"phase": "Running"})

    lines = [str(line) for line in family_lines(load_family(cluster, "shop", "all"))]
    named = [line.replace("│", "").replace("├─", "").replace("└─", "").split()[1] for line in lines]
    assert named == ["all", "ship", "all-ship-0123456789", "ship-b", "all-ship-b-0123456789"]

    cut = [str(line) for line in family_lines(load_family(cluster, "shop", long))]
    assert cut[2].lstrip("│ ").startswith("└─ ● a-task-with")
