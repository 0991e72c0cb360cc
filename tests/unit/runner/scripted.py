"""Starts the scripted model as the process it is in a pod."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

SCRIPT = Path(__file__).parents[3] / "examples" / "model" / "scripted_model.py"
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class ScriptedModel:
    url: str

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    def requests(self, contains: str) -> list[dict[str, Any]]:
        """The recorded requests that contain a text, oldest first."""
        with DIRECT.open(f"{self.url}/requests?limit=2000&contains={quote(contains)}", timeout=10) as answer:
            return json.load(answer)["requests"]


@contextmanager
def scripted_model() -> Iterator[ScriptedModel]:
    process = subprocess.Popen(
        [sys.executable, "-B", str(SCRIPT)],
        env={**os.environ, "PORT": "0"},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert "listening on port" in line, line
        # Its log must be drained, or a full pipe would stop it.
        drain = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
        process.stderr.close()
        try:
            yield ScriptedModel(f"http://127.0.0.1:{line.split()[-1]}")
        finally:
            process.terminate()
            process.wait(20)
            drain.wait(20)
    finally:
        process.kill()
        process.wait(20)
