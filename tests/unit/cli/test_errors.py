"""Whatever goes wrong is one line, and what to do; never a traceback."""

from pathlib import Path

import pytest
from parley.cli.app import App
from parley.cli.main import run
from parley.kube.errors import Forbidden, Invalid, KubeError, KubeUnavailable, NotFound

from tests.unit.cli.cluster import FakeCluster
from tests.unit.cli.conftest import Run

NO_KIND = NotFound(404, "NotFound", "the server could not find the requested resource")


@pytest.mark.parametrize(
    ("error", "says", "do"),
    [
        (
            KubeUnavailable(0, "Unreachable", "https://x does not answer"),
            "does not answer",
            "kubectl get --raw",
        ),
        (KubeError(401, "Unauthorized", "Unauthorized"), "does not know you", "log in again"),
        (Forbidden(403, "Forbidden", "eve cannot list"), "you may not: eve cannot list", "administrator"),
        (NO_KIND, "could not find", "install Parley's kinds"),
        (KubeError(400, "BadRequest", "unable to parse: a=b=c"), "a=b=c", "mend what it names"),
        (Invalid(422, "Invalid", "spec.timeout: Invalid"), "spec.timeout", "mend the field"),
        (RuntimeError("boom"), "a fault in parley itself: RuntimeError: boom", "PARLEY_DEBUG=1"),
    ],
)
def test_an_error_says_what_to_do(
    cluster: FakeCluster, parley: Run, error: Exception, says: str, do: str
) -> None:
    cluster.away = error  # type: ignore[assignment]

    said = parley("sessions")

    assert said.code == 1
    first, second = said.err.splitlines()
    assert first.startswith("error: ")
    assert says in first
    assert second.startswith("next:  ")
    assert do in second
    assert said.out == ""


def test_a_traceback_is_shown_to_who_asks_for_it(
    cluster: FakeCluster, parley: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.away = RuntimeError("boom")  # type: ignore[assignment]
    monkeypatch.setenv("PARLEY_DEBUG", "1")

    assert "Traceback" in parley("sessions").err


def test_ctrl_c_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(_settings: object) -> FakeCluster:
        raise KeyboardInterrupt

    assert run(["sessions"], App(open_kube=interrupt)) == 130
    assert capsys.readouterr().err.strip() == "interrupted"


@pytest.mark.parametrize(
    ("kubeconfig", "says"),
    [
        (None, "there is no such file"),
        ("", "there is no way to a cluster"),
        ("[]", "there is no way to a cluster"),
        ("apiVersion: v1\nkind: Config\n", "there is no way to a cluster"),
        ("a: [", "there is no way to a cluster"),
    ],
)
def test_a_kubeconfig_that_cannot_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kubeconfig: str | None, says: str
) -> None:
    file = tmp_path / "config"
    if kubeconfig is not None:
        file.write_text(kubeconfig)

    code = run(["sessions", "--kubeconfig", str(file)], App())

    said = capsys.readouterr().err
    assert code == 1
    assert says in said
    assert "next:  " in said
    assert "Traceback" not in said
