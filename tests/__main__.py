"""Run all tests: those that share a cluster side by side, then one by one those that break it.

Tests that need none run beside both, with what the processors have left: a cluster's tests mostly wait. Those that
promise so many seconds come last, with the machine to themselves.

Arguments go to pytest, such as ``-k name`` or a path.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

SIDE_BY_SIDE = 5
"""Tests at a time on the cluster. Most wait for pods, so more than there are cores."""
_LESS_URGENT = ["nice", "-n", "5"]
_NOTHING_SELECTED = 5
"""pytest's exit code when arguments leave no test."""
# conftest.py has put what takes longest first, and gives each test of the cluster away by itself.
_IN_ORDER = "--no-loadscope-reorder"


def main() -> int:
    """Run all parts, each also when another has failed; returns an exit code."""
    given = sys.argv[1:]
    with tempfile.TemporaryFile("w+") as said:
        _say("tests that need no cluster run beside those that do; what they say comes after")
        beside = subprocess.Popen(
            [*_LESS_URGENT, *_pytest("not cluster", "-n", "2", "--dist", "loadfile", _IN_ORDER), *given],
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        try:
            codes = [
                _run(
                    "cluster and not disruptive",
                    given,
                    "-n",
                    str(SIDE_BY_SIDE),
                    "--dist",
                    "loadgroup",
                    _IN_ORDER,
                ),
                _run("disruptive and not timed", given),
                beside.wait(),
            ]
        finally:
            beside.terminate()
            beside.wait()
        _repeat(said)
    codes.append(_run("timed", given))
    failed = [code for code in codes if code not in {0, _NOTHING_SELECTED}]
    return failed[0] if failed else min(codes)


def _run(marked: str, given: Sequence[str], *options: str) -> int:
    started = time.monotonic()
    code = subprocess.run([*_pytest(marked, *options), *given], check=False).returncode
    _say(f"{marked}: {time.monotonic() - started:.0f} s")
    return code


def _pytest(marked: str, *options: str) -> Sequence[str]:
    # What is left out has no such tests, as conftest.py makes sure; to collect it takes each worker long.
    left_out = ["--ignore=tests/e2e", "--ignore=tests/chaos"]
    if not marked.startswith("not "):
        folders = ["tests/unit", *(str(path) for path in Path("tests/integration").glob("*/"))]
        # The plugin's import takes a second, of each worker too.
        left_out = [*(f"--ignore={folder}" for folder in folders), "-p", "no:schemathesis"]
    return [sys.executable, "-m", "pytest", "-m", marked, *left_out, "--durations=15", *options]


def _repeat(said: IO[str]) -> None:
    _say("tests that need no cluster")
    said.seek(0)
    sys.stdout.writelines(said)
    sys.stdout.flush()


def _say(what: str) -> None:
    sys.stdout.write(f"== {what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
