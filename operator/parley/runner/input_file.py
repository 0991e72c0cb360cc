"""``parley-runner input``: writes a container's input file before the container starts.

Exit codes: 0 once the file is written, 64 when its templates cannot be rendered, 1 for all else.
"""

import contextlib
import json
import logging
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, cast

from parley.runner.log import start_log
from parley.runner.plain_client import PlainClient
from parley.runner.settings import RunnerSettings, SettingsError
from parley.runner.verdicts import NotAdmitted, Rejected, StopRunning, TooLarge
from parley.templates.errors import TemplateError
from parley.templates.render import render_value
from parley.templates.values import Limits, compact_json

if TYPE_CHECKING:
    from pydantic import JsonValue

INPUT_FILE = Path("/parley/input.json")
TERMINATION_LOG = Path("/dev/termination-log")
MAX_FILE_BYTES = 16 * 1024 * 1024
EXIT_NO_RETRY = 64
_LIMITS = Limits(result_bytes=MAX_FILE_BYTES, values=2_000_000)

log = logging.getLogger(__name__)


def write_input() -> int:
    """Fetch, render and write the input file; returns the exit code."""
    start_log()
    try:
        settings = RunnerSettings.from_environment(os.environ)
        content = render(PlainClient(settings, secrets.token_hex(8)))
    except TemplateError as error:
        return _failed(f"TemplateError: {error}", EXIT_NO_RETRY)
    except SettingsError as error:
        return _failed(str(error), 1)
    except StopRunning as stop:
        return _failed(f"told to stop: {stop}", 1)
    except (NotAdmitted, Rejected, TooLarge) as error:
        return _failed(f"the gateway refuses this pod: {error}", 1)
    INPUT_FILE.write_bytes(content)
    INPUT_FILE.chmod(0o644)
    log.info("input written", extra={"bytes": len(content)})
    return 0


def render(client: PlainClient) -> bytes:
    """Get what the file is made from, and make it.

    Raises:
        TemplateError: a template cannot be rendered, or the file would be too large.
        StopRunning, NotAdmitted, Rejected: the gateway gives nothing.
    """
    given = cast("dict[str, JsonValue]", json.loads(client.call("GET", "/input")))
    path, scope = str(given["path"]), cast("dict[str, JsonValue]", given["scope"])
    content = compact_json(render_value(given["template"], scope, path, _LIMITS)).encode(errors="replace")
    if len(content) > MAX_FILE_BYTES:
        raise TemplateError(path, f"the file has {len(content)} bytes; at most {MAX_FILE_BYTES} are allowed")
    return content


def _failed(why: str, code: int) -> int:
    log.error("no input was written", extra={"why": why})
    # The operator shows this file's text as the step's message; outside a pod there is none.
    if TERMINATION_LOG.exists():
        with contextlib.suppress(OSError):
            TERMINATION_LOG.write_text(why[:4000], encoding="utf-8", errors="replace")
    return code
