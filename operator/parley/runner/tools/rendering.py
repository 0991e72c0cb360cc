"""Rendering a tool's templates."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from parley.runner.daemon_thread import in_daemon_thread
from parley.runner.tools.errors import ToolProblem

RENDER_SECONDS = 10.0

Rendered = TypeVar("Rendered")


async def rendered(render: Callable[[], Rendered]) -> Rendered:
    """Render in a thread: a template may loop, and the runner must still hear a SIGTERM.

    Raises:
        ToolProblem: it takes too long; the text follows the tool's name.
    """
    try:
        async with asyncio.timeout(RENDER_SECONDS):
            return await in_daemon_thread(render)
    except TimeoutError:
        raise ToolProblem(f"rendering its templates took longer than {RENDER_SECONDS:.0f} s") from None
