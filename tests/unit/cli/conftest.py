"""Fixtures: a cluster in memory, and ``parley`` on it."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
from parley.cli.app import App
from parley.cli.main import run

from tests.unit.cli.cluster import FakeCluster


class Said(NamedTuple):
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


Run = Callable[..., Said]


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def parley(cluster: FakeCluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command line; nothing of the machine's own settings is seen."""
    for name in ("KUBECONFIG", "PARLEY_GATEWAY", "PARLEY_TOKEN", "PARLEY_DEBUG", "PARLEY_SYSTEM_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)

    def parley(*arguments: str) -> Said:
        code = run(list(arguments), App(open_kube=lambda _settings: cluster))
        out, err = capsys.readouterr()
        return Said(int(code), out, err)

    return parley
