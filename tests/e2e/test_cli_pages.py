"""The pages of the command line and of the client: their blocks run as they stand."""

import re
import sys
from pathlib import Path

import pytest

from tests.cluster import ROOT, SYSTEM_NAMESPACE, Cluster
from tests.e2e.shell import BIN, Shell, account, port_forward, waits
from tests.e2e.test_documented_commands import MODEL, shell_blocks
from tests.e2e.test_documented_commands import run as run_block

pytestmark = pytest.mark.cluster


class Reader:
    """Somebody who types what the pages show, in a namespace of their own and with a token."""

    def __init__(self, cluster: Cluster, namespace: str, folder: Path) -> None:
        token = account(cluster, namespace, "dora", "admin")
        self._setting = (
            f"export PATH={BIN}:$PATH PARLEY_TOKEN={token} PARLEY_SYSTEM_NAMESPACE={SYSTEM_NAMESPACE} "
            f"NAMESPACE={namespace}\n"
        )
        self._place = (cluster, namespace, folder)

    def type(self, script: str) -> str:
        """Type something; returns what is printed."""
        return run_block(*self._place, self._setting + script)

    def follow(self, heading: str) -> str:
        """Type what a section of the page shows, as it stands."""
        blocks = shell_blocks("docs/cli.md", heading)
        assert blocks, f"docs/cli.md has nothing to type under {heading}"
        return "".join(self.type(block) for block in blocks)


def test_the_pages_blocks_run_as_they_stand(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    # Given the examples that the page speaks of
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    folders = ("03-control", "07-approval", "08-children", "09-schedule")
    reader = Reader(cluster, namespace, tmp_path)
    reader.type("kubectl apply " + " ".join(f"-f examples/{folder}" for folder in folders))
    for name in ("refund-approval", "ask-discount"):
        waits(cluster, namespace, name)

    # When they type what it shows, then it does what it says
    assert '"label": "12345-2"' in reader.follow("Run and follow")
    assert "ask-discount: What discount, in percent? — 5" in reader.follow("Decide")
    assert "Task long-haul has ended (Cancelled)" in reader.follow("Steer")
    assert "✓ API server" in reader.follow("Doctor")


def test_the_pages_talk_runs_as_it_stands(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    reader = Reader(cluster, namespace, tmp_path)

    # When somebody types what the page shows of talking
    said = reader.follow("Talk")
    assert "Your name is Dora." in said
    assert '"phase": "Succeeded"' in said

    # And runs what the client's page shows
    blocks = (ROOT / "docs" / "client.md").read_text().split("```python\n")[1:]
    (tmp_path / "client.py").write_text("\n".join(block.split("```")[0] for block in blocks))
    with port_forward(Shell(cluster, namespace)) as url:
        said = reader.type(f"export PARLEY_GATEWAY={url}\n{sys.executable} client.py")
    assert "2 support Nice to meet you, Erin." in said
    assert "support Your name is Erin." in said
    assert "404 " in said


def test_the_examples_that_need_the_gateway_run_as_they_stand(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    # Given somebody with a certificate and no token, as `make up` leaves them
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    setting = f"export PATH={BIN}:$PATH PARLEY_SYSTEM_NAMESPACE={SYSTEM_NAMESPACE}\n"

    def type_in(script: str) -> str:
        return run_block(cluster, namespace, tmp_path, setting + script)

    type_in(MODEL)
    *_, chat, own = shell_blocks("examples/README.md", "The others, each by itself")

    # When they type what the examples' page shows of the gateway
    said = type_in(chat)
    assert "Nice to meet you, Olivia." in said
    assert "Your name is Olivia." in said
    said = type_in(own)
    assert "Nice to meet you, Paula." in said
    assert "Nice to meet you, Quentin." in said

    # Then each sees what is theirs, and is told of nothing else
    hers, his = (part.split("error:")[0] for part in said.split("NAME ")[1:])
    assert "paulas" in hers
    assert "quentins" not in hers
    assert "quentins" in his
    assert "paulas" not in his
    refusals = [line for line in said.splitlines() if line.startswith("error:")]
    assert len(refusals) == 2
    assert all('Session "quentins"' in line and "you may not see it" in line for line in refusals), refusals

    # And what the gateway's page shows of HTTP streams a turn to its end
    (block,) = re.findall(
        r"^```sh\n(.*?)^```$", (ROOT / "docs/gateway.md").read_text(), re.MULTILINE | re.DOTALL
    )
    said = type_in("trap 'kill $!' EXIT\n" + block.replace("/default/", f"/{namespace}/"))
    assert "event: accepted" in said
    assert "Nice to meet you, Olivia." in said
    assert '"phase":"Succeeded"' in said
