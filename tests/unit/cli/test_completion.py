"""Names that the shell completes: from the cluster, in time or not at all."""

import sys
import threading
from pathlib import Path

import pytest
import yaml
from click.shell_completion import ShellComplete
from parley.cli import completing, kubectl_completion
from parley.cli.app import App
from parley.cli.main import cli
from parley.kube.errors import KubeUnavailable
from parley.kube.kinds import AGENT, NAMESPACE, SCHEDULE, SESSION, TASK, TASK_TEMPLATE

from tests.unit.cli.cluster import FakeCluster


def completed(cluster: FakeCluster, *words: str) -> list[str]:
    """What a shell is offered for the last of the words."""
    app = App(open_kube=lambda _settings: cluster)
    complete = ShellComplete(cli, {"obj": app}, "parley", "_PARLEY_COMPLETE")
    return [item.value for item in complete.get_completions(list(words[:-1]), words[-1])]


@pytest.fixture
def shop(cluster: FakeCluster) -> FakeCluster:
    cluster.put(SESSION, "alice", spec={}, status={})
    cluster.put(SESSION, "anna", namespace="sales", spec={}, status={})
    cluster.put(TASK, "ship-1", spec={}, status={"phase": "Running"})
    cluster.put(TASK_TEMPLATE, "ship", spec={})
    cluster.put(SCHEDULE, "report", spec={})
    cluster.put(AGENT, "support", spec={})
    for name in ("shop", "sales"):
        cluster.put(NAMESPACE, name, namespace=None)
    return cluster


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("chat", "a"), ["alice"]),
        (("chat", "-n", "sales", ""), ["anna"]),
        (("-n", "sales", "events", ""), ["anna"]),
        (("run", ""), ["ship"]),
        (("run", "ship", "--session", ""), ["alice"]),
        (("run", "ship", "--agent", "s"), ["support"]),
        (("tasks", "--session", "al"), ["alice"]),
        (("tasks", "-n", "s"), ["sales", "shop"]),
        (("logs", "x"), []),
        (("schedule", "run-now", ""), ["report"]),
        (("suspend", "s"), ["ship-1", "session/", "schedule/"]),
        (("suspend", "session/"), ["session/alice"]),
        (("resume", "task/sh"), ["task/ship-1"]),
        (("resume", "sched/"), ["sched/report"]),
        (("suspend", "agent/"), []),
        (("wai",), ["waiting"]),
    ],
)
def test_a_word_is_completed_by_what_is_there(
    shop: FakeCluster, words: tuple[str, ...], offered: list[str]
) -> None:
    assert completed(shop, *words) == offered


def test_contexts_are_the_kubeconfigs(cluster: FakeCluster, tmp_path: Path) -> None:
    named = [{"name": name, "context": {"cluster": "c", "user": "u"}} for name in ("home", "work")]
    clusters = [{"name": "c", "cluster": {"server": "https://nowhere"}}]
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "home",
        "contexts": named,
        "clusters": clusters,
        "users": [{"name": "u", "user": {}}],
    }
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    assert completed(cluster, "tasks", "--kubeconfig", str(tmp_path / "config"), "--context", "w") == ["work"]


def test_a_cluster_that_is_away_is_no_completion_and_no_error(
    shop: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.away = KubeUnavailable(0, "", "connection refused")

    assert completed(shop, "chat", "") == []
    assert capsys.readouterr() == ("", "")


def test_a_cluster_that_does_not_answer_is_not_waited_for(
    shop: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completing, "SECONDS", 0.05)
    answer = threading.Event()
    monkeypatch.setattr(shop, "list", lambda *_, **__: answer.wait(60))

    assert completed(shop, "chat", "") == []
    assert completed(shop, "suspend", "s") == ["session/", "schedule/"]
    answer.set()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["wait"], "waiting\tWhat waits for a person: an inbox (-A).\n:4\n"),
        (["export", "alice", "-f", ""], ":0\n"),
        (["waiting", "-o", "j"], "json\n:4\n"),
    ],
)
def test_kubectl_is_answered_in_its_own_way(
    words: list[str], says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["kubectl_complete-parley", *words])
    kubectl_completion.main()
    assert capsys.readouterr().out == says
