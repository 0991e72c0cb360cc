"""What the documentation says is so: its manifests are valid, its links lead somewhere, what it names exists."""

import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from parley.resources.agent import AgentSpec
from parley.resources.reasons import Reason
from parley.resources.reply import ReplySpec
from parley.resources.schedule import ScheduleSpec
from parley.resources.session import SessionSpec
from parley.resources.task import MAX_STEPS, MAX_TASK_NAME, TaskSpec
from parley.resources.task_template import TaskTemplateSpec
from parley.resources.validation import read_spec, spec_problems
from parley.templates.check import template_problems

from cluster.driver.packages import IMAGE, NODE

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(
            page
            for folder in ("docs", "examples", "cluster", "charts")
            for page in (ROOT / folder).rglob("*.md")
        ),
    ]
)
MANIFESTS = sorted(
    path
    for path in (ROOT / "examples").rglob("*.yaml")
    if not {"model", "tools"} & set(path.parts) and "parley.dev/v1" in path.read_text()
)
SPECS: dict[str, type[AgentSpec | SessionSpec | TaskSpec | TaskTemplateSpec | ScheduleSpec | ReplySpec]] = {
    "Agent": AgentSpec,
    "Session": SessionSpec,
    "Task": TaskSpec,
    "TaskTemplate": TaskTemplateSpec,
    "Schedule": ScheduleSpec,
    "Reply": ReplySpec,
}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
UNREMARKABLE = {
    "Pending", "Queued", "Running", "Ready", "Succeeded", "Suspended", "Cancelled", "Skipped", "Scheduling", "Retrying",
}  # fmt: skip


class Block(NamedTuple):
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(*languages: str) -> list[Block]:
    found: list[Block] = []
    for page in PAGES:
        text = page.read_text()
        for match in FENCE.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(page, line, match[1], match[2]))
    return [block for block in found if not languages or block.language in languages]


def code(page: Path) -> Iterator[str]:
    """All code of a page: inline and fenced."""
    text = page.read_text()
    yield from (match[2] for match in FENCE.finditer(text))
    yield from re.findall(r"`([^`\n]+)`", FENCE.sub("", text))


def manifests_of(text: str) -> Iterator[dict[str, object]]:
    for manifest in yaml.safe_load_all(text):
        if isinstance(manifest, dict) and str(manifest.get("apiVersion", "")).startswith("parley.dev/"):
            yield manifest


def problems_of(manifest: dict[str, object]) -> list[str]:
    spec = read_spec(SPECS[str(manifest["kind"])], manifest["spec"])
    if isinstance(spec, list):
        return [str(problem) for problem in spec]
    return [str(problem) for problem in (*spec_problems(spec), *template_problems(spec))]


def sources(*folders: str) -> str:
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert files
    return "\n".join(path.read_text() for path in files)


@pytest.mark.parametrize("block", blocks("yaml"), ids=lambda block: block.place)
def test_yaml_in_the_pages_is_valid(block: Block) -> None:
    documents = list(yaml.safe_load_all(block.text))
    assert documents, "an empty block"
    for manifest in manifests_of(block.text):
        assert problems_of(manifest) == []


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_examples_have_no_problem(path: Path) -> None:
    manifests = list(manifests_of(path.read_text()))
    assert manifests
    for manifest in manifests:
        assert problems_of(manifest) == []


@pytest.mark.parametrize("block", blocks("sh"), ids=lambda block: block.place)
def test_shell_in_the_pages_parses_and_json_in_it_is_json(block: Block) -> None:
    done = subprocess.run(["sh", "-n"], input=block.text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for patch in re.findall(r"-p '([^']+)'", block.text):
        json.loads(patch)


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block.place)
def test_python_in_the_pages_compiles(block: Block) -> None:
    compile(block.text, block.place, "exec")


def test_the_demo_parses() -> None:
    subprocess.run(["sh", "-n", str(ROOT / "examples" / "demo.sh")], check=True)


def test_every_block_says_its_language() -> None:
    unknown = [
        block.place for block in blocks() if block.language not in {"yaml", "sh", "sql", "lua", "python", ""}
    ]
    assert unknown == []


def test_make_targets_named_in_the_pages_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        (page.name, target)
        for page in PAGES
        for text in code(page)
        for target in re.findall(r"(?:^|[\n(])make(?: -s)? ([a-z-]+)", text)
    }
    assert {("README.md", "demo"), ("README.md", "test")} <= named
    assert [entry for entry in sorted(named) if entry[1] not in targets] == []


def test_links_lead_to_files_and_headings() -> None:
    broken: list[str] = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text())):
            if target.startswith(("https://", "http://")):
                continue
            name, _, anchor = target.partition("#")
            file = (page.parent / name).resolve() if name else page
            if not file.exists() or ROOT not in file.parents or (anchor and anchor not in anchors_of(file)):
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []


def anchors_of(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_files_named_in_the_pages_exist() -> None:
    missing: list[str] = []
    for page in PAGES:
        roots = (page.parent, ROOT, ROOT / "operator" / "parley")
        for text in re.findall(r"`([^`\n]+)`", FENCE.sub("", page.read_text())):
            named = re.fullmatch(r"([\w.-]+/)+[\w.-]+\.(py|yaml|md|sh)", text)
            if named and not any((root / text).exists() for root in roots):
                missing.append(f"{page.relative_to(ROOT)}: {text}")
    assert missing == []


def test_the_environment_is_documented_and_nothing_else_is() -> None:
    read = set(re.findall(r"\"(PARLEY_[A-Z_]+)\"", sources("operator", "cluster/driver")))
    documented = {name for page in PAGES for name in re.findall(r"\bPARLEY_[A-Z_]+", page.read_text())}
    assert documented == read - {"PARLEY_"}


def test_every_metric_is_documented_and_nothing_else_is() -> None:
    calls = re.findall(
        r"\b(Counter|Gauge|Histogram|GaugeMetricFamily)\(\s*\"(parley_\w+)\"", sources("operator")
    )
    exposed = {
        name if kind != "Counter" or name.endswith("_total") else f"{name}_total" for kind, name in calls
    }
    text = (ROOT / "docs" / "troubleshooting.md").read_text()
    assert set(re.findall(r"\| `(parley_\w+)", text)) == exposed


def test_every_reason_a_user_can_meet_is_explained_and_no_other() -> None:
    used = set(re.findall(r"\bReason\.([A-Z_]+)", sources("operator")))
    expected = {Reason[name].value for name in used} - UNREMARKABLE
    text = (ROOT / "docs" / "troubleshooting.md").read_text()
    explained = {
        reason
        for row in re.findall(r"^\| (`.+?) \|", text, re.MULTILINE)
        for reason in re.findall(r"`(\w+)`", row)
    }
    reasons = {reason for reason in explained if not reason.startswith("parley_")}
    headings = {reason for reason in expected if f"## {reason}\n" in text}
    # Said in other words, under "Nothing happens": no status is written while the store is away.
    unsaid = expected - reasons - headings - {Reason.STORE_UNAVAILABLE.value}
    assert unsaid == set()
    assert reasons - set(Reason) == set()


def test_every_dependency_has_its_line_and_nothing_else_has() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    python = {
        re.split(r"[\[<>=!~ ]", requirement)[0]
        for group in (project["project"]["dependencies"], project["dependency-groups"]["dev"])
        for requirement in group
    } | {"hatchling", "uv"}
    required = (ROOT / "cluster" / "node" / "go.mod").read_text().split("require (")[1].split(")")[0]
    go = {line.split()[0] for line in required.splitlines() if line.strip() and "// indirect" not in line}
    packages = {*NODE.values(), *IMAGE.values()}
    assert len(go) > 3
    table = re.findall(
        r"^\| ([\w./-]+) \| (.+) \|$", (ROOT / "docs" / "dependencies.md").read_text(), re.MULTILINE
    )
    documented = {name for name, _ in table} - {"package", "module", "---"}
    assert documented == python | go | packages


def test_the_limits_in_the_readme_are_those_of_the_models() -> None:
    text = (ROOT / "README.md").read_text()
    assert f"| steps of a Task | {MAX_STEPS}," in text
    assert f"| name of a Task | {MAX_TASK_NAME} characters" in text


def test_no_page_is_empty_and_the_license_is_whole() -> None:
    assert [page.name for page in PAGES if len(page.read_text()) < 500] == []
    license_text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in license_text
    assert "APPENDIX: How to apply the Apache License to your work." in license_text
