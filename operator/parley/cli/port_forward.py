"""A ``kubectl port-forward`` to a Service, kept up for as long as a command runs."""

import re
import shutil
import subprocess
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from parley.cli.failures import CliError

_START_SECONDS = 20.0
_RETRY_SECONDS = 0.5
_FORWARDING = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")


class PortForward:
    """Its ``url`` stays the same while it is open.

    When the pod behind it goes kubectl ends, and is started again on the same port.

    Args:
        arguments: what tells kubectl which cluster, such as ``--context``.
        namespace: of the Service.
        service: its name.
        port: of the Service.
    """

    def __init__(self, arguments: Sequence[str], namespace: str, service: str, port: str) -> None:
        self._command = [
            *arguments,
            "-n",
            namespace,
            "port-forward",
            "--address",
            "127.0.0.1",
            f"service/{service}",
        ]
        self._port = port
        self._local = ""
        self._closing = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._keeper: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where the Service is to be reached."""
        return f"http://127.0.0.1:{self._local}"

    def __enter__(self) -> Self:
        kubectl = shutil.which("kubectl")
        if kubectl is None:
            raise CliError(
                "kubectl is not there, and there is no --gateway", "install kubectl, or give --gateway URL"
            )
        self._command = [kubectl, *self._command]
        process = self._start("")
        try:
            self._local = self._wait_for_port(process)
        except BaseException:
            # In its group of its own it would outlive a Ctrl-C.
            with process:
                process.terminate()
            raise
        self._process = process
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        if self._process is not None:
            self._process.terminate()
        if self._keeper is not None:
            self._keeper.join(timeout=5)

    def _start(self, local: str) -> subprocess.Popen[str]:
        # In a group of its own, so that Ctrl-C, which ends an answer and not the conversation, does not end it.
        return subprocess.Popen(  # noqa: S603 - kubectl from the user's PATH, with the user's arguments
            [*self._command, f"{local}:{self._port}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )

    def _wait_for_port(self, process: subprocess.Popen[str]) -> str:
        said: list[str] = []
        timer = threading.Timer(_START_SECONDS, process.terminate)
        timer.start()
        try:
            for line in process.stdout or ():
                match = _FORWARDING.match(line)
                if match:
                    return match[1]
                said.append(line.strip())
        finally:
            timer.cancel()
        with process:
            pass
        why = said[-1] if said else "it said nothing"
        raise CliError(
            f"kubectl port-forward to the gateway failed: {why}",
            "it needs the right `create pods/portforward` there; or give --gateway URL; see also: parley doctor",
        )

    def _keep(self) -> None:
        """Read what kubectl prints, else it would stop one day; start it again when it has ended."""
        while self._process is not None:
            with self._process as process:
                for _ in process.stdout or ():
                    pass
            if self._closing.wait(_RETRY_SECONDS):
                return
            self._process = self._start(self._local)
            if self._closing.is_set():
                self._process.terminate()
