"""``parley`` as it runs on: in a terminal of its own, or with its output read as it comes."""

import os
import pty
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster import LONG
from tests.e2e.shell import BIN, Shell

_READS = ("poll_schedule_timeout", "do_select", "wait_woken", "n_tty_read")
"""What the kernel calls it that a process waits for a terminal, in select() as readline does, or in read()."""


@dataclass
class Running:
    """A command that goes on.

    Attributes:
        shown: what it has printed so far; in a terminal all of it, else what goes to stdout.
    """

    shell: Shell
    process: subprocess.Popen[bytes]
    write: Callable[[bytes], object]
    shown: str = field(default="", init=False)

    def wait(self, what: str, probe: Callable[[str], object]) -> None:
        """Wait until what it has printed is as the probe wants it.

        Raises:
            AssertionError: it is not so in time, or the command has ended.
        """

        def look() -> bool:
            ended = self.process.poll() is not None
            fits = bool(probe(self.shown))
            assert fits or not ended, f"it ended with {self.process.returncode}: {self.shown}"
            return fits

        try:
            self.shell.cluster.wait(what, self.shell.namespace, look)
        except AssertionError as error:
            raise AssertionError(f"{what}: it shows {self.shown!r}\n{error}") from error

    def wait_for_a_reader(self) -> None:
        """Wait until the terminal is read: what was shown before may come from a moment in which Python hears no signal.

        (It sees signals between its instructions, and while it sleeps in a read; not on the way from one to the other.)
        """
        sleeps = Path(f"/proc/{self.process.pid}/wchan")
        self.wait("it reads the terminal", lambda _: sleeps.read_text().startswith(_READS))

    def type(self, line: str) -> None:
        """Type a line in the terminal."""
        self.write(line.encode() + b"\n")

    def read(self, descriptor: int) -> None:
        """Read what it prints, until it ends."""
        pending = b""
        while True:
            try:
                piece = os.read(descriptor, 65536)
            except OSError:
                # The other side of a terminal is gone.
                return
            if not piece:
                return
            pending += piece
            self.shown = pending.decode(errors="replace")


@contextmanager
def in_terminal(shell: Shell, *arguments: str) -> Iterator[Running]:
    """Run a command in a terminal."""
    ours, theirs = pty.openpty()
    environment = {**shell.environment, "TERM": "dumb", "NO_COLOR": "1"}
    # The terminal is its own, so that keys are signals; and it takes them, though a shell has begun these tests beside
    # other things, which ignore Ctrl-C.
    as_typed = ["setsid", "--ctty", "env", "--default-signal=INT"]
    process = subprocess.Popen(
        [*as_typed, str(BIN / "parley"), "-n", shell.namespace, *arguments],
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    with _reading(Running(shell, process, lambda data: os.write(ours, data)), ours) as running:
        yield running
    os.close(ours)


@contextmanager
def printing(shell: Shell, *arguments: str) -> Iterator[Running]:
    """Run a command and read what it prints on stdout."""
    process = subprocess.Popen(
        [str(BIN / "parley"), "-n", shell.namespace, *arguments],
        env=shell.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    with (
        process.stdout,
        _reading(Running(shell, process, lambda _: None), process.stdout.fileno()) as running,
    ):
        yield running


@contextmanager
def _reading(running: Running, descriptor: int) -> Iterator[Running]:
    reader = threading.Thread(target=running.read, args=(descriptor,))
    reader.start()
    try:
        yield running
    finally:
        running.process.terminate()
        try:
            running.process.wait(timeout=LONG)
        finally:
            running.process.kill()
            running.process.wait()
            reader.join(timeout=LONG)
