"""What a runner imports: a pod's start is most of a short step's time, so nothing comes along that it does not need."""

import json
import subprocess
import sys

import pytest

HEAVY = [
    "pydantic_ai", "mcp", "jsonschema", "openai", "anthropic", "google.genai", "parley.runner.tools.box",
    "aiohttp.client", "click", "rich",
]  # fmt: skip
BEGIN = """
from parley.runner.quick_start import begin_start, end_start
begin_start()
"""
ASK_OPENAI = f"""{BEGIN}
from parley.resources.agent import ModelEndpoint
from parley.runner.step import load_model_seam
load_model_seam()(ModelEndpoint(provider="OpenAI", name="any", base_url="http://model/v1"), None)
import gc
assert not gc.isenabled()
end_start()
assert gc.isenabled()
"""


def imported_by(statement: str) -> list[str]:
    """Which of the heavy modules a fresh process has after a statement."""
    program = (
        f"import json, sys\n{statement}\n"
        f"print(json.dumps([m for m in {HEAVY} if sys.modules.get(m) is not None]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("statement", "modules"),
    [
        ("import parley.runner.process", []),
        (
            "from parley.runner.tool_opening import load_tool_box; load_tool_box()",
            ["parley.runner.tools.box"],
        ),
        (f"{BEGIN}from parley.runner.step import load_model_seam; load_model_seam()", ["pydantic_ai"]),
        (ASK_OPENAI, ["pydantic_ai", "openai"]),
        ("import parley.runner.input_file, parley.runner.output_file", []),
    ],
)
def test_nothing_comes_along_that_a_step_does_not_need(statement: str, modules: list[str]) -> None:
    assert imported_by(statement) == modules
