"""Run all tests: first those that share a cluster, side by side, then one by one those that break it.

Arguments go to pytest, such as ``-k name`` or a path.
"""

import subprocess
import sys

SIDE_BY_SIDE = 4
"""Tests at a time. Most wait for pods, so more than there are cores."""
_NOTHING_SELECTED = 5
"""pytest's exit code when arguments leave no test."""


def main() -> int:
    """Run both parts, the second one also when the first has failed; returns an exit code."""
    given = sys.argv[1:]
    parts = (["-n", str(SIDE_BY_SIDE), "--dist", "loadfile", "-m", "not disruptive"], ["-m", "disruptive"])
    codes = [
        subprocess.run([sys.executable, "-m", "pytest", *part, *given], check=False).returncode
        for part in parts
    ]
    failed = [code for code in codes if code not in {0, _NOTHING_SELECTED}]
    return failed[0] if failed else min(codes)


if __name__ == "__main__":
    sys.exit(main())
