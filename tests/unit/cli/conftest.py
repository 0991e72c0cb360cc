"""Fixtures: a cluster in memory, and ``parley`` on it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import httpx2
import pytest
from parley.cli.app import App, Settings
from parley.cli.gateway import explained
from parley.cli.main import run
from parley.client import Parley

from tests.unit.cli.cluster import FakeCluster
from tests.unit.client.scripted import Answer, ScriptedGateway


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


class Talk:
    """Runs command lines, each against a gateway that gives the answers; keeps the gateways."""

    def __init__(self, cluster: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
        self.gateways: list[ScriptedGateway] = []
        self.open_kube: Callable[[Settings], FakeCluster] = lambda _settings: cluster
        self._capsys = capsys

    def __call__(self, *arguments: str, answers: list[Answer]) -> Said:
        gateway = ScriptedGateway(*answers)
        self.gateways.append(gateway)

        @contextmanager
        def open_gateway(app: App) -> Iterator[Parley]:
            transport = httpx2.MockTransport(gateway.answer)
            with (
                Parley(
                    "http://gateway",
                    "t",
                    namespace=app.namespace,
                    user=app.settings.user,
                    transport=transport,
                ) as opened,
                explained(),
            ):
                yield opened

        app = App(open_kube=self.open_kube, open_gateway=open_gateway)
        code = run(list(arguments), app)
        out, err = self._capsys.readouterr()
        return Said(int(code), out, err)


@pytest.fixture
def talk(cluster: FakeCluster, capsys: pytest.CaptureFixture[str]) -> Talk:
    return Talk(cluster, capsys)
