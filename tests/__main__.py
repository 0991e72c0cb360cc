"""Run all tests: those that share a cluster side by side, then one by one those that break it.

The machine has little to do while a cluster is broken, and much while many tests share one. So those that need no
cluster run beside the tests that break it, and so do, for the minutes in which its Postgres is away, those that need
only its API server. Those that promise so many seconds come last, with the machine to themselves.

Arguments go to pytest, such as ``-k name`` or a path.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

SIDE_BY_SIDE = 6
"""Tests at a time on the cluster. Many wait for pods, so more than there are cores."""
_BESIDE = ("-n", "2")
_LESS_URGENT = ("nice", "-n", "5")
_NOTHING_SELECTED = 5
"""pytest's exit code when arguments leave no test."""
# conftest.py has put what takes longest first, and gives each test of the cluster away by itself.
_IN_ORDER = "--no-loadscope-reorder"
_EACH = ("--dist", "loadgroup", _IN_ORDER)
_FILES = ("--dist", "loadfile", _IN_ORDER)


def main() -> int:
    """Run all parts, each also when another has failed; returns an exit code."""
    given = sys.argv[1:]
    shared = "cluster and not disruptive and not storeless"
    codes = [_run(shared, given, "-n", str(SIDE_BY_SIDE), *_EACH)]
    with _Beside("not cluster", given, *_BESIDE, *_FILES) as without:
        with _Beside("storeless", given, *_BESIDE, *_EACH) as storeless:
            codes.append(_run("outage", given))
            # What comes next breaks the API server too.
            codes.append(storeless.ended())
        codes.append(_run("disruptive and not outage and not timed", given))
        codes.append(without.ended())
    codes.append(_run("timed", given))
    # Without arguments a part with no tests would be one that is not run.
    fine = {0, _NOTHING_SELECTED} if given else {0}
    failed = [code for code in codes if code not in fine]
    return failed[0] if failed else min(codes)


class _Beside:
    """A part that runs beside others, with what they leave of the processors; what it says comes at its end."""

    def __init__(self, marked: str, given: Sequence[str], *options: str) -> None:
        self._marked = marked
        self._command = [*_pytest(marked, *options), *given]

    def __enter__(self) -> "_Beside":
        _say(f"{self._marked}: runs beside what follows; what it says comes at its end")
        self._said = tempfile.TemporaryFile("w+")
        self._started = time.monotonic()
        self._process = subprocess.Popen(
            [*_LESS_URGENT, *self._command],
            stdout=self._said,
            stderr=subprocess.STDOUT,
        )
        return self

    def ended(self) -> int:
        """Wait for its end and repeat what it said; returns its exit code."""
        code = self._process.wait()
        seconds = time.monotonic() - self._started
        self._said.seek(0)
        sys.stdout.writelines(self._said)
        _say(f"{self._marked}: {seconds:.0f} s at most, beside others")
        return code

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        self._said.close()


def _run(marked: str, given: Sequence[str], *options: str) -> int:
    started = time.monotonic()
    code = subprocess.run([*_pytest(marked, *options), *given], check=False).returncode
    _say(f"{marked}: {time.monotonic() - started:.0f} s")
    return code


def _pytest(marked: str, *options: str) -> Sequence[str]:
    # What is left out has no such tests, as conftest.py makes sure; to collect it takes each worker long.
    if marked == "not cluster":
        left_out = ["tests/e2e", "tests/chaos"]
    elif marked == "storeless":
        left_out = ["tests/unit", *(str(path) for path in Path("tests/integration").glob("*/"))]
    else:
        left_out = ["tests/unit", "tests/integration"]
    # The plugin's import takes a second, of each worker too.
    plugins = [] if marked == "not cluster" else ["-p", "no:schemathesis"]
    options = (*(f"--ignore={folder}" for folder in left_out), *plugins, *options)
    return [sys.executable, "-m", "pytest", "-m", marked, "--durations=40", *options]


def _say(what: str) -> None:
    sys.stdout.write(f"== {what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
