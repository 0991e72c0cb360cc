"""What a component of the cluster is: its command, its files, when it is ready."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cluster.driver.layout import Layout


@dataclass(frozen=True, slots=True)
class Component:
    """One background process.

    `ready` answers at once; a component that is started again only because its
    command or files changed is told by their fingerprint. One that does not end
    within `patience` seconds of its stop signal is killed.
    """

    name: str
    argv: tuple[str, ...]
    ready: Callable[[Layout], bool]
    files: Mapping[Path, str] = field(default_factory=dict[Path, str])
    needs: tuple[Path, ...] = ()
    user: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    stop_signal: str = "SIGTERM"
    patience: float = 15.0

    def fingerprint(self) -> str:
        """Hash what the process was started with, contents of `needs` included."""
        content = json.dumps(
            [self.argv, {str(path): text for path, text in self.files.items()}, dict(self.environment)],
            sort_keys=True,
        )
        digest = hashlib.sha256(content.encode())
        for path in self.needs:
            stat = path.stat()
            digest.update(f"{path} {stat.st_size} {stat.st_mtime_ns}".encode())
        return digest.hexdigest()[:16]

    def write_files(self) -> None:
        for path, text in self.files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
