"""Running other programs, with an error that says what they said."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from cluster.driver.console import ClusterError


def run(
    argv: Sequence[str | Path],
    *,
    text: str | None = None,
    timeout: float = 600,
    env: dict[str, str] | None = None,
) -> str:
    """Run a program to its end and return its stdout.

    Raises:
        ClusterError: it failed; carries the end of what it printed.
    """
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words, input=text, capture_output=True, text=True, timeout=timeout, check=False, env=env
        )
    except FileNotFoundError as error:
        raise ClusterError(f"{words[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"`{' '.join(words)[:200]}` did not end in {timeout:.0f} s") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise ClusterError(f"`{' '.join(words)[:200]}` failed ({done.returncode}): {said}")
    return done.stdout


def succeeds(argv: Sequence[str | Path], *, timeout: float = 60) -> bool:
    """Tell whether a program exists and ends with 0."""
    try:
        run(argv, timeout=timeout)
    except ClusterError:
        return False
    return True
