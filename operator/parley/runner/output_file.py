"""``parley-runner output``: a sidecar that waits for the container's end, then sends the file that it left.

The kubelet sends SIGTERM to sidecars once all other containers have ended. Nothing of weight is imported before: the
container starts only when this process handles that signal.
"""

import errno
import json
import logging
import os
import secrets
import signal
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from parley.runner.settings import RunnerSettings, SettingsError

if TYPE_CHECKING:
    from parley.runner.plain_client import PlainClient

OUTPUT_FILE = Path("/parley/output")
READY_FILE = Path("/tmp/ready")  # noqa: S108 - in the sidecar's own emptyDir
MAX_FILE_BYTES = 16 * 1024 * 1024
"""The same as the protocol's, which takes too long to import."""

log = logging.getLogger(__name__)


class NoOutput(Exception):
    """There is no file that could be sent; the message says why and what to do."""

    def __init__(self, message: str, *, too_large: bool = False) -> None:
        super().__init__(message)
        self.too_large = too_large


def send_output() -> int:
    """Wait for SIGTERM, then send the file, or why there is none; returns the exit code."""
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: told.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    READY_FILE.touch()
    told.wait()
    from parley.runner.log import start_log  # noqa: PLC0415 - see the module

    start_log()
    try:
        settings = RunnerSettings.from_environment(os.environ)
    except SettingsError as error:
        log.error("no output was sent", extra={"why": str(error)})  # noqa: TRY400 - a sentence, not a fault
        return 1
    return send(settings, OUTPUT_FILE)


def send(settings: RunnerSettings, path: Path) -> int:
    """Send the file, or why there is none, until the gateway has said what became of it; returns the exit code."""
    from parley.runner.plain_client import PlainClient  # noqa: PLC0415 - see the module
    from parley.runner.verdicts import NotAdmitted, Rejected, StopRunning, TooLarge  # noqa: PLC0415

    client = PlainClient(settings, secrets.token_hex(8))
    try:
        try:
            content = read_file(path)
        except NoOutput as problem:
            _tell(client, problem)
            return 0
        try:
            answer = client.call("PUT", "/output", content, "application/octet-stream")
        except TooLarge:
            _tell(
                client,
                NoOutput(f"{path} has {len(content)} bytes, more than the gateway takes", too_large=True),
            )
            return 0
    except StopRunning as stop:
        log.info("told to stop", extra={"why": str(stop)})
        return 0
    except (NotAdmitted, Rejected, TooLarge) as error:
        log.error("no output was sent", extra={"why": str(error)})  # noqa: TRY400 - a sentence, not a fault
        return 1
    log.info("output sent", extra={"bytes": len(content), "problem": json.loads(answer).get("problem")})
    return 0


def read_file(path: Path) -> bytes:
    """Read a file that somebody else made; never another one through a link: this process's token is one.

    Raises:
        NoOutput: there is none, it is no plain file, or it is too large.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise NoOutput(_why_not(path, error)) from error
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise NoOutput(f"{path} is no plain file: write the output into a file of that name")
    with os.fdopen(descriptor, "rb") as file:
        content = b"" if found.st_size > MAX_FILE_BYTES else file.read(MAX_FILE_BYTES + 1)
    size = max(found.st_size, len(content))
    if size > MAX_FILE_BYTES:
        raise NoOutput(f"{path} has {size} bytes; at most {MAX_FILE_BYTES} are kept", too_large=True)
    return content


def _why_not(path: Path, error: OSError) -> str:
    match error.errno:
        case errno.ENOENT:
            return f"the container wrote no {path}: write the output there, or leave out outputFrom: File"
        case errno.ELOOP:
            return f"{path} is a symbolic link: write the output into a file of that name"
        case errno.EACCES:
            return f"{path} cannot be read: let others read it (chmod a+r)"
        case _:
            return f"{path} cannot be read: {error.strerror}"


def _tell(client: "PlainClient", problem: NoOutput) -> None:
    log.warning("there is no output to send", extra={"why": str(problem)})
    body = {"problem": str(problem), "tooLarge": problem.too_large}
    client.call("PUT", "/output/problem", json.dumps(body).encode())
