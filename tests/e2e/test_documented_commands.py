"""What the pages tell to type can be typed: their shell blocks run as they stand, in a namespace of the test's own."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cluster import ROOT, Cluster, step_of
from tests.e2e.conftest import reply
from tests.e2e.seen import happened

pytestmark = pytest.mark.cluster


MODEL = "kubectl apply -k examples/model; kubectl rollout status deployment/scripted-model --timeout=5m"


def shell_blocks(page: str, heading: str) -> list[str]:
    """The shell blocks of one section of a page."""
    text = (ROOT / page).read_text()
    section = re.split(rf"^## {heading}$", text, flags=re.MULTILINE)[1].split("\n## ")[0]
    return re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def run(cluster: Cluster, namespace: str, folder: Path, script: str) -> str:
    """Run a block in the repository, with a kubeconfig that points to the namespace."""
    kubeconfig = folder / "kubeconfig"
    if not kubeconfig.exists():
        shutil.copy(cluster.kubeconfig, kubeconfig)
        cluster.kubectl(
            "config", "set-context", "--current", f"--namespace={namespace}", "--kubeconfig", str(kubeconfig)
        )
    path = f"{ROOT / 'cluster' / 'bin'}:{os.environ['PATH']}"
    try:
        done = subprocess.run(
            ["sh", "-eu", "-c", script],
            cwd=folder,
            env={**os.environ, "KUBECONFIG": str(kubeconfig), "PATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=400,
        )
    except subprocess.TimeoutExpired as late:
        said = late.output or b""
        raise AssertionError(f"{script}\n{said!r}\n{cluster.describe(namespace)}") from None
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{cluster.describe(namespace)}"
    return done.stdout


def assert_each_shows_its_idea(cluster: Cluster, namespace: str) -> None:
    """Assert that the examples 04 to 12 end as their comments say, once a person has answered what is left to answer."""
    asked = cluster.wait_task(namespace, "ask-discount", "WaitingForInput")
    cluster.apply(namespace, reply("ten", "ask-discount", asked["status"]["waiting"][0]["id"], value=10))
    rows = [{"order": number, "total": number % 90} for number in range(10_000)]
    expected: dict[str, object] = {
        "check-order": {"ship": True, "to": "NO", "weather": None},
        "read-letters": {"files": ["late/0", "broken/1", "missing/2"]},
        "pay": "paid",
        "refund-approval": "Dear Carol, we paid 40 for order 12345.",
        "ask-discount": {"percent": 10},
        "ship-12345": {"label": "12345-1"},
        "ship-all": {"bill": [{"label": "1-1"}, {"label": "2-2"}]},
        "large-report": {"rows": len(rows), "total": sum(row["total"] for row in rows)},
        "check-in": "Be brief. The guest has room 42.",
        "write-story": {"story": "a beginning, an end, and what lies between", "good": True},
    }
    found = {name: cluster.wait_task(namespace, name)["status"].get("output") for name in expected}
    said = found["check-in"]
    assert isinstance(said, str)
    assert "The guest has room 42." in said
    assert {**found, "check-in": expected["check-in"]} == expected, cluster.describe(namespace)
    flow = cluster.wait_task(namespace, "check-order")
    assert {step["name"] for step in flow["status"]["steps"] if step["phase"] == "Skipped"} == {
        "credit",
        "sold-out",
        "ask-the-bank",
    }
    assert step_of(cluster.wait_task(namespace, "pay"), "charge")["attempt"] == 3
    [report] = cluster.wait(
        "the report is there", namespace, lambda: cluster.list("task", namespace, "report=morning")
    )
    made = cluster.wait_task(namespace, report["metadata"]["name"])
    assert made["status"]["output"] == {"text": "12 orders came in."}


def test_the_pages_commands_run(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")

    # When somebody follows the examples' page to its end
    text = (ROOT / "examples" / "README.md").read_text()
    apply_all = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[0]
    assert "Your name is Alice." in run(cluster, namespace, tmp_path, apply_all)
    (tmp_path / "alice-3.yaml").write_text(text.split("```yaml\n")[1].split("```")[0])
    assert "Your order is 12345." in run(
        cluster, namespace, tmp_path, shell_blocks("examples/README.md", "Go on talking")[0]
    )

    # And through the other examples
    others = shell_blocks("examples/README.md", "The others, each by itself")
    folders = [folder.name for folder in (ROOT / "examples").glob("[0-9]*")]
    assert len(folders) == 22
    assert [folder for folder in folders if f"examples/{folder}" not in apply_all + "".join(others)] == []
    said = [run(cluster, namespace, tmp_path, block) for block in others[:3]]
    assert "credit\tSkipped" in said[0]
    assert "Refund 40 for order 12345?" in said[1]
    assert "Accepted" in said[1]
    assert "ship-all" in said[2]
    assert_each_shows_its_idea(cluster, namespace)

    # And types what the README shows
    said = run(cluster, namespace, tmp_path, shell_blocks("README.md", "Use it with kubectl")[0])
    assert "session.parley.dev/alice" in said
    assert "Succeeded: Nice to meet you, Alice." in said
    assert "lastSequence: " in said
    assert '"message": "outcome committed"' in said

    # And, when something is wrong, what the page for that shows
    job = cluster.wait_task(namespace, "bob-1")["status"]["steps"][0]["job"]
    look = (
        shell_blocks("docs/troubleshooting.md", "Look")[0]
        .replace("NAME", "bob-1")
        .replace("job/JOB", f"job/{job}")
    )
    assert "bob-1" in run(cluster, namespace, tmp_path, look)
    said = run(cluster, namespace, tmp_path, shell_blocks("docs/troubleshooting.md", "Nothing happens")[0])
    assert "parley-operator" in said


def test_the_guides_commands_run(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")

    def follow(page: str, heading: str) -> str:
        blocks = shell_blocks(f"docs/{page}", heading)
        assert blocks, f"{page} has nothing to type under {heading}"
        return "".join(run(cluster, namespace, tmp_path, block) for block in blocks)

    # Given the examples that the guides speak of
    folders = ("02-steps", "03-control", "07-approval", "08-children", "09-schedule")
    files = " ".join(f"-f examples/{folder}" for folder in folders)
    run(cluster, namespace, tmp_path, f"{MODEL}\nkubectl apply {files}")

    # When somebody types what the guides show, then it does what they say
    said = follow("waiting.md", "See what waits")
    assert "Refund 40 for order 12345?" in said
    assert '["approve","reject"]' in said
    said = follow("waiting.md", "Reply")
    assert "condition met" in said
    assert "Accepted" in said
    said = follow("waiting.md", "Who may reply")
    assert said.splitlines()[-2:] == ["yes", "no"]
    cluster.wait_task(namespace, "ship-all")
    assert "bill\tship-all-bill-" in follow("children-and-templates.md", "Tasks as steps")
    assert "morning-report-" in follow("schedules.md", "By hand")
    cluster.wait(
        "an Event tells of the run",
        namespace,
        lambda: (
            "made Task morning-report-" in str(happened(cluster, namespace, "Schedule", "morning-report"))
        ),
    )
    assert "made Task morning-report-" in follow("troubleshooting.md", "A Schedule makes no Task")
    follow("control.md", "Suspend and cancel")
    assert cluster.wait_task(namespace, "stocktake")["status"]["phase"] in {"Cancelled", "Succeeded"}
    cluster.wait_task(namespace, "refund-12345")
    follow("outputs-and-logs.md", "Logs")
