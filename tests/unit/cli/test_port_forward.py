"""A port-forward stays on its port while kubectl comes and goes, and ends with the command."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from parley.cli import port_forward
from parley.cli.failures import CliError
from parley.cli.port_forward import PortForward

# Says what kubectl says, notes how it was called, and ends when it is told to: by a file, or by a signal.
KUBECTL = """#!/bin/sh
echo "$$ $*" >> {folder}/calls
echo "Forwarding from 127.0.0.1:4711 -> 8080"
echo "Handling connection for 4711"
while [ ! -e {folder}/end ]; do sleep 0.01; done
rm -f {folder}/end
echo "error: lost connection to pod"
exit 1
"""
LONG = 20.0


def eventually(probe: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + LONG
    while not probe():
        assert time.monotonic() < end, what
        time.sleep(0.01)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a kubectl is that does as the test tells it."""
    monkeypatch.setattr(port_forward, "_RETRY_SECONDS", 0.01)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def install(folder: Path, script: str) -> None:
    program = folder / "kubectl"
    program.write_text(script.format(folder=folder))
    program.chmod(0o755)


def calls(folder: Path) -> list[str]:
    """How kubectl was called so far, each with its pid."""
    return (folder / "calls").read_text().splitlines()


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_it_is_made_again_on_the_same_port(folder: Path) -> None:
    install(folder, KUBECTL)

    with PortForward(["--context", "prod"], "parley-system", "parley-gateway", "8080") as forward:
        assert forward.url == "http://127.0.0.1:4711"

        # When the pod behind it goes
        (folder / "end").touch()
        eventually(lambda: len(calls(folder)) == 2, "kubectl is started again")
        assert forward.url == "http://127.0.0.1:4711"

    first, second = calls(folder)
    where = "--context prod -n parley-system port-forward --address 127.0.0.1 service/parley-gateway"
    assert first.split(" ", 1)[1] == f"{where} :8080"
    assert second.split(" ", 1)[1] == f"{where} 4711:8080"
    eventually(lambda: not is_running(int(second.split()[0])), "kubectl ends with the command")


def test_what_kubectl_says_is_told_when_it_cannot(folder: Path) -> None:
    install(folder, "#!/bin/sh\necho 'error: pods is forbidden' >&2\nexit 1\n")

    with pytest.raises(CliError, match="error: pods is forbidden") as raised:
        PortForward([], "parley-system", "parley-gateway", "8080").__enter__()
    assert "--gateway URL" in str(raised.value.hint)


def test_a_kubectl_that_says_nothing_is_not_waited_for_forever(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(port_forward, "_START_SECONDS", 0.05)
    install(folder, "#!/bin/sh\nexec sleep 60\n")

    with pytest.raises(CliError, match="it said nothing"):
        PortForward([], "parley-system", "parley-gateway", "8080").__enter__()


def test_without_kubectl_a_url_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(CliError, match="kubectl is not there"):
        PortForward([], "parley-system", "parley-gateway", "8080").__enter__()


def test_who_interrupts_the_wait_for_its_port_leaves_no_kubectl_behind(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted:
        def match(self, _line: str) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(port_forward, "_FORWARDING", Interrupted())
    install(folder, '#!/bin/sh\necho "$$" >> {folder}/calls\necho "Connecting"\nexec sleep 60\n')

    with pytest.raises(KeyboardInterrupt):
        PortForward([], "parley-system", "parley-gateway", "8080").__enter__()

    eventually(lambda: not is_running(int(calls(folder)[0])), "kubectl ends with the command")
