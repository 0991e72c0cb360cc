"""What the driver tells the person who waits for it."""

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager


class ClusterError(Exception):
    """Something a user can act on; printed as one sentence, without a traceback."""


def say(text: str) -> None:
    """Print one line to stderr, so that stdout stays for answers that scripts read."""
    print(text, file=sys.stderr, flush=True)


def clock(seconds: float) -> str:
    """Write a length of time as a person would: `8s`, `3m20s`."""
    whole = max(0, round(seconds))
    return f"{whole}s" if whole < 60 else f"{whole // 60}m{whole % 60:02d}s"


@contextmanager
def step(title: str) -> Generator[None]:
    """Say what begins, and how long it took once it ended."""
    say(f"* {title} …")
    begun = time.monotonic()
    yield
    say(f"  {title}: done in {clock(time.monotonic() - begun)}")


class Progress:
    """A count towards a total, with an estimate of the time left.

    On a terminal it rewrites one line; elsewhere it prints a line now and then.
    """

    def __init__(self, title: str, total: int, unit: str) -> None:
        self._title, self._total, self._unit = title, total, unit
        self._begun = time.monotonic()
        self._printed = 0.0
        self._tty = sys.stderr.isatty()

    def show(self, done: int) -> None:
        """Show `done` of the total, and the time left once there is something to judge it by."""
        now = time.monotonic()
        if now - self._printed < (0.2 if self._tty else 15):
            return
        self._printed = now
        spent = now - self._begun
        left = spent * (self._total - done) / done
        rest = f", about {clock(left)} left" if spent > 10 else ""
        text = f"  {self._title}: {done}/{self._total} {self._unit}, {clock(spent)}{rest}"
        print(
            f"\r{text}\033[K" if self._tty else text,
            end="" if self._tty else "\n",
            file=sys.stderr,
            flush=True,
        )

    def end(self) -> None:
        """Leave the line, so that what follows starts on a new one."""
        if self._tty and self._printed:
            print(file=sys.stderr)
